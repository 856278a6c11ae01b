"""The ratios of scripts/bench as an SVG: a row for each case, a mark for each place, on a logarithmic scale.

Nothing but text is needed for that, so there is no plotting library. Colours are by class, and follow the reader's choice
of light or dark; each place has a shape of its own too, for those who do not see colours apart.
"""

import html
import math

from cases import SUITES

LEFT, WIDTH, RIGHT, ROW, TITLE = 150, 640, 24, 20, 26

#: On light and on dark ground.
COLOURS = [("#0067b1", "#58b2ff"), ("#c2410c", "#ff9d5c"), ("#00795a", "#3ddbb0"), ("#a8267f", "#f59ad2"),
           ("#6d5a00", "#e6d04a"), ("#5b3fb5", "#b5a1ff"), ("#4d5560", "#b4bdc8"), ("#8c1c2c", "#ff8f9c")]

SHAPES = ["circle", "square", "diamond", "up", "down", "cross", "plus", "bar"]


def svg(results):
    places = [place for place in results.places
              if any(results.cost(case, place) is not None for case in results.cases)]
    groups = [(suite, about, _rows(results, suite, places)) for suite, (about, _) in SUITES.items()]
    groups = [group for group in groups if group[2]]
    ratios = [ratio for _, _, rows in groups for _, _, of_row in rows for ratio in of_row.values()]
    if not ratios:
        raise RuntimeError("there are no ratios to plot")
    return Plot(places, groups, Scale(min(ratios), max(ratios))).text()


def _rows(results, suite, places):
    """(name, about, {place: ratio}) for each case that has any."""
    rows = []
    for case in results.cases:
        if case.suite == suite:
            ratios = {place: results.cost(case, place) for place in places}
            rows.append((case.name, case.about, {place: ratio for place, ratio in ratios.items() if ratio}))
    if suite == "macro":
        means = {place: results.mean_cost(suite, place) for place in places}
        rows.append(("geometric mean", "of the macro suite", {place: mean for place, mean in means.items() if mean}))
    return [row for row in rows if row[2]]


class Scale:
    """Ratios to x, with lines at 1, 2 and 5 of each power of ten."""

    def __init__(self, least, most):
        self.low, self.high = min(least, 1) / 1.15, max(most, 1) * 1.15
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (step * 10**power for power in powers for step in (1, 2, 5))
        self.ticks = [tick for tick in steps if self.low <= tick <= self.high]

    def x(self, ratio):
        return LEFT + WIDTH * math.log(ratio / self.low) / math.log(self.high / self.low)


class Plot:
    def __init__(self, places, groups, scale):
        self.places = places
        self.groups = groups
        self.scale = scale

    def text(self):
        columns = 4
        legend_rows = -(-len(self.places) // columns)
        top = 16 + ROW * legend_rows + 12
        body, y = [], top + 18
        for suite, about, rows in self.groups:
            body.append(f'<text class="title" x="{LEFT}" y="{y + 16}">{html.escape(f"{suite}: {about}")}</text>')
            y += TITLE
            for row in rows:
                body += self._row(row, y + ROW / 2)
                y += ROW
            y += 6
        legend = [part for number, place in enumerate(self.places)
                  for part in self._entry(number, 20 + number % columns * 200, 16 + ROW * (number // columns))]
        width, height = LEFT + WIDTH + RIGHT, y + 22
        return "\n".join([self._head(width, height), *legend, *self._grid(top + 12, y), *body, "</svg>", ""])

    def _head(self, width, height):
        def colours(index):
            return " ".join(f".p{number} {{ color: {pair[index]} }}" for number, pair in enumerate(COLOURS))

        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" \
role="img" aria-label="Time in times that of tmpfs, by case and place">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #1f2328 }}
.title {{ font-weight: 600 }}
.small {{ font-size: 11px }}
.grid {{ stroke: #1f2328; stroke-opacity: .14 }}
.one {{ stroke: #1f2328; stroke-opacity: .75 }}
.mark {{ fill: currentColor; fill-opacity: .85; stroke: currentColor; stroke-width: 1.6 }}
{colours(0)}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }}
.grid, .one {{ stroke: #e6edf3 }}
{colours(1)}
}}
</style>"""

    def _grid(self, top, bottom):
        for tick in self.scale.ticks:
            x = self.scale.x(tick)
            kind = "one" if tick == 1 else "grid"
            yield f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
            for y in (top - 4, bottom + 14):
                yield f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{y}">{tick:g}×</text>'

    def _row(self, row, y):
        name, about, ratios = row
        yield (f'<text text-anchor="end" x="{LEFT - 10}" y="{y + 4}">{html.escape(name)}'
               f"<title>{html.escape(about)}</title></text>")
        yield f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{LEFT + WIDTH}" y2="{y}"/>'
        for place, ratio in ratios.items():
            label = html.escape(f"{name}, {place}: {ratio:.2f}×")
            yield self._mark(self.places.index(place), self.scale.x(ratio), y, f"<title>{label}</title>")

    def _entry(self, number, x, y):
        yield self._mark(number, x, y)
        yield f'<text x="{x + 10}" y="{y + 4}">{html.escape(self.places[number])}</text>'

    @staticmethod
    def _mark(number, x, y, inner=""):
        r = 4.2
        paths = {
            "circle": f"M{x - r:.1f} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
            "square": f"M{x - r + .6:.1f} {y - r + .6:.1f}h{2 * r - 1.2:.1f}v{2 * r - 1.2:.1f}h{1.2 - 2 * r:.1f}Z",
            "diamond": f"M{x:.1f} {y - r - 1}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}Z",
            "up": f"M{x:.1f} {y - r - .5}l{r + .6} {2 * r}h{-2 * r - 1.2}Z",
            "down": f"M{x:.1f} {y + r + .5}l{r + .6} {-2 * r}h{-2 * r - 1.2}Z",
            "cross": f"M{x - r:.1f} {y - r}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
            "plus": f"M{x - r - .6:.1f} {y}h{2 * r + 1.2}M{x:.1f} {y - r - .6}v{2 * r + 1.2}",
            "bar": f"M{x:.1f} {y - r - 1}v{2 * r + 2}",
        }
        shape = SHAPES[number % len(SHAPES)]
        return f'<path class="mark p{number % len(COLOURS)}" d="{paths[shape]}">{inner}</path>'
