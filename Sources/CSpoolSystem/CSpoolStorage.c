#define _GNU_SOURCE
#include "CSpoolSystem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#ifdef __x86_64__
#include <emmintrin.h>
#endif

int spool_open_unnamed_at(int directory, const char *path, mode_t mode) {
  return openat(directory, path, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
}

int spool_open_unnamed(int directory) { return spool_open_unnamed_at(directory, ".", 0600); }

int spool_fallocate(int file, int mode, off_t offset, off_t count) { return fallocate(file, mode, offset, count); }

ssize_t spool_write_parts(int file, const struct iovec *parts, int count, off_t offset) {
  return pwritev(file, parts, count, offset);
}

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

ssize_t spool_write_uncached(int file, const struct iovec *parts, int count, off_t offset) {
  return pwritev2(file, parts, count, offset, RWF_DONTCACHE);
}

void spool_start_writing_back(int file, off_t offset, off_t count) {
  // Advice: what fails here is tried again by the kernel.
  int before = errno;
  (void)sync_file_range(file, offset, count, SYNC_FILE_RANGE_WRITE);
  errno = before;
}

int spool_finish_writing_back(int file, off_t offset, off_t count) {
  return sync_file_range(file, offset, count,
                         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

#ifndef F2FS_SUPER_MAGIC
#define F2FS_SUPER_MAGIC 0xF2F52010
#endif
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

int spool_tells_of_ranges(int file) {
  struct statfs status;
  if (fstatfs(file, &status) != 0) return 0;
  switch ((unsigned long)status.f_type) {
    case EXT4_SUPER_MAGIC:  // that of ext2 and ext3, too
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC: return 1;
    default: return 0;
  }
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void spool_populate_memory(void *memory, size_t size) {
  // In pieces: as long as the kernel is at one, nobody can change what is mapped, as malloc(3) does in other threads. (Of huge
  // pages the first piece is a whole one.)
  const size_t piece = 256 << 10;
  int before = errno;
  for (size_t done = 0; done < size; done += piece) {
    char *start = (char *)memory + done;
    size_t count = size - done < piece ? size - done : piece;
    if (madvise(start, count, MADV_POPULATE_WRITE) == 0) continue;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t offset = 0; offset < count; offset += page) ((volatile char *)start)[offset] = 0;
  }
  errno = before;
}

void spool_copy_past_caches(void *to, const void *from, size_t size) {
#ifdef __x86_64__
  __m128i *target = to;
  const __m128i *source = from;
  for (size_t index = 0; index < size / sizeof *target; index += 4) {
    // A whole cache line at a time, which is what goes to memory at once.
    __m128i parts[4];
    for (size_t part = 0; part < 4; part++) parts[part] = _mm_loadu_si128(source + index + part);
    for (size_t part = 0; part < 4; part++) _mm_stream_si128(target + index + part, parts[part]);
  }
  // These stores are in no order with others, such as that of a lock.
  _mm_sfence();
#else
  memcpy(to, from, size);
#endif
}

// What the process has mapped, in bytes, as RLIMIT_AS and RLIMIT_DATA count it. 0, or -1 where there is no /proc.
static int mapped_bytes(unsigned long long *all, unsigned long long *data) {
  char text[256];
  unsigned long long pages, data_pages;
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t count = read(file, text, sizeof text - 1);
  close(file);
  if (count <= 0) return -1;
  text[count] = 0;
  if (sscanf(text, "%llu %*u %*u %*u %*u %llu", &pages, &data_pages) != 2) return -1;
  unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);
  *all = pages * page;
  *data = data_pages * page;
  return 0;
}

// Whether the kernel counts what is mapped against what it has (vm.overcommit_memory = 2). Looked at now and then.
static int has_strict_overcommit(void) {
  static _Atomic unsigned calls;
  static _Atomic int known;
  if (calls++ % 64 != 0) return known;
  char mode = 0;
  int file = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t count = read(file, &mode, 1);
  close(file);
  return known = count == 1 && mode == '2';
}

static int can_map(size_t size) {
  void *memory = spool_map_memory(size);
  if (!memory) return 0;
  munmap(memory, size);
  return 1;
}

long long spool_memory_lock_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur >= (rlim_t)LLONG_MAX) return LLONG_MAX;
  return (long long)limit.rlim_cur;
}

