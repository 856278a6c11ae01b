"""The directories that scripts/bench compares: spoolfs in several ways, and others beside it."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import naming
from naming import Setting

HERE = pathlib.Path(__file__).resolve().parent

#: The disk to compare with is the one that spoolfs spills to.
SPILL_DIRECTORY = os.environ.get("SPOOLFS_SPILL_DIR", "/var/tmp")


class Unsupported(Exception):
    """The place cannot do what a case asks of it."""


class CaseFailed(Exception):
    """A program of a case failed in the place."""


class Counted(float):
    """A sample that knows how many requests it took, and how many seconds the daemon computed; None where nobody counts."""

    requests = None
    daemon = None

    @staticmethod
    def sum(*samples):
        whole = Counted(sum(samples))
        for name in ("requests", "daemon"):
            values = [getattr(sample, name) for sample in samples]
            setattr(whole, name, None if None in values else sum(values))
        return whole


class Place:
    """A directory under test, the agent that runs programs on it, and the processes that serve it."""

    def __init__(self, setting, launcher=(), directory=None):
        self.setting = setting
        self.name = setting.name
        self.daemons = []
        self.idle_memory = 0
        environment = dict(os.environ)
        if directory is not None:
            environment["TMPDIR"] = str(directory)
        self._agent = subprocess.Popen(
            [*launcher, sys.executable, "-B", str(HERE / "agent.py")],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        )
        self.directory = pathlib.Path(self._answer()["directory"])

    def _answer(self):
        line = self._agent.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the agent ended with status {self._agent.wait()}")
        return json.loads(line)

    def run(self, *command):
        """Runs a command, which must succeed; returns the seconds it took, with its requests, and what it wrote."""
        before, computed = self.counted_requests(), self.daemon_user_seconds
        self._agent.stdin.write(json.dumps({"command": [str(word) for word in command]}) + "\n")
        self._agent.stdin.flush()
        answer = self._answer()
        if answer["status"] != 0:
            raise CaseFailed(f"{command[0]}: {(answer['errors'].splitlines() or ['no message'])[0]}")
        seconds = Counted(answer["seconds"])
        if computed is not None:
            seconds.daemon = self.daemon_user_seconds - computed
        if before is not None:
            seconds.requests = self.counted_requests() - before
        return seconds, answer["output"]

    def clear(self):
        """Removes everything in the place, after a case that failed."""
        self.run("find", self.directory, "-mindepth", "1", "-delete")

    def close(self):
        self._agent.stdin.close()
        try:
            self._agent.wait(timeout=60)
        except subprocess.TimeoutExpired:
            # It is at a program that was interrupted.
            self._agent.kill()
            self._agent.wait()
        self._agent.stdout.close()

    # What a daemon tells, and what the kernel tells of it.

    @property
    def statistics(self):
        """spoolfs's own numbers; nothing elsewhere."""
        if self.setting.kind != "spoolfs":
            return {}
        return json.loads((self.directory / ".spoolfs/stats").read_text())["mount"]

    def counted_requests(self):
        """How many requests the daemon has had that somebody waited for; None where nobody counts."""
        if self.setting.kind != "spoolfs":
            return None
        unanswered = {"FORGET", "BATCH_FORGET", "RELEASE", "RELEASEDIR", "INTERRUPT", "NOTIFY_REPLY"}
        try:
            requests = self.statistics.get("requests", {})
        except (OSError, ValueError, KeyError) as error:
            raise CaseFailed(f"no statistics: {error}") from None
        return sum(count for name, count in requests.items() if name not in unanswered)

    @property
    def daemon_seconds(self):
        """Processor time that the daemons have used."""
        files = [file for process in self.daemons for file in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat")]
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    @property
    def daemon_user_seconds(self):
        """Processor time that the daemons have used outside of the kernel, in its ticks; None where there is none."""
        if not self.daemons:
            return None
        try:
            statuses = [pathlib.Path(f"/proc/{process}/stat").read_text() for process in self.daemons]
        except OSError as error:
            raise CaseFailed(f"the daemon has gone: {error}") from None
        return sum(int(status.rpartition(")")[2].split()[11]) for status in statuses) / os.sysconf("SC_CLK_TCK")

    def daemon_memory(self, field="VmRSS"):
        """A line of the daemons' /proc/PID/status, in bytes."""
        total = 0
        for process in self.daemons:
            for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    total += int(line.split()[1]) << 10
        return total


@functools.cache
def built(product):
    """The executable of a product, after a release build that brings it up to date."""
    root = HERE.parent
    build = ["swift", "build", "--package-path", root, "-c", "release", "--product", product]
    subprocess.run(build, check=True, stdout=sys.stderr)
    return root / ".build/release" / product


def processes_of(executable):
    """The processes that run an executable."""
    executable, found = os.path.realpath(executable), set()
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.readlink(f"/proc/{entry}/exe") == executable:
                found.add(int(entry))
    return found


class Places(contextlib.ExitStack):
    """Makes places, and unmounts and removes all of them at the end, however it comes."""

    def __init__(self, scratch):
        super().__init__()
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="places-", dir=scratch))
        self.callback(lambda: self.scratch.rmdir())
        self.all = []

    def _add(self, setting, launcher=(), directory=None):
        place = Place(setting, launcher, directory)
        self.callback(place.close)
        self.all.append(place)
        return place

    def _fresh(self, name):
        directory = self.scratch / name
        directory.mkdir()
        self.callback(lambda: directory.rmdir())
        return directory

    def _unmount_at_exit(self, directory, *command):
        def unmount():
            if subprocess.run([*command, directory]).returncode != 0:
                detach = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
                subprocess.run([*detach, directory])

        self.callback(unmount)

    def add(self, setting, spoolfs, options):
        """A place by its name's meaning. `options` are for spoolfs."""
        # The place's own: what was found of one says nothing of the next.
        setting = dataclasses.replace(setting)
        if setting.kind == "tmpfs":
            return self.add_tmpfs()
        if setting.kind == "disk":
            return self.add_directory("disk", SPILL_DIRECTORY, "disk")
        if setting.kind == "null":
            return self.add_null(setting)
        others = processes_of(spoolfs)
        with naming.RingSwitch() if setting.transport == "ring" else contextlib.nullcontext():
            place = self._add_spoolfs(setting, spoolfs, [*options, *setting.options()])
            place.daemons = sorted(processes_of(spoolfs) - others)
            place.idle_memory = place.daemon_memory()
            if "transport" in place.statistics:
                place.setting.transport = place.statistics["transport"]
        return place

    def _add_spoolfs(self, setting, spoolfs, options):
        if setting.session == "run":
            return self._add(setting, launcher=[spoolfs, "run", *options, "--"])
        directory = self._fresh(setting.name)
        subprocess.run([spoolfs, "mount", *options, directory], check=True)
        self._unmount_at_exit(directory, spoolfs, "unmount")
        return self._add(setting, directory=directory)

    def add_tmpfs(self):
        """A tmpfs of its own where it may mount one, else a directory of the machine's."""
        if os.geteuid() != 0:
            return self.add_directory("tmpfs", "/dev/shm", "tmpfs")
        directory = self._fresh("tmpfs")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", directory], check=True)
        self._unmount_at_exit(directory, "umount")
        return self._add(Setting("tmpfs", "tmpfs"), directory=directory)

    def add_directory(self, name, parent, kind="directory"):
        """A directory of its own below `parent`."""
        directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
        self.callback(shutil.rmtree, directory, ignore_errors=True)
        return self._add(Setting(name, kind), directory=directory)

    def add_memfs(self, name, source, options=()):
        """libfuse's example of a memory filesystem, compiled from `source`, in its default configuration."""
        program = self.scratch.parent / "memfs_program"
        if not program.exists():
            flags = subprocess.run(
                ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True
            ).stdout.split()
            subprocess.run(["c++", "-std=c++20", "-O2", "-w", source, "-o", program, *flags], check=True)
        directory = self._fresh(name)
        return self._serve(Setting(name, "memfs"), directory, program, "-f", *options, directory)

    def add_null(self, setting):
        """A filesystem that does nothing, over a transport of spoolfs."""
        directory = self._fresh(setting.name)
        cache = naming.CACHES[setting.cache or naming.DEFAULT_CACHE]
        with naming.RingSwitch() if setting.transport == "ring" else contextlib.nullcontext():
            return self._serve(setting, directory, built("NullFileSystem"), directory, setting.transport or "auto", cache)

    def _serve(self, setting, directory, program, *arguments):
        """A place that a program in the foreground serves, in a session of its own as a daemon would be, but under `run`."""
        others = processes_of(program)
        session = [] if setting.session == "run" else ["setsid", "--wait"]
        daemon = subprocess.Popen([*session, program, *arguments], cwd="/")
        self.callback(daemon.wait)
        self._unmount_at_exit(directory, "umount" if os.geteuid() == 0 else "fusermount3", *(
            [] if os.geteuid() == 0 else ["-u"]))
        while daemon.poll() is None and not os.path.ismount(directory):
            os.sched_yield()
        if not os.path.ismount(directory):
            raise RuntimeError(f"{setting.name}: {program} ended with status {daemon.poll()} and has not mounted")
        place = self._add(setting, directory=directory)
        place.daemons = sorted(processes_of(program) - others)
        return place
