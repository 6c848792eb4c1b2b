"""Charts of the HTML report, as inline SVG: colours come from the page's style sheet, so they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

TOP, BOTTOM = 24, 30
MOST_POINTS = 450
MOST_TICKS = 9
LABEL_DISTANCE = 40
"""Between the middles of two labels of an axis at the least."""
LABEL_WIDTH = 22
"""Of the label of a mark or two."""
SMALLEST_MS = 1e-6
"""What a logarithmic axis can begin with."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a drawing, in its own units: letters are 11 of them high, so one for a phone is a small one. `steps`: into how
    many the axis of time is to be divided."""

    width: int
    height: int = 240
    left: int = 66
    right: int = 12
    steps: int = 8

    @property
    def end(self) -> int:
        """Where the frame ends to the right."""
        return self.width - self.right

    @property
    def floor(self) -> int:
        """Where the frame ends below."""
        return self.height - BOTTOM


BROAD = Size(900)
NARROW = Size(400, left=46, right=8, steps=4)


@dataclass(frozen=True, slots=True)
class Line:
    """`css` is the class that colours it; a gap is where x is further from the point before than `gap`."""

    name: str
    css: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Area:
    """What lies between two lines, faint in the colour of `css`; there is none where `high` is 0."""

    name: str
    css: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the x axis with a name."""

    start: float
    end: float
    name: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the x axis, with the number under which it is explained; `css` is the class that colours it."""

    at: float
    label: str
    css: str
    text: str


def line_chart(
    title: str,
    unit: str,
    lines: Sequence[Line],
    bands: Sequence[Part] = (),
    *,
    gap: float = 0.0,
    marks: Sequence[Mark] = (),
    areas: Sequence[Area] = (),
    size: Size = BROAD,
) -> str:
    """Lines over seconds, from zero, in front of `areas`. Empty if there are no lines."""
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    if not points:
        return ""
    high = nice_ceiling(max([y for _, y in points] + [y for area in areas for y in area.high]))
    last = max([x for x, _ in points] + [band.end for band in bands])
    step = nice_ceiling(max(last, 1e-9) / size.steps)
    width = max(last, 1e-9)

    def sx(x: float) -> float:
        return size.left + x / width * (size.end - size.left)

    def sy(y: float) -> float:
        return size.floor - y / high * (size.floor - TOP)

    parts = [_open(f"{title} ({unit}) over time", size)]
    for number, band in enumerate(bands):
        x, w = sx(band.start), max(1.0, sx(band.end) - sx(band.start))
        parts.append(
            f'<rect class="band{number % 2}" x="{x:.1f}" y="{TOP}" width="{w:.1f}" height="{size.floor - TOP}"/>'
        )
        if w > 7 * len(band.name) + 6:
            parts.append(f'<text class="axis" x="{x + 4:.1f}" y="{TOP - 7}">{escape(band.name)}</text>')
    for quarter in range(5):
        y = high * quarter / 4
        parts.append(f'<line class="grid" x1="{size.left}" x2="{size.end}" y1="{sy(y):.1f}" y2="{sy(y):.1f}"/>')
        parts.append(f'<text class="axis" text-anchor="end" x="{size.left - 6}" y="{sy(y) + 4:.1f}">{short(y)}</text>')
    for number in range(int(width / step) + 1):
        x = number * step
        anchor = "end" if x > width * 0.97 else "middle"
        parts.append(
            f'<text class="axis" text-anchor="{anchor}" x="{sx(x):.1f}" y="{size.height - 10}">{short(x)} s</text>'
        )
    for area in areas:
        for lower, upper in _pieces(area, bands, gap):
            outline = [(sx(x), sy(y)) for x, y in [*upper, *reversed(lower)]]
            shape = "L".join(f"{x:.1f} {y:.1f}" for x, y in outline)
            parts.append(f'<path class="area {area.css}" d="M{shape}Z"/>')
    parts += [
        _path([(sx(x), sy(y)) for x, y in segment], line.css) for line in lines for segment in _runs(line, bands, gap)
    ]
    shown = [(sx(mark.at), mark) for mark in marks if 0 <= mark.at <= width]
    for x, mark in shown:
        parts.append(
            f'<line class="mark {mark.css}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{size.floor}">'
            f"<title>{escape(mark.text)}</title></line>"
        )
    for number, (x, css, label) in enumerate(mark_labels(shown)):
        y = TOP + 10 + 12 * (number % 2)
        parts.append(f'<text class="label {css}" text-anchor="middle" x="{x:.1f}" y="{y}">{escape(label)}</text>')
    parts.append("</svg>")
    return "".join(parts)


def mark_labels(marks: Sequence[tuple[float, Mark]]) -> list[tuple[float, str, str]]:
    """Where, in which class and what: moments that are close together have one label, such as `2-4`, of the gravest
    class. `marks` are in the order of their places."""
    groups: list[list[tuple[float, Mark]]] = []
    for x, mark in marks:
        if groups and x - groups[-1][0][0] < LABEL_WIDTH:
            groups[-1].append((x, mark))
        else:
            groups.append([(x, mark)])
    made = []
    for group in groups:
        first, last = group[0][1], group[-1][1]
        css = next(css for css in ("bad", "warn", "good") if any(mark.css == css for _, mark in group))
        made.append((group[0][0], css, first.label if first is last else f"{first.label}-{last.label}"))
    return made


def percentile_chart(lines: Sequence[Line], size: Size = BROAD) -> str:
    """Latency in ms (logarithmic) over the share of operations; x is the share, from 0 to below 1."""
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True) if y >= SMALLEST_MS]
    if not points:
        return ""
    ticks = decade_steps(min(y for _, y in points), max(y for _, y in points))
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    nines = max(2.0, math.ceil(max(-math.log10(1 - x) for x, _ in points)))

    def sx(share: float) -> float:
        return size.left + min(1.0, -math.log10(1 - share) / nines) * (size.end - size.left)

    def sy(y: float) -> float:
        return size.floor - (math.log10(y) - low) / (high - low) * (size.floor - TOP)

    parts = [_open("latency in milliseconds over the share of operations", size)]
    for tick in ticks:
        y = sy(tick)
        parts.append(f'<line class="grid" x1="{size.left}" x2="{size.end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" text-anchor="end" x="{size.left - 6}" y="{y + 4:.1f}">{short(tick)}</text>')
    shares = [share for share in (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999) if -math.log10(1 - share) <= nines]
    for share in shares:
        x = sx(share)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{size.floor}"/>')
        if share != 0.5 or x - size.left > LABEL_DISTANCE:
            at = f'text-anchor="{"end" if x > size.width - 40 else "middle"}" x="{x:.1f}" y="{size.height - 10}"'
            parts.append(f'<text class="axis" {at}>{share * 100:.4g} %</text>')
    for line in lines:
        inside = [(sx(x), sy(y)) for x, y in zip(line.x, line.y, strict=True) if y >= SMALLEST_MS]
        parts.append(_path(inside, line.css))
    parts.append("</svg>")
    return "".join(parts)


def legend(lines: Sequence[Line], areas: Sequence[Area] = ()) -> str:
    keys = "".join(f'<span><i class="{line.css}"></i>{escape(line.name)}</span>' for line in lines)
    keys += "".join(f'<span><i class="wash {area.css}"></i>{escape(area.name)}</span>' for area in areas)
    return f'<p class="legend">{keys}</p>'


def thinned(x: Sequence[float], y: Sequence[float], *, peaks: bool = False) -> tuple[list[float], list[float]]:
    """At most `MOST_POINTS` points: means of neighbours, or their maxima."""
    step = -(-len(x) // MOST_POINTS)
    if step <= 1:
        return list(x), list(y)
    groups = range(0, len(x), step)
    values = [max(y[n : n + step]) if peaks else sum(y[n : n + step]) / len(y[n : n + step]) for n in groups]
    return [x[n] for n in groups], values


def decade_steps(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis from `low` or below to `high` or above: 1, 2 and 5 times powers of ten, powers alone
    if there were too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)
    steps = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    first = max(n for n, step in enumerate(steps) if step <= low * (1 + 1e-12))
    last = min(n for n, step in enumerate(steps) if step >= high * (1 - 1e-12) and n > first)
    found = steps[first : last + 1]
    return found if len(found) <= MOST_TICKS else [10.0**power for power in powers if 10.0**power < 10 * high]


def nice_ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 4, 5, 8 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10, 20) if step * power >= value * (1 - 1e-12))


def short(value: float) -> str:
    """Three significant digits at most, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _open(label: str, size: Size) -> str:
    return f'<svg viewBox="0 0 {size.width} {size.height}" role="img" aria-label="{escape(label)}">'


def _pieces(area: Area, bands: Sequence[Part], gap: float) -> list[tuple[list[tuple[float, float]], ...]]:
    """Its lower and its upper edge, cut as lines are, and where there is none."""
    known = [(x, low, high) for x, low, high in zip(area.x, area.low, area.high, strict=True) if high > 0]
    if not known:
        return []
    x, low, high = zip(*known, strict=True)
    edges = [_runs(Line(area.name, area.css, x, side), bands, gap) for side in (low, high)]
    return [pair for pair in zip(*edges, strict=True) if len(pair[0]) > 1]


def _runs(line: Line, bands: Sequence[Part], gap: float) -> list[list[tuple[float, float]]]:
    """The line in pieces, cut where a band begins and where time passed without a point."""
    pieces: list[list[tuple[float, float]]] = []
    for x, y in zip(line.x, line.y, strict=True):
        before = pieces[-1][-1][0] if pieces else x
        if not pieces or (gap and x - before > gap) or any(before <= band.start < x for band in bands):
            pieces.append([])
        pieces[-1].append((x, y))
    return pieces


def _path(points: Sequence[tuple[float, float]], css: str) -> str:
    if len(points) == 1:
        x, y = points[0]
        return f'<circle class="{css} dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{css}" d="{path}"/>'
