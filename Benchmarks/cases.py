"""What scripts/bench measures: how a case is told, and the small operations.

A run is a function of a place and the materials that returns a sample for each of its cases. To add one, write it here
or in macro.py or large.py. The place's directory is empty before and must be afterwards.
"""

import dataclasses
import functools
import os
import subprocess
import time
import typing

from places import HERE, Counted, Unsupported

RUNS = []

#: Suites by name: what they are for, and spoolfs's options, unless others are given.
SUITES = {
    "micro": ("single operations and streams, in memory", ["--threshold=unlimited"]),
    "macro": ("programs, in memory", ["--threshold=unlimited"]),
    "spill": ("streams sixteen times as large as memory", ["--memory=256m"]),
    "scale": ("many files, many clients, 20 GB through 1 GiB", ["--memory=1g"]),
}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    unit: str  # one of results.UNITS
    about: str
    suite: str
    baseline: str | None = "tmpfs"  # the place that ratios are to


@dataclasses.dataclass(frozen=True)
class Run:
    """A function of place and materials that returns a sample for each case, and requests for each operation or None."""

    cases: tuple
    sample: typing.Callable


class Materials:
    """What the cases work on, made once, where reading it costs the same for every place."""

    def __init__(self, scratch, quick):
        self.scratch = scratch
        self.quick = quick
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        self.stream_bytes = min((64 if quick else 512) << 20, available // 16)

    def compiled(self, source):
        program = self.scratch / source.removesuffix(".c")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", program, HERE / source], check=True)
        return program

    @functools.cached_property
    def client(self):
        return self.compiled("client.c")

    @functools.cached_property
    def scale(self):
        return self.compiled("scale.c")


def measures(*cases):
    """Registers a function that returns the samples of `cases`, or the one sample of one."""

    def register(function):
        def sample(place, materials):
            samples = function(place, materials)
            return samples if isinstance(samples, tuple) else (samples,)

        RUNS.append(Run(cases, sample))
        return function

    return register


#: What a filesystem that keeps nothing cannot do.
NEED_CONTENT = {"list", "readdir", "readdir-again"}


def run_client(place, materials, operation, clients=1, bytes_=None, options=()):
    """Seconds for an operation, or bytes per second: the slowest client's, with its requests."""
    if place.setting.kind == "null" and operation in NEED_CONTENT:
        raise Unsupported
    taken, output = place.run(
        materials.client, "-c", clients, *options, operation, place.directory, *([bytes_] if bytes_ else []))
    if "unsupported" in output:
        raise Unsupported
    lines = [line.split() for line in output.splitlines()]
    figures, runs = [float(line[0]) for line in lines], sum(int(line[1]) for line in lines)
    sample = Counted(min(figures) if bytes_ else max(figures))
    if runs and taken.requests is not None:
        sample.requests = taken.requests / runs
    return sample


def _operation(name, unit, about, operation=None, clients=1, options=()):
    @measures(Case(name, unit, about, "micro"))
    def sample(place, materials):
        return run_client(place, materials, operation or name, clients, options=options)


def _stream(name, about):
    @measures(Case(name, "MB/s", about, "micro"))
    def sample(place, materials):
        return run_client(place, materials, name, bytes_=materials.stream_bytes)


for _name, _about in [
    ("cycle", "create, write 4 KiB, close, open, read, close, unlink"),
    ("lookup", "one request that finds nothing: stat of a name that does not exist and was never asked for"),
    ("tmpfile", "open(O_TMPFILE), write 4 KiB, read, close"),
    ("unlinked", "the same without O_TMPFILE: create, unlink, write 4 KiB, read, close"),
    ("rename", "rename of a file"),
    ("mkdir", "mkdir, rmdir"),
    ("open", "open, read 4 KiB, close of a file known already"),
    ("stat", "stat of a file known already"),
    ("list", "list and stat 1,000 files"),
    ("readdir", "list 10,000 names, the first time after a change"),
    ("readdir-again", "list them again"),
    ("append-100", "append of 100 bytes"),
    ("append-1k", "append of 1 KiB"),
    ("append-4k", "append of 4 KiB"),
    ("append-64k", "append of 64 KiB"),
    ("append-1m", "append of 1 MiB"),
    ("read-4k", "read of 4 KiB, one after the other, in a file of 16 MiB"),
    ("read-4k-random", "read of 4 KiB, anywhere in it"),
    ("write-4k", "write of 4 KiB, one after the other, over what is there"),
    ("write-4k-random", "write of 4 KiB, anywhere in it"),
    ("mmap-read", "map 16 MiB, read a byte of each page"),
    ("mmap-write", "map 16 MiB, change a byte of each page"),
]:
    _operation(_name, "µs", _about)

_operation("cycle-2", "µs", "cycle, by two clients at once", "cycle", clients=2)

#: As many programs that compute as there are processors.
BUSY = ("-b", len(os.sched_getaffinity(0)))
_operation("cycle-busy", "µs", "cycle, while a program computes on each processor", "cycle", options=BUSY)
_operation("lookup-busy-99", "µs", "lookup, meanwhile: 99 of 100 are at least as fast", "lookup", options=(*BUSY, "-p", 99))


@measures(Case("idle", "ms/s", "processor time of the daemon while nothing happens", "micro", baseline=None))
def idle(place, materials):
    if not place.daemons:
        raise Unsupported
    time.sleep(0.2)
    before, start = place.daemon_seconds, time.monotonic()
    time.sleep(0.3 if materials.quick else 2)
    return (place.daemon_seconds - before) / (time.monotonic() - start)


for _name, _about in [
    ("write", "new file in pieces of 1 MiB"),
    ("write-sync", "the same with fsync"),
    ("read", "file read for the first time, in pieces of 1 MiB"),
    ("read-direct", "the same with O_DIRECT"),
    ("reread", "file read again, from the page cache where there is one"),
]:
    _stream(_name, _about)
