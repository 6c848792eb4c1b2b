"""Finished runs, newest first, and a card for the one at the cursor."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from sai3tui.config.units import format_bytes
from sai3tui.results.reader import RunEntry
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.states import Look, outcome_look
from sai3tui.widgets.text import (
    KIB,
    NOTHING,
    clean,
    date_and_time,
    fit,
    millis,
    number,
    plural,
    rate,
    short_count,
    span,
    unit_for,
)
from sai3tui.widgets.wrapping import labelled, wrapped

COLUMNS = (
    Column("state", "state", 12),
    Column("name", "configuration", 16, grow=True),
    Column("when", "started (UTC)", 16, need=2),
    Column("took", "took", 8, right=True, need=3),
    Column("agents", "agents", 6, right=True, need=7),
    Column("rate", "MiB/s", 6, right=True),
    Column("ops", "ops/s", 7, right=True, need=4),
    Column("p99", "p99 ms", 6, right=True, need=1),
    Column("bytes", "bytes", 9, right=True, need=6),
    Column("errors", "err", 4, right=True),
)
MIB_PER_S = unit_for(KIB**2)
"""One unit for runs of all sizes, so that they can be compared at a glance."""
SHORT_WORDS = {"threshold missed": "threshold", "preflight failed": "preflight"}
MOST_MARKED = 6
BROKEN = Look("?", "unreadable", "muted")


def summary_look(summary: RunEntry) -> Look:
    return BROKEN if summary.problem else outcome_look(summary.status)


class RunList(LineList):
    """Runs, as found in a results directory."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Open")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: tuple[RunEntry, ...] = ()
        self._hint: tuple[str, ...] = ("", "  ◌ reading the runs")
        self._marked: list[Path] = []

    def show(self, runs: tuple[RunEntry, ...], hint: tuple[str, ...] = ()) -> None:
        """Show these runs; `hint` is what to do as long as there are none."""
        self._runs, self._hint = runs, hint
        self._marked = [path for path in self._marked if any(run.path == path for run in runs)]
        self.redraw()

    @property
    def marked(self) -> tuple[RunEntry, ...]:
        """The marked runs, the oldest first."""
        found = [run for run in self._runs if run.path in self._marked]
        return tuple(sorted(found, key=lambda run: run.started_ns))

    def toggle_mark(self) -> None:
        """Mark the run at the cursor, or no more; one mark too many takes the place of the first."""
        run = self.current
        if run is None or run.problem:
            return
        if run.path in self._marked:
            self._marked.remove(run.path)
        else:
            self._marked = [*self._marked[-(MOST_MARKED - 1) :], run.path]
        self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._runs) if action == "choose" else True

    @property
    def current(self) -> RunEntry | None:
        """The run at the cursor."""
        return self._runs[self.cursor] if self.cursor < len(self._runs) else None

    def row_count(self) -> int:
        return len(self._runs)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(fitting(COLUMNS, width), palette),) if self._runs else ()

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return tuple(Text.assemble(*_keys(line, palette)) for line in self._hint)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        run = self._runs[index]
        look, figures = summary_look(run), run.headline
        wrong = palette.bad if run.errors else palette.muted
        cells = {
            "state": (f"{look.glyph} {SHORT_WORDS.get(look.word, look.word)}", look.colour(palette)),
            "name": (_marked_name(run, marked=run.path in self._marked), palette.text),
            "when": (date_and_time(run.started_ns), palette.muted),
            "took": (span(run.seconds) if run.seconds else NOTHING, palette.text),
            "agents": (str(run.agents) if run.agents else NOTHING, palette.text),
            "rate": (MIB_PER_S.show(figures.bytes_per_s) if figures.bytes_per_s else NOTHING, palette.get),
            "ops": (number(figures.ops_per_s) if figures.ops_per_s else NOTHING, palette.text),
            "p99": (millis(figures.p99_us), palette.meta),
            "bytes": (format_bytes(run.bytes) if run.bytes else NOTHING, palette.muted),
            "errors": (NOTHING if run.problem else short_count(run.errors), wrong),
        }
        return row_line(fitting(COLUMNS, width), cells)


def _marked_name(run: RunEntry, *, marked: bool) -> str:
    name = run.config_name.removesuffix(".yaml").removesuffix(".yml")
    return ("◆ " if marked else "") + clean(name or run.name)


def _keys(line: str, palette: Palette) -> list[tuple[str, str]]:
    """`[x]` in a line is a key or a command, the rest is prose."""
    parts: list[tuple[str, str]] = []
    for i, piece in enumerate(line.replace("]", "[").split("[")):
        parts.append((piece, f"bold {palette.key}" if i % 2 else palette.muted))
    return parts


def card_lines(run: RunEntry | None, report: RunReport | None, width: int, palette: Palette) -> list[Text]:
    """What the pane beside the list says about a run. `report` comes later than `run`, or not at all."""
    if run is None:
        return wrapped("A run that is selected on the left is summed up here.", width, palette.muted)
    look = summary_look(run)
    lines = [Text(clean(run.config_name or run.name), style=f"bold {palette.bright}"), look.text(palette), Text()]
    if run.problem:
        lines += wrapped(run.problem, width, palette.warn)
        return lines + labelled("directory", str(run.path), width, palette)
    lines += labelled("started", date_and_time(run.started_ns) + " UTC", width, palette)
    lines += labelled("took", span(run.seconds), width, palette)
    lines += labelled("agents", str(run.agents) if run.agents else "", width, palette)
    lines += labelled("operations", f"{run.operations:,}" if run.operations else "", width, palette)
    lines += labelled("bytes", format_bytes(run.bytes) if run.bytes else "", width, palette)
    lines += labelled("caution", run.doubt, width, palette, "warn")
    lines += [Text(), *wrapped(run.path.name, width, palette.muted)]
    if report is None:
        return lines
    lines.append(Text())
    lines += _stage_lines(report, width, palette)
    errors = sum(group.count for group in report.failures)
    if errors:
        worst = max(report.failures, key=lambda group: group.count)
        lines.append(Text())
        lines += wrapped(f"✗ {plural(errors, 'error')}, most of them: {worst.sample.message}", width, palette.bad)
    if report.outcome.failure is not None:
        lines.append(Text())
        lines += wrapped(report.outcome.failure.message, width, palette.bad)
    return lines


def _stage_lines(report: RunReport, width: int, palette: Palette) -> list[Text]:
    name = max(8, min(14, width - 33))
    lines = [Text(f"{'stage':<{name}} {'GET':>10} {'PUT':>10} {'p99 ms':>8}", style=palette.muted)]
    for stage in report.stages:
        line = Text(fit(clean(stage.name), name), style=palette.text)
        line.append(f" {rate(stage.rates.get_bytes):>10}", style=palette.get)
        line.append(f" {rate(stage.rates.put_bytes):>10}", style=palette.put)
        line.append(f" {millis(stage.rates.p99_us):>8}", style=palette.text)
        lines.append(line)
    return lines