static _Atomic int is_memory_lock_limited;

int spool_lock_all_memory(int is_limited) {
  is_memory_lock_limited = is_limited;
  return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

void spool_discard_memory(void *memory, size_t size) {
  const int dont_need_locked = 24;
  int before = errno;
  if (madvise(memory, size, MADV_DONTNEED) != 0) (void)madvise(memory, size, dont_need_locked);
  errno = before;
}

// RLIMIT_MEMLOCK counts what is mapped, whether or not there is memory for it yet.
static int limit_of_space(struct rlimit *space) {
  if (getrlimit(RLIMIT_AS, space) != 0) return -1;
  if (!is_memory_lock_limited) return 0;
  struct rlimit locked;
  if (getrlimit(RLIMIT_MEMLOCK, &locked) != 0) return -1;
  if (locked.rlim_cur < space->rlim_cur) space->rlim_cur = locked.rlim_cur;
  return 0;
}

long long spool_room(void) {
  struct rlimit space, data;
  unsigned long long all, data_bytes;
  if (limit_of_space(&space) != 0 || getrlimit(RLIMIT_DATA, &data) != 0) return -1;
  if (space.rlim_cur == RLIM_INFINITY && data.rlim_cur == RLIM_INFINITY) return LLONG_MAX;
  if (mapped_bytes(&all, &data_bytes) != 0) return -1;
  unsigned long long room = LLONG_MAX;
  if (space.rlim_cur != RLIM_INFINITY) room = space.rlim_cur > all ? space.rlim_cur - all : 0;
  if (data.rlim_cur != RLIM_INFINITY) {
    unsigned long long left = data.rlim_cur > data_bytes ? data.rlim_cur - data_bytes : 0;
    if (left < room) room = left;
  }
  return room < LLONG_MAX ? (long long)room : LLONG_MAX;
}

int spool_has_room(size_t size) {
  int before = errno;
  // Counted rather than tried, where that can be: what is mapped for a trial is missing elsewhere at that moment.
  long long room = spool_room();
  int has_room = room < 0 ? can_map(size) : size <= (unsigned long long)room;
  if (has_room && has_strict_overcommit()) has_room = can_map(size);
  errno = before;
  return has_room;
}

size_t spool_free_heap(void) { return mallinfo2().fordblks; }

void *spool_map_secret(size_t size, int *is_wiped_on_fork) {
  void *memory = spool_map_memory(size);
  if (!memory) return NULL;
  if (mlock(memory, size) != 0 || madvise(memory, size, MADV_DONTDUMP) != 0) {
    int error = errno;
    munmap(memory, size);
    errno = error;
    return NULL;
  }
  *is_wiped_on_fork = madvise(memory, size, MADV_WIPEONFORK) == 0;
  return memory;
}

void spool_unmap_secret(void *memory, size_t size) {
  explicit_bzero(memory, size);
  munmap(memory, size);
}

void *spool_map_wiped_on_fork(size_t size) {
  void *memory = spool_map_memory(size);
  if (!memory) return NULL;
  if (madvise(memory, size, MADV_WIPEONFORK) == 0) return memory;
  munmap(memory, size);
  return NULL;
}

int spool_start_thread(void *(*body)(void *), void *argument, size_t stack_size) {
  pthread_attr_t attributes;
  sigset_t all, before;
  pthread_t thread;
  int error = pthread_attr_init(&attributes);
  if (error != 0) return error;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (stack_size > 0) pthread_attr_setstacksize(&attributes, stack_size);
  sigfillset(&all);
  // A fault of the thread itself has to reach the handlers that report crashes.
  static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
  for (size_t index = 0; index < sizeof faults / sizeof *faults; index++) sigdelset(&all, faults[index]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_create(&thread, &attributes, body, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error;
}
