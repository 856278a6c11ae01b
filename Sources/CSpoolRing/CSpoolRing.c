#include "CSpoolRing.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

struct spool_ring {
  struct io_uring ring;
};

// struct fuse_uring_cmd_req, which Debian 12's headers lack; stable kernel ABI.
struct command {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue;
  uint8_t padding[6];
};

// Where it is in a submission entry of 128 bytes; liburing 2.3 has no name for it.
enum { command_offset = 48 };

struct spool_ring *spool_ring_open(int device) {
  struct spool_ring *ring = calloc(1, sizeof *ring);
  if (!ring) return NULL;
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
               IORING_SETUP_DEFER_TASKRUN,
      .cq_entries = 2};
  int code = io_uring_queue_init_params(1, &ring->ring, &parameters);
  if (code == 0 && device >= 0) {
    // Both save the kernel a lookup for each request. The first may fail, and all works as well.
    io_uring_register_ring_fd(&ring->ring);
    code = io_uring_register_files(&ring->ring, &device, 1);
    if (code < 0) io_uring_queue_exit(&ring->ring);
  }
  if (code < 0) {
    free(ring);
    errno = -code;
    return NULL;
  }
  return ring;
}

void spool_ring_close(struct spool_ring *ring) {
  io_uring_queue_exit(&ring->ring);
  free(ring);
}

void spool_ring_prepare(
    struct spool_ring *ring, enum spool_ring_operation operation, const struct iovec *buffers, uint64_t commit_id,
    uint16_t queue) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  struct command command = {.commit_id = commit_id, .queue = queue};
  // Only after a submission that failed for good: the next one tells.
  if (!entry) return;
  memset(entry, 0, 2 * sizeof *entry);
  entry->opcode = IORING_OP_URING_CMD;
  // The device is the ring's registered file 0.
  entry->flags = IOSQE_FIXED_FILE;
  entry->cmd_op = operation;
  entry->addr = (uintptr_t)buffers;
  entry->len = buffers ? 2 : 0;
  memcpy((char *)entry + command_offset, &command, sizeof command);
}

// Too little memory, or a signal: as good as not having called.
static int is_transient(int code) { return code == -EINTR || code == -EAGAIN || code == -EBUSY; }

int spool_ring_submit(struct spool_ring *ring) {
  int code;
  do code = io_uring_submit_and_get_events(&ring->ring);
  while (is_transient(code));
  if (code < 0) return -code;
  struct io_uring_cqe *completion;
  if (io_uring_peek_cqe(&ring->ring, &completion) != 0 || completion->res >= 0) return 0;
  int result = completion->res;
  io_uring_cqe_seen(&ring->ring, completion);
  return -result;
}

int spool_ring_wait(struct spool_ring *ring, int patience) {
  struct io_uring_cqe *completion;
  struct __kernel_timespec limit = {.tv_sec = patience / 1000, .tv_nsec = patience % 1000 * 1000000ll};
  do {
    int code = patience > 0 ? io_uring_submit_and_wait_timeout(&ring->ring, &completion, 1, &limit, NULL)
                            : io_uring_submit_and_wait(&ring->ring, 1);
    if (code < 0 && !is_transient(code)) return -code;
  } while (io_uring_peek_cqe(&ring->ring, &completion) != 0);
  int result = completion->res;
  io_uring_cqe_seen(&ring->ring, completion);
  return result < 0 ? -result : 0;
}
