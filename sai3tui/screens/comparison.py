"""Two or more runs side by side: each against the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from sai3tui.results.compared import Comparison
from sai3tui.results.reader import RunRecord
from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.theme import Palette
from sai3tui.widgets.comparison_lines import VERDICTS, comparison_lines
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.plot import Line, Plot, PlotData
from sai3tui.widgets.text import clean, date_and_time, fit, unit_for
from sai3tui.widgets.text_rows import TextRows

ROLES = ("muted", "get", "put", "meta", "ok", "warn")
"""Colours of the runs; further ones begin anew."""
METRICS = ("GET", "PUT", "p99 ms")


class ComparedRuns(LineList):
    """The first run, and every other one with its verdict. The cursor picks whose differences are shown."""

    HELP = "The runs that are compared, with the first as the measure. The differences are of the one at the cursor."

    def __init__(self, comparisons: Sequence[Comparison], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._comparisons = tuple(comparisons)

    def row_count(self) -> int:
        return len(self._comparisons) + 1

    def row(self, index: int, width: int, palette: Palette) -> Text:
        if index == 0:
            return _run_line("A", self._comparisons[0].first, 0, "the measure", "muted", width, palette)
        comparison = self._comparisons[index - 1]
        look = VERDICTS[comparison.verdict]
        letter = chr(ord("A") + min(index, 25))
        return _run_line(letter, comparison.second, index, f"{look.glyph} {look.word}", look.role, width, palette)


def _run_line(
    letter: str, record: RunRecord, number: int, verdict: str, role: str, width: int, palette: Palette
) -> Text:
    line = Text(f"━ {letter}  ", style=str(getattr(palette, ROLES[number % len(ROLES)])))
    line.append(fit(date_and_time(record.meta.started_ns), 18), style=palette.muted)
    line.append(fit(verdict, 20), style=str(getattr(palette, role)))
    line.append(fit(clean(record.path.name), max(8, width - 44)), style=palette.text)
    return line


class ComparisonScreen(RoomScreen):
    """Shows comparisons that have their first run in common."""

    HELP = (
        "Runs, stage by stage and operation by operation, each against the first. A change counts only if its "
        "confidence interval does not include zero; what cannot be told from noise is no difference. Below stands "
        "what else differs. m changes the curves; they are aligned at the start of the runs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric", "Metric", id="comparison.metric"),
        Binding("y", "copy", "Copy", id="comparison.copy"),
        Binding("escape", "dismiss", "Back", id="comparison.leave"),
    ]

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        super().__init__()
        self.comparisons = tuple(comparisons)
        self._chosen = 0
        self._metric = 0

    def body(self) -> Iterable[Widget]:
        yield Pane("Runs", ComparedRuns(self.comparisons, id="compare-runs"), id="compare-runs-pane")
        yield Pane("Over time", Plot(id="compare-plot"), id="compare-plot-pane")
        yield Pane("Differences", TextRows(self._lines, id="comparison"), id="comparison-pane")

    def on_mount(self) -> None:
        self.status.say(("comparison", "muted"), (f"{len(self.comparisons) + 1} runs", "text"))
        runs = self.query_one(ComparedRuns)
        runs.styles.height = min(runs.row_count(), 6)
        runs.cursor = 1
        self._draw()
        runs.focus()

    def _lines(self, width: int, palette: Palette) -> list[Text]:
        return comparison_lines(self.comparisons[self._chosen], width, palette)

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "compare-runs":
            self._chosen = max(0, event.index - 1)
            self.query_one("#comparison", TextRows).show(self._lines)
            self._describe()

    def _describe(self) -> None:
        comparison = self.comparisons[self._chosen]
        look = VERDICTS[comparison.verdict]
        letter = chr(ord("A") + min(self._chosen + 1, 25))
        pane = self.query_one("#comparison-pane", Pane)
        pane.retitle((f"{letter} against A", ""), (f"  {look.glyph} {look.word}", look.role))

    def _draw(self) -> None:
        records = [self.comparisons[0].first, *(each.second for each in self.comparisons)]
        columns = [self._column(record) for record in records]
        metric = METRICS[self._metric]
        unit = unit_for(max((max(column, default=0.0) for column in columns), default=0.0))
        divisor, title = (1000.0, metric) if self._metric == 2 else (unit.bytes, f"{metric} {unit.name}")
        longest = max((record.series.at_s for record in records), key=len)
        lines = tuple(
            Line(chr(ord("A") + min(n, 25)), ROLES[n % len(ROLES)], [value / divisor for value in column])
            for n, column in enumerate(columns)
        )
        self.query_one(Plot).show(PlotData(longest, lines))
        parts = [(title, ""), *((f"  ━ {line.name}", line.role) for line in lines)]
        self.query_one("#compare-plot-pane", Pane).retitle(*parts)
        self._describe()

    def _column(self, record: RunRecord) -> Sequence[float]:
        series = record.series
        return (series.get_bytes, series.put_bytes, series.p99_us)[self._metric]

    def action_metric(self) -> None:
        """The next curves."""
        self._metric = (self._metric + 1) % len(METRICS)
        self._draw()

    def action_copy(self) -> None:
        lines = self._lines(120, Palette.of(self.app))
        self.app.copy_to_clipboard("\n".join(line.plain.rstrip() for line in lines))
        self.notify("copied", markup=False)
