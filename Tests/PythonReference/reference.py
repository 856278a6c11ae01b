"""Runs scripts of operations on Python's own temporary files, and writes what each operation gave.

Standard input is text, an operation a line:

    pattern HEX              bytes that `write` takes its bytes from
    open JSON                begins a script: "kind" is spooled, unnamed or named, the rest are arguments of tempfile's
    write START COUNT        bytes of the pattern, in text mode decoded as UTF-8
    put HEX                  bytes, in text mode UTF-8 (surrogates allowed)
    writelines START COUNT STEP
    read [COUNT], readline [COUNT], readlines [HINT], lines, next
    seek OFFSET WHENCE, tell, truncate [SIZE], size, flush, close
    fileno                   the size that the descriptor tells
    other                    what is read by whoever opens the name
    get ATTRIBUTE            such as mode or closed

Standard output is a record for each line but the first: a letter (b bytes, s text as UTF-8, i number, n nothing, l a list
as its length, a colon and its items joined, e an exception's name), four bytes of length, low byte first, and the value.
"""

import io
import json
import os
import struct
import sys
import tempfile
import warnings

MAKERS = {
    "spooled": tempfile.SpooledTemporaryFile,
    "unnamed": tempfile.TemporaryFile,
    "named": tempfile.NamedTemporaryFile,
}


class Script:
    """One file, and the operations on it."""

    def __init__(self, pattern, arguments):
        self.pattern = pattern
        self.kind = arguments.pop("kind")
        self.is_text = "b" not in arguments.get("mode", "w+b")
        self.file = MAKERS[self.kind](**arguments)
        self.is_closed = False

    def end(self):
        try:
            self.file.close()
        except Exception:
            pass

    @property
    def memory(self):
        """The BytesIO of a spooled file of bytes that has not rolled over."""
        inner = getattr(self.file, "_file", None)
        return inner if isinstance(inner, io.BytesIO) and not inner.closed else None

    def data(self, content):
        return content.decode("utf-8", "surrogatepass") if self.is_text else content

    def write(self, start, count):
        self.file.write(self.data(self.pattern[int(start):int(start) + int(count)]))

    def put(self, content=""):
        self.file.write(self.data(bytes.fromhex(content)))

    def writelines(self, start, count, step):
        start, end, step = int(start), int(start) + int(count), int(step)
        self.file.writelines(self.data(self.pattern[i:min(end, i + step)]) for i in range(start, end, step))

    def read(self, count="-1"):
        return self.file.read(int(count))

    def readline(self, count="-1"):
        return self.file.readline(int(count))

    def readlines(self, hint="0"):
        hint = int(hint)
        if self.is_text or self.memory or hint <= 0:
            return self.file.readlines(hint)
        # BytesIO stops as soon as it has that many bytes, everything else when it has more.
        if hint > 1:
            return self.file.readlines(hint - 1)
        line = self.file.readline()
        return [line] if line else []

    def lines(self):
        return list(self.file)

    def next(self):
        return next(iter(self.file))

    def tell(self):
        return self.file.tell()

    def size(self):
        if self.memory:
            return self.memory.getbuffer().nbytes
        self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def seek(self, offset, whence):
        offset, whence = int(offset), int(whence)
        if not self.is_text:
            # BytesIO goes to 0 where a file refuses.
            base = 0 if whence == 0 else self.tell() if whence == 1 else self.size()
            if base + offset < 0:
                raise OSError
        self.file.seek(offset, whence)
        return self.file.tell()

    def truncate(self, size=None):
        size = self.file.tell() if size is None and not self.is_text else None if size is None else int(size)
        self.file.truncate(size)
        memory = self.memory
        if memory and memory.getbuffer().nbytes < size:
            # BytesIO does not become longer, as a file does.
            position = memory.tell()
            memory.seek(0, 2)
            memory.write(bytes(size - memory.tell()))
            memory.seek(position)
        if not self.is_text:
            return self.size()

    def flush(self):
        self.file.flush()

    def close(self):
        self.is_closed = True
        self.file.close()

    def fileno(self):
        self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def other(self):
        self.file.flush()
        with open(self.file.name, "rb") as other:
            return other.read()

    def get(self, attribute):
        return getattr(self.file, attribute)


def record(result):
    if result is None:
        return b"n", b""
    if isinstance(result, bytes):
        return b"b", result
    if isinstance(result, int):
        return b"i", b"%d" % result
    if isinstance(result, list):
        items = b"".join(record(item)[1] for item in result)
        return b"l", b"%d:%s" % (len(result), items)
    return b"s", str(result).encode("utf-8", "surrogatepass")


def answer(script, operation, arguments):
    try:
        # A closed SpooledTemporaryFile opens again when something makes it roll over.
        if script.is_closed and operation not in ("close", "get"):
            raise ValueError
        return record(getattr(script, operation)(*arguments))
    except Exception as error:
        return b"e", type(error).__name__.encode()


def main():
    warnings.simplefilter("ignore")
    output = sys.stdout.buffer
    script, pattern = None, b""
    for line in sys.stdin:
        operation, *arguments = line.split()
        if operation == "pattern":
            pattern = bytes.fromhex(arguments[0])
            continue
        if operation == "open":
            if script:
                script.end()
            script = Script(pattern, json.loads(line.partition(" ")[2]))
            kind, value = b"n", b""
        else:
            kind, value = answer(script, operation, arguments)
        output.write(kind + struct.pack("<I", len(value)) + value)
    if script:
        script.end()


main()
