"""The results of scripts/bench as text: tables, what the transport takes, and the marks."""

import large
import marks
from cases import SUITES
from results import UNITS

#: Cases that are hardly more than requests, with little data.
REQUESTS = ["cycle", "cycle-2", "cycle-busy", "tmpfile", "unlinked", "rename", "mkdir", "append-100", "append-4k", "write-4k"]


def text(results):
    parts = []
    for suite, (about, _) in SUITES.items():
        if cases := [case for case in results.cases if case.suite == suite]:
            parts.append(f"{suite}: {about}\n{_suite_table(results, suite, cases)}")
    parts.append("In brackets: how many times as long as on tmpfs (spill and stream: on the disk itself). Medians.\n")
    parts += filter(None, [_growth(results), _transport(results), _marks(results)])
    return "\n".join(parts)


def shown(unit, value):
    factor, digits, _ = UNITS[unit]
    return "-" if value is None else f"{value * factor:.{digits}f}"


def aligned(rows, left=1):
    """Rows of cells as lines; the first `left` columns are flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) if column < left else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))) for row in rows)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _suite_table(results, suite, cases):
    places = [place for place in results.places if any(results.median(case.name, place) is not None for case in cases)]
    rows = [["", "unit", *places]]
    for case in cases:
        rows.append([case.name, case.unit, *(_cell(results, case, place) for place in places)])
    if suite == "macro" and "tmpfs" in places:
        means = (results.mean_cost(suite, place) for place in places)
        rows.append(["geometric mean", "", *("-" if mean is None else f"({mean:.2f})" for mean in means)])
    return aligned(rows, left=2)


def _cell(results, case, place):
    value = shown(case.unit, results.median(case.name, place))
    cost = results.cost(case, place)
    return value if cost is None else f"{value} ({cost:.2f})"


def _growth(results):
    """How much longer one item takes at the largest size than at the smallest: 1 is flat."""
    rows = []
    for names in large.GROWTH:
        first, last = results.case(names[0]), results.case(names[-1])
        if first is None or last is None:
            continue
        ratios = [results.ratio(last.name, place, first.name, place) for place in results.places]
        if UNITS[first.unit][2]:
            ratios = [ratio and 1 / ratio for ratio in ratios]
        rows.append([f"{names[0]} .. {names[-1]}", *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    if not rows:
        return None
    return "time for one at the largest size, in times that at the smallest\n" + aligned([["", *results.places], *rows])


def null_place(results, place):
    """The null filesystem with the same session, transport and cache; None if there was none."""
    setting = results.setting(place)
    for other in results.settings:
        if other.kind == "null" and (other.session, other.transport, other.effective_cache) == (
                setting.session, setting.transport, setting.effective_cache):
            return other.name
    return None


def _transport(results):
    """Of what is hardly more than requests, and of programs: how near it is to what the transport alone takes, and what of it
    the daemons compute. Each is left out where nothing of it was measured."""
    rows = []
    for case in results.cases:
        if case.name not in REQUESTS and case.suite != "macro":
            continue
        for place, requests in results.requests.get(case.name, {}).items():
            measured = results.median(case.name, place)
            if measured is None or requests < 0.9:
                continue
            null = null_place(results, place)
            ratio = null and results.ratio(case.name, place, case.name, null)
            daemon = results.daemon_time(case.name, place)
            rows.append([case.name, place, f"{requests:.{0 if requests > 100 else 1}f}", shown(case.unit, measured),
                         shown(case.unit, ratio and results.median(case.name, null)), f"{ratio:.2f}" if ratio else "-",
                         shown(case.unit, daemon)])
    if not rows:
        return None
    about = ("requests of an operation; on a filesystem that does nothing, over the same transport, and in how many times "
             "that\nit is done; processor time of the daemon's threads outside of the kernel, of programs\n")
    rows = [["", "place", "requests", "measured", "null", "ratio", "daemon"], *rows]
    kept = [column for column in zip(*rows) if set(column[1:]) != {"-"}]
    return about + aligned([list(row) for row in zip(*kept)], left=2)


def _marks(results):
    outcomes = marks.outcomes(results)
    if not outcomes:
        return None
    rows = [["mark", "place", "measured", "wanted", ""]]
    rows += [[outcome.about, outcome.place, outcome.shown, outcome.wanted, outcome.verdict] for outcome in outcomes]
    missing = [mark.about for mark in marks.MARKS if mark.about not in {outcome.about for outcome in outcomes}]
    summary = "".join(f"not measured: {about}\n" for about in missing)
    return aligned(rows, left=2) + summary
