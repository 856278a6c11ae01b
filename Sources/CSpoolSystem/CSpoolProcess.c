#define _GNU_SOURCE
#include "CSpoolProcess.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

static int argument_count;
static char **argument_values;

// glibc calls constructors with what main is called with.
__attribute__((constructor)) static void keep_arguments(int count, char **values) {
  argument_count = count;
  argument_values = values;
}

char *spool_argument(int number) { return number < argument_count ? argument_values[number] : NULL; }

int spool_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

const short spool_spawn_setsid = POSIX_SPAWN_SETSID;

int spool_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

void spool_set_process_name(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

void spool_set_undumpable(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

void spool_signal_at_parent_death(int signal) { prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0); }

void spool_syslog(int priority, const char *text) { syslog(priority, "%s", text); }

int spool_last_signal(void) { return SIGRTMAX; }

// `struct pidfd_info` and PIDFD_GET_INFO of Linux 6.13; PIDFD_INFO_EXIT of 6.15.
struct exit_info {
  uint64_t mask, control_group;
  uint32_t ids[11];
  int32_t exit_code;
};

int spool_exit_status(int pidfd) {
  const uint64_t wants_exit = 1 << 3;
  struct exit_info info = {.mask = wants_exit};
  if (ioctl(pidfd, _IOWR(0xFF, 11, struct exit_info), &info) != 0 || !(info.mask & wants_exit)) return -1;
  return info.exit_code;
}

int spool_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int spool_pidfd_kill(int descriptor) {
  return (int)syscall(SYS_pidfd_send_signal, descriptor, SIGKILL, NULL, 0);
}

int spool_enter_mount_namespace(int file) { return setns(file, CLONE_NEWNS); }

unsigned spool_device_major(dev_t device) { return major(device); }

unsigned spool_device_minor(dev_t device) { return minor(device); }

ssize_t spool_read_memory(pid_t process, void *to, uint64_t from, size_t count) {
  struct iovec local = {to, count}, remote = {(void *)(uintptr_t)from, count};
  return process_vm_readv(process, &local, 1, &remote, 1, 0);
}
