// Many files, for scripts/bench: one phase at a time, so that the daemon can be looked at in between.
//
//   scale PHASE DIRECTORY COUNT PER_DIRECTORY
//
// PHASE is create, list, stat or remove; the files are spread over directories of PER_DIRECTORY. Prints how many seconds
// one file took.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static long count, per_directory;

static void check(int is_fine, const char *what) {
  if (is_fine) return;
  fprintf(stderr, "scale: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static int open_directory(long number) {
  char name[32];
  snprintf(name, sizeof name, "d%ld", number);
  int directory = open(name, O_RDONLY | O_DIRECTORY);
  check(directory >= 0, name);
  return directory;
}

// Calls `act` for each file of the directory, by name.
static void for_each_name(int directory, long files, void (*act)(int, const char *)) {
  char name[32];
  for (long i = 0; i < files; i++) {
    snprintf(name, sizeof name, "file%ld", i);
    act(directory, name);
  }
}

static void create(int directory, const char *name) {
  int file = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY, 0600);
  check(file >= 0, "create");
  close(file);
}

static void look(int directory, const char *name) {
  struct stat status;
  check(fstatat(directory, name, &status, 0) == 0, "stat");
}

static void remove_one(int directory, const char *name) { check(unlinkat(directory, name, 0) == 0, "unlink"); }

static void list(int directory, long files) {
  DIR *stream = fdopendir(dup(directory));
  check(stream != NULL, "opendir");
  long seen = 0;
  while (readdir(stream)) seen++;
  closedir(stream);
  check(seen == files + 2, "readdir gave another number of names than there are");
}

int main(int argument_count, char **arguments) {
  if (argument_count != 5 || chdir(arguments[2]) < 0) {
    fputs("usage: scale create|list|stat|remove DIRECTORY COUNT PER_DIRECTORY\n", stderr);
    return 2;
  }
  const char *phase = arguments[1];
  count = atol(arguments[3]);
  per_directory = atol(arguments[4]);
  double start = now();
  for (long done = 0; done < count; done += per_directory) {
    char name[32];
    long number = done / per_directory, files = count - done < per_directory ? count - done : per_directory;
    snprintf(name, sizeof name, "d%ld", number);
    if (strcmp(phase, "create") == 0) check(mkdir(name, 0700) == 0, "mkdir");
    int directory = open_directory(number);
    if (strcmp(phase, "create") == 0) for_each_name(directory, files, create);
    if (strcmp(phase, "list") == 0) list(directory, files);
    if (strcmp(phase, "stat") == 0) for_each_name(directory, files, look);
    if (strcmp(phase, "remove") == 0) for_each_name(directory, files, remove_one);
    close(directory);
    if (strcmp(phase, "remove") == 0) check(rmdir(name) == 0, "rmdir");
  }
  printf("%.9g\n", (now() - start) / count);
  return 0;
}
