"""A live chart: one series up, one down, from one axis and on one scale, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from sai3tui.results.bands import Band
from sai3tui.theme import Palette
from sai3tui.widgets.braille import DOTS, Split, Window, area_down, area_up, line_over, split_rows, spread, window
from sai3tui.widgets.labels import Label, placed
from sai3tui.widgets.text import clock, fit, number

LABEL_WIDTH = 7
_AXIS = "▕"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that began at sample `index`: a stage."""

    index: int
    label: str


@dataclass(frozen=True, slots=True)
class ChartData:
    """What a chart shows: two series of one value a second, oldest first, of equal length."""

    up: Sequence[float] = ()
    down: Sequence[float] = ()
    marks: tuple[Mark, ...] = ()
    end_s: float = 0.0
    """When the last sample was, in seconds since the run began."""
    above: Sequence[float] = ()
    """A third series on the scale of `up`, drawn as a line where it stands above that area."""
    up_band: Band = Band()
    """Where `up` is expected: drawn behind it. Empty, or as long as it."""
    down_band: Band = Band()
    unit: float = 1.0
    """What the scale counts in: its numbers are values divided by this."""


class AreaChart(Widget):
    """Draws `ChartData`; its last line is the time axis with the stages that began in view."""

    DEFAULT_CSS = """
    AreaChart { height: 1fr; background: $background; }
    """

    def __init__(
        self,
        up_name: str,
        up_role: str,
        down_name: str,
        down_role: str,
        *,
        above_role: str = "warn",
        waiting: str = "no figures yet",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._names = (up_name, down_name)
        self._roles = (up_role, down_role)
        self._above_role = above_role
        self._waiting = waiting
        self._data = ChartData()
        self._drawn: tuple[ChartData, Size, Palette] | None = None
        self._lines: list[Strip] = []

    def show(self, data: ChartData) -> None:
        """Draw new data."""
        self._data = data
        self.refresh()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.refresh())

    def render_line(self, y: int) -> Strip:
        palette = Palette.of(self.app)
        state = (self._data, self.size, palette)
        if self._drawn is None or self._drawn[0] is not self._data or self._drawn[1:] != state[1:]:
            self._lines = self._draw(palette)
            self._drawn = state
        if y < len(self._lines):
            return self._lines[y]
        return Strip.blank(self.size.width, self.rich_style)

    def _draw(self, palette: Palette) -> list[Strip]:
        width, height = self.size
        cells = width - LABEL_WIDTH - 1
        base = self.rich_style
        muted = base + Style(color=palette.muted)
        faint = base + Style(color=palette.faint)
        if cells < 4 or height < 3:
            return []
        if not any(self._data.up) and not any(self._data.down):
            return self._draw_waiting(width, height, base, muted, faint)
        view = window(len(self._data.up), cells)
        up, down = spread(self._data.up, view, cells), spread(self._data.down, view, cells)
        above = spread(self._data.above, view, cells) if self._data.above else []
        bands = [
            (spread(band.low, view, cells), spread(band.high, view, cells)) if band.high else ([], [])
            for band in (self._data.up_band, self._data.down_band)
        ]
        peaks = max([*up, *above, *bands[0][1]], default=0.0), max([*down, *bands[1][1]], default=0.0)
        split = split_rows(*peaks, height - 1, self._data.unit)
        over = line_over(above, up, split.up, split.per_dot) if above else []
        over_style = base + Style(color=getattr(palette, self._above_role))
        lines = area_up(up, split.up, split.per_dot) + area_down(down, split.down, split.per_dot)
        labels = self._labels(split)
        colours = [base + Style(color=getattr(palette, role)) for role in self._roles]
        strips = []
        for row, line in enumerate(lines):
            series = 0 if row < split.up else 1
            label, plain = labels.get(row, ("", False))
            depth = split.up - 1 - row if series == 0 else row - split.up
            behind = _in_band(*bands[series], depth * DOTS * split.per_dot, (depth + 1) * DOTS * split.per_dot)
            strips.append(
                Strip(
                    [
                        Segment(fit(label, LABEL_WIDTH, right=True), muted if plain else colours[series]),
                        Segment(_AXIS, faint),
                        *_runs(line, colours[series], base, over[row] if row < len(over) else "", over_style, behind),
                    ]
                ).adjust_cell_length(width, base)
            )
        axis = self._axis(view, cells)
        strips.append(Strip([Segment(" " * (LABEL_WIDTH + 1), base), Segment(fit(axis, cells), muted)]))
        return strips

    def _draw_waiting(self, width: int, height: int, base: Style, muted: Style, faint: Style) -> list[Strip]:
        blank = Strip(
            [Segment(" " * LABEL_WIDTH, base), Segment(_AXIS, faint), Segment(" " * (width - LABEL_WIDTH - 1), base)]
        )
        lines = [blank] * height
        text = self._waiting.center(width - LABEL_WIDTH - 1)
        lines[(height - 1) // 2] = Strip(
            [
                Segment(" " * LABEL_WIDTH, base),
                Segment(_AXIS, faint),
                Segment(fit(text, width - LABEL_WIDTH - 1), muted),
            ]
        )
        return lines

    def _labels(self, split: Split) -> dict[int, tuple[str, bool]]:
        """Row -> label and whether it is a number of the scale (else a series' name)."""
        last = split.up + split.down - 1
        labels = {split.up - 1: (self._names[0] + " ", False), split.up: (self._names[1] + " ", False)}
        if split.up > 1:
            labels[0] = (number(split.top / self._data.unit) + " ", True)
        if split.down > 1:
            labels[last] = (number(split.bottom / self._data.unit) + " ", True)
        return labels

    def _axis(self, view: Window, cells: int) -> str:
        """The time axis: where stages began, and the time of the last sample."""
        end = clock(self._data.end_s)
        last = min(cells, view.cell(view.first + view.shown, cells))
        labels = [Label(max(0, last - len(end)), end, 0.0)]
        if view.first:
            labels.append(Label(0, clock(max(0.0, self._data.end_s - view.shown)), 0.5))
        ends = [mark.index for mark in self._data.marks[1:]] + [view.first + view.shown]
        for mark, until in zip(self._data.marks, ends, strict=True):
            labels.append(Label(view.cell(mark.index, cells), "╵" + mark.label, float(until - mark.index)))
        line = ""
        for label in placed(labels, cells):
            line = line.ljust(label.start) + label.text
        return line


def _in_band(low: Sequence[float], high: Sequence[float], bottom: float, top: float) -> list[bool]:
    """For each cell of a row from `bottom` to `top`: whether the band passes through it."""
    return [high[x] > bottom and low[x] < top and high[x] > 0 for x in range(0, len(high), 2)]


def _runs(
    line: str,
    style: Style,
    base: Style,
    over: str = "",
    over_style: Style | None = None,
    behind: Sequence[bool] = (),
) -> list[Segment]:
    """A line of dots in stretches of one colour. Blanks are apart: exported pictures stretch what they take for one
    text. Where the area has no dot in a cell, `over` may have some, and else the band that is `behind` shows."""
    segments: list[Segment] = []
    shade = style + Style(dim=True)
    kinds = []
    for x, character in enumerate(line):
        if character != " ":
            kinds.append((character, style))
        elif over and over[x] != " ":
            kinds.append((over[x], over_style or style))
        elif x < len(behind) and behind[x]:
            kinds.append(("░", shade))
        else:
            kinds.append((" ", base))
    for character, kind in kinds:
        if segments and segments[-1].style == kind:
            segments[-1] = Segment(segments[-1].text + character, kind)
        else:
            segments.append(Segment(character, kind))
    return segments
