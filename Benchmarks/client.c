// The small operations of scripts/bench, timed in C because an interpreter takes longer than they do.
//
//   client [-c CLIENTS] OPERATION DIRECTORY [BYTES]
//
// prints what one operation takes in seconds, or for `write`, `write-sync`, `read` and `reread` of a file of BYTES the
// bytes per second; "unsupported" where the filesystem cannot do it. Works in a directory of its own, which it removes.
// With several CLIENTS, as many processes do the same at once and the slowest one's figure is printed.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096, megabyte = 1 << 20, batches = 5, entries = 1000 };

static char *block;  // a megabyte of data
static long size_of_file = 256L * megabyte;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
  if (errno == EOPNOTSUPP) {
    puts("unsupported");
    exit(0);
  }
  fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int checked(long result, const char *what) {
  if (result < 0) fail(what);
  return (int)result;
}

static void whole(ssize_t done, size_t wanted, const char *what) {
  if (done < 0) fail(what);
  if ((size_t)done != wanted) {
    fprintf(stderr, "client: %s: %zd of %zu bytes\n", what, done, wanted);
    exit(1);
  }
}

// Names are never used twice, so that nothing cached answers for the filesystem.
static const char *new_name(void) {
  static char name[32];
  static long number;
  snprintf(name, sizeof name, "name%ld", number++);
  return name;
}

// MARK: Operations. Each does its thing once.

static void nothing(void) {}

static void cycle(void) {
  const char *name = new_name();
  int file = checked(open(name, O_CREAT | O_EXCL | O_RDWR, 0600), "create");
  whole(write(file, block, page), page, "write");
  close(file);
  file = checked(open(name, O_RDONLY), "open");
  whole(read(file, block, page), page, "read");
  close(file);
  checked(unlink(name), "unlink");
}

static void lookup(void) {
  struct stat status;
  if (stat(new_name(), &status) == 0 || errno != ENOENT) fail("stat of a name that is not there");
}

static void unnamed_cycle(void) {
  int file = checked(open(".", O_TMPFILE | O_RDWR, 0600), "open(O_TMPFILE)");
  whole(write(file, block, page), page, "write");
  close(file);
}

static void rename_cycle(void) {
  static int flip;
  flip = !flip;
  checked(rename(flip ? "a" : "b", flip ? "b" : "a"), "rename");
}

static void directory_cycle(void) {
  const char *name = new_name();
  checked(mkdir(name, 0700), "mkdir");
  checked(rmdir(name), "rmdir");
}

static void open_again(void) {
  int file = checked(open("a", O_RDONLY), "open");
  whole(read(file, block, page), page, "read");
  close(file);
}

static void make_a(void) {
  int file = checked(open("a", O_CREAT | O_RDWR, 0600), "create");
  whole(write(file, block, page), page, "write");
  close(file);
}

static void remove_a(void) {
  if (unlink("a") < 0) checked(unlink("b"), "unlink");
}

static void make_entries(void) {
  char name[32];
  for (int i = 0; i < entries; i++) {
    snprintf(name, sizeof name, "entry%d", i);
    close(checked(open(name, O_CREAT | O_RDWR, 0600), "create"));
  }
}

static void remove_entries(void) {
  char name[32];
  for (int i = 0; i < entries; i++) {
    snprintf(name, sizeof name, "entry%d", i);
    checked(unlink(name), "unlink");
  }
}

static void list_and_stat(void) {
  DIR *directory = opendir(".");
  if (!directory) fail("opendir");
  struct dirent *entry;
  struct stat status;
  int seen = 0;
  while ((entry = readdir(directory))) {
    checked(fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW), "stat");
    seen++;
  }
  if (seen != entries + 2) fail("readdir");
  closedir(directory);
}

static int log_file;
static size_t append_bytes;

static void open_log(void) { log_file = checked(open("log", O_CREAT | O_WRONLY | O_APPEND, 0600), "create"); }

static void close_log(void) {
  close(log_file);
  checked(unlink("log"), "unlink");
}

static void append(void) { whole(write(log_file, block, append_bytes), append_bytes, "append"); }

struct operation {
  const char *name;
  int count;  // in a batch
  void (*set_up)(void), (*run)(void), (*tear_down)(void);
  size_t bytes;
};

