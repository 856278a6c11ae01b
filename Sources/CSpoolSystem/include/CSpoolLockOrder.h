// What the check of the order of locks needs: variables of a thread, which Swift has not. Debug builds alone have them.
#pragma once

#include <stdint.h>

struct spool_held_lock {
  const void *address;
  uint32_t lock_class;
};

struct spool_held_locks {
  uint32_t count;
  struct spool_held_lock locks[64];
};

// The locks that this thread holds, in the order in which it took them.
struct spool_held_locks *spool_held_locks(void);
const struct spool_held_lock *spool_held_lock_at(const struct spool_held_locks *held, uint32_t index);

// 1, or 0 where there is no room for it, or it is not held.
int spool_push_held_lock(const void *address, uint32_t lock_class);
int spool_drop_held_lock(const void *address);
