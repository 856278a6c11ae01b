#define _GNU_SOURCE
#include "include/CSpoolFiles.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

int spool_rename(int old_directory, const char *old_name, int new_directory, const char *new_name, int replacing) {
  if (replacing) return renameat(old_directory, old_name, new_directory, new_name);
  return renameat2(old_directory, old_name, new_directory, new_name, RENAME_NOREPLACE);
}

static void descriptor_path(char *path, size_t size, int file) { snprintf(path, size, "/proc/self/fd/%d", file); }

int spool_link_descriptor(int file, int directory, const char *name) {
  char path[32];
  descriptor_path(path, sizeof path, file);
  return linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW);
}

int spool_reopen(int file, int flags) {
  char path[32];
  descriptor_path(path, sizeof path, file);
  return open(path, flags | O_CLOEXEC);
}

int spool_identify(int directory, const char *path, struct spool_identity *identity) {
  struct statx status;
  int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*path ? 0 : AT_EMPTY_PATH);
  if (statx(directory, path, flags, STATX_INO | STATX_BTIME, &status) != 0) return -1;
  identity->device = makedev(status.stx_dev_major, status.stx_dev_minor);
  identity->inode = status.stx_ino;
  identity->birth = status.stx_mask & STATX_BTIME
      ? status.stx_btime.tv_sec * 1000000000LL + status.stx_btime.tv_nsec : -1;
  return 0;
}

long long spool_copy_range(int from, long long offset, int to, long long to_offset, long long count) {
  off64_t from_offset = offset, target_offset = to_offset;
  return copy_file_range(from, &from_offset, to, &target_offset, (size_t)count, 0);
}

static const char access_list[] = "system.posix_acl_access", default_list[] = "system.posix_acl_default";

int spool_has_default_access_list(int directory) {
  // By a path, because a descriptor opened with O_PATH has no attributes.
  char path[32];
  descriptor_path(path, sizeof path, directory);
  ssize_t size = getxattr(path, default_list, NULL, 0);
  return size > 0 || (size < 0 && errno == ENOENT);
}

ssize_t spool_get_access_list(int file, void *list, size_t room) { return fgetxattr(file, access_list, list, room); }

int spool_set_access_list(int file, const void *list, size_t size) {
  return fsetxattr(file, access_list, list, size, 0);
}

int spool_remove_access_list(int file) { return fremovexattr(file, access_list); }

int spool_clone(int from, int to) { return ioctl(to, FICLONE, from); }