static const struct operation operations[] = {
    {"cycle", 400, nothing, cycle, nothing, 0},
    {"lookup", 1000, nothing, lookup, nothing, 0},
    {"tmpfile", 400, nothing, unnamed_cycle, nothing, 0},
    {"rename", 400, make_a, rename_cycle, remove_a, 0},
    {"mkdir", 400, nothing, directory_cycle, nothing, 0},
    {"open", 1000, make_a, open_again, remove_a, 0},
    {"list", 4, make_entries, list_and_stat, remove_entries, 0},
    {"append-100", 20000, open_log, append, close_log, 100},
    {"append-4k", 2000, open_log, append, close_log, page},
    {"append-1m", 20, open_log, append, close_log, megabyte},
};

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// The median over a few batches of what one operation takes.
static double seconds_per(const struct operation *operation) {
  double samples[batches];
  append_bytes = operation->bytes;
  operation->set_up();
  for (int i = 0; i < operation->count / 4 + 1; i++) operation->run();
  for (int batch = 0; batch < batches; batch++) {
    double start = now();
    for (int i = 0; i < operation->count; i++) operation->run();
    samples[batch] = (now() - start) / operation->count;
  }
  operation->tear_down();
  qsort(samples, batches, sizeof *samples, ascending);
  return samples[batches / 2];
}

// MARK: Streams

static double stream_out(int sync) {
  int file = checked(open("stream", O_CREAT | O_WRONLY, 0600), "create");
  double start = now();
  for (long done = 0; done < size_of_file; done += megabyte) whole(write(file, block, megabyte), megabyte, "write");
  if (sync) checked(fsync(file), "fsync");
  close(file);
  return size_of_file / (now() - start);
}

static double stream_in(int cached) {
  int file = checked(open("stream", O_RDONLY), "open");
  checked(fsync(file), "fsync");
  // Where the page cache is all there is, as in tmpfs, this does nothing.
  if (!cached) posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  double start = now();
  for (long done = 0; done < size_of_file; done += megabyte) whole(read(file, block, megabyte), megabyte, "read");
  double rate = size_of_file / (now() - start);
  close(file);
  return rate;
}

static double rate_of(const char *name) {
  double rate = stream_out(strcmp(name, "write-sync") == 0);
  if (strcmp(name, "read") == 0) rate = stream_in(0);
  if (strcmp(name, "reread") == 0) {
    stream_in(1);
    rate = stream_in(1);
  }
  checked(unlink("stream"), "unlink");
  return rate;
}

// MARK: Running

static double measure(const char *name, int *is_rate) {
  static const char *streams[] = {"write", "write-sync", "read", "reread"};
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
    if ((*is_rate = strcmp(name, streams[i]) == 0)) return rate_of(name);
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
    if (strcmp(name, operations[i].name) == 0) return seconds_per(&operations[i]);
  fprintf(stderr, "client: no operation called %s\n", name);
  exit(2);
}

static char own[] = "client-XXXXXX";

static void remove_own(void) {
  if (chdir("..") < 0 || rmdir(own) < 0) perror(own);
}

// One client: measures in a directory of its own and prints the figure.
static void run_client(const char *name, const char *directory) {
  checked(chdir(directory), directory);
  if (!mkdtemp(own)) fail("mkdtemp");
  checked(chdir(own), own);
  atexit(remove_own);
  int is_rate;
  printf("%.9g\n", measure(name, &is_rate));
}

int main(int count, char **arguments) {
  int clients = 1;
  if (count > 3 && strcmp(arguments[1], "-c") == 0) {
    clients = atoi(arguments[2]);
    count -= 2;
    arguments += 2;
  }
  if (count < 3) {
    fputs("usage: client [-c CLIENTS] OPERATION DIRECTORY [BYTES]\n", stderr);
    return 2;
  }
  if (count > 3) size_of_file = atol(arguments[3]) / megabyte * megabyte;
  block = malloc(megabyte);
  memset(block, 'x', megabyte);
  for (int i = 1; i < clients; i++)
    if (checked(fork(), "fork") == 0) {
      run_client(arguments[1], arguments[2]);
      return 0;
    }
  run_client(arguments[1], arguments[2]);
  int status, failed = 0;
  while (wait(&status) > 0) failed |= status != 0;
  return failed;
}
