#define _GNU_SOURCE
#include "CSpoolPlacement.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

int spool_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int spool_thread_id(void) { return (int)syscall(SYS_gettid); }

int spool_set_idle_policy(int thread, int is_idle) {
  struct sched_param parameter = {.sched_priority = 0};
  return sched_setscheduler(thread, is_idle ? SCHED_IDLE : SCHED_OTHER, &parameter);
}

struct spool_processors {
  int count;
  cpu_set_t *set;
};

struct spool_processors *spool_allowed_processors(void) {
  struct spool_processors *processors = malloc(sizeof *processors);
  if (!processors) return NULL;
  // The kernel refuses a set that has less room than it has processors.
  for (processors->count = 1024;; processors->count *= 2) {
    size_t size = CPU_ALLOC_SIZE(processors->count);
    processors->set = CPU_ALLOC(processors->count);
    if (processors->set && sched_getaffinity(getpid(), size, processors->set) == 0) return processors;
    int retry = processors->set && errno == EINVAL && processors->count < 1 << 20;
    CPU_FREE(processors->set);
    if (retry) continue;
    free(processors);
    return NULL;
  }
}

void spool_free_processors(struct spool_processors *processors) {
  CPU_FREE(processors->set);
  free(processors);
}

int spool_processor_count(const struct spool_processors *processors) {
  return CPU_COUNT_S(CPU_ALLOC_SIZE(processors->count), processors->set);
}

int spool_processors_contain(const struct spool_processors *processors, int number) {
  return CPU_ISSET_S(number, CPU_ALLOC_SIZE(processors->count), processors->set);
}

int spool_run_on_processors(int thread, const struct spool_processors *processors) {
  return sched_setaffinity(thread, CPU_ALLOC_SIZE(processors->count), processors->set);
}

int spool_run_apart(int thread, const struct spool_processors *processors, int number) {
  size_t size = CPU_ALLOC_SIZE(processors->count);
  cpu_set_t *set = CPU_ALLOC(processors->count);
  if (!set) return -1;
  memcpy(set, processors->set, size);
  CPU_CLR_S(number, size, set);
  // An empty set is refused.
  int result = sched_setaffinity(thread, size, set);
  CPU_FREE(set);
  return result;
}

int spool_current_processor(void) { return sched_getcpu(); }

void spool_run_as_main_thread(void) {
  struct sched_param parameter;
  int policy = sched_getscheduler(getpid());
  if (policy >= 0 && policy != sched_getscheduler(0) && sched_getparam(getpid(), &parameter) == 0)
    sched_setscheduler(0, policy, &parameter);
  struct spool_processors *processors = spool_allowed_processors();
  if (!processors) return;
  spool_run_on_processors(0, processors);
  spool_free_processors(processors);
}

int spool_run_on_processor(int number) {
  size_t size = CPU_ALLOC_SIZE(number + 1);
  cpu_set_t *set = CPU_ALLOC(number + 1);
  if (!set) return -1;
  CPU_ZERO_S(size, set);
  CPU_SET_S(number, size, set);
  int result = sched_setaffinity(0, size, set);
  CPU_FREE(set);
  return result;
}
