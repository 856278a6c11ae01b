"""The results of scripts/bench as a table and as JSON."""

import datetime
import os
import platform
import statistics
import subprocess

#: Unit: factor from the sample (seconds or bytes per second), digits, and whether more is better.
UNITS = {"µs": (1e6, 1, False), "s": (1, 3, False), "MB/s": (1e-6, 0, True)}

BASELINE = "tmpfs"


def cost_ratio(case, sample, baseline):
    """How many times as long as the baseline, for rates too."""
    return baseline / sample if UNITS[case.unit][2] else sample / baseline


def medians(samples):
    return {place: statistics.median(values) for place, values in samples.items() if values}


def table(cases, results, places):
    """`results` is {case name: {place name: [sample]}}."""
    header = ["", "unit"] + [place.name for place in places]
    rows = [header]
    for case in cases:
        row, middle = [case.name, case.unit], medians(results[case.name])
        for place in places:
            row.append(_cell(case, middle.get(place.name), middle.get(BASELINE), place.name == BASELINE))
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    return "\n".join(lines) + f"\nIn brackets: how many times as long as on {BASELINE}. Medians.\n"


def _cell(case, sample, baseline, is_baseline):
    if sample is None:
        return "-"
    factor, digits, _ = UNITS[case.unit]
    value = f"{sample * factor:.{digits}f}"
    if is_baseline or baseline is None:
        return value
    return f"{value} ({cost_ratio(case, sample, baseline):.2f})"


def document(cases, results, places, arguments):
    """Everything, for programs. Samples are seconds, or bytes per second where the unit is a rate."""
    measured = {}
    for case in cases:
        middle = medians(results[case.name])
        baseline = middle.get(BASELINE)
        measured[case.name] = {
            "about": case.about,
            "unit": "bytes/s" if UNITS[case.unit][2] else "s",
            "samples": results[case.name],
            "median": middle,
            "ratio": {name: cost_ratio(case, value, baseline) for name, value in middle.items() if baseline},
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
        "places": [place.name for place in places],
        "cases": measured,
    }


def _commit():
    describe = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True)
    return done.stdout.strip() or None
