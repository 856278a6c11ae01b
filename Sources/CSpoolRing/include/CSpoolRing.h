// FUSE's commands over io_uring (Linux 6.14), one at a time.
//
// Swift cannot import liburing: its header and the kernel's, which swift-system imports, declare the same types
// differently.
#pragma once

#include <stdint.h>
#include <sys/uio.h>

// A ring that only the thread which opened it uses.
struct spool_ring;

// What the kernel is told of an entry (enum fuse_uring_cmd; stable kernel ABI).
enum spool_ring_operation { spool_ring_register = 1, spool_ring_commit_and_fetch = 2 };

// Makes a ring for the calling thread and the /dev/fuse that is open as `device`; -1 for none, as a trial. NULL and
// errno where that fails.
struct spool_ring *spool_ring_open(int device);

// Gives the ring back, and with it what was registered. By the thread that opened it.
void spool_ring_close(struct spool_ring *ring);

// Prepares one command, to be submitted next. `buffers`, headers and payload, are for registering.
void spool_ring_prepare(
    struct spool_ring *ring, enum spool_ring_operation operation, const struct iovec *buffers, uint64_t commit_id,
    uint16_t queue);

// Submits what was prepared. 0, or why it was refused, as an errno. A request that has come already stays for
// `spool_ring_wait`.
int spool_ring_submit(struct spool_ring *ring);

// Submits what was prepared and sleeps until a request has come. 0, or why none will, as an errno: ETIME where none came for
// `patience` milliseconds, unless that is 0; one may still come then.
int spool_ring_wait(struct spool_ring *ring, int patience);
