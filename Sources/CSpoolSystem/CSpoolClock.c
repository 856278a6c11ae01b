#define _GNU_SOURCE
#include "include/CSpoolClock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Linux 6.3.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

int spool_stamp_file(void) {
  int file = memfd_create("spoolfs-clock", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  return file < 0 && errno == EINVAL ? memfd_create("spoolfs-clock", MFD_CLOEXEC) : file;
}

static int access_time(int file, struct timespec *time) {
  struct statx status;
  if (statx(file, "", AT_EMPTY_PATH, STATX_ATIME, &status) != 0) return -1;
  *time = (struct timespec){.tv_sec = status.stx_atime.tv_sec, .tv_nsec = status.stx_atime.tv_nsec};
  return 0;
}

int spool_stamp_by_reading(int file, struct timespec *stamp) {
  char byte;
  if (pread(file, &byte, 1, 0) < 0) return -1;
  return access_time(file, stamp);
}

int spool_stamp_by_touching(int file, struct timespec *stamp) {
  if (spool_set_access_time(file, (struct timespec){.tv_nsec = UTIME_NOW}) != 0) return -1;
  return access_time(file, stamp);
}

int spool_stamp_finely(int file, struct timespec *stamp) {
  struct stat status;
  if (fchmod(file, 0600) != 0 || fstat(file, &status) != 0) return -1;
  *stamp = status.st_ctim;
  return 0;
}

int spool_set_access_time(int file, struct timespec time) {
  struct timespec times[2] = {time, {.tv_nsec = UTIME_OMIT}};
  return futimens(file, times);
}
