"""What scripts/bench measures of large data and of many files: the suites `spill` and `scale`."""

import os

from cases import Case, measures, run_client
from places import SPILL_DIRECTORY, Unsupported

GIB = 1 << 30


def _needs_disk(place, materials, bytes_):
    """No room is no failure; neither are streams that tmpfs would have to hold in memory."""
    free = os.statvfs(SPILL_DIRECTORY if place.setting.kind == "spoolfs" else place.directory)
    if place.setting.kind == "tmpfs" or free.f_bavail * free.f_frsize < bytes_ + GIB:
        raise Unsupported


def _spill_bytes(materials):
    return GIB // 2 if materials.quick else 4 * GIB


def _spill(name, operation, about):
    @measures(Case(name, "MB/s", about, "spill", baseline="disk"))
    def sample(place, materials):
        _needs_disk(place, materials, _spill_bytes(materials))
        return run_client(place, materials, operation, bytes_=_spill_bytes(materials))


_spill("spill-write", "write", "new file of 4 GB through 256 MiB of memory, in pieces of 1 MiB; ratio to the disk itself")
_spill("spill-read", "read", "reading it for the first time; ratio to the disk itself")


# Scale. What grows linearly has the same figure at each size.

PHASES = ("create", "list", "stat", "remove")


def _many(count, title, per_directory, about, with_memory=False):
    """Cases for each phase, and for the daemon's memory."""
    cases = [Case(f"{phase}-{title}", "µs", f"{phase} {about}, for each", "scale") for phase in PHASES]
    memory = Case(f"memory-{title}", "B", f"what the daemon's memory grew for {about}, for each", "scale", baseline=None)

    @measures(*cases, *([memory] if with_memory else []))
    def sample(place, materials):
        some = count // 100 if materials.quick else count
        samples, grown = [], None
        for phase in PHASES:
            _, output = place.run(materials.scale, phase, place.directory, some, per_directory)
            samples.append(float(output))
            if phase == "create" and place.daemons:
                grown = (place.daemon_memory() - place.idle_memory) / some
        return (*samples, grown) if with_memory else tuple(samples)


for _count, _title in [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")]:
    _many(_count, _title, 1_000, f"{_count:,} files in directories of 1,000", with_memory=True)
for _count, _title in [(1_000, "dir-1k"), (10_000, "dir-10k"), (100_000, "dir-100k")]:
    _many(_count, _title, _count, f"{_count:,} files in one directory")


def _clients(clients):
    @measures(Case(f"clients-{clients}", "µs", f"cycle, by {clients} at once; time for one cycle of all", "scale"))
    def sample(place, materials):
        return run_client(place, materials, "cycle", clients=clients) / clients


for _number in (1, 4, 16):
    _clients(_number)


def _long_stream(gigabytes):
    memory = Case(f"memory-stream-{gigabytes}g", "MiB", "daemon's most memory so far, after it", "scale", baseline=None)

    @measures(Case(f"stream-{gigabytes}g", "MB/s", f"new file of {gigabytes} GB through 1 GiB of memory", "scale", "disk"),
              memory)
    def sample(place, materials):
        bytes_ = gigabytes * GIB // (100 if materials.quick else 1)
        _needs_disk(place, materials, bytes_)
        rate = run_client(place, materials, "write", bytes_=bytes_)
        return rate, place.daemon_memory("VmHWM") if place.daemons else None


for _number in (2, 5, 20):
    _long_stream(_number)

#: Cases whose figures should be the same: from the smallest size to the largest.
GROWTH = [
    *([f"{phase}-{title}" for title in ("10k", "100k", "1m")] for phase in PHASES),
    *([f"{phase}-{title}" for title in ("dir-1k", "dir-10k", "dir-100k")] for phase in PHASES),
    ["clients-1", "clients-4", "clients-16"],
    ["stream-2g", "stream-5g", "stream-20g"],
]
