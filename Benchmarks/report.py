"""The results of scripts/bench as text: tables, what the transport takes, and the marks."""

import large
import marks
from cases import SUITES
from results import UNITS

#: Cases that are hardly more than requests, with little data.
REQUESTS = ["cycle", "tmpfile", "unlinked", "rename", "mkdir", "append-100", "append-4k", "write-4k"]


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


def null_time(results, case, place):
    """What an operation would take if the filesystem did nothing: what it takes on the null filesystem of the same
    transport and cache, if that was measured; else tmpfs's time, and a round trip for each request.

    A round trip is `lookup` less what it takes on tmpfs. Its answer is an error without content and the tree finds
    nothing, so hardly anything but the transport is in it.
    """
    setting = results.setting(place)
    for other in results.settings:
        if other.kind == "null" and setting.session == "mount" and (
                (other.transport, other.effective_cache) == (setting.transport, setting.effective_cache)):
            if (time := results.median(case, other.name)) is not None:
                return time
    requests = results.requests.get(case, {}).get(place)
    times = [results.median("lookup", place), results.median("lookup", "tmpfs"), results.median(case, "tmpfs")]
    if requests is None or None in times:
        return None
    return times[2] + requests * (times[0] - times[1])


def _transport(results):
    rows = []
    for case in results.cases:
        if case.name not in REQUESTS and case.suite != "macro":
            continue
        for place, requests in results.requests.get(case.name, {}).items():
            limit, measured = null_time(results, case.name, place), results.median(case.name, place)
            if limit is not None and measured is not None and requests >= 0.9:
                rows.append([case.name, place, f"{requests:.{0 if requests > 100 else 1}f}", shown(case.unit, limit),
                             shown(case.unit, measured), f"{measured / limit:.2f}"])
    if not rows:
        return None
    about = "requests of an operation, and what it would take if they did nothing: the limit of the transport\n"
    return about + aligned([["", "place", "requests", "limit", "measured", "ratio"], *rows], left=2)


def _marks(results):
    outcomes = marks.outcomes(results)
    if not outcomes:
        return None
    rows = [["mark", "place", "measured", "wanted", ""]]
    rows += [[outcome.about, outcome.place, outcome.shown, outcome.wanted, outcome.verdict] for outcome in outcomes]
    missing = [mark.about for mark in marks.MARKS if mark.about not in {outcome.about for outcome in outcomes}]
    summary = "".join(f"not measured: {about}\n" for about in missing)
    return aligned(rows, left=2) + summary
