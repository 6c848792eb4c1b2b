"""A run as it goes: stages and barrier, throughput, latency, agents, endpoints, events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from sai3tui.controller.snapshot import AgentView, LogLine, RunSnapshot, Series
from sai3tui.errors import failure_of
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.base import TICK_S, Pane, RoomScreen
from sai3tui.screens.confirm import Answer, ConfirmScreen, ReadScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.services import RunEnded, SessionHandle
from sai3tui.theme import Palette
from sai3tui.widgets.agent_card import agent_lines
from sai3tui.widgets.agent_grid import AgentGrid
from sai3tui.widgets.area_chart import AreaChart, ChartData, Mark
from sai3tui.widgets.endpoint_table import EndpointTable
from sai3tui.widgets.event_log import EventLog
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.stage_line import StageLine
from sai3tui.widgets.text import clean, millis, number, plural, span, time_of_day, unit_for
from sai3tui.widgets.wrapping import wrapped

US_PER_MS = 1000.0


class NoticeLine(Painted):
    """Facts that must not be overlooked: checks that were skipped, agents that anybody may command."""

    DEFAULT_CSS = """
    NoticeLine { height: 1; padding: 0 1; display: none; }
    NoticeLine.-some { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._notices: tuple[str, ...] = ()

    def show(self, notices: tuple[str, ...]) -> None:
        if notices != self._notices:
            self._notices = notices
            self.set_class(bool(notices), "-some")
            self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (Text("▲ " + "  ▲ ".join(clean(n) for n in self._notices), style=f"bold {palette.warn}"),)


class LiveScreen(RoomScreen):
    """Polls a session four times a second and draws what changed."""

    HELP = (
        "The run as it goes. On top the stages and what the current one does or waits for; then what the fleet moves "
        "and how long it takes, one second a column; then agents, those with problems first, and endpoints. space "
        "freezes the picture, never the run. x stops the run on all agents, after a question."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "freeze", "Freeze"),
        Binding("e", "errors", "Errors"),
        Binding("b", "barriers", "Barriers"),
        Binding("s", "sort", "Sort"),
        Binding("p", "endpoints", "Endpoints"),
        Binding("x", "abort", "Abort"),
        Binding("v", "report", "Results"),
        Binding("escape", "back", "Back", show=False),
    ]

    def __init__(self, session: SessionHandle) -> None:
        super().__init__()
        self._session = session
        self._snapshot = RunSnapshot()
        self._shown = RunSnapshot(version=-1)
        self._frozen = False
        self._ended = False
        self._told_failure = False

    def body(self) -> Iterable[Widget]:
        yield StageLine(id="stages")
        yield NoticeLine(id="notices")
        yield Horizontal(
            Pane("Throughput", AreaChart("GET", "get", "PUT", "put", id="throughput"), id="throughput-pane"),
            Pane("Latency", AreaChart("p99", "meta", "p50", "ok", id="latency"), id="latency-pane"),
            id="charts",
        )
        yield Horizontal(
            Pane("Agents", AgentGrid(id="agents"), id="agents-pane"),
            Pane("Endpoints", EndpointTable(id="endpoints"), id="endpoints-pane"),
            id="tables",
        )
        yield Pane("Events", EventLog(id="events"), id="events-pane")

    def on_mount(self) -> None:
        self.query_one(AgentGrid).focus()
        self.set_interval(TICK_S, self.tick)
        self.tick()

    @property
    def frozen(self) -> bool:
        return self._frozen

    # --- drawing ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Show what the session says by now."""
        if self._session.failure is not None and not self._told_failure:
            self._told_failure = True
            failure = failure_of(self._session.failure)
            self.notify(failure.sentence(), title="the controller stopped", severity="error", timeout=60, markup=False)
        snapshot = self._session.snapshot()
        if snapshot.version == self._snapshot.version and self._shown.version >= 0:
            return
        self._snapshot = snapshot
        badge = ""
        if self._frozen:
            badge = f"FROZEN {span(max(0.0, snapshot.elapsed_s - self._shown.elapsed_s))}"
        self.status.show(snapshot, badge)
        if not self._frozen or self._shown.version < 0:
            self._draw(snapshot)
        if snapshot.outcome is not None and not self._ended:
            self._ended = True
            self.refresh_bindings()
            if not self._frozen and self.is_current:
                self.post_message(RunEnded(snapshot))

    def _draw(self, snapshot: RunSnapshot) -> None:
        before, self._shown = self._shown, snapshot
        self.query_one(StageLine).show(snapshot)
        self.query_one(NoticeLine).show(snapshot.notices)
        if snapshot.series is not before.series or before.version < 0:
            self._draw_charts(snapshot)
        if snapshot.agents != before.agents:
            self.query_one(AgentGrid).show(snapshot.agents)
        self._title_agents()
        if snapshot.endpoints != before.endpoints:
            table = self.query_one(EndpointTable)
            table.show(snapshot.endpoints)
            self.query_one("#endpoints-pane", Pane).retitle(("Endpoints ", ""), (table.unit_name, "muted"))
        if snapshot.log_total != before.log_total:
            self.query_one(EventLog).show(snapshot.log, snapshot.log_total)
            self._title_events()

    def _draw_charts(self, snapshot: RunSnapshot) -> None:
        series, fleet = snapshot.series, snapshot.fleet
        marks = stage_marks(snapshot)
        end = series.at_s[-1] if series.at_s else 0.0
        unit = unit_for(max(fleet.get_bytes, fleet.put_bytes, _peak(series)))
        throughput = ChartData(series.get_bytes, series.put_bytes, marks, end, unit.bytes)
        self.query_one("#throughput", AreaChart).show(throughput)
        self.query_one("#latency", AreaChart).show(ChartData(series.p99_us, series.p50_us, marks, end, US_PER_MS))
        self.query_one("#throughput-pane", Pane).retitle(
            (f"Throughput {unit.name}   ", ""),
            (f"GET {unit.show(fleet.get_bytes)}", "get"),
            ("  ", ""),
            (f"PUT {unit.show(fleet.put_bytes)}", "put"),
            (f"   {number(fleet.ops)} ops/s", "muted"),
        )
        p99, p50 = (series.p99_us[-1], series.p50_us[-1]) if series.p99_us else (0.0, 0.0)
        self.query_one("#latency-pane", Pane).retitle(
            ("Latency ms   ", ""), (f"p99 {millis(p99)}", "meta"), ("  ", ""), (f"p50 {millis(p50)}", "ok")
        )

    def _title_agents(self) -> None:
        grid = self.query_one(AgentGrid)
        facts = f"  {len(self._shown.agents)}   {grid.unit_name}   sort: {grid.sort.value}"
        self.query_one("#agents-pane", Pane).retitle(("Agents", ""), (facts, "muted"))

    def _title_events(self) -> None:
        log = self.query_one(EventLog)
        state = "↓ following" if log.following else f"{log.unseen} new below, end follows"
        self.query_one("#events-pane", Pane).retitle(("Events", ""), (f"  UTC  {state}", "muted"))

    # --- keys ------------------------------------------------------------------------------------------------------

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "events":
            self._title_events()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        if event.view.id == "agents":
            agent = self.query_one(AgentGrid).current
            if agent is not None:
                self.app.push_screen(_agent_box(agent))
        elif event.view.id == "events":
            line = self.query_one(EventLog).current
            if line is not None:
                self.app.push_screen(_event_box(line))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "abort":
            return self._snapshot.outcome is None
        if action == "report":
            return self._snapshot.outcome is not None
        return True

    def action_freeze(self) -> None:
        self._frozen = not self._frozen
        if not self._frozen:
            self._draw(self._snapshot)
        self.status.show(self._snapshot, "FROZEN" if self._frozen else "")

    def action_errors(self) -> None:
        self.app.push_screen(FailuresScreen(lambda: self._session.snapshot().failures, self._snapshot.config_name))

    def action_barriers(self) -> None:
        self.app.push_screen(BarrierScreen(self._session))

    def action_sort(self) -> None:
        self.query_one(AgentGrid).cycle_sort()
        self._title_agents()

    def action_endpoints(self) -> None:
        """Endpoints beside the agents, or instead of them where there is little room."""
        shown = self.toggle_class("-endpoints").has_class("-endpoints")
        self.query_one("#endpoints" if shown else "#agents", LineList).focus()

    def action_report(self) -> None:
        self.post_message(RunEnded(self._snapshot))

    def action_abort(self) -> None:
        def answered(answer: str | None) -> None:
            if answer == "abort":
                self._session.abort("aborted in the control room")

        self.app.push_screen(abort_question(self._snapshot, "Abort the run", "abort it"), answered)

    def action_back(self) -> None:
        if self._snapshot.outcome is None:
            self.notify("the run goes on; x aborts it, q leaves", markup=False)
        else:
            self.dismiss()


