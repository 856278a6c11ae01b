// What the mount needs and Swift cannot import.
#pragma once

#include <linux/fuse.h>

// A thread's request worker. Swift has no thread-local variables, and pthread_getspecific(3) is a call per request.
void *spool_current_worker(void);
void spool_set_current_worker(void *worker);

// FUSE_DEV_IOC_CLONE is a macro over _IOR. Makes `device`, a fresh /dev/fuse, another channel of `session`.
int spool_fuse_clone(int device, int session);

// The CMSG_ macros are not imported. Receives one descriptor over a unix socket, close-on-exec; -1 and errno where none
// came (ECONNRESET: the other side closed without sending).
int spool_receive_descriptor(int socket);

// O_DIRECT is for _GNU_SOURCE only, which Glibc's module lacks.
extern const int spool_o_direct;

// memfd_create(2) is declared for _GNU_SOURCE only, which Glibc's module lacks. Close-on-exec.
int spool_memory_file(const char *name);

// pthread_setname_np(3) of the calling thread; for _GNU_SOURCE as well.
void spool_name_thread(const char *name);
