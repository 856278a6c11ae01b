// What the clock of the tree needs and Swift cannot import.
#pragma once

#include <time.h>

// memfd_create(2): a file to stamp. Also where files of this kind must say that they will not be executed.
int spool_stamp_file(void);

// Three ways to have the kernel stamp `file`, a memory file of our own, and to learn the stamp. 0, or -1 and errno.
//
// By its access time, which a read moves, and which statx(2) can ask for alone: a file whose change time was seen gets a fine
// stamp at its next change.
int spool_stamp_by_reading(int file, struct timespec *stamp);
// The same, where reading does not move it.
int spool_stamp_by_touching(int file, struct timespec *stamp);
// By its change time, which is seen: the stamp is a fine one where the kernel has those.
int spool_stamp_finely(int file, struct timespec *stamp);

// Sets the access time alone; statx(2) is for GNU sources, and UTIME_OMIT is not imported.
int spool_set_access_time(int file, struct timespec time);