def abort_question(snapshot: RunSnapshot, title: str, label: str) -> ConfirmScreen:
    """The question before a live run is ended. What it says is true: results and objects stay."""
    stage = next((s for s in snapshot.stages if s.index == snapshot.stage_index), None)
    where = "It has not started a stage yet."
    if stage is not None:
        where = f"Stage {stage.index}/{len(snapshot.stages)} {stage.name}, {span(snapshot.elapsed_s)} in."
    return ConfirmScreen(
        title,
        [
            f"Stop this run on {plural(len(snapshot.agents), 'agent')}?",
            where,
            "",
            "Results so far are kept, and so are the objects.",
            "Run again, the configuration goes on where prepare stopped.",
        ],
        [Answer("a", label, "abort"), Answer("s", "stay", "stay")],
    )


def quit_question(snapshot: RunSnapshot, title: str, label: str) -> ConfirmScreen:
    """As `abort_question`, for a run that can go on without us."""
    question = abort_question(snapshot, title, label)
    lines = [
        "Leave this run, or stop it?",
        question.lines[1],
        "",
        "Detached, it goes on in the background; `sai3tui attach` brings it back.",
        "Aborted, results so far are kept, and so are the objects.",
    ]
    answers = [Answer("d", "detach", "detach"), Answer("a", label, "abort"), Answer("s", "stay", "stay")]
    return ConfirmScreen(title, lines, answers)


def stage_marks(snapshot: RunSnapshot) -> tuple[Mark, ...]:
    """Where in the series each stage begins."""
    names = {stage.index: clean(stage.name) for stage in snapshot.stages}
    marks, last = [], 0
    for position, index in enumerate(snapshot.series.stage_index):
        if index != last:
            last = index
            marks.append(Mark(position, names.get(index, "")))
    return tuple(marks)


def _peak(series: Series) -> float:
    return max((*series.get_bytes[-120:], *series.put_bytes[-120:]), default=0.0)


def _agent_box(agent: AgentView) -> ReadScreen:
    return ReadScreen(agent.id, lambda width, palette: agent_lines(agent, width, palette))


def _event_box(line: LogLine) -> ReadScreen:
    title = f"{time_of_day(line.time_ns)} UTC  {line.agent or 'controller'}  {line.level.word}"
    return ReadScreen(title, lambda width, palette: wrapped(line.text, width, palette.text), clean(line.text))
