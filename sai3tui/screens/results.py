"""A finished run: in words first, then figures per stage, then one view of the stage at the cursor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from sai3tui.errors import Sai3Error
from sai3tui.results.views import StageView
from sai3tui.screens.base import WIDE, Pane, RoomScreen
from sai3tui.screens.confirm import Answer, ConfirmScreen, ReadScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.files import config_again
from sai3tui.screens.run_log import LogScreen
from sai3tui.screens.services import EXPORTS, ExportRun, PlayRun
from sai3tui.theme import Palette
from sai3tui.widgets.latency_lines import latency_lines
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.part_table import PartTable, agent_parts, endpoint_parts
from sai3tui.widgets.passport_lines import passport_lines
from sai3tui.widgets.plot import Line, Plot, PlotData
from sai3tui.widgets.run_views import RunReport
from sai3tui.widgets.stage_table import StageTable, stage_lines, verdict_lines
from sai3tui.widgets.states import outcome_look
from sai3tui.widgets.text import clean, date_and_time, span, unit_for
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.threshold_lines import threshold_lines

VIEWS = ("Over time", "Latency", "Agents", "Endpoints", "Thresholds", "Passport")
"""In the order of the digits that show them."""
IDS = ("time", "latencies", "part-agents", "part-endpoints", "result-thresholds", "passport")


class ResultsScreen(RoomScreen):
    """Shows one report."""

    HELP = (
        "A finished run. First in words: how it ended, and what each stage did. Then its figures, latencies in "
        "milliseconds, percentiles over the whole stage and all agents. Below one view, of the stage at the cursor: "
        "its course over time, its latencies, its agents, its endpoints, thresholds, or what the figures rest on; "
        "digits or v change it. t plays the run on the live screen; w writes a report or a table."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view(1)", "View", id="results.view"),
        Binding("V", "view(-1)", "View before", show=False, id="results.view_before"),
        *(
            Binding(str(n), f"show_view({n - 1})", name, show=False, id=f"results.view_{n}")
            for n, name in enumerate(VIEWS, 1)
        ),
        Binding("m", "metric", "Latency or throughput", show=False, id="results.metric"),
        Binding("s", "sort", "Slowest first", show=False, id="results.sort"),
        Binding("t", "play", "Time machine", id="results.play"),
        Binding("w", "export", "Export", id="results.export"),
        Binding("e", "errors", "Errors", id="results.errors"),
        Binding("l", "log", "Events", show=False, id="results.log"),
        Binding("r", "again", "Run again", id="results.again"),
        Binding("escape", "dismiss", "Back", id="results.leave"),
    ]

    def __init__(self, report: RunReport) -> None:
        super().__init__()
        self._report = report
        self._view = 0

    def body(self) -> Iterable[Widget]:
        report = self._report
        yield Pane("Result", TextRows(self._verdict, id="verdict-text"), id="verdict-pane")
        yield Pane("Stages", StageTable(id="stage-table"), id="stage-pane")
        with_switcher = ContentSwitcher(
            Horizontal(Plot(id="plot"), Plot(id="plot-latency"), id="time"),
            TextRows(id="latencies"),
            PartTable(id="part-agents"),
            PartTable(id="part-endpoints"),
            TextRows(lambda width, palette: threshold_lines(report.thresholds, width, palette), id="result-thresholds"),
            TextRows(lambda width, palette: passport_lines(report, width, palette), id="passport"),
            initial="time",
            id="views",
        )
        yield Pane("Over time", with_switcher, id="view-pane")

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
        busiest = max(range(len(report.stages)), key=lambda n: report.stages[n].total_bytes, default=0)
        self.query_one("#stage-pane", Pane).retitle(("Stages", ""), ("  MiB/s, latency in ms", "muted"))
        self._draw_plots()
        table.cursor = busiest
        self._draw_stage()
        table.focus()

    def on_resize(self) -> None:
        """Words and stages get what they need, as long as enough is left for what is below."""
        tall = self.app.size.height >= 30
        words = len(self._verdict(max(40, self.app.size.width - 4), Palette.of(self.app)))
        self.query_one("#verdict-pane").styles.height = min(words + 2, 9 if tall else 5)
        self.query_one("#stage-pane").styles.height = min(len(self._report.stages), 8 if tall else 4) + 3
        self._title_view()

    @property
    def _stage(self) -> StageView | None:
        return self.query_one(StageTable).current

    def _verdict(self, width: int, palette: Palette) -> list[Text]:
        return verdict_lines(self._report, width, palette)

    def _draw_plots(self) -> None:
        series = self._report.series
        unit = unit_for(max((*series.get_bytes, *series.put_bytes), default=0.0))
        rates = (
            Line("GET", "get", [value / unit.bytes for value in series.get_bytes]),
            Line("PUT", "put", [value / unit.bytes for value in series.put_bytes]),
        )
        latencies = [
            Line("p99", "meta", [value / 1000 for value in series.p99_us]),
            Line("p50", "ok", [value / 1000 for value in series.p50_us]),
        ]
        if any(due > got for due, got in zip(series.scheduled_p99_us, series.p99_us, strict=False)):
            latencies.insert(0, Line("p99 from due", "key", [value / 1000 for value in series.scheduled_p99_us]))
        names = {stage.index: stage.name for stage in self._report.stages}
        marks: list[tuple[float, str]] = []
        last = 0
        for second, index in zip(series.at_s, series.stage_index, strict=False):
            if index != last:
                last = index
                marks.append((second, names.get(index, "")))
        self.query_one("#plot", Plot).show(PlotData(series.at_s, rates, tuple(marks), unit.name))
        self.query_one("#plot-latency", Plot).show(PlotData(series.at_s, tuple(latencies), tuple(marks), "ms"))

    def _draw_stage(self) -> None:
        """What depends on the stage at the cursor."""
        report, stage = self._report, self._stage
        index = stage.index if stage is not None else 0
        operations = report.operations.get(index, ())
        self.query_one("#latencies", TextRows).show(lambda width, palette: latency_lines(operations, width, palette))
        self.query_one("#part-agents", PartTable).show("agent", agent_parts(report.agents.get(index, ())))
        self.query_one("#part-endpoints", PartTable).show(
            "endpoint", endpoint_parts(report.stage_endpoints.get(index, ()))
        )
        self._title_view()

    def _title_view(self) -> None:
        title: list[tuple[str, str]] = []
        narrow = self.app.size.width < WIDE
        for number, name in enumerate(VIEWS):
            here = number == self._view
            if narrow and not here:
                title.append((f" {number + 1}", "muted"))
            else:
                title.append((f"{'  ' if number else ''}{number + 1} {name}", "bright" if here else "muted"))
        stage = self._stage
        if stage is not None and 1 <= self._view <= 3:
            title.append((f"   {clean(stage.name)}", "key"))
        if 2 <= self._view <= 3:
            title.append((f"  {self.query_one('#' + IDS[self._view], PartTable).unit_name}", "muted"))
        self.query_one("#view-pane", Pane).retitle(*title)

    # --- keys ------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "again":
            return self._report.config is not None
        if action in ("play", "export"):
            return bool(self._report.path)
        return True

    def action_view(self, step: int) -> None:
        """The next view, or the one before."""
        self.action_show_view((self._view + step) % len(VIEWS))

    def action_show_view(self, number: int) -> None:
        self._view = number
        self.query_one(ContentSwitcher).current = IDS[number]
        self._title_view()

    def action_metric(self) -> None:
        """Where there is room for one chart: the other one."""
        self.toggle_class("-other")

    def action_sort(self) -> None:
        for table in self.query(PartTable):
            table.toggle_sort()

    def action_errors(self) -> None:
        self.app.push_screen(FailuresScreen(lambda: self._report.failures, self._report.name))

    def action_log(self) -> None:
        self.app.push_screen(LogScreen(self._report))

    def action_play(self) -> None:
        """Open the run in the live screen, from its log."""
        self.post_message(PlayRun(Path(self._report.path)))

    def action_export(self) -> None:
        """Ask in which form, and write it into the results directory."""
        path = Path(self._report.path)
        answers = [Answer(form[0], f"{form}: {words}", form) for form, (_, words) in EXPORTS.items()]
        answers.append(Answer("n", "nothing", ""))
        question = ConfirmScreen("Export", [f"Written into {path}."], answers, upright=True)

        def answered(form: str | None) -> None:
            if form:
                self.post_message(ExportRun(path, form))

        self.app.push_screen(question, answered)

    @work(thread=True, exclusive=True, group="again")
    def action_again(self) -> None:
        """Edit the configuration of this run."""
        try:
            message = config_again(self._report)
        except Sai3Error as error:
            self.notify(error.message, severity="error", markup=False)
        else:
            self.post_message(message)

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "stage-table":
            self._draw_stage()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        stage = self._stage
        if event.view.id == "stage-table" and stage is not None:
            title = f"Stage {stage.index} {stage.name}"
            self.app.push_screen(ReadScreen(title, lambda width, palette: stage_lines(stage, width, palette)))
