"""Random system calls with extreme arguments in a directory: calls.py DIRECTORY SEED COUNT.

What they return is of no interest; that all return is, and that the filesystem then still works. Nothing here blocks, and
device nodes have numbers that no driver has. The last call is told when the alarm rings.
"""

import ctypes
import os
import platform
import random
import signal
import stat
import sys

directory, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(directory)
LIMIT = 60

# x86-64 and arm64.
NUMBERS = {
    "lseek": (8, 62), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "ftruncate": (77, 46),
    "fsync": (74, 82), "fdatasync": (75, 83), "getdents64": (217, 61), "fadvise64": (221, 223), "fallocate": (285, 47),
    "fcntl": (72, 25),
    "ioctl": (16, 29), "flock": (73, 32), "copy_file_range": (326, 285), "sendfile": (40, 71), "splice": (275, 76),
    "sync_file_range": (277, 84), "openat": (257, 56), "mkdirat": (258, 34), "mknodat": (259, 33), "unlinkat": (263, 35),
    "renameat2": (316, 276), "linkat": (265, 37), "symlinkat": (266, 36), "readlinkat": (267, 78), "fchmodat": (268, 53),
    "fchownat": (260, 54), "faccessat": (269, 48), "statx": (332, 291), "statfs": (137, 43), "utimensat": (280, 88),
    "setxattr": (188, 5), "getxattr": (191, 8), "listxattr": (194, 11), "removexattr": (197, 14), "truncate": (76, 45),
    "name_to_handle_at": (303, 264), "preadv2": (327, 286), "pwritev2": (328, 287), "fgetxattr": (193, 10),
}
COLUMN = {"x86_64": 0, "aarch64": 1}[platform.machine()]

EDGES = [
    0, 1, 2, 3, 7, 99, 255, 256, 511, 4095, 4096, 4097, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
    1 << 32, 1 << 44, 1 << 62, (1 << 63) - 65537, (1 << 63) - 4096, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1,
]
BUFFER = ctypes.create_string_buffer(1 << 20)
NAMES = [b"a", b"b", b"c", b"d", b"d/e", b"d/f", b"a/b", b".", b"..", b"d/..", b"", b"n" * 255, b"n" * 256, b"x/" * 2000,
         b"/" * 300 + b"q", b"\xff\xfe\x01", b"new\nline", b".spoolfs", b".spoolfs/stats", b".spoolfs/files", b"l", b"l/a"]
ATTRIBUTES = [b"user.a", b"user." + b"z" * 250, b"user." + b"z" * 251, b"user.", b"trusted.t", b"security.capability",
              b"system.posix_acl_access", b"none", b""]
IOCTLS = [0x5401, 0x80086601, 0x40086602, 0x801C581F, 0x40049409]
files = []


def attribute():
    return ctypes.c_char_p(random.choice(ATTRIBUTES))


def number():
    return random.choice(EDGES) if random.random() < 0.7 else random.randrange(1 << random.randrange(1, 64))


def size():
    """Of the buffer, or more than is mapped."""
    return random.choice([0, 1, 7, 8, 100, 4096, 65536, 1 << 20, 1 << 20, number()])


def file():
    return random.choice(files) if files and random.random() < 0.95 else random.choice([-1, 9999])


def name():
    return ctypes.c_char_p(random.choice(NAMES[:6] if random.random() < 0.7 else NAMES))


def pointer():
    return random.choice([BUFFER, BUFFER, BUFFER, None, ctypes.c_void_p(1), ctypes.c_void_p((1 << 47) - 4096)])


def offset():
    return random.choice([None, ctypes.byref(ctypes.c_int64(number() - (1 << 63)))])


def times():
    return random.choice([None, (ctypes.c_int64 * 4)(*(number() - (1 << 63) for _ in range(4))),
                          (ctypes.c_int64 * 4)(number() >> 1, 0x3FFFFFFF, -1, 999999999)])


def vector():
    parts = [(ctypes.addressof(BUFFER), size() & 0xFFFFF) for _ in range(random.choice([1, 2, 1024]))]
    return (ctypes.c_uint64 * (2 * len(parts)))(*(value for part in parts for value in part)), len(parts)


def kind():
    kinds = [0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR, 0xF000]
    return random.choice(kinds) | (number() & 0o7777)


