"""Results per stage: a sentence for each, then the figures in a table."""

from __future__ import annotations

from rich.text import Text

from sai3tui.config.units import format_bytes
from sai3tui.controller.snapshot import StageView
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.states import STAGE, outcome_look
from sai3tui.widgets.text import NOTHING, clean, fit, millis, number, plural, rate, span
from sai3tui.widgets.wrapping import failure_lines, labelled, wrapped

COLUMNS = (
    Column("stage", "stage", 14, grow=True),
    Column("took", "took", 7, right=True),
    Column("ops", "ops", 8, right=True, need=4),
    Column("rate", "ops/s", 7, right=True),
    Column("get", "GET", 7, right=True),
    Column("put", "PUT", 7, right=True),
    Column("get50", "GET p50", 7, right=True, need=6),
    Column("get99", "GET p99", 7, right=True, need=2),
    Column("put50", "PUT p50", 7, right=True, need=7),
    Column("put99", "PUT p99", 7, right=True, need=3),
    Column("meta99", "META p99", 8, right=True, need=5),
    Column("errors", "err", 4, right=True),
)
MIB = 1024.0**2


class StageTable(LineList):
    """The stages of a report; latencies in ms."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stages: tuple[StageView, ...] = ()

    def show(self, stages: tuple[StageView, ...]) -> None:
        """Show these stages."""
        self._stages = stages
        self.redraw()

    @property
    def current(self) -> StageView | None:
        """The stage at the cursor."""
        return self._stages[self.cursor] if self.cursor < len(self._stages) else None

    def row_count(self) -> int:
        return len(self._stages)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(fitting(COLUMNS, width), palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("no stage was reached", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        stage = self._stages[index]
        rates, look = stage.rates, STAGE[stage.status]
        columns = fitting(COLUMNS, width)
        cells = {
            "stage": (f"  {clean(stage.name)}", palette.text),
            "took": (span(stage.elapsed_s) if stage.elapsed_s else NOTHING, palette.text),
            "ops": (f"{stage.total_ops:,}" if stage.total_ops else NOTHING, palette.text),
            "rate": (number(rates.ops) if rates.ops else NOTHING, palette.text),
            "get": (number(rates.get_bytes / MIB) if rates.get_bytes else NOTHING, palette.get),
            "put": (number(rates.put_bytes / MIB) if rates.put_bytes else NOTHING, palette.put),
            "get50": (millis(rates.get_p50_us), palette.muted),
            "get99": (millis(rates.get_p99_us), palette.get),
            "put50": (millis(rates.put_p50_us), palette.muted),
            "put99": (millis(rates.put_p99_us), palette.put),
            "meta99": (millis(rates.meta_p99_us), palette.meta),
            "errors": (f"{stage.errors:,}", palette.bad if stage.errors else palette.muted),
        }
        line = row_line(columns, cells)
        glyph = Text(look.glyph, style=look.colour(palette))
        return glyph.append_text(line[1:])


def stage_words(stage: StageView) -> str:
    """What a stage did, in a sentence: never figures that are not there."""
    look = STAGE[stage.status]
    if not stage.elapsed_s and not stage.total_ops:
        return look.word
    parts = []
    if stage.planned:
        parts.append(f"{stage.done:,} of {stage.planned:,} objects")
    if stage.total_ops:
        parts.append(plural(stage.total_ops, "operation"))
    if stage.total_bytes:
        parts.append(format_bytes(stage.total_bytes))
    if stage.existed:
        parts.append(f"{stage.existed:,} existed")
    if stage.errors:
        parts.append(plural(stage.errors, "error"))
    if stage.retries:
        parts.append(f"{stage.retries:,} attempts made again")
    return f"{look.word} in {span(stage.elapsed_s)}" + (": " + ", ".join(parts) if parts else "")


def verdict_lines(report: RunReport, width: int, palette: Palette) -> list[Text]:
    """The run in words: how it ended and why, what each stage did, how to go on."""
    look = outcome_look(report.outcome.status)
    head = Text.assemble((f"{look.glyph} {look.word}", f"bold {look.colour(palette)}"))
    head.append(f"  in {span(report.seconds)}", style=palette.text)
    head.append(f"  exit code {report.outcome.exit_code}", style=palette.muted)
    lines = [head]
    for doubt in report.doubts:
        lines += wrapped(f"! damaged: {doubt}", width, palette.bad, 2)
    failure = report.outcome.failure
    if failure is not None:
        lines += wrapped(failure.sentence(), width, palette.bad, 2)
        if failure.hint:
            lines += wrapped(failure.hint, width, palette.key, 2)
    if report.outcome.resume:
        lines.append(
            Text("  go on with  ", style=palette.muted).append(clean(report.outcome.resume), style=palette.key)
        )
    for view in report.thresholds:
        if view.failed:
            lines += wrapped(f"✗ {view.sentence}", width, palette.bad, 2)
    name_width = max((len(clean(stage.name)) for stage in report.stages), default=0)
    for stage in report.stages:
        stage_look = STAGE[stage.status]
        line = Text(f"  {stage_look.glyph} ", style=stage_look.colour(palette))
        line.append(fit(clean(stage.name), min(name_width, 18)), style=f"bold {palette.text}")
        line.append("  " + stage_words(stage), style=palette.text)
        lines.append(line)
        if stage.client_limited:
            lines += wrapped(f"limited by the load generator: {stage.client_limited}", width, palette.warn, 4)
    return lines


def stage_lines(stage: StageView, width: int, palette: Palette) -> list[Text]:
    """One stage in full."""
    made = wrapped(stage_words(stage), width, palette.text)
    made.append(Text())
    rates = stage.rates
    for name, speed, ops, p50, p99, role in (
        ("GET", rates.get_bytes, rates.get_ops, rates.get_p50_us, rates.get_p99_us, "get"),
        ("PUT", rates.put_bytes, rates.put_ops, rates.put_p50_us, rates.put_p99_us, "put"),
        ("META", 0.0, rates.meta_ops, rates.meta_p50_us, rates.meta_p99_us, "meta"),
    ):
        if ops:
            text = f"{number(ops)} ops/s, {rate(speed)}, p50 {millis(p50)} ms, p99 {millis(p99)} ms"
            made += labelled(name, text, width, palette, role)
    if rates.scheduled_p99_us:
        text = f"p99 {millis(rates.scheduled_p99_us)} ms, counted from when operations were due"
        made += labelled("scheduled", text, width, palette, "key")
    if stage.attribution.facts:
        made += labelled("limited by", stage.attribution.sentence, width, palette)
    made += labelled("barrier", stage.barrier, width, palette)
    arrived = ", ".join(f"{agent} +{span(late)}" for agent, late in stage.arrived)
    made += labelled("arrived", arrived, width, palette)
    made += labelled("start skew", f"{stage.start_skew_ms:.1f} ms", width, palette, "muted")
    if stage.failure is not None:
        made += [Text(), *failure_lines(stage.failure, width, palette)]
    return made
