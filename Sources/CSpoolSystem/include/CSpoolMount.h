// What the mount needs and Swift cannot import.
#pragma once

#include <linux/fuse.h>

// A thread's request worker. Swift has no thread-local variables, and pthread_getspecific(3) is a call per request.
void *spool_current_worker(void);
void spool_set_current_worker(void *worker);

// FUSE_DEV_IOC_CLONE is a macro over _IOR. Makes `device`, a fresh /dev/fuse, another channel of `session`.
int spool_fuse_clone(int device, int session);

// The CMSG_ macros are not imported. Receives one descriptor over a unix socket, close-on-exec; -1 and errno where none
// came (ECONNRESET: the other side closed without sending).
int spool_receive_descriptor(int socket);

// The root directory of a fusectl that is mounted nowhere (fsopen(2), fsmount(2), Linux 5.2): its descriptor, or -1 and
// errno. It takes root.
int spool_open_fuse_control(void);

// O_DIRECT is for _GNU_SOURCE only, which Glibc's module lacks.
extern const int spool_o_direct;

// O_NOATIME as well.
extern const int spool_o_no_access_time;

// STATX, of Linux 6.6: the kernel's header may be older. `struct fuse_statx_in`, and `struct fuse_statx_out` with its
// `struct fuse_statx`.
struct spool_statx_in {
  uint32_t getattr_flags, reserved;
  uint64_t fh;
  uint32_t sx_flags, sx_mask;
};

struct spool_statx_time {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};

struct spool_statx_out {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec, flags;
  uint64_t spare[2];
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, padding;
  uint64_t ino, size, blocks, attributes_mask;
  struct spool_statx_time atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t spare2[14];
};

// STATX_BASIC_STATS and STATX_BTIME, which are for GNU sources.
extern const uint32_t spool_statx_mask;

// memfd_create(2) is declared for _GNU_SOURCE only, which Glibc's module lacks. Close-on-exec.
int spool_memory_file(const char *name);

// pthread_setname_np(3) of the calling thread; for _GNU_SOURCE as well.
void spool_name_thread(const char *name);
