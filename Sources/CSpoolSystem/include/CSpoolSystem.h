// What Swift cannot import: variadic functions, macros, raw system calls and kernel ABI numbers.
//
// No header here defines _GNU_SOURCE: with it, types such as `fd_set` and `enum __rusage_who` differ from those that
// Swift's own modules (Glibc, Dispatch) have, and nothing that imports both compiles. What needs it is declared here and
// written in a .c file.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/xattr.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "CSpoolClock.h"
#include "CSpoolDirectories.h"
#include "CSpoolFiles.h"
#include "CSpoolLockOrder.h"
#include "CSpoolPlacement.h"
#include "CSpoolProcess.h"
#include "CSpoolStorage.h"

// glibc has no wrapper for futex(2). Waits while `*word == expected`; a NULL timeout waits for ever.
static inline int spool_futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *timeout) {
  return (int)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout, (void *)0, 0);
}

// Wakes at most `count` waiters of `word`.
static inline int spool_futex_wake(const uint32_t *word, int count) {
  return (int)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, (void *)0, (void *)0, 0);
}

// open(2) and openat(2) are variadic, which Swift does not import.
static inline int spool_openat(int directory, const char *path, int flags, mode_t mode) {
  return openat(directory, path, flags, mode);
}

#include "CSpoolMount.h"
