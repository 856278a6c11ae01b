// A filesystem that fails: what is written to it is refused, forgotten or held when the test says so. Files are in memory.
//
// Argument: the directory to mount on. Prints a line when it is mounted, and takes orders from its standard input, each of which it
// answers with a line when it is in force. It ends, and takes the mount away, when its standard input does.
//
//   take            everything is taken (the beginning)
//   refuse ERRNO    each WRITE is answered with that error. The kernel writes back, so the writer hears of it late
//   some ERRNO N    one WRITE of N is, at random
//   forget ERRNO    each WRITE is taken and its bytes are cleared; the next FSYNC of the file tells the error, once
//   hold            each WRITE and FSYNC waits
//
// No space is ever given back by fallocate(2), which it does not have.
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

// A file that runs away must not take the machine's memory.
static const size_t largest_file = 512u << 20;

struct file {
  fuse_ino_t number;
  char name[64];
  char *bytes;
  size_t size, capacity;
  unsigned long lookups;
  int has_name, forgotten;
  struct file *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct file *files;
static fuse_ino_t last_number = FUSE_ROOT_ID;
static char order[16] = "take";
static int fault, odds;
static unsigned random_state = 1;

static struct file *find(fuse_ino_t number) {
  for (struct file *file = files; file; file = file->next)
    if (file->number == number) return file;
  return NULL;
}

static struct file *find_name(const char *name) {
  for (struct file *file = files; file; file = file->next)
    if (file->has_name && strcmp(file->name, name) == 0) return file;
  return NULL;
}

static void end_unused(struct file *unused) {
  if (unused->has_name || unused->lookups) return;
  for (struct file **link = &files; *link; link = &(*link)->next)
    if (*link == unused) {
      *link = unused->next;
      break;
    }
  free(unused->bytes);
  free(unused);
}

static int resize(struct file *file, size_t size) {
  if (size > largest_file) return EFBIG;
  if (size > file->capacity) {
    size_t capacity = size + size / 2;
    char *bytes = realloc(file->bytes, capacity);
    if (!bytes) return ENOSPC;
    file->bytes = bytes;
    file->capacity = capacity;
  }
  if (size > file->size) memset(file->bytes + file->size, 0, size - file->size);
  file->size = size;
  return 0;
}

static struct stat status(const struct file *file) {
  struct stat status = {.st_ino = FUSE_ROOT_ID, .st_mode = S_IFDIR | 0700, .st_nlink = 2};
  if (file) {
    status.st_ino = file->number;
    status.st_mode = S_IFREG | 0600;
    status.st_nlink = (nlink_t)file->has_name;
    status.st_size = (off_t)file->size;
    status.st_blocks = (blkcnt_t)((file->size + 4095) / 4096 * 8);
  }
  return status;
}

static struct fuse_entry_param entry(struct file *file) {
  file->lookups++;
  return (struct fuse_entry_param){.ino = file->number, .attr = status(file), .attr_timeout = 1, .entry_timeout = 0};
}

static void serve_init(void *data, struct fuse_conn_info *connection) {
  (void)data;
  if (connection->capable & FUSE_CAP_WRITEBACK_CACHE) connection->want |= FUSE_CAP_WRITEBACK_CACHE;
}

static void serve_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  (void)parent;
  pthread_mutex_lock(&lock);
  struct file *file = find_name(name);
  struct fuse_entry_param found = file ? entry(file) : (struct fuse_entry_param){0};
  pthread_mutex_unlock(&lock);
  file ? fuse_reply_entry(request, &found) : fuse_reply_err(request, ENOENT);
}

static void serve_forget(fuse_req_t request, fuse_ino_t number, uint64_t count) {
  pthread_mutex_lock(&lock);
  struct file *file = find(number);
  if (file) {
    file->lookups -= count < file->lookups ? count : file->lookups;
    end_unused(file);
  }
  pthread_mutex_unlock(&lock);
  fuse_reply_none(request);
}

static void serve_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info) {
  (void)info;
  pthread_mutex_lock(&lock);
  struct file *file = find(number);
  struct stat found = status(file);
  pthread_mutex_unlock(&lock);
  file || number == FUSE_ROOT_ID ? fuse_reply_attr(request, &found, 1) : fuse_reply_err(request, ESTALE);
}

static void serve_setattr(
    fuse_req_t request, fuse_ino_t number, struct stat *wanted, int what, struct fuse_file_info *info) {
  (void)info;
  pthread_mutex_lock(&lock);
  struct file *file = find(number);
  int error = file ? what & FUSE_SET_ATTR_SIZE ? resize(file, (size_t)wanted->st_size) : 0 : ESTALE;
  struct stat found = status(file);
  pthread_mutex_unlock(&lock);
  error ? fuse_reply_err(request, error) : fuse_reply_attr(request, &found, 1);
}

