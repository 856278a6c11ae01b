#include "CSpoolLockOrder.h"

#ifdef DEBUG

#include <string.h>

static _Thread_local struct spool_held_locks held_locks;

struct spool_held_locks *spool_held_locks(void) { return &held_locks; }

const struct spool_held_lock *spool_held_lock_at(const struct spool_held_locks *held, uint32_t index) {
  return &held->locks[index];
}

int spool_push_held_lock(const void *address, uint32_t lock_class) {
  struct spool_held_locks *held = &held_locks;
  if (held->count == sizeof held->locks / sizeof held->locks[0]) return 0;
  held->locks[held->count].address = address;
  held->locks[held->count].lock_class = lock_class;
  held->count++;
  return 1;
}

int spool_drop_held_lock(const void *address) {
  struct spool_held_locks *held = &held_locks;
  for (uint32_t index = held->count; index-- > 0;) {
    if (held->locks[index].address != address) continue;
    held->count--;
    memmove(&held->locks[index], &held->locks[index + 1], (held->count - index) * sizeof held->locks[0]);
    return 1;
  }
  return 0;
}

#endif
