"""The macro suite of scripts/bench: programs as people run them. Its cases' geometric mean is one of the figures."""

import functools
import os
import random
import subprocess
import sys
import tarfile

from cases import Case, measures
from places import HERE, Counted, Unsupported


class ProgramMaterials:
    """What the programs work on, in a directory in memory. Made when first asked for."""

    def __init__(self, scratch, quick):
        self.scratch = scratch
        self.quick = quick

    def some(self, count):
        return count // 8 if self.quick else count

    @functools.cached_property
    def headers(self):
        archive = self.scratch / "headers.tar"
        names = sorted(os.listdir("/usr/include"))
        with tarfile.open(archive, "w") as tar:
            for name in names[: self.some(len(names))]:
                tar.add(f"/usr/include/{name}", name)
        return archive

    @functools.cached_property
    def lines(self):
        path = self.scratch / "lines.txt"
        source = random.Random(20)
        with path.open("w") as file:
            for _ in range(self.some(8)):
                file.write("".join(f"{source.getrandbits(384):096x}\n" for _ in range(80_000)))
        return path

    @functools.cached_property
    def large_file(self):
        path = self.scratch / "large"
        piece = random.Random(21).randbytes(1 << 20)
        with path.open("wb") as file:
            for _ in range(self.some(150)):
                file.write(piece)
        return path

    @functools.cached_property
    def sources(self):
        """C files that include much and hold little, so that compiling them is mostly reading and writing."""
        names = ["assert", "ctype", "dirent", "errno", "fcntl", "locale", "math", "poll", "pthread", "signal", "stdio",
                 "stdlib", "string", "sys/mman", "sys/socket", "sys/stat", "sys/types", "sys/wait", "time", "unistd",
                 "wchar"]
        includes = "".join(f"#include <{name}.h>\n" for name in names)
        paths = []
        for number in range(self.some(24)):
            path = self.scratch / f"unit{number}.c"
            path.write_text(f"{includes}int add{number}(int a) {{ return printf(\"%d\\n\", a + {number}); }}\n")
            paths.append(path)
        return paths

    @functools.cached_property
    def repository(self):
        """A repository with one commit of /usr/include."""
        path = self.scratch / "repository"
        path.mkdir()
        with tarfile.open(self.headers) as tar:
            tar.extractall(path)
        git = ["git", "-C", path, "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Headers"], ["gc", "-q"]):
            subprocess.run([*git, *command], check=True, env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1"})
        return path


def _materials(materials):
    if not hasattr(materials, "programs"):
        materials.programs = ProgramMaterials(materials.scratch, materials.quick)
    return materials.programs


def program(*cases, needs_content=True):
    """Registers a function of place and ProgramMaterials. Where it needs content, a null filesystem is no place for it."""

    def register(function):
        def sample(place, materials):
            if needs_content and place.setting.kind == "null":
                raise Unsupported
            return function(place, _materials(materials))

        made = tuple(Case(name, "s", about, "macro") for name, about in cases)
        measures(*made)(sample)
        return function

    return register


@program(("untar", "tar x of /usr/include"), ("rm", "rm -r of the same"), needs_content=False)
def untar_and_remove(place, materials):
    target = place.directory / "headers"
    target.mkdir()
    unpacked, _ = place.run("tar", "xf", materials.headers, "-C", target)
    removed, _ = place.run("rm", "-rf", target)
    # A null filesystem has nothing to remove.
    return unpacked, None if place.setting.kind == "null" else removed


@program(("sort", "sort of 60 MB with 4 MiB of memory, through temporary files"))
def sort(place, materials):
    seconds, _ = place.run(
        "env", "LC_ALL=C", "sort", "-S", "4M", "-T", place.directory, "-o", "/dev/null", materials.lines)
    return seconds


def _script(name, place, count):
    """A function of scripts.py, which says itself how many seconds it took."""
    taken, output = place.run(sys.executable, "-B", "-I", HERE / "scripts.py", name, place.directory, count)
    seconds = Counted(output)
    seconds.requests, seconds.daemon = taken.requests, taken.daemon
    return seconds


@program(("sqlite", "SQLite: insert 200,000 rows in 20 transactions, an index, 300 rows in a transaction each"))
def sqlite(place, materials):
    return _script("sqlite", place, materials.some(200_000))


@program(("namedtemp", "3,000 of Python's NamedTemporaryFile"), needs_content=False)
def named_temporary_files(place, materials):
    return _script("named_temporary_files", place, materials.some(3_000))


@program(("copy", "cp of 150 MB, and reading the copy"), needs_content=False)
def copy(place, materials):
    target = place.directory / "copy"
    written, _ = place.run("cp", materials.large_file, target)
    read, _ = place.run("dd", f"if={target}", "of=/dev/null", "bs=128k", "status=none")
    target.unlink()
    return Counted.sum(written, read)


@program(("gcc", "gcc -save-temps of 24 small files with many headers, temporary files and all"))
def compile_(place, materials):
    target = place.directory / "objects"
    target.mkdir()
    command = "cd \"$0\" && exec gcc -O1 -save-temps -c \"$@\""
    seconds, _ = place.run("sh", "-c", command, target, *materials.sources)
    place.run("rm", "-rf", target)
    return seconds


@program(("clone", "git clone of a repository with /usr/include, by git's own protocol"))
def clone(place, materials):
    target = place.directory / "clone"
    seconds, _ = place.run("git", "clone", "-q", "--no-local", materials.repository, target)
    place.run("rm", "-rf", target)
    return seconds
