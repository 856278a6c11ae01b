"""How the places of scripts/bench are called, and what a name asks of spoolfs.

    [run|mount]-[null]-[ring|device|auto]-[writeback|writethrough|nocache]

in this order, one word or more. What a name leaves out is left to spoolfs's own default, but for the session: without
`run` it is a mount, whose daemon runs in another session than the programs. `null` is a filesystem that does nothing, over
the same transport.
"""

import dataclasses
import os
import pathlib

SESSIONS = ("run", "mount")
TRANSPORTS = ("ring", "device", "auto")
CACHES = {"writeback": "writeback", "writethrough": "writethrough", "nocache": "none"}

#: What spoolfs does where a name says nothing; the marks that speak of the default look here.
DEFAULT_CACHE = "writeback"

#: Sessions, transports and caches against each other would be 18 places. These show each of them, and all that has a mark.
PLACES = ["ring-writeback", "ring-writethrough", "ring-nocache", "run-ring-writethrough", "device-writethrough",
          "tmpfs", "disk"]
PLACES_OF_SCALE = ["ring-writeback", "device-writethrough", "tmpfs"]

SWITCH = pathlib.Path("/sys/module/fuse/parameters/enable_uring")


@dataclasses.dataclass
class Setting:
    """What a place is: `kind` is spoolfs, null, tmpfs, disk, memfs or directory."""

    name: str
    kind: str
    session: str | None = None
    transport: str | None = None
    cache: str | None = None

    @property
    def effective_cache(self):
        return self.cache or DEFAULT_CACHE

    def options(self):
        transport = [f"--transport={self.transport}"] if self.transport else []
        return transport + ([f"--cache={CACHES[self.cache]}"] if self.cache else [])


def parse(name):
    """The setting that a name stands for. Raises ValueError."""
    if name in ("tmpfs", "disk"):
        return Setting(name, name)
    left = name.split("-")

    def take(words):
        return left.pop(0) if left and left[0] in words else None

    session = take(SESSIONS) or "mount"
    kind = take(("null",)) or "spoolfs"
    setting = Setting(name, kind, session, take(TRANSPORTS), take(CACHES))
    if left:
        raise ValueError(f"no place called {name}: names are tmpfs, disk, or [run|mount]-[null]-[{'|'.join(TRANSPORTS)}]-"
                         f"[{'|'.join(CACHES)}]")
    if kind == "null" and setting.transport not in ("ring", "device"):
        raise ValueError(f"{name}: null needs a transport, ring or device")
    return setting


def without_ring(names):
    """The same places over the device, each once, for machines that have no ring."""
    return list(dict.fromkeys(name.replace("ring", "device") for name in names))


def is_ring_possible():
    return SWITCH.exists() and (SWITCH.read_text().strip() == "Y" or os.access(SWITCH, os.W_OK))


class RingSwitch:
    """The kernel's switch for FUSE over io_uring, on for a while. A connection keeps what it had when it was made."""

    def __enter__(self):
        if not SWITCH.exists():
            raise RuntimeError("this kernel has no FUSE over io_uring (Linux 6.14)")
        self.before = SWITCH.read_text()
        if self.before.strip() != "Y":
            try:
                SWITCH.write_text("Y")
            except PermissionError:
                raise RuntimeError(f"the ring is off, and root alone may write Y to {SWITCH}") from None

    def __exit__(self, *_):
        if self.before.strip() != "Y":
            SWITCH.write_text(self.before)
