#define _GNU_SOURCE
#include "include/CSpoolDirectories.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

ssize_t spool_list_directory(int directory, void *buffer, size_t size) { return getdents64(directory, buffer, size); }

// Whether two open directories lie on the same mount. Kernels that know no mount ids are told by the device.
static int is_same_mount(int first, int second) {
  struct statx one, other;
  unsigned wanted = STATX_MODE | STATX_MNT_ID;
  if (statx(first, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, wanted, &one) != 0) return -1;
  if (statx(second, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, wanted, &other) != 0) return -1;
  if (one.stx_mask & other.stx_mask & STATX_MNT_ID) return one.stx_mnt_id == other.stx_mnt_id;
  return one.stx_dev_major == other.stx_dev_major && one.stx_dev_minor == other.stx_dev_minor;
}

int spool_open_subdirectory(int directory, const char *name, int flags) {
  flags |= O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_NO_XDEV};
  int file = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
  // Before Linux 5.6 it does not exist; some sandboxes refuse it with EPERM, which it has no other use for here.
  if (file >= 0 || (errno != ENOSYS && errno != EPERM)) return file;
  file = openat(directory, name, flags);
  if (file < 0) return -1;
  int same = is_same_mount(directory, file);
  if (same == 1) return file;
  int error = same == 0 ? EXDEV : errno;
  close(file);
  errno = error;
  return -1;
}

int spool_set_immutable(int file, int is_immutable) {
  int flags;
  if (ioctl(file, FS_IOC_GETFLAGS, &flags) != 0) return -1;
  int wanted = is_immutable ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return wanted == flags ? 0 : ioctl(file, FS_IOC_SETFLAGS, &wanted);
}

int spool_chmod_path_descriptor(int file, mode_t mode) {
  if (syscall(SYS_fchmodat2, file, "", mode, AT_EMPTY_PATH) == 0) return 0;
  // Before Linux 6.6.
  if (errno != ENOSYS && errno != EPERM) return -1;
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  return chmod(path, mode);
}
