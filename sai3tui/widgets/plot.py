"""The one big chart of the results screen, with axes, drawn by plotext.

plotext has one global figure: only the screen's loop may draw, and it clears before each drawing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import plotext
from rich.text import Text
from textual.app import RenderResult
from textual.geometry import Size
from textual.widget import Widget

from sai3tui.theme import Palette
from sai3tui.widgets.braille import nice_ceiling
from sai3tui.widgets.labels import Label, placed
from sai3tui.widgets.text import clean, clock, number

MAX_POINTS = 300
LABEL_ROOM = 5
Y_TICKS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One series; `role` names its colour."""

    name: str
    role: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class PlotData:
    """Series over `at_s` seconds; `marks` are (second, stage) where stages began."""

    at_s: Sequence[float] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[tuple[float, str], ...] = ()
    unit: str = ""
    """Written with the names of the lines on top, where they are wanted there."""


class Plot(Widget):
    """Draws `PlotData`, again only when it, the size or the theme has changed."""

    DEFAULT_CSS = """
    Plot { height: 1fr; background: $background; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._data = PlotData()
        self._drawn: tuple[PlotData, Size, Palette] | None = None
        self._text = Text()

    def show(self, data: PlotData) -> None:
        """Draw new data."""
        self._data = data
        self.refresh()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.refresh())

    def render(self) -> RenderResult:
        palette = Palette.of(self.app)
        state = (self._data, self.size, palette)
        if self._drawn is None or self._drawn[0] is not self._data or self._drawn[1:] != state[1:]:
            self._text = draw(self._data, self.size.width, self.size.height, palette)
            self._drawn = state
        return self._text


def draw(data: PlotData, width: int, height: int, palette: Palette) -> Text:
    """The chart as text of `width` by `height` cells."""
    if len(data.at_s) < 2 or not any(any(line.values) for line in data.lines):
        return Text("no interval was measured", style=palette.muted)
    if width < 20 or height < 5:
        return Text()
    if data.unit:
        head = Text(" " * LABEL_ROOM + data.unit, style=palette.muted, no_wrap=True)
        for line in data.lines:
            if any(line.values):
                head.append(f"  ━ {line.name}", style=str(getattr(palette, line.role)))
        return head.append("\n").append_text(draw(replace(data, unit=""), width, height - 1, palette))
    step = -(-len(data.at_s) // MAX_POINTS)
    at = _thinned(data.at_s, step)
    plotext.clear_figure()
    plotext.clear_data()
    plotext.limit_size(False, False)
    plotext.plotsize(width, height)
    plotext.canvas_color("default")
    plotext.axes_color("default")
    plotext.ticks_color(_rgb(palette.muted))
    plotext.frame(False)
    plotext.yaxes(True, False)
    plotext.xaxes(True, False)
    for line in data.lines:
        values = _thinned(line.values, step)
        colour = _rgb(getattr(palette, line.role))
        for start, end in _stretches(values, at, data.marks):
            plotext.plot(at[start:end], values[start:end], marker="braille", color=colour)
    top = nice_ceiling(max(max(line.values, default=0.0) for line in data.lines))
    # plotext lets the labels of two ticks on one row overwrite each other, in no particular order.
    steps = Y_TICKS if height >= 3 * Y_TICKS else Y_TICKS // 2
    heights = [top * i / steps for i in range(steps + 1)]
    plotext.ylim(0, top)
    plotext.yticks(heights, [number(height) for height in heights])
    plotext.xlim(at[0], at[-1])
    plotext.xticks(*_ticks(data, width))
    picture = Text.from_ansi(plotext.build().rstrip("\n"))
    picture.no_wrap = True
    plotext.clear_data()
    return picture


def _stretches(
    values: Sequence[float], at: Sequence[float], marks: Sequence[tuple[float, str]]
) -> list[tuple[int, int]]:
    """Where there is something to draw: stages, as index ranges, in which not everything is nothing."""
    starts = sorted({0, *(bisect_left(at, second) for second, _ in marks)})
    ranges = zip(starts, [*starts[1:], len(values)], strict=True)
    return [(start, end) for start, end in ranges if any(values[start:end])]


def _thinned(values: Sequence[float], step: int) -> list[float]:
    """Every `step` values as their largest: a peak is what one looks for."""
    return [max(values[i : i + step]) for i in range(0, len(values), step)]


def _ticks(data: PlotData, width: int) -> tuple[list[float], list[str]]:
    """Where stages began, by name, as far as names do not run into each other; the end by its time."""
    start, end = data.at_s[0], data.at_s[-1]
    cells = max(1, width - LABEL_ROOM)
    per_cell = max(1e-9, (end - start) / cells)
    at_end = clock(end)
    labels = {Label(LABEL_ROOM + cells - len(at_end), at_end, math.inf): end}
    until = ([second for second, _ in data.marks[1:]] + [end])[: len(data.marks)]
    for (second, name), over in zip(data.marks, until, strict=True):
        label = clean(name)
        centre = LABEL_ROOM + round((second - start) / per_cell)
        labels[Label(max(0, centre - len(label) // 2), label, over - second)] = second
    kept = placed(labels, LABEL_ROOM + cells, 2)
    return [labels[label] for label in kept], [label.text for label in kept]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
