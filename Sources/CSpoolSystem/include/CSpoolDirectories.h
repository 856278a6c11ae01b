// What removing directory trees needs and Swift cannot import.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

// One record of getdents64(2): the kernel's struct linux_dirent64, which no header has under that name.
struct spool_directory_record {
  uint64_t inode;
  int64_t cookie;
  uint16_t length;
  uint8_t type;
  char name[];
};

// getdents64(2) is for GNU sources: the number of bytes of records, 0 at the end, or -1 and errno.
ssize_t spool_list_directory(int directory, void *buffer, size_t size);

// Opens an entry that is a directory: links are not followed, and EXDEV if another filesystem is mounted there
// (openat2(2) with RESOLVE_NO_XDEV, where the kernel has it). `flags` are O_RDONLY or spool_O_PATH.
int spool_open_subdirectory(int directory, const char *name, int flags);

// Sets or clears FS_IMMUTABLE_FL: root's programs can then make nothing in the directory either, and nobody can remove it.
// 0, or -1 and errno: EPERM without CAP_LINUX_IMMUTABLE, ENOTTY and EOPNOTSUPP where the filesystem has no such thing.
int spool_set_immutable(int file, int is_immutable);

// chmod(2) of what is open with O_PATH, which fchmod(2) refuses.
int spool_chmod_path_descriptor(int file, mode_t mode);
