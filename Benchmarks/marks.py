"""What spoolfs is to reach in scripts/bench, and whether it does.

A mark is a ratio of two figures of one run, so that it holds on other machines too. It is looked at in every place that it
speaks of: under `run` and in a mount of another session alike.
"""

import dataclasses
import typing

from naming import DEFAULT_CACHE
from results import UNITS


@dataclasses.dataclass(frozen=True)
class Mark:
    """`measure` takes results and a place, and returns the ratio or None."""

    about: str
    is_for: typing.Callable  # of a Setting
    measure: typing.Callable
    limit: float
    at_least: bool = False
    unit: str = "×"


@dataclasses.dataclass(frozen=True)
class Outcome:
    about: str
    place: str
    shown: str
    wanted: str
    is_met: bool

    @property
    def verdict(self):
        return "met" if self.is_met else "not met"


def over(transport=None, cache=None):
    """Places of spoolfs with that transport and cache; `default`: the cache that spoolfs has by itself."""

    def matches(setting):
        if setting.kind != "spoolfs" or transport not in (None, setting.transport):
            return False
        wanted = DEFAULT_CACHE if cache == "default" else cache
        return wanted in (None, setting.effective_cache)

    return matches


def against(case, other_place="tmpfs", other_case=None):
    """The case's ratio to a case elsewhere. Of rates this is speed, of times it is cost."""
    return lambda results, place: results.ratio(case, place, other_case or case, other_place)


def time_of_two(results, place):
    return results.ratio("cycle-2", place, "cycle", place)


def throughput_of_two(results, place):
    ratio = time_of_two(results, place)
    return ratio and 2 / ratio


def idle(results, place):
    value = results.median("idle", place)
    return None if value is None else value * UNITS["ms/s"][0]


MARKS = [
    Mark("cycle, ring, write-through: of tmpfs", over("ring", "writethrough"), against("cycle"), 3.4),
    Mark("cycle, ring, write-through: of memfs_ll", over("ring", "writethrough"), against("cycle", "memfs_ll"), 0.2),
    Mark("cycle, ring, writeback: of tmpfs", over("ring", "writeback"), against("cycle"), 5),
    Mark("cycle, device, write-through: of tmpfs", over("device", "writethrough"), against("cycle"), 4.5),
    Mark("cycle on busy processors, ring, write-through: of tmpfs", over("ring", "writethrough"), against("cycle-busy"), 3.4),
    Mark("cycle on busy processors, ring, writeback: of tmpfs", over("ring", "writeback"), against("cycle-busy"), 5),
    Mark("cycle on busy processors, device, write-through: of tmpfs", over("device", "writethrough"),
         against("cycle-busy"), 4.5),
    Mark("cycle, device, two clients: time of one", over("device"), time_of_two, 1.6),
    Mark("tmpfile, ring, write-through: of tmpfs's unlinked", over("ring", "writethrough"),
         against("tmpfile", other_case="unlinked"), 2.5),
    Mark("tmpfile, ring, writeback: of tmpfs's unlinked", over("ring", "writeback"),
         against("tmpfile", other_case="unlinked"), 3),
    Mark("append of 100 bytes, writeback: of tmpfs", over(cache="writeback"), against("append-100"), 2),
    Mark("write of a new file, default: speed of tmpfs", over(cache="default"), against("write"), 0.9, True),
    Mark("write of a new file, no cache: speed of tmpfs", over(cache="nocache"), against("write"), 1.5, True),
    Mark("read, cached: speed of tmpfs", over(cache="default"), against("reread"), 1.0, True),
    # Two readings of "uncached": what the page cache does not have yet, and a mount without one.
    Mark("read, not cached yet: speed of tmpfs", over(cache="default"), against("read"), 0.7, True),
    Mark("read, no cache: speed of tmpfs", over(cache="nocache"), against("read"), 0.7, True),
    Mark("macro suite, geometric mean: of tmpfs", over(cache="default"),
         lambda results, place: results.mean_cost("macro", place), 1.2),
    Mark("macro suite, geometric mean: of the disk", over(cache="default"),
         lambda results, place: results.mean_cost("macro", place, "disk"), 1),
    Mark("spilled stream of 4 GB: speed of the disk", over(cache="default"), against("spill-write", "disk"), 0.9, True),
    Mark("two clients, ring: throughput of one", over("ring"), throughput_of_two, 1.7, True),
    Mark("idle: processor time, ms/s", over(), idle, 0.1, unit=""),
]


def outcomes(results):
    """An outcome for each mark and each place it speaks of, where both of its figures were measured."""
    found = []
    for mark in MARKS:
        for setting in filter(mark.is_for, results.settings):
            value = mark.measure(results, setting.name)
            if value is None:
                continue
            is_met = value >= mark.limit if mark.at_least else value <= mark.limit
            wanted = f"{'at least' if mark.at_least else 'at most'} {mark.limit:g}{mark.unit}"
            found.append(Outcome(mark.about, setting.name, f"{value:.2f}{mark.unit}", wanted, is_met))
    return found
