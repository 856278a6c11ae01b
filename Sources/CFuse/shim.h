// libfuse3's low-level API, as Debian 12 ships it (3.14).
// _FILE_OFFSET_BITS stays undefined: 64-bit Linux has 64-bit offsets anyway, and defining it here would make this
// module disagree with Glibc's about `struct statvfs`.
#pragma once
#define FUSE_USE_VERSION 314
// First, so that `struct timespec` and its like stay that module's: Swift wants the module that declares a type imported
// wherever its members are used, and this one is for the mount alone.
#include <CSpoolSystem.h>
#include <fuse_lowlevel.h>

static inline void spool_discard_fuse_log(enum fuse_log_level level, const char *format, va_list arguments) {
  (void)level, (void)format, (void)arguments;
}

// A log function takes a va_list, which Swift cannot declare for every architecture. libfuse would print to stderr what
// its caller reports as an error anyway.
static inline void spool_silence_fuse(void) { fuse_set_log_func(spool_discard_fuse_log); }
