"""Braille areas: two series from one axis, one up and one down, on one scale. Plain functions, no Textual.

A cell is two samples wide and four dots high. A cell has one colour, so two series never share one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DOTS = 4
_LEFT = (0, 0x40, 0x44, 0x46, 0x47)
_RIGHT = (0, 0x80, 0xA0, 0xB0, 0xB8)
_LEFT_FULL = _LEFT[DOTS]
_RIGHT_FULL = _RIGHT[DOTS]
_LEFT_DOT = (0x40, 0x04, 0x02, 0x01)
_RIGHT_DOT = (0x80, 0x20, 0x10, 0x08)
"""One dot of a column, from the bottom up."""
_BLANK = " "


@dataclass(frozen=True, slots=True)
class Split:
    """How many rows each series gets, and how much one dot is worth."""

    up: int
    down: int
    per_dot: float

    @property
    def top(self) -> float:
        """The value at the upper edge."""
        return self.up * DOTS * self.per_dot

    @property
    def bottom(self) -> float:
        """The value at the lower edge."""
        return self.down * DOTS * self.per_dot


def nice_ceiling(value: float) -> float:
    """The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten at or above `value`; 1 for nothing."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10):
        if value <= step * power * (1 + 1e-9):
            return step * power
    return 10 * power


def split_rows(peak_up: float, peak_down: float, rows: int, unit: float = 1.0) -> Split:
    """Deal `rows` (at least 2) to the two series in proportion to their peaks, each at least one. A row is worth a
    round number of `unit`s."""
    rows = max(2, rows)
    total = peak_up + peak_down
    up = round(rows * peak_up / total) if total > 0 else rows - rows // 2
    up = max(1, min(rows - 1, up))
    down = rows - up
    per_row = nice_ceiling(max(peak_up / up, peak_down / down) / unit) * unit if total > 0 else unit
    return Split(up, down, per_row / DOTS)


@dataclass(frozen=True, slots=True)
class Window:
    """Which samples a chart shows: `shown` of them from `first`, in a room for `span`."""

    first: int
    shown: int
    span: int

    def cell(self, index: int, cells: int) -> int:
        """The cell of `cells` in which sample `index` begins; negative if it is before the window."""
        return math.floor((index - self.first) * cells / self.span)


def window(samples: int, cells: int, least: int = 30) -> Window:
    """All samples as long as each has a dot (two dots a cell), then the last ones; at least room for `least`."""
    room = max(1, 2 * cells)
    shown = min(samples, room)
    return Window(samples - shown, shown, min(room, max(least, shown)))


def spread(values: Sequence[float], view: Window, cells: int) -> list[float]:
    """What each of the 2 * `cells` columns of dots shows; 0 where there is no sample yet."""
    columns = 2 * cells
    picked = (view.first + x * view.span // columns for x in range(columns))
    end = view.first + view.shown
    return [values[i] if i < end else 0.0 for i in picked]


def dots(value: float, per_dot: float, limit: int) -> int:
    """The height of a value in dots; what is not nothing has at least one."""
    if not value > 0 or not math.isfinite(value):
        return 0
    return max(1, min(limit, round(value / per_dot)))


def area_up(values: Sequence[float], rows: int, per_dot: float) -> list[str]:
    """`rows` lines of an area that grows from its lower edge, the top line first."""
    heights = _heights(values, rows, per_dot)
    return [_line(heights, DOTS * row, _LEFT, _RIGHT) for row in range(rows - 1, -1, -1)]


def area_down(values: Sequence[float], rows: int, per_dot: float) -> list[str]:
    """`rows` lines of an area that hangs from its upper edge, the top line first."""
    heights = _heights(values, rows, per_dot)
    left = tuple(_LEFT_FULL ^ _LEFT[DOTS - n] for n in range(DOTS + 1))
    right = tuple(_RIGHT_FULL ^ _RIGHT[DOTS - n] for n in range(DOTS + 1))
    return [_line(heights, DOTS * row, left, right) for row in range(rows)]


def line_over(values: Sequence[float], area: Sequence[float], rows: int, per_dot: float) -> list[str]:
    """`rows` lines with one dot a column at each value's height where that is above the area, the top line first."""
    heights, below = _heights(values, rows, per_dot), _heights(area, rows, per_dot)
    lines = []
    for row in range(rows - 1, -1, -1):
        cells = []
        for i in range(0, len(heights), 2):
            bits = 0
            for x, dot in ((i, _LEFT_DOT), (i + 1, _RIGHT_DOT)):
                at = heights[x] - 1 - DOTS * row
                if heights[x] > below[x] and 0 <= at < DOTS:
                    bits |= dot[at]
            cells.append(chr(0x2800 + bits) if bits else _BLANK)
        lines.append("".join(cells))
    return lines


def _heights(values: Sequence[float], rows: int, per_dot: float) -> list[int]:
    heights = [dots(value, per_dot, rows * DOTS) for value in values]
    return heights if len(heights) % 2 == 0 else [*heights, 0]


def _line(heights: list[int], below: int, left: tuple[int, ...], right: tuple[int, ...]) -> str:
    cells = []
    for i in range(0, len(heights), 2):
        a = max(0, min(DOTS, heights[i] - below))
        b = max(0, min(DOTS, heights[i + 1] - below))
        bits = left[a] | right[b]
        cells.append(chr(0x2800 + bits) if bits else _BLANK)
    return "".join(cells)
