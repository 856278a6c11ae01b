// What Swift cannot import and the storage needs: composed macros, and variadic or feature-gated functions.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

// O_PATH is for GNU sources; this is the name glibc always has.
static const int spool_O_PATH = __O_PATH;

// O_TMPFILE is composed of other macros. An unnamed file in `directory`.
int spool_open_unnamed(int directory);

// The same, by path, and with permissions.
int spool_open_unnamed_at(int directory, const char *path, mode_t mode);

// fallocate(2) is declared for GNU sources only, and Swift imports glibc without.
int spool_fallocate(int file, int mode, off_t offset, off_t count);

// pwritev(2), which takes an off_t of 64 bits only from GNU sources.
ssize_t spool_write_parts(int file, const struct iovec *parts, int count, off_t offset);

// pwritev2(2) with RWF_DONTCACHE, for GNU sources only, and new in headers. EOPNOTSUPP where kernel or filesystem do not
// have it.
ssize_t spool_write_uncached(int file, const struct iovec *parts, int count, off_t offset);

// sync_file_range(2), for GNU sources only: has the kernel start to write the range.
void spool_start_writing_back(int file, off_t offset, off_t count);

// The same function: has the kernel write the range, and waits until it has. -1 with errno where the disk did not take what was
// written through this descriptor, in the range or elsewhere, since it was last asked.
int spool_finish_writing_back(int file, off_t offset, off_t count);

// Whether sync_file_range(2) waits for the file's own pages there, and tells their errors. It does nothing on overlayfs, and
// what it tells on filesystems with a server says little.
int spool_tells_of_ranges(int file);

// 1 where the files of the filesystem are memory: spilling there gains nothing. -1 with errno.
static inline int spool_is_memory_backed(int file) {
  struct statfs status;
  if (fstatfs(file, &status) != 0) return -1;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC || status.f_type == HUGETLBFS_MAGIC;
}

// Bytes that an unprivileged user can still write on the filesystem of `file`, and 2^62 where it tells nothing of its
// size, as some of FUSE do not. -1 with errno.
static inline long long spool_free_bytes(int file) {
  struct statfs status;
  if (fstatfs(file, &status) != 0) return -1;
  if (status.f_blocks == 0) return 1LL << 62;
  return (long long)status.f_bavail * (long long)status.f_frsize;
}

// Memory of the size given. NULL with errno.
static inline void *spool_map_memory(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

// Leaves it out of core dumps, and has it in huge pages where the kernel has them, or in small ones.
static inline void spool_advise_memory(void *memory, size_t size, int is_huge) {
  // Advice: kernels without it are as correct.
  int before = errno;
  (void)madvise(memory, size, is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  (void)madvise(memory, size, MADV_DONTDUMP);
  errno = before;
}

// Takes memory from the system that nobody uses yet (MADV_POPULATE_WRITE, Linux 5.14; its bytes change before that).
void spool_populate_memory(void *memory, size_t size);

// memcpy(3) to memory that nobody reads soon: what a store brings into the processor's caches first, only to overwrite it,
// takes as long as the store. memcpy(3) itself does so from a size on that pieces of a file do not reach. `to` is aligned to 16
// bytes, and `size` is a multiple of 64.
void spool_copy_past_caches(void *to, const void *from, size_t size);

// Memory that is never swapped out and not in core dumps; NULL with errno if it cannot be locked. Sets whether the kernel
// gives forked children zeros instead.
void *spool_map_secret(size_t size, int *is_wiped_on_fork);

// Zeroed memory that is zeros again in a forked child; NULL where the kernel has no such thing (before 4.14).
void *spool_map_wiped_on_fork(size_t size);

// Overwrites the memory, which no optimiser leaves out, and gives it back.
void spool_unmap_secret(void *memory, size_t size);

// A detached thread that takes no signals, so that they go to the program's own threads; but for those of a fault of its
// own, which handlers that report crashes are to see. A stack of 0 is the system's usual one. Returns 0 or an errno.
// It names itself (spool_name_thread): a detached thread may have ended by the time its starter would.
int spool_start_thread(void *(*body)(void *), void *argument, size_t stack_size);

// RLIMIT_MEMLOCK, LLONG_MAX without a limit: Glibc's module lacks the name.
long long spool_memory_lock_limit(void);

// Locks all memory of this process, now and later, as soon as it is used: none of it is swapped out. With a limit,
// RLIMIT_MEMLOCK counts as one of the limits of address space from then on. 0, or -1 and errno.
int spool_lock_all_memory(int is_limited);

// Gives the memory of whole pages back, and keeps their addresses; also where they are locked (Linux 5.18).
void spool_discard_memory(void *memory, size_t size);

// Whether that much more could be mapped: not where RLIMIT_AS, RLIMIT_DATA or strict overcommit would refuse it.
int spool_has_room(size_t size);

// Bytes that RLIMIT_AS and RLIMIT_DATA leave, and RLIMIT_MEMLOCK where all memory is locked; LLONG_MAX without such limits, -1 where nobody tells.
long long spool_room(void);

// Bytes that malloc(3) has and nobody uses.
size_t spool_free_heap(void);
