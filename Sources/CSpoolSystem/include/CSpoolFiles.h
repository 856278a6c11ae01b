// What the temporary files need and Swift cannot import.
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

// Whether the process has more privileges than whoever started it (set-user-ID, file capabilities): what
// secure_getenv(3), which is for GNU sources, goes by. AT_SECURE is in a header that Glibc's module leaves out.
static inline int spool_is_privileged(void) { return getauxval(AT_SECURE) != 0; }

// renameat2(2) is for GNU sources. With RENAME_NOREPLACE, a name that exists gives EEXIST.
int spool_rename(int old_directory, const char *old_name, int new_directory, const char *new_name, int replacing);

// linkat(2) of an open file through /proc/self/fd: gives a file made with O_TMPFILE a name.
int spool_link_descriptor(int file, int directory, const char *name);

// Opens an open file anew, with an offset of its own, through /proc/self/fd.
int spool_reopen(int file, int flags);

// Which file it is, and when it was made: nanoseconds since 1970, -1 where the filesystem does not tell.
struct spool_identity {
  unsigned long long device, inode;
  long long birth;
};

// statx(2) is for GNU sources. Links are not followed; an empty path is the descriptor's own file. 0, or -1 and errno.
int spool_identify(int directory, const char *path, struct spool_identity *identity);

// copy_file_range(2) is for GNU sources.
long long spool_copy_range(int from, long long offset, int to, long long to_offset, long long count);

// ioctl(2) is variadic and FICLONE a macro. Makes `to` share the blocks of `from`.
int spool_clone(int from, int to);

// Swift's Glibc has no extended attributes, where the kernel keeps access control lists (acl(5)).
// Whether files made in the directory get a list from it; true as well where that cannot be known, without /proc.
int spool_has_default_access_list(int directory);
// The list of a file as the kernel encodes it: its size or 0, or -1 and errno.
ssize_t spool_get_access_list(int file, void *list, size_t room);
int spool_set_access_list(int file, const void *list, size_t size);
int spool_remove_access_list(int file);
