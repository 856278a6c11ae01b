// The small operations of scripts/bench, timed in C because an interpreter takes longer than they do.
//
//   client [-c CLIENTS] [-b PROGRAMS] [-p PERCENTILE] OPERATION DIRECTORY [BYTES]
//
// prints what one operation takes in seconds and how often it was done in all, or for a stream of BYTES the bytes per
// second and 0; "unsupported" where the filesystem cannot do it. Works in a directory of its own, which it removes. With
// several CLIENTS, as many processes do the same at once and each prints its line. Meanwhile PROGRAMS others compute. With
// a PERCENTILE it prints that of single operations, instead of the median of what they take in batches.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096, kilobyte = 1 << 10, megabyte = 1 << 20, batches = 5, pages = 4096 };

static char *block;  // a megabyte of data, aligned as O_DIRECT wants it
static long size_of_file = 256L * megabyte;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
  if (errno == EOPNOTSUPP || errno == ENODEV) {
    puts("unsupported");
    unlink("data");
    unlink("stream");
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

static void write_read_close(int file) {
  whole(write(file, block, page), page, "write");
  whole(pread(file, block, page, 0), page, "read");
  close(file);
}

static void unnamed_cycle(void) { write_read_close(checked(open(".", O_TMPFILE | O_RDWR, 0600), "open(O_TMPFILE)")); }

// The same without O_TMPFILE.
static void unlinked_cycle(void) {
  const char *name = new_name();
  int file = checked(open(name, O_CREAT | O_EXCL | O_RDWR, 0600), "create");
  checked(unlink(name), "unlink");
  write_read_close(file);
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

static void stat_again(void) {
  struct stat status;
  checked(stat("a", &status), "stat");
}

static void make_a(void) {
  int file = checked(open("a", O_CREAT | O_RDWR, 0600), "create");
  whole(write(file, block, page), page, "write");
  close(file);
}

static void remove_a(void) {
  if (unlink("a") < 0) checked(unlink("b"), "unlink");
}

static int entries;

static void make_entries(int count) {
  char name[32];
  entries = count;
  for (int i = 0; i < entries; i++) {
    snprintf(name, sizeof name, "entry%d", i);
    close(checked(open(name, O_CREAT | O_RDWR, 0600), "create"));
  }
}

static void make_1k_entries(void) { make_entries(1000); }
static void make_10k_entries(void) { make_entries(10000); }

static void remove_entries(void) {
  char name[32];
  for (int i = 0; i < entries; i++) {
    snprintf(name, sizeof name, "entry%d", i);
    checked(unlink(name), "unlink");
  }
}

// A change to the directory, after which nobody can have its listing cached.
static void change_directory_content(void) {
  make_a();
  checked(unlink("a"), "unlink");
}

static void list(int with_stat) {
  DIR *directory = opendir(".");
  if (!directory) fail("opendir");
  struct dirent *entry;
  struct stat status;
  int seen = 0;
  while ((entry = readdir(directory))) {
    if (with_stat) checked(fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW), "stat");
    seen++;
  }
  if (seen != entries + 2) fail("readdir");
  closedir(directory);
}

static void list_names(void) { list(0); }
static void list_and_stat(void) { list(1); }

static int log_file;
static size_t append_bytes;

static void open_log(void) { log_file = checked(open("log", O_CREAT | O_WRONLY | O_APPEND, 0600), "create"); }

static void close_log(void) {
  close(log_file);
  checked(unlink("log"), "unlink");
}

static void append(void) { whole(write(log_file, block, append_bytes), append_bytes, "append"); }

// A file of 16 MiB, in the page cache where there is one.
static int data_file;
static unsigned next_page;

static void make_data(void) {
  data_file = checked(open("data", O_CREAT | O_RDWR, 0600), "create");
  for (int i = 0; i < pages * page / megabyte; i++) whole(write(data_file, block, megabyte), megabyte, "write");
  for (int i = 0; i < pages * page / megabyte; i++)
    whole(pread(data_file, block, megabyte, (off_t)i * megabyte), megabyte, "read");
}

static void remove_data(void) {
  close(data_file);
  checked(unlink("data"), "unlink");
}

static off_t following(void) { return (off_t)(next_page++ % pages) * page; }

static off_t anywhere(void) {
  next_page = next_page * 1664525u + 1013904223u;
  return (off_t)((next_page >> 8) % pages) * page;
}

static void read_following(void) { whole(pread(data_file, block, page, following()), page, "read"); }
static void read_anywhere(void) { whole(pread(data_file, block, page, anywhere()), page, "read"); }
static void write_following(void) { whole(pwrite(data_file, block, page, following()), page, "write"); }
static void write_anywhere(void) { whole(pwrite(data_file, block, page, anywhere()), page, "write"); }

// Maps the file anew, so that each page is a fault, and reads or changes all of it.
static void touch_all(int change) {
  size_t length = (size_t)pages * page;
  char *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, data_file, 0);
  if (address == MAP_FAILED) fail("mmap");
  volatile char *byte = address;
  for (size_t i = 0; i < length; i += page)
    if (change)
      byte[i] = 'y';
    else
      (void)byte[i];
  munmap(address, length);
}

