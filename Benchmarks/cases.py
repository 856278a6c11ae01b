"""What scripts/bench measures.

A case is a function of a place and the materials, decorated with its name and unit, that returns one sample. To add
one, write it here. The place's directory is empty before and must be afterwards.
"""

import dataclasses
import functools
import os
import random
import subprocess
import sys
import tarfile
import typing

from places import HERE, Unsupported

CASES = []


@dataclasses.dataclass
class Case:
    name: str
    unit: str  # one of report.UNITS
    about: str
    sample: typing.Callable


def case(name, unit, about):
    def register(function):
        CASES.append(Case(name, unit, about, function))
        return function

    return register


class Materials:
    """What the cases work on, made once, where reading it costs the same for every place."""

    def __init__(self, scratch, quick):
        self.scratch = scratch
        self.quick = quick
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        self.stream_bytes = min((64 if quick else 512) << 20, available // 16)

    @functools.cached_property
    def client(self):
        program = self.scratch / "client"
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", program, HERE / "client.c"], check=True)
        return program

    @functools.cached_property
    def headers(self):
        archive = self.scratch / "headers.tar"
        names = sorted(os.listdir("/usr/include"))
        with tarfile.open(archive, "w") as tar:
            for name in names[: len(names) // 8] if self.quick else names:
                tar.add(f"/usr/include/{name}", name)
        return archive

    @functools.cached_property
    def lines(self):
        path = self.scratch / "lines.txt"
        source = random.Random(20)
        with path.open("w") as file:
            for _ in range(1 if self.quick else 8):
                file.write("".join(f"{source.getrandbits(384):096x}\n" for _ in range(80_000)))
        return path


# Small operations and streams, in C.


def _client(operation, *options):
    def sample(place, materials):
        bytes_ = [materials.stream_bytes] if operation in ("write", "write-sync", "read", "reread") else []
        _, output = place.run(materials.client, *options, operation, place.directory, *bytes_)
        if "unsupported" in output:
            raise Unsupported
        return max(float(line) for line in output.split())

    return sample


for _name, _unit, _about in [
    ("cycle", "µs", "create, write 4 KiB, close, open, read, close, unlink"),
    ("lookup", "µs", "one request: stat of a name that does not exist and was never asked for"),
    ("tmpfile", "µs", "open(O_TMPFILE), write 4 KiB, close"),
    ("rename", "µs", "rename of a file"),
    ("mkdir", "µs", "mkdir, rmdir"),
    ("open", "µs", "open, read 4 KiB, close of a file known already"),
    ("list", "µs", "list and stat 1,000 files"),
    ("append-100", "µs", "append of 100 bytes"),
    ("append-4k", "µs", "append of 4 KiB"),
    ("append-1m", "µs", "append of 1 MiB"),
    ("write", "MB/s", "new file in pieces of 1 MiB"),
    ("write-sync", "MB/s", "the same with fsync"),
    ("read", "MB/s", "file read for the first time, in pieces of 1 MiB"),
    ("reread", "MB/s", "file read again"),
]:
    case(_name, _unit, _about)(_client(_name))

case("cycle-2", "µs", "cycle, by two clients at once")(_client("cycle", "-c", 2))


# Programs.


@case("untar", "s", "tar x of /usr/include")
def untar(place, materials):
    target = place.directory / "headers"
    target.mkdir()
    seconds, _ = place.run("tar", "xf", materials.headers, "-C", target)
    place.run("rm", "-rf", target)
    return seconds


@case("rm", "s", "rm -r of the same")
def remove(place, materials):
    target = place.directory / "headers"
    target.mkdir()
    place.run("tar", "xf", materials.headers, "-C", target)
    seconds, _ = place.run("rm", "-rf", target)
    return seconds


@case("sort", "s", "sort of 60 MB with 4 MiB of memory, through temporary files")
def sort(place, materials):
    seconds, _ = place.run(
        "env", "LC_ALL=C", "sort", "-S", "4M", "-T", place.directory, "-o", "/dev/null", materials.lines)
    return seconds


def _script(name, count):
    """A function of scripts.py, which says itself how many seconds it took."""

    def sample(place, materials):
        some = count // 8 if materials.quick else count
        _, output = place.run(sys.executable, "-B", "-I", HERE / "scripts.py", name, place.directory, some)
        return float(output)

    return sample


case("sqlite", "s", "SQLite: insert 200,000 rows in 20 transactions, then an index")(_script("sqlite", 200_000))
case("namedtemp", "s", "3,000 of Python's NamedTemporaryFile")(_script("named_temporary_files", 3_000))