static void serve_create(
    fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info) {
  (void)parent, (void)mode;
  struct file *file = strlen(name) < sizeof file->name ? calloc(1, sizeof *file) : NULL;
  if (!file) {
    fuse_reply_err(request, ENAMETOOLONG);
    return;
  }
  strcpy(file->name, name);
  file->has_name = 1;
  pthread_mutex_lock(&lock);
  file->number = ++last_number;
  file->next = files;
  files = file;
  struct fuse_entry_param made = entry(file);
  pthread_mutex_unlock(&lock);
  fuse_reply_create(request, &made, info);
}

static void serve_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
  (void)parent;
  pthread_mutex_lock(&lock);
  struct file *file = find_name(name);
  if (file) {
    file->has_name = 0;
    end_unused(file);
  }
  pthread_mutex_unlock(&lock);
  fuse_reply_err(request, file ? 0 : ENOENT);
}

static void serve_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info) {
  (void)number;
  info->keep_cache = 1;
  fuse_reply_open(request, info);
}

static void serve_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info) {
  (void)info;
  pthread_mutex_lock(&lock);
  struct file *file = find(number);
  size_t end = file ? file->size : 0, start = (size_t)offset < end ? (size_t)offset : end;
  if (size > end - start) size = end - start;
  char *bytes = malloc(size + 1);
  if (bytes && file && size) memcpy(bytes, file->bytes + start, size);
  pthread_mutex_unlock(&lock);
  bytes ? fuse_reply_buf(request, bytes, size) : fuse_reply_err(request, ENOMEM);
  free(bytes);
}

static int is(const char *name) { return strcmp(order, name) == 0; }

// With the lock held.
static void wait_while_held(void) {
  while (is("hold")) pthread_cond_wait(&changed, &lock);
}

static int take(struct file *file, const char *bytes, size_t size, size_t offset) {
  wait_while_held();
  random_state = random_state * 1103515245 + 12345;
  if (is("refuse") || (is("some") && (random_state >> 16) % (unsigned)odds == 0)) return fault;
  if (offset + size > file->size) {
    int error = resize(file, offset + size);
    if (error) return error;
  }
  if (is("forget")) {
    file->forgotten = fault;
    memset(file->bytes + offset, 0, size);
  } else {
    memcpy(file->bytes + offset, bytes, size);
  }
  return 0;
}

static void serve_write(
    fuse_req_t request, fuse_ino_t number, const char *bytes, size_t size, off_t offset, struct fuse_file_info *info) {
  (void)info;
  pthread_mutex_lock(&lock);
  struct file *file = find(number);
  int error = file ? take(file, bytes, size, (size_t)offset) : ESTALE;
  pthread_mutex_unlock(&lock);
  error ? fuse_reply_err(request, error) : fuse_reply_write(request, size);
}

static void serve_fsync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info) {
  (void)data_only, (void)info;
  pthread_mutex_lock(&lock);
  wait_while_held();
  struct file *file = find(number);
  int error = file ? file->forgotten : 0;
  if (file) file->forgotten = 0;
  pthread_mutex_unlock(&lock);
  fuse_reply_err(request, error);
}

static const struct fuse_lowlevel_ops operations = {
    .init = serve_init, .lookup = serve_lookup, .forget = serve_forget, .getattr = serve_getattr,
    .setattr = serve_setattr, .create = serve_create, .unlink = serve_unlink, .open = serve_open, .read = serve_read,
    .write = serve_write, .fsync = serve_fsync,
};

static const char *mount_point;

static void *take_orders(void *unused) {
  char line[64], name[16];
  while (fgets(line, sizeof line, stdin)) {
    int first = EIO, second = 1;
    if (sscanf(line, "%15s %d %d", name, &first, &second) < 1) continue;
    pthread_mutex_lock(&lock);
    strcpy(order, name);
    fault = first;
    odds = second > 0 ? second : 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    puts("ok");
    fflush(stdout);
  }
  // Nobody may be left waiting for us, so the connection ends with this process.
  umount2(mount_point, MNT_DETACH);
  _exit(0);
  return unused;
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  mount_point = arguments[1];
  char *own[] = {"faulty-disk", NULL};
  struct fuse_args options = FUSE_ARGS_INIT(1, own);
  struct fuse_session *session = fuse_session_new(&options, &operations, sizeof operations, NULL);
  if (!session || fuse_session_mount(session, mount_point) != 0) return 1;
  pthread_t thread;
  if (pthread_create(&thread, NULL, take_orders, NULL) != 0) return 1;
  puts("mounted");
  fflush(stdout);
  struct fuse_loop_config *config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, 32);
  fuse_session_loop_mt(session, config);
  umount2(mount_point, MNT_DETACH);
  return 0;
}