static void read_mapped(void) { touch_all(0); }
static void write_mapped(void) { touch_all(1); }

struct operation {
  const char *name;
  int count;  // in a batch
  void (*set_up)(void), (*run)(void), (*tear_down)(void);
  size_t bytes;
  void (*before_batch)(void);  // not timed
};

static const struct operation operations[] = {
    {"cycle", 400, nothing, cycle, nothing, 0, nothing},
    {"lookup", 1000, nothing, lookup, nothing, 0, nothing},
    {"tmpfile", 400, nothing, unnamed_cycle, nothing, 0, nothing},
    {"unlinked", 400, nothing, unlinked_cycle, nothing, 0, nothing},
    {"rename", 400, make_a, rename_cycle, remove_a, 0, nothing},
    {"mkdir", 400, nothing, directory_cycle, nothing, 0, nothing},
    {"open", 1000, make_a, open_again, remove_a, 0, nothing},
    {"stat", 5000, make_a, stat_again, remove_a, 0, nothing},
    {"list", 4, make_1k_entries, list_and_stat, remove_entries, 0, nothing},
    {"readdir", 1, make_10k_entries, list_names, remove_entries, 0, change_directory_content},
    {"readdir-again", 4, make_10k_entries, list_names, remove_entries, 0, nothing},
    {"append-100", 20000, open_log, append, close_log, 100, nothing},
    {"append-1k", 4000, open_log, append, close_log, kilobyte, nothing},
    {"append-4k", 2000, open_log, append, close_log, page, nothing},
    {"append-64k", 200, open_log, append, close_log, 64 * kilobyte, nothing},
    {"append-1m", 20, open_log, append, close_log, megabyte, nothing},
    {"read-4k", 4000, make_data, read_following, remove_data, 0, nothing},
    {"read-4k-random", 4000, make_data, read_anywhere, remove_data, 0, nothing},
    {"write-4k", 2000, make_data, write_following, remove_data, 0, nothing},
    {"write-4k-random", 2000, make_data, write_anywhere, remove_data, 0, nothing},
    {"mmap-read", 1, make_data, read_mapped, remove_data, 0, nothing},
    {"mmap-write", 1, make_data, write_mapped, remove_data, 0, nothing},
};

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

struct figure {
  double value;
  long runs;  // 0 for a stream
};

// The median over a few batches of what one operation takes.
static struct figure seconds_per(const struct operation *operation) {
  double samples[batches];
  append_bytes = operation->bytes;
  operation->set_up();
  int warm_up = operation->count / 4 + 1;
  for (int i = 0; i < warm_up; i++) operation->run();
  for (int batch = 0; batch < batches; batch++) {
    operation->before_batch();
    double start = now();
    for (int i = 0; i < operation->count; i++) operation->run();
    samples[batch] = (now() - start) / operation->count;
  }
  operation->tear_down();
  qsort(samples, batches, sizeof *samples, ascending);
  return (struct figure){samples[batches / 2], warm_up + (long)batches * operation->count};
}