def arguments(call):
    here = -100
    if call in ("readv", "preadv2", "pwritev2"):
        parts, length = vector()
        rest = [number(), 0, random.choice([0, 1, 2, 8, 16, number()])] if call != "readv" else []
        return [file(), parts, random.choice([length, 0, 1025]), *rest]
    return {
        "lseek": lambda: [file(), number(), random.choice([0, 1, 2, 3, 4, number()])],
        "pread64": lambda: [file(), pointer(), size(), number()],
        "pwrite64": lambda: [file(), pointer(), size(), number()],
        "ftruncate": lambda: [file(), number()],
        "fsync": lambda: [file()],
        "fdatasync": lambda: [file()],
        "getdents64": lambda: [file(), pointer(), size() & 0xFFFFF],
        "fadvise64": lambda: [file(), number(), number(), random.choice([0, 1, 2, 3, 4, 5, number()])],
        "fallocate": lambda: [file(), random.choice([0, 1, 2, 3, 8, 16, 17, 32, 64, number()]), number(), number()],
        # Nothing that waits for a lock: F_SETLKW and its like.
        "fcntl": lambda: [file(), random.choice([1, 2, 3, 4, 5, 6, 1033, 1034, 1036, 1037]), pointer()],
        "ioctl": lambda: [file(), random.choice(IOCTLS + [number()]), pointer()],
        "flock": lambda: [file(), random.choice([5, 6, 12, 4])],
        "copy_file_range": lambda: [file(), offset(), file(), offset(), number(), random.choice([0, 0, number()])],
        "sendfile": lambda: [file(), file(), offset(), size()],
        "splice": lambda: [file(), offset(), file(), offset(), size(), 2],
        "sync_file_range": lambda: [file(), number(), number(), random.choice([0, 1, 2, 4, 7, number()])],
        "mkdirat": lambda: [here, name(), number()],
        "mknodat": lambda: [here, name(), kind(), 0],
        "unlinkat": lambda: [here, name(), random.choice([0, 0x200, number()])],
        "renameat2": lambda: [here, name(), here, name(), random.choice([0, 0, 1, 2, 4, number()])],
        "linkat": lambda: [here, name(), here, name(), random.choice([0, 0x400, number()])],
        "symlinkat": lambda: [
            ctypes.c_char_p(random.choice([b"", b"a", b"l", b"t" * 4095, b"t" * 4096])), here, name()],
        "readlinkat": lambda: [here, name(), pointer(), size() & 0xFFFFF],
        "fchmodat": lambda: [here, name(), number()],
        "fchownat": lambda: [here, name(), number(), number(), random.choice([0, 0x100])],
        "faccessat": lambda: [here, name(), number()],
        "statx": lambda: [here, name(), random.choice([0, 0x100, 0x2000, 0x4000, number()]), number(), pointer()],
        "statfs": lambda: [name(), pointer()],
        "utimensat": lambda: [here, name(), times(), random.choice([0, 0x100, number()])],
        "setxattr": lambda: [name(), attribute(), pointer(), size(), random.choice([0, 1, 2, 9])],
        "getxattr": lambda: [name(), attribute(), pointer(), size()],
        "fgetxattr": lambda: [file(), attribute(), pointer(), size()],
        "listxattr": lambda: [name(), pointer(), size()],
        "removexattr": lambda: [name(), attribute()],
        "truncate": lambda: [name(), number()],
        "name_to_handle_at": lambda: [here, name(), pointer(), pointer(), random.choice([0, 0x400, 0x1000])],
    }[call]()


def open_one():
    flags = random.choice([0, 1, 2]) | os.O_NONBLOCK | os.O_NOCTTY
    flags |= sum(flag for flag in (os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECT, os.O_TMPFILE, os.O_NOFOLLOW,
                                   os.O_PATH, os.O_SYNC) if random.random() < 0.2)
    opened = libc.syscall(NUMBERS["openat"][COLUMN], -100, name(), flags, ctypes.c_long(number() & 0o7777))
    if opened >= 0:
        files.append(opened)
    if len(files) > 40:
        os.close(files.pop(random.randrange(len(files))))


def perform(call):
    if call == "openat":
        return open_one()
    values = [ctypes.c_uint64(value & (1 << 64) - 1) if isinstance(value, int) else value for value in arguments(call)]
    libc.syscall(ctypes.c_long(NUMBERS[call][COLUMN]), *values)


last = ["", 0]


def too_late(*_):
    print(f"call {last[1]}, {last[0]}, does not return", flush=True)
    os._exit(1)


signal.signal(signal.SIGALRM, too_late)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
files.extend(os.pipe2(os.O_NONBLOCK))
calls = list(NUMBERS) + ["openat"] * 6 + ["pwrite64"] * 3 + ["unlinkat"]
for step in range(count):
    last[:] = [random.choice(calls), step]
    signal.alarm(LIMIT)
    perform(last[0])
signal.alarm(LIMIT)
for opened in files:
    try:
        os.close(opened)
    except OSError:
        # What was taken for the page cache and then refused: EFBIG, ENOSPC, EIO.
        pass
print("done")
