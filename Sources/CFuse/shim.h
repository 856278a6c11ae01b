// libfuse3's low-level API, as Debian 12 ships it (3.14).
// _FILE_OFFSET_BITS stays undefined: 64-bit Linux has 64-bit offsets anyway, and defining it here would make this
// module disagree with Glibc's about `struct statvfs`.
#pragma once
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
