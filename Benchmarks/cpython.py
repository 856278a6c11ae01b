#!/usr/bin/env python3
"""The benchmarks of Sources/TemporaryFilesBenchmarks in CPython: the same cycles with tempfile, in the same batches.

    cpython.py CASE CYCLES SECONDS

runs batches of CYCLES cycles for at least SECONDS, after one that does not count, and prints the time of a cycle in the
fastest of them, in nanoseconds. As timeit does, without garbage collection.
"""

import gc
import sys
import tempfile
import time

KIBIBYTE = b"x" * (1 << 10)
MEBIBYTE = b"x" * (1 << 20)


def spooled():
    file = tempfile.SpooledTemporaryFile(max_size=1 << 20)
    file.write(KIBIBYTE)
    file.seek(0)
    assert len(file.read(len(KIBIBYTE))) == len(KIBIBYTE)
    file.close()


def rolled():
    file = tempfile.SpooledTemporaryFile(max_size=len(KIBIBYTE))
    file.write(KIBIBYTE)
    file.write(KIBIBYTE)
    assert file._rolled
    file.close()


def unnamed():
    tempfile.TemporaryFile().close()


def named():
    tempfile.NamedTemporaryFile().close()


def directory():
    tempfile.TemporaryDirectory().cleanup()


def large():
    file = tempfile.SpooledTemporaryFile()
    for _ in range(256):
        file.write(MEBIBYTE)
    file.seek(0)
    for _ in range(256):
        assert len(file.read(len(MEBIBYTE))) == len(MEBIBYTE)
    file.close()


def main():
    name, cycles, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    cycle = {case.__name__: case for case in (spooled, rolled, unnamed, named, directory, large)}[name]
    gc.disable()
    samples = []
    total = -1
    while total < seconds * 1e9:
        start = time.perf_counter_ns()
        for _ in range(cycles):
            cycle()
        elapsed = time.perf_counter_ns() - start
        if total < 0:
            total = 0
            continue
        samples.append(elapsed / cycles)
        total += elapsed
    print(min(samples))


if __name__ == "__main__":
    main()
