"""The directories that scripts/bench compares: spoolfs in several ways, and others beside it."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


class Unsupported(Exception):
    """The place cannot do what a case asks of it."""


class CaseFailed(Exception):
    """A program of a case failed in the place."""


class Place:
    """A directory under test, and the agent that runs programs on it."""

    def __init__(self, name, launcher=(), directory=None):
        self.name = name
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
        """Runs a command, which must succeed; returns the seconds it took and what it wrote."""
        self._agent.stdin.write(json.dumps({"command": [str(word) for word in command]}) + "\n")
        self._agent.stdin.flush()
        answer = self._answer()
        if answer["status"] != 0:
            raise CaseFailed(f"{command[0]}: {(answer['errors'].splitlines() or ['no message'])[0]}")
        return answer["seconds"], answer["output"]

    def clear(self):
        """Removes everything in the place, after a case that failed."""
        self.run("find", self.directory, "-mindepth", "1", "-delete")

    def close(self):
        self._agent.stdin.close()
        self._agent.wait(timeout=60)
        self._agent.stdout.close()


class Places(contextlib.ExitStack):
    """Makes places, and unmounts and removes all of them at the end, however it comes."""

    def __init__(self, scratch):
        super().__init__()
        self.scratch = scratch
        self.all = []

    def _add(self, name, launcher=(), directory=None):
        place = Place(name, launcher, directory)
        self.callback(place.close)
        self.all.append(place)

    def _fresh(self, name):
        directory = self.scratch / name
        directory.mkdir()
        return directory

    def _unmount_at_exit(self, directory, *command):
        def unmount():
            if subprocess.run([*command, directory]).returncode != 0:
                detach = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
                subprocess.run([*detach, directory])

        self.callback(unmount)

    def add_tmpfs(self):
        """A tmpfs of its own where it may mount one, else a directory of the machine's."""
        if os.geteuid() == 0:
            directory = self._fresh("tmpfs")
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", directory], check=True)
            self._unmount_at_exit(directory, "umount")
            self._add("tmpfs", directory=directory)
        else:
            self.add_directory("tmpfs", "/dev/shm")

    def add_directory(self, name, parent):
        """A directory of its own below `parent`."""
        directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
        self.callback(shutil.rmtree, directory, ignore_errors=True)
        self._add(name, directory=directory)

    def add_mount(self, name, spoolfs, options):
        """spoolfs mounted in the background: its daemon runs in another session than the programs."""
        directory = self._fresh(name)
        subprocess.run([spoolfs, "mount", *options, directory], check=True)
        self._unmount_at_exit(directory, spoolfs, "unmount")
        self._add(name, directory=directory)

    def add_run(self, name, spoolfs, options):
        """The programs run under `spoolfs run`."""
        self._add(name, launcher=[spoolfs, "run", *options, "--"])

    def add_memfs(self, name, source, options=()):
        """libfuse's example of a memory filesystem, compiled from `source`, in its default configuration."""
        program = self.scratch / "memfs_program"
        if not program.exists():
            flags = subprocess.run(
                ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True
            ).stdout.split()
            subprocess.run(["c++", "-std=c++20", "-O2", "-w", source, "-o", program, *flags], check=True)
        directory = self._fresh(name)
        # In the foreground and a session of its own, as a daemon would be.
        daemon = subprocess.Popen(["setsid", "--wait", program, "-f", *options, directory], cwd="/")
        self.callback(daemon.wait)
        self._unmount_at_exit(directory, "umount" if os.geteuid() == 0 else "fusermount3", *(
            [] if os.geteuid() == 0 else ["-u"]))
        while daemon.poll() is None and not os.path.ismount(directory):
            os.sched_yield()
        self._add(name, directory=directory)
