"""Works in a directory until it fails or is told to stop, and compares every byte it reads with what it wrote.

load.py DIRECTORY SEED RESULT by-path|inside: several processes make, write, read, rename and remove files of their own.
When they have begun, RESULT.ready tells the directory's device. They stop at the first error, or when RESULT.stop exists,
read once more what they have open, and RESULT tells what was done, as JSON. A write that fails leaves a file of which
nothing is known. "inside" is with DIRECTORY as working directory: what is mounted there, even when it is not any more.
"""

import errno
import json
import os
import random
import sys
import traceback

WORKERS = 3
LARGEST = 300_000
MOST_FILES = 16


class Worker:
    def __init__(self, directory, seed, stop):
        self.directory = directory
        self.stop = stop
        self.device = os.stat(directory).st_dev
        self.random = random.Random(seed)
        self.source = self.random.randbytes(LARGEST + 4096)
        self.files = {}
        self.number = 0
        self.operations = self.compared = self.wrong = self.errors = self.late = 0
        self.first_error = None
        self.details = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def bytes(self):
        start = self.random.randrange(4096)
        size = self.random.randrange(1, self.random.choice([100, 5000, 70_000, LARGEST]))
        return self.source[start : start + size]

    def make(self):
        self.number += 1
        name = f"{os.getpid()}-{self.number}"
        file = os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if os.fstat(file).st_dev != self.device:
            # Not in the tree, which has gone: this stays behind.
            self.late += 1
            os.close(file)
            raise OSError(errno.EXDEV, "made outside", name)
        self.files[name] = (file, bytearray())
        self.write(name)

    def write(self, name):
        file, model = self.files[name]
        data = self.bytes()
        offset = self.random.choice([0, len(model), self.random.randrange(LARGEST)])
        data = data[: max(1, 2 * LARGEST - offset)]
        del self.files[name]
        try:
            while data:
                count = os.pwrite(file, data, offset)
                if len(model) < offset:
                    model.extend(bytes(offset - len(model)))
                model[offset : offset + count] = data[:count]
                offset, data = offset + count, data[count:]
        except OSError:
            os.close(file)
            raise
        self.files[name] = (file, model)

    def compare(self, name):
        file, model = self.files[name]
        if self.random.random() < 0.3:
            # Asks the server, not the cache.
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        offset = 0
        while True:
            data = os.pread(file, 65536, offset)
            if data != model[offset : offset + len(data)]:
                return self.found(f"{name}: other bytes from {offset} on, of {len(model)}")
            offset += len(data)
            self.compared += len(data)
            if not data:
                break
        if offset != len(model):
            self.found(f"{name}: {offset} bytes, not {len(model)}")

    def found(self, text):
        self.wrong += 1
        self.details.append(text)

    def cut(self, name):
        file, model = self.files.pop(name)
        size = self.random.randrange(len(model) + 1)
        try:
            os.ftruncate(file, size)
        except OSError:
            os.close(file)
            raise
        del model[size:]
        self.files[name] = (file, model)

    def rename(self, name):
        new = name + "r"
        os.rename(self.path(name), self.path(new))
        self.files[new] = self.files.pop(name)

    def remove(self, name):
        file, _ = self.files.pop(name)
        try:
            os.unlink(self.path(name))
        finally:
            os.close(file)

    def step(self):
        if not self.files or (len(self.files) < MOST_FILES and self.random.random() < 0.3):
            self.make()
        else:
            operations = [self.write, self.write, self.compare, self.compare, self.cut, self.rename, self.remove]
            self.random.choice(operations)(self.random.choice(list(self.files)))
        if self.operations % 8 == 0:
            os.listdir(self.directory)
        if self.operations % 16 == 0 and self.files:
            os.fsync(self.files[self.random.choice(list(self.files))][0])
        self.operations += 1

    def run(self, ready):
        try:
            while self.operations % 8 or not os.path.exists(self.stop):
                self.step()
                if self.operations == 5:
                    os.write(ready, b".")
        except OSError as error:
            self.failed(error)
        for name in list(self.files):
            try:
                self.compare(name)
            except OSError as error:
                self.failed(error)
        if self.errors:
            self.make_late()
        return {name: value for name, value in vars(self).items() if name in RESULTS}

    def failed(self, error):
        self.errors += 1
        self.first_error = self.first_error or f"{error.strerror} ({error.filename})"

    def make_late(self):
        """Where the tree was, there is nothing to be made any more."""
        try:
            file = os.open(self.path(f"late-{os.getpid()}"), os.O_CREAT | os.O_WRONLY, 0o600)
            self.late += os.fstat(file).st_dev != self.device
            os.close(file)
        except OSError:
            pass


RESULTS = ["operations", "compared", "wrong", "errors", "late", "first_error", "details"]


def write(path, value):
    with open(path + ".part", "w") as file:
        json.dump(value, file)
    os.rename(path + ".part", path)


def worker(directory, seed, result, number, ready):
    try:
        found = Worker(directory, seed * WORKERS + number, result + ".stop").run(ready)
    except BaseException:
        found = dict.fromkeys(RESULTS, 0)
        found |= {"wrong": 1, "first_error": None, "details": [traceback.format_exc()]}
    write(f"{result}.{number}", found)


def main():
    directory, seed, result = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    device = os.stat(directory).st_dev
    place = os.path.realpath(directory)
    if sys.argv[4] == "inside":
        os.chdir(directory)
        directory = "."
    reading, writing = os.pipe()
    children = []
    for number in range(WORKERS):
        child = os.fork()
        if child == 0:
            worker(directory, seed, result, number, writing)
            os._exit(0)
        children.append(child)
    os.close(writing)
    os.read(reading, 1)
    write(result + ".ready", {"device": os.minor(device), "directory": place})
    for child in children:
        os.waitpid(child, 0)
    found = [json.load(open(f"{result}.{number}")) for number in range(WORKERS)]
    total = {name: sum(each[name] for each in found) for name in RESULTS[:5]}
    total["first_error"] = next((each["first_error"] for each in found if each["first_error"]), None)
    total["details"] = sum((each["details"] for each in found), [])
    write(result, total)


main()
