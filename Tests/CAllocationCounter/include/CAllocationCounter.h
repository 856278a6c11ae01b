#pragma once

#include <stdint.h>

/// How many blocks of memory the calling thread has asked malloc(3) and its relatives for.
uint64_t allocations_of_this_thread(void);

/// Whether they are counted: a sanitizer's own allocator is not.
int counts_allocations(void);
