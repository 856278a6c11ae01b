// System calls on a directory of the host, for comparing it with a tree. Each returns the result or -errno.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct host_stat {
  uint32_t mode, link_count, user, group;
  uint64_t inode, device;
  int64_t size, blocks;
  int64_t accessed, modified, changed;  // nanoseconds
};

// Makes this thread act as another user on filesystems (setfsuid(2), setfsgid(2), no supplementary groups).
void host_become(uint32_t user, uint32_t group);

// The same, as a member of one more group.
void host_become_member(uint32_t user, uint32_t group, uint32_t supplementary);

// Runs `body` on a new thread with a root directory, working directory and umask (0) of its own, and waits for its end.
int64_t host_run_with_own_root(void (*body)(void *), void *argument);

// Makes the directory `root` this thread's root, so that ".." does not lead out of it.
int64_t host_enter(int root);

int64_t host_open(const char *path, int flags, uint32_t mode);
int64_t host_open_unnamed(const char *path, uint32_t mode);
int64_t host_close(int file);
int64_t host_read(int file, void *buffer, size_t count, int64_t offset);
int64_t host_write(int file, const void *buffer, size_t count, int64_t offset);
int64_t host_append(int file, const void *buffer, size_t count);
// pwrite(2) by io_submit(2), and waits for its end.
int64_t host_write_async(int file, const void *buffer, size_t count, int64_t offset);
int64_t host_resize(int file, int64_t size);
int64_t host_allocate(int file, int mode, int64_t offset, int64_t count);
int64_t host_seek(int file, int64_t offset, int whence);
int64_t host_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t count);
int64_t host_sync(int file);

// getdents64(2): the bytes of `struct linux_dirent64` that fit, 0 at the end.
int64_t host_list(int directory, void *buffer, size_t size);

int64_t host_make_directory(const char *path, uint32_t mode);
int64_t host_make_node(const char *path, uint32_t mode, uint64_t device);
int64_t host_make_symlink(const char *target, const char *path);
int64_t host_read_symlink(const char *path, char *buffer, size_t count);
int64_t host_link(const char *old_path, const char *new_path);
int64_t host_unlink(const char *path);
int64_t host_remove_directory(const char *path);
int64_t host_rename(const char *old_path, const char *new_path, unsigned flags);
int64_t host_change_mode(const char *path, uint32_t mode);
int64_t host_change_owner(const char *path, uint32_t user, uint32_t group);
int64_t host_truncate(const char *path, int64_t size);
// Times in nanoseconds; INT64_MIN is UTIME_NOW, INT64_MAX is UTIME_OMIT.
int64_t host_set_times(const char *path, int64_t accessed, int64_t modified);
int64_t host_stat(const char *path, struct host_stat *result);
int64_t host_stat_open(int file, struct host_stat *result);

// Extended attributes, which Swift's Glibc lacks.
int64_t host_set_attribute(const char *path, const char *name, const void *value, size_t size);
int64_t host_get_attribute(const char *path, const char *name, void *value, size_t room);

int64_t host_mount_tmpfs(const char *path, const char *options);
// The same with flags of mount(2).
int64_t host_mount_tmpfs_with(const char *path, unsigned long flags);
int64_t host_unmount(const char *path);

// fork(2), which Swift does not import.
int host_fork(void);

// sched_getscheduler(2), whose numbers need _GNU_SOURCE: SCHED_OTHER and SCHED_IDLE.
int host_policy(int thread);
extern const int host_policy_normal, host_policy_idle;
// How many processors a thread may run on.
int host_processor_count(int thread);
// Whether it may run on that one; -1 where there is no such thread.
int host_may_run_on(int thread, int processor);