// That percentile of what one operation takes.
static struct figure percentile_of(const struct operation *operation, double percentile) {
  enum { runs = 4000 };
  static double samples[runs];
  operation->set_up();
  for (int i = 0; i < runs / 10; i++) operation->run();
  for (int i = 0; i < runs; i++) {
    double start = now();
    operation->run();
    samples[i] = now() - start;
  }
  operation->tear_down();
  qsort(samples, runs, sizeof *samples, ascending);
  return (struct figure){samples[(int)(percentile / 100 * (runs - 1))], runs + runs / 10};
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

enum source { cached, uncached, direct };

static double stream_in(enum source from) {
  int file = checked(open("stream", O_RDONLY | (from == direct ? O_DIRECT : 0)), "open");
  checked(fsync(file), "fsync");
  // Where the page cache is all there is, as in tmpfs, this does nothing.
  if (from != cached) posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  double start = now();
  for (long done = 0; done < size_of_file; done += megabyte) whole(read(file, block, megabyte), megabyte, "read");
  double rate = size_of_file / (now() - start);
  close(file);
  return rate;
}

static const char *const streams[] = {"write", "write-sync", "read", "read-direct", "reread"};

// A stream of the given name; the file is removed.
static double rate_once(const char *name) {
  double rate = stream_out(strcmp(name, "write-sync") == 0);
  if (strcmp(name, "read") == 0) rate = stream_in(uncached);
  if (strcmp(name, "read-direct") == 0) rate = stream_in(direct);
  if (strcmp(name, "reread") == 0) {
    stream_in(cached);
    rate = stream_in(cached);
  }
  checked(unlink("stream"), "unlink");
  return rate;
}

// The median over a few streams. The first does not count: as with operations, what is measured is not how the system finds
// memory that nobody has used lately, which under a hypervisor can take ten times as long as the stream.
static double rate_of(const char *name) {
  enum { rates = 3 };
  static const double largest_in_memory = 1 << 30;
  double samples[rates];
  if (size_of_file > largest_in_memory) return rate_once(name);
  rate_once(name);
  for (int i = 0; i < rates; i++) samples[i] = rate_once(name);
  qsort(samples, rates, sizeof *samples, ascending);
  return samples[rates / 2];
}

// MARK: Running

static double percentile;

static struct figure measure(const char *name) {
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
    if (strcmp(name, streams[i]) == 0) return (struct figure){rate_of(name), 0};
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
    if (strcmp(name, operations[i].name) == 0)
      return percentile > 0 ? percentile_of(&operations[i], percentile) : seconds_per(&operations[i]);
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
  struct figure figure = measure(name);
  printf("%.9g %ld\n", figure.value, figure.runs);
}

static volatile unsigned long sum;

enum { most_busy = 256 };
static pid_t busy[most_busy];
static int busy_count;

// Programs that compute until `end_busy`, or until this one ends in some other way.
static void keep_busy(int programs) {
  while (busy_count < programs && busy_count < most_busy) {
    busy[busy_count] = checked(fork(), "fork");
    if (busy[busy_count++] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) sum++;
    }
  }
}

static void end_busy(void) {
  for (int i = 0; i < busy_count; i++) {
    kill(busy[i], SIGKILL);
    waitpid(busy[i], NULL, 0);
  }
}

int main(int count, char **arguments) {
  int clients = 1, option;
  while ((option = getopt(count, arguments, "+c:b:p:")) != -1) switch (option) {
      case 'c': clients = atoi(optarg); break;
      case 'b': keep_busy(atoi(optarg)); break;
      case 'p': percentile = atof(optarg); break;
      default: count = 0;
    }
  arguments += optind - 1;
  count -= optind - 1;
  if (count < 3) {
    fputs("usage: client [-c CLIENTS] [-b PROGRAMS] [-p PERCENTILE] OPERATION DIRECTORY [BYTES]\n", stderr);
    return 2;
  }
  if (count > 3) size_of_file = atol(arguments[3]) / megabyte * megabyte;
  block = aligned_alloc(page, megabyte);
  memset(block, 'x', megabyte);
  for (int i = 1; i < clients; i++)
    if (checked(fork(), "fork") == 0) {
      run_client(arguments[1], arguments[2]);
      return 0;
    }
  run_client(arguments[1], arguments[2]);
  int status, failed = 0;
  for (int i = 1; i < clients; i++) {
    wait(&status);
    failed |= status != 0;
  }
  end_busy();
  return failed;
}
