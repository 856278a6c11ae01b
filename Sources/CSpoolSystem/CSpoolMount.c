#define _GNU_SOURCE
#include "CSpoolSystem.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

const int spool_o_direct = O_DIRECT;
const int spool_o_no_access_time = O_NOATIME;
const uint32_t spool_statx_mask = STATX_BASIC_STATS | STATX_BTIME;

_Static_assert(sizeof(struct spool_statx_out) == 288, "the kernel's size of fuse_statx_out");

static _Thread_local void *current_worker;

void *spool_current_worker(void) { return current_worker; }

void spool_set_current_worker(void *worker) { current_worker = worker; }

int spool_fuse_clone(int device, int session) {
  uint32_t source = (uint32_t)session;
  return ioctl(device, FUSE_DEV_IOC_CLONE, &source);
}

int spool_receive_descriptor(int socket) {
  char byte;
  struct iovec part = {.iov_base = &byte, .iov_len = 1};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t count;
  do {
    count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return -1;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (count == 0 || !header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
    errno = ECONNRESET;
    return -1;
  }
  int descriptor;
  memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return descriptor;
}

// glibc before 2.36 has no wrappers; the numbers are the same on all architectures.
enum { system_fsopen = 430, system_fsconfig = 431, system_fsmount = 432 };

int spool_open_fuse_control(void) {
  const unsigned close_on_exec = 1, create = 6;
  int context = (int)syscall(system_fsopen, "fusectl", close_on_exec);
  if (context < 0) return -1;
  int root = -1;
  if (syscall(system_fsconfig, context, create, NULL, NULL, 0) == 0)
    root = (int)syscall(system_fsmount, context, close_on_exec, 0);
  int reason = errno;
  close(context);
  errno = reason;
  return root;
}

int spool_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

void spool_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }
