// What it takes to say where and when threads run. All of it is for _GNU_SOURCE, and the CPU_ macros are not imported.
#pragma once

// eventfd(2), not blocking, closed on exec.
int spool_eventfd(void);

// gettid(2).
int spool_thread_id(void);

// Puts a thread of this process under SCHED_IDLE, or back under SCHED_OTHER: 0, or -1 and errno. Going back takes
// CAP_SYS_NICE, or RLIMIT_NICE of 20 and more: EPERM.
int spool_set_idle_policy(int thread, int is_idle);

// A set of processors, by the kernel's numbers.
struct spool_processors;

// Those that the process's main thread may run on: others may have been bound to one. NULL where there is no memory.
struct spool_processors *spool_allowed_processors(void);
void spool_free_processors(struct spool_processors *processors);
int spool_processor_count(const struct spool_processors *processors);
int spool_processors_contain(const struct spool_processors *processors, int number);

// sched_setaffinity(2) of a thread of this process; 0 is the calling one. 0, or -1 and errno.
int spool_run_on_processors(int thread, const struct spool_processors *processors);

// Binds the calling thread to one processor. 0, or -1 and errno: EINVAL where it is offline or not for this process.
int spool_run_on_processor(int number);

// Lets a thread of this process run on all of `processors` but one. 0, or -1 and errno: EINVAL where there is no other.
int spool_run_apart(int thread, const struct spool_processors *processors, int number);

// The processor that the calling thread runs on.
int spool_current_processor(void);

// Gives the calling thread the policy and the processors of the process's main thread. A new thread has its creator's, which
// may have been chosen for what that one does.
void spool_run_as_main_thread(void);
