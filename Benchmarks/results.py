"""What scripts/bench measured: samples, medians and ratios; as JSON, and several runs as one."""

import dataclasses
import datetime
import math
import os
import platform
import statistics
import subprocess

from cases import RUNS, Case
from naming import Setting

#: Unit: factor from the sample (seconds, bytes, bytes per second), digits, and whether more is better.
UNITS = {"µs": (1e6, 1, False), "s": (1, 3, False), "MB/s": (1e-6, 0, True), "ms/s": (1e3, 3, False), "B": (1, 0, False),
         "MiB": (2**-20, 1, False)}


@dataclasses.dataclass
class Results:
    """Samples as {case name: {place name: [sample or None]}}. Samples with the same index were taken in one round."""

    cases: list
    settings: list
    samples: dict = dataclasses.field(default_factory=dict)
    requests: dict = dataclasses.field(default_factory=dict)
    #: Seconds that the daemon computed for a sample, not those in the kernel: {case name: {place name: [seconds]}}.
    daemon: dict = dataclasses.field(default_factory=dict)
    #: Whether all was measured that was to be; not where that was interrupted.
    is_complete: bool = True

    @property
    def places(self):
        return [setting.name for setting in self.settings]

    def add_settings(self, settings):
        """Adds those of places that are not known yet."""
        self.settings += [setting for setting in settings if setting.name not in self.places]

    def setting(self, place):
        return next(setting for setting in self.settings if setting.name == place)

    def case(self, name):
        return next((case for case in self.cases if case.name == name), None)

    def add(self, case, place, turn, sample):
        """Keeps a sample and, of one that knows them, the requests."""
        values = self.samples.setdefault(case.name, {}).setdefault(place, [])
        values += [None] * (turn - len(values)) + [None if sample is None else float(sample)]
        if (requests := getattr(sample, "requests", None)) is not None:
            self.requests.setdefault(case.name, {})[place] = requests
        if (daemon := getattr(sample, "daemon", None)) is not None:
            self.daemon.setdefault(case.name, {}).setdefault(place, []).append(daemon)

    def daemon_time(self, case, place):
        """What the daemon computed for a sample, on average, since the kernel counts in ticks; None where unknown."""
        values = self.daemon.get(case, {}).get(place)
        return statistics.fmean(values) if values else None

    def of(self, case, place):
        return self.samples.get(case, {}).get(place, [])

    def median(self, case, place):
        """None where there is no sample."""
        values = [value for value in self.of(case, place) if value is not None]
        return statistics.median(values) if values else None

    def ratio(self, case, place, other_case, other_place):
        """How many times as much as the other: the median of the rounds' ratios, or of all where rounds do not match."""
        pairs = [(value, other) for value, other in zip(self.of(case, place), self.of(other_case, other_place))
                 if value is not None and other]
        if pairs:
            return statistics.median(value / other for value, other in pairs)
        value, other = self.median(case, place), self.median(other_case, other_place)
        return value / other if value is not None and other else None

    def cost(self, case, place):
        """How many times as long as the case's baseline, for rates too. None where there is nothing to compare."""
        if case.baseline is None or case.baseline == place:
            return None
        ratio = self.ratio(case.name, place, case.name, case.baseline)
        if not ratio:
            return None
        return 1 / ratio if UNITS[case.unit][2] else ratio

    def mean_cost(self, suite, place, baseline="tmpfs"):
        """Geometric mean of a suite's ratios to the baseline; None unless all of its cases were measured in both."""
        names = [case.name for run in RUNS for case in run.cases if case.suite == suite]
        ratios = [self.ratio(name, place, name, baseline) for name in names]
        if not ratios or not all(ratios):
            return None
        return math.exp(statistics.fmean(map(math.log, ratios)))


def document(results, arguments):
    """Everything, for programs. Samples are seconds, bytes, or bytes per second where the unit is a rate."""
    measured = {}
    for case in results.cases:
        places = results.samples.get(case.name, {})
        measured[case.name] = dataclasses.asdict(case) | {
            "samples": places,
            "median": {place: results.median(case.name, place) for place in places},
            "ratio": {place: results.cost(case, place) for place in places},
            "requests": results.requests.get(case.name, {}),
            "daemon": results.daemon.get(case.name, {}),
        }
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg(),
        "arguments": arguments,
        "complete": results.is_complete,
        "places": [dataclasses.asdict(setting) for setting in results.settings],
        "cases": measured,
    }


def merged(documents):
    """The results of several runs: the rounds of a case follow each other, each beside what was measured with it."""
    results = Results([], [])
    for part in documents:
        results.is_complete &= part.get("complete", True)
        results.add_settings(Setting(**place) for place in part["places"])
        for name, measured in part["cases"].items():
            if results.case(name) is None:
                results.cases.append(Case(name, *(measured[field] for field in ("unit", "about", "suite", "baseline"))))
            case = results.case(name)
            start = max(map(len, results.samples.get(name, {}).values()), default=0)
            for place, values in measured["samples"].items():
                for number, value in enumerate(values):
                    results.add(case, place, start + number, value)
            results.requests.setdefault(name, {}).update(measured["requests"])
            for place, values in measured.get("daemon", {}).items():
                results.daemon.setdefault(name, {}).setdefault(place, []).extend(values)
    return results


def _commit():
    describe = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True)
    return done.stdout.strip() or None
