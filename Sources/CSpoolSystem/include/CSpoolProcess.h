// What the command needs to start and watch processes.
#pragma once

#include <spawn.h>
#include <stdint.h>
#include <sys/types.h>

// What main is called with; NULL past the end. Swift's own CommandLine reads /proc, and is empty where there is none.
char *spool_argument(int number);

// A GNU extension (2.34), which Swift's view of Glibc lacks: closes every descriptor from `first` on.
int spool_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

// POSIX_SPAWN_SETSID, a GNU extension as well.
extern const short spool_spawn_setsid;

// pipe2(2) with O_CLOEXEC: 0, or -1 and errno.
int spool_pipe(int ends[2]);

// prctl(2) is variadic, which Swift does not import. The name is what ps(1) and /proc/PID/comm show.
void spool_set_process_name(const char *name);

// PR_SET_DUMPABLE 0: no core dump, and only root may trace this process or read its memory. An execve(2) undoes it.
void spool_set_undumpable(void);

// PR_SET_PDEATHSIG: the signal that this process gets when the thread that started it has ended.
void spool_signal_at_parent_death(int signal);

// syslog(3) is variadic.
void spool_syslog(int priority, const char *text);

// A function-like macro in glibc.
int spool_last_signal(void);

// glibc before 2.36 has no wrapper, and syscall(2) is variadic.
int spool_pidfd_open(pid_t process);

// How the process that `pidfd` stands for ended, as waitpid(2) tells it; -1 where that is not known (before Linux 6.15, or
// until its parent has asked).
int spool_exit_status(int pidfd);

// pidfd_send_signal(2) with SIGKILL. 0, or -1 and errno.
int spool_pidfd_kill(int descriptor);

// setns(2) is for GNU sources. 0, or -1 and errno.
int spool_enter_mount_namespace(int file);

// Macros in glibc.
unsigned spool_device_major(dev_t device);
unsigned spool_device_minor(dev_t device);

// process_vm_readv(2) of one piece, a GNU extension: the bytes read, or -1 and errno.
ssize_t spool_read_memory(pid_t process, void *to, uint64_t from, size_t count);
