#define _GNU_SOURCE
#include "CHostCalls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int64_t answer(int64_t result) { return result < 0 ? -errno : result; }

void host_become(uint32_t user, uint32_t group) {
  // The raw call: glibc's setgroups would change every thread.
  setfsuid(0);
  syscall(SYS_setgroups, 0, NULL);
  setfsgid(group);
  setfsuid(user);
}

void host_become_member(uint32_t user, uint32_t group, uint32_t supplementary) {
  gid_t groups[] = {supplementary};
  host_become(user, group);
  syscall(SYS_setgroups, 1, groups);
}

struct own_root {
  void (*body)(void *);
  void *argument;
  int64_t result;
};

static void *run_with_own_root(void *argument) {
  struct own_root *run = argument;
  if (unshare(CLONE_FS) < 0) {
    run->result = -errno;
    return NULL;
  }
  umask(0);
  run->body(run->argument);
  return NULL;
}

int64_t host_run_with_own_root(void (*body)(void *), void *argument) {
  struct own_root run = {body, argument, 0};
  pthread_t thread;
  int failure = pthread_create(&thread, NULL, run_with_own_root, &run);
  if (failure) return -failure;
  pthread_join(thread, NULL);
  return run.result;
}

int64_t host_enter(int root) { return fchdir(root) < 0 || chroot(".") < 0 ? -errno : 0; }

int64_t host_open(const char *path, int flags, uint32_t mode) { return answer(open(path, flags | O_CLOEXEC, mode)); }
int64_t host_open_unnamed(const char *path, uint32_t mode) {
  return answer(open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
}
int64_t host_close(int file) { return answer(close(file)); }
int64_t host_read(int file, void *buffer, size_t count, int64_t offset) {
  return answer(pread(file, buffer, count, offset));
}
int64_t host_write(int file, const void *buffer, size_t count, int64_t offset) {
  return answer(pwrite(file, buffer, count, offset));
}
// By system calls alone: libaio has nothing more.
int64_t host_write_async(int file, const void *buffer, size_t count, int64_t offset) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context) < 0) return -errno;
  struct iocb request = {
      .aio_lio_opcode = IOCB_CMD_PWRITE,
      .aio_fildes = (uint32_t)file,
      .aio_buf = (uint64_t)(uintptr_t)buffer,
      .aio_nbytes = count,
      .aio_offset = offset,
  };
  struct iocb *requests[1] = {&request};
  struct io_event event = {0};
  int64_t result = syscall(SYS_io_submit, context, 1, requests) == 1 ? 0 : -errno;
  if (result == 0) result = syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 ? event.res : -errno;
  syscall(SYS_io_destroy, context);
  return result;
}

int64_t host_append(int file, const void *buffer, size_t count) { return answer(write(file, buffer, count)); }
int64_t host_resize(int file, int64_t size) { return answer(ftruncate(file, size)); }
int64_t host_allocate(int file, int mode, int64_t offset, int64_t count) {
  return answer(fallocate(file, mode, offset, count));
}
int64_t host_seek(int file, int64_t offset, int whence) { return answer(lseek(file, offset, whence)); }
int64_t host_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t count) {
  return answer(copy_file_range(from, &from_offset, to, &to_offset, count, 0));
}
int64_t host_sync(int file) { return answer(fsync(file)); }

int64_t host_list(int directory, void *buffer, size_t size) {
  return answer(syscall(SYS_getdents64, directory, buffer, size));
}

int64_t host_make_directory(const char *path, uint32_t mode) { return answer(mkdir(path, mode)); }
int64_t host_make_node(const char *path, uint32_t mode, uint64_t device) { return answer(mknod(path, mode, device)); }
int64_t host_make_symlink(const char *target, const char *path) { return answer(symlink(target, path)); }
int64_t host_read_symlink(const char *path, char *buffer, size_t count) { return answer(readlink(path, buffer, count)); }
int64_t host_link(const char *old_path, const char *new_path) { return answer(link(old_path, new_path)); }
int64_t host_unlink(const char *path) { return answer(unlink(path)); }
int64_t host_remove_directory(const char *path) { return answer(rmdir(path)); }
int64_t host_rename(const char *old_path, const char *new_path, unsigned flags) {
  return answer(renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, flags));
}
int64_t host_change_mode(const char *path, uint32_t mode) { return answer(chmod(path, mode)); }
int64_t host_change_owner(const char *path, uint32_t user, uint32_t group) { return answer(lchown(path, user, group)); }
int64_t host_truncate(const char *path, int64_t size) { return answer(truncate(path, size)); }

static struct timespec time_of(int64_t nanoseconds) {
  struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  if (nanoseconds == INT64_MIN) time.tv_nsec = UTIME_NOW;
  if (nanoseconds == INT64_MAX) time.tv_nsec = UTIME_OMIT;
  return time;
}

int64_t host_set_times(const char *path, int64_t accessed, int64_t modified) {
  struct timespec times[2] = {time_of(accessed), time_of(modified)};
  return answer(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}

static int64_t answer_stat(int failed, struct stat found, struct host_stat *result) {
  if (failed) return -errno;
  *result = (struct host_stat){
      .mode = found.st_mode,
      .link_count = found.st_nlink,
      .user = found.st_uid,
      .group = found.st_gid,
      .inode = found.st_ino,
      .device = found.st_rdev,
      .size = found.st_size,
      .blocks = found.st_blocks,
      .accessed = found.st_atim.tv_sec * 1000000000L + found.st_atim.tv_nsec,
      .modified = found.st_mtim.tv_sec * 1000000000L + found.st_mtim.tv_nsec,
      .changed = found.st_ctim.tv_sec * 1000000000L + found.st_ctim.tv_nsec,
  };
  return 0;
}

int64_t host_set_attribute(const char *path, const char *name, const void *value, size_t size) {
  return answer(lsetxattr(path, name, value, size, 0));
}
int64_t host_get_attribute(const char *path, const char *name, void *value, size_t room) {
  return answer(lgetxattr(path, name, value, room));
}
int64_t host_stat(const char *path, struct host_stat *result) {
  struct stat found = {0};
  return answer_stat(lstat(path, &found), found, result);
}
int64_t host_stat_open(int file, struct host_stat *result) {
  struct stat found = {0};
  return answer_stat(fstat(file, &found), found, result);
}

int64_t host_mount_tmpfs(const char *path, const char *options) {
  return answer(mount("tmpfs", path, "tmpfs", 0, options));
}
int64_t host_mount_tmpfs_with(const char *path, unsigned long flags) {
  return answer(mount("tmpfs", path, "tmpfs", flags, "size=16m"));
}
int64_t host_unmount(const char *path) { return answer(umount2(path, MNT_DETACH)); }

int host_fork(void) { return fork(); }

int host_policy(int thread) { return sched_getscheduler(thread); }
const int host_policy_normal = SCHED_OTHER, host_policy_idle = SCHED_IDLE;

int host_processor_count(int thread) {
  cpu_set_t set;
  return sched_getaffinity(thread, sizeof set, &set) < 0 ? -1 : CPU_COUNT(&set);
}

int host_may_run_on(int thread, int processor) {
  cpu_set_t set;
  return sched_getaffinity(thread, sizeof set, &set) < 0 ? -1 : CPU_ISSET(processor, &set);
}
