"""A finished run: in words first, then figures per stage, then a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from sai3tui.errors import Sai3Error
from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.screens.confirm import ReadScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.files import config_again
from sai3tui.theme import Palette
from sai3tui.widgets.event_log import EventLog
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.plot import Line, Plot, PlotData
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.stage_table import StageTable, stage_words, verdict_lines
from sai3tui.widgets.states import outcome_look
from sai3tui.widgets.text import clean, date_and_time, millis, number, plural, rate, span, time_of_day
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.wrapping import failure_lines, labelled, wrapped

METRICS = ("Throughput MiB/s", "Operations per second", "Latency ms")
MIB = 1024.0**2


class ResultsScreen(RoomScreen):
    """Shows one report."""

    HELP = (
        "A finished run. First in words: how it ended, and what each stage did. Then its figures, latencies in "
        "milliseconds, percentiles over the whole stage and all agents. m changes the picture, p shows what the "
        "figures rest on, l the events."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric", "Metric"),
        Binding("p", "passport", "Passport"),
        Binding("e", "errors", "Errors"),
        Binding("l", "log", "Events"),
        Binding("r", "again", "Run again"),
        Binding("escape", "dismiss", "Back"),
    ]

    def __init__(self, report: RunReport) -> None:
        super().__init__()
        self._report = report
        self._metric = 0

    def body(self) -> Iterable[Widget]:
        yield Pane("Result", TextRows(self._verdict, id="verdict-text"), id="verdict-pane")
        yield Pane("Stages", StageTable(id="stage-table"), id="stage-pane")
        yield Horizontal(
            Pane("Over time", Plot(id="plot"), id="plot-pane"),
            Pane("Passport", TextRows(self._passport, id="passport"), id="passport-pane"),
            id="result-lower",
        )

    def on_mount(self) -> None:
        report = self._report
        look = outcome_look(report.outcome.status)
        self.status.say(
            (report.name, "text"),
            (f"{look.glyph} {look.word.upper()}", look.role),
            (span(report.seconds), "text"),
            (date_and_time(report.started_ns) + " UTC", "muted"),
        )
        table = self.query_one(StageTable)
        table.show(report.stages)
        rows = len(report.stages)
        self.query_one("#stage-pane").styles.height = min(rows, 8) + 3
        words = len(self._verdict(max(40, self.app.size.width - 4), Palette.of(self.app)))
        self.query_one("#verdict-pane").styles.height = min(words + 2, 10 if self.app.size.height >= 30 else 7)
        self.query_one("#stage-pane", Pane).retitle(("Stages", ""), ("  MiB/s, latency in ms", "muted"))
        self._draw_plot()
        table.focus()

    def _verdict(self, width: int, palette: Palette) -> list[Text]:
        return verdict_lines(self._report, width, palette)

    def _passport(self, width: int, palette: Palette) -> list[Text]:
        report = self._report
        lines: list[Text] = []
        for label, value in report.facts:
            lines += labelled(label, value, width, palette)
        lines += labelled("results", report.path, width, palette)
        lines.append(Text())
        if report.endpoints:
            lines.append(Text("endpoints", style=palette.muted))
        for endpoint in report.endpoints:
            figures = f"{endpoint.total_ops:,} ops, {plural(endpoint.errors, 'error')}"
            lines += wrapped(endpoint.uri, width, palette.text)
            lines += wrapped(figures, width, palette.muted, 2)
        errors = sum(group.count for group in report.failures)
        if errors:
            lines += [
                Text(),
                *wrapped(
                    f"✗ {plural(errors, 'error')} of {plural(len(report.failures), 'kind')}; e shows them",
                    width,
                    palette.bad,
                ),
            ]
        return lines

    def _draw_plot(self) -> None:
        series, palette_title = self._report.series, METRICS[self._metric]
        lines: tuple[Line, ...]
        if self._metric == 0:
            lines = (
                Line("GET", "get", [value / MIB for value in series.get_bytes]),
                Line("PUT", "put", [value / MIB for value in series.put_bytes]),
            )
        elif self._metric == 1:
            lines = (Line("all", "info", list(series.ops)),)
        else:
            lines = (
                Line("p99", "meta", [value / 1000 for value in series.p99_us]),
                Line("p50", "ok", [value / 1000 for value in series.p50_us]),
            )
        names = {stage.index: stage.name for stage in self._report.stages}
        marks: list[tuple[float, str]] = []
        last = 0
        for second, index in zip(series.at_s, series.stage_index, strict=False):
            if index != last:
                last = index
                marks.append((second, names.get(index, "")))
        self.query_one(Plot).show(PlotData(series.at_s, lines, tuple(marks)))
        title: list[tuple[str, str]] = [(palette_title, "")]
        title += [(f"  ━ {line.name}", line.role) for line in lines if any(line.values)]
        self.query_one("#plot-pane", Pane).retitle(*title)

    # --- keys ------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "again":
            return self._report.config is not None
        return True

    def action_metric(self) -> None:
        self._metric = (self._metric + 1) % len(METRICS)
        self._draw_plot()

    def action_passport(self) -> None:
        """The passport beside the picture, or instead of it where there is little room."""
        self.toggle_class("-passport")

    def action_errors(self) -> None:
        self.app.push_screen(FailuresScreen(lambda: self._report.failures, self._report.name))

    def action_log(self) -> None:
        self.app.push_screen(LogScreen(self._report))

    @work(thread=True, exclusive=True, group="again")
    def action_again(self) -> None:
        """Edit the configuration of this run."""
        try:
            message = config_again(self._report)
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            self.post_message(message)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        stage = self.query_one(StageTable).current
        if event.view.id != "stage-table" or stage is None:
            return

        def lines(width: int, palette: Palette) -> list[Text]:
            made = wrapped(stage_words(stage), width, palette.text)
            made.append(Text())
            for name, speed, ops, p50, p99, role in (
                (
                    "GET",
                    stage.rates.get_bytes,
                    stage.rates.get_ops,
                    stage.rates.get_p50_us,
                    stage.rates.get_p99_us,
                    "get",
                ),
                (
                    "PUT",
                    stage.rates.put_bytes,
                    stage.rates.put_ops,
                    stage.rates.put_p50_us,
                    stage.rates.put_p99_us,
                    "put",
                ),
                ("META", 0.0, stage.rates.meta_ops, stage.rates.meta_p50_us, stage.rates.meta_p99_us, "meta"),
            ):
                if ops:
                    text = f"{number(ops)} ops/s, {rate(speed)}, p50 {millis(p50)} ms, p99 {millis(p99)} ms"
                    made += labelled(name, text, width, palette, role)
            made += labelled("barrier", stage.barrier, width, palette)
            arrived = ", ".join(f"{agent} +{span(late)}" for agent, late in stage.arrived)
            made += labelled("arrived", arrived, width, palette)
            made += labelled("start skew", f"{stage.start_skew_ms:.1f} ms", width, palette, "muted")
            if stage.failure is not None:
                made += [Text(), *failure_lines(stage.failure, width, palette)]
            return made

        self.app.push_screen(ReadScreen(f"Stage {stage.index} {stage.name}", lines))


class LogScreen(RoomScreen):
    """The events of a finished run."""

    HELP = "What happened in this run, in order. enter shows a line in full."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l", "dismiss", "Back")]

    def __init__(self, report: RunReport) -> None:
        super().__init__()
        self._report = report

    def body(self) -> Iterable[Widget]:
        yield Pane("Events UTC", EventLog(id="events"), id="log-pane")

    def on_mount(self) -> None:
        self.status.say(("events", "muted"), (self._report.name, "text"))
        log = self.query_one(EventLog)
        log.show(self._report.log, len(self._report.log))
        log.focus()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        line = self.query_one(EventLog).current
        if line is not None:
            title = f"{time_of_day(line.time_ns)} UTC  {line.agent or 'controller'}"
            text = clean(line.text)
            self.app.push_screen(ReadScreen(title, lambda width, palette: wrapped(text, width, palette.text), text))
