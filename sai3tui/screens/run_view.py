"""The picture of a run: stages, throughput, latency, agents, endpoints, the paths between them, events.

The same for a run that is live and for one that is played from its log; what may be done to it is in the subclasses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input

from sai3tui.controller.snapshot import LogLine, RunSnapshot, Series
from sai3tui.errors import failure_of
from sai3tui.events import Level
from sai3tui.metrics.attribution import Attribution
from sai3tui.results.bands import band_under
from sai3tui.results.thresholds import ThresholdView
from sai3tui.screens.agent import AgentScreen
from sai3tui.screens.arrangement import CHARTS, PANES, TABLES, Arrangements
from sai3tui.screens.base import TICK_S, WIDE, Pane, RoomScreen
from sai3tui.screens.confirm import ReadScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.services import RunSource
from sai3tui.widgets.agent_grid import AgentGrid
from sai3tui.widgets.area_chart import AreaChart, ChartData, Mark
from sai3tui.widgets.attribution_line import AttributionLine, attribution_lines
from sai3tui.widgets.endpoint_table import EndpointTable
from sai3tui.widgets.event_log import EventLog
from sai3tui.widgets.filter_box import FilterBox
from sai3tui.widgets.heat_map import HeatMap
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.notice_line import NoticeLine
from sai3tui.widgets.playhead import Playhead
from sai3tui.widgets.scrubber import Scrubber
from sai3tui.widgets.stage_line import StageLine
from sai3tui.widgets.text import clean, millis, number, time_of_day, unit_for
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.threshold_lines import threshold_lines, threshold_look
from sai3tui.widgets.wrapping import wrapped

US_PER_MS = 1000.0


class RunView(RoomScreen):
    """Polls a source four times a second and draws what changed, or what was at the moment somebody went back to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "errors", "Errors", id="run.errors"),
        Binding("p", "table", "Endpoints", id="run.table"),
        Binding("left", "move(-1)", "One second back", show=False, id="run.back"),
        Binding("right", "move(1)", "One second on", show=False, id="run.on"),
        Binding("shift+left", "move(-10)", "Ten seconds back", show=False, id="run.far_back"),
        Binding("shift+right", "move(10)", "Ten seconds on", show=False, id="run.far_on"),
        Binding("left_square_bracket", "event(-1)", "Event before", show=False, id="run.event_before"),
        Binding("right_square_bracket", "event(1)", "Event after", show=False, id="run.event_after"),
        Binding("s", "sort", "Sort", show=False, id="run.sort"),
        Binding("w", "why", "Why: who limits this stage", show=False, id="run.why"),
        Binding("c", "thresholds", "Criteria: the thresholds", show=False, id="run.thresholds"),
        Binding("slash", "filter", "Filter agents", show=False, id="run.filter"),
        Binding("h", "group", "Group by host", show=False, id="run.group"),
        Binding("m", "heat", "Heat map figure", show=False, id="run.heat"),
        *(
            Binding(str(n), f"pane('{pane}')", f"Show or hide {pane}", show=False, id=f"run.pane_{pane}")
            for n, pane in enumerate(PANES, 1)
        ),
        Binding("escape", "back", "Back", show=False, id="run.leave"),
    ]

    def __init__(self, source: RunSource, arrangements: Arrangements | None = None) -> None:
        super().__init__()
        self._source = source
        self._arrangements = arrangements or Arrangements()
        self._snapshot = RunSnapshot()
        self._shown = RunSnapshot(version=-1)
        self._told_failure = False
        self.head = Playhead()

    def body(self) -> Iterable[Widget]:
        yield StageLine(id="stages")
        yield NoticeLine(id="notices")
        yield AttributionLine(id="attribution")
        yield Scrubber(id="scrubber")
        latency = AreaChart("p99", "meta", "p50", "ok", above_role="key", id="latency")
        yield Horizontal(
            Pane("Throughput", AreaChart("GET", "get", "PUT", "put", id="throughput"), id="throughput-pane"),
            Pane("Latency", latency, id="latency-pane"),
            id="charts",
            classes="row",
        )
        box = FilterBox(id="agent-filter", compact=True, placeholder="words of a name, a host or a state")
        yield Horizontal(
            Vertical(
                Pane("Agents", box, AgentGrid(id="agents"), id="agents-pane"),
                Pane("Thresholds", TextRows(id="thresholds"), id="thresholds-pane"),
                id="left",
                classes="row column",
            ),
            Vertical(
                Pane("Endpoints", EndpointTable(id="endpoints"), id="endpoints-pane"),
                Pane("Agents × endpoints", HeatMap(id="heat"), id="heat-pane"),
                id="side",
                classes="row column",
            ),
            id="tables",
            classes="row",
        )
        yield Pane("Events", EventLog(id="events"), id="events-pane")

    def on_mount(self) -> None:
        self.query_one(AgentGrid).focus()
        self.query_one("#thresholds-pane").add_class("-none")
        self._arrange()
        self.set_interval(TICK_S, self.tick)
        self.tick()

    # --- drawing ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Show what the source says by now, or the moment at the playhead."""
        if self._source.failure is not None and not self._told_failure:
            self._told_failure = True
            failure = failure_of(self._source.failure)
            self.notify(failure.sentence(), title="the controller stopped", severity="error", timeout=60, markup=False)
            self.show_status(self._shown)
        snapshot = self._source.snapshot()
        if self.head.playing:
            self._go(self.head.played(TICK_S, self._source.frames.span))
        if snapshot.version == self._snapshot.version and self._shown.version >= 0:
            return
        self._snapshot = snapshot
        self._picture()
        self.changed(snapshot)

    def changed(self, snapshot: RunSnapshot) -> None:
        """There is another latest snapshot."""

    def _picture(self) -> None:
        """Draw the moment at the playhead."""
        at = self.head.at_s
        if at is None:
            snapshot = self._snapshot
        elif at == self._shown.elapsed_s:
            # What was frozen stays as it is: the frame nearest to it may be almost a second older.
            snapshot = self._shown
        else:
            snapshot = self._source.frames.at(at, self._snapshot)
        self.show_status(snapshot)
        if at is not None:
            self._show_scrubber()
        if at is None or snapshot.version != self._shown.version:
            self._draw(snapshot)

    def show_status(self, picture: RunSnapshot) -> None:
        """Write the status line; `picture` is what stands below it."""

    def _go(self, head: Playhead) -> None:
        """Show another moment."""
        if head == self.head:
            return
        self.head = head
        self.query_one(Scrubber).set_class(not head.follows, "-shown")
        self._picture()
        self.refresh_bindings()

    def _show_scrubber(self) -> None:
        self.query_one(Scrubber).show(self.head, self._source.frames.span, self._moments(grave=True))

    def _moments(self, *, grave: bool) -> list[float]:
        """Seconds of the run at which something was said; of warnings and errors alone if `grave`."""
        start = self._snapshot.started_ns
        lines = (line for line in self._snapshot.log if not grave or line.level >= Level.WARNING)
        return [(line.time_ns - start) / 1e9 for line in lines]

    def _draw(self, snapshot: RunSnapshot) -> None:
        before, self._shown = self._shown, snapshot
        self.query_one(StageLine).show(snapshot)
        self.query_one(NoticeLine).show(snapshot.notices)
        self.query_one(AttributionLine).show(snapshot)
        if snapshot.series is not before.series or before.version < 0:
            self._draw_charts(snapshot)
        if snapshot.agents != before.agents:
            self.query_one(AgentGrid).show(snapshot.agents)
            self.query_one(HeatMap).show(snapshot)
            self._title_heat()
        self._title_agents()
        if snapshot.endpoints != before.endpoints:
            table = self.query_one(EndpointTable)
            grown = len(snapshot.endpoints) != len(before.endpoints)
            table.show(snapshot.endpoints)
            if grown:
                table.refresh(layout=True)
            self.query_one("#endpoints-pane", Pane).retitle(("Endpoints ", ""), (table.unit_name, "muted"))
        if snapshot.thresholds != before.thresholds:
            self._draw_thresholds(snapshot.thresholds)
        if snapshot.log_total != before.log_total or snapshot.log != before.log:
            self.query_one(EventLog).show(snapshot.log, snapshot.log_total)
            self._title_events()

    def _draw_thresholds(self, thresholds: tuple[ThresholdView, ...]) -> None:
        pane = self.query_one("#thresholds-pane", Pane)
        pane.set_class(not thresholds, "-none")
        missed = sum(1 for view in thresholds if threshold_look(view).rank == 0)
        pane.retitle(
            ("Thresholds", ""), (f"  ✗ {missed} missed" if missed else "  ✓ none missed", "bad" if missed else "ok")
        )
        self.query_one("#thresholds", TextRows).show(lambda width, palette: threshold_lines(thresholds, width, palette))

    def _draw_charts(self, snapshot: RunSnapshot) -> None:
        series = snapshot.series
        marks = stage_marks(snapshot)
        end = series.at_s[-1] if series.at_s else 0.0
        get, put, ops = (column[-1] if column else 0.0 for column in (series.get_bytes, series.put_bytes, series.ops))
        unit = unit_for(max(get, put, _peak(series)))
        known = snapshot.baseline.bands if snapshot.baseline is not None else ()
        bands = {name: band_under(known, series, name) for name in ("get_bytes", "put_bytes", "p99_us")}
        throughput = ChartData(
            series.get_bytes,
            series.put_bytes,
            marks,
            end,
            unit=unit.bytes,
            up_band=bands["get_bytes"],
            down_band=bands["put_bytes"],
        )
        self.query_one("#throughput", AreaChart).show(throughput)
        self.query_one("#latency", AreaChart).show(
            ChartData(
                series.p99_us,
                series.p50_us,
                marks,
                end,
                above=series.scheduled_p99_us,
                unit=US_PER_MS,
                up_band=bands["p99_us"],
            )
        )
        p99, p50 = (series.p99_us[-1], series.p50_us[-1]) if series.p99_us else (0.0, 0.0)
        # Where there is no room for the chart of latencies, there is for the figure.
        beside = "" if self.app.size.width >= WIDE else f"  p99 {millis(p99)} ms"
        self.query_one("#throughput-pane", Pane).retitle(
            (f"Throughput {unit.name}  ", ""),
            (f"GET {unit.show(get)}", "get"),
            ("  ", ""),
            (f"PUT {unit.show(put)}", "put"),
            (f"  {number(ops)} ops/s", "muted"),
            (beside, "meta"),
            ("  ░ baseline" if snapshot.baseline is not None else "", "info"),
        )
        due = series.scheduled_p99_us[-1] if series.scheduled_p99_us else 0.0
        title = [("Latency ms  ", ""), (f"p99 {millis(p99)}", "meta"), ("  ", ""), (f"p50 {millis(p50)}", "ok")]
        if due > p99:
            title += [("  ", ""), (f"due {millis(due)}", "key")]
        self.query_one("#latency-pane", Pane).retitle(*title)

    def _title_agents(self) -> None:
        self.query_one("#agents-pane", Pane).retitle(("Agents", ""), (self.query_one(AgentGrid).facts, "muted"))

    def _title_heat(self) -> None:
        name = self.query_one(HeatMap).unit_name
        self.query_one("#heat-pane", Pane).retitle(("Agents × endpoints ", ""), (name, "muted"))

    def _title_events(self) -> None:
        log = self.query_one(EventLog)
        state = "↓ following" if log.following else f"{log.unseen} new below, end follows"
        self.query_one("#events-pane", Pane).retitle(("Events", ""), (f"  UTC  {state}", "muted"))

    # --- panes -----------------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._arrange()
        if self._shown.version >= 0:
            self._draw_charts(self._shown)

    def _arrange(self) -> None:
        """Show the panes that are wanted and have room."""
        narrow = self.app.size.width < WIDE
        shown = self._arrangements.current.shown(narrow=narrow)
        for pane in PANES:
            self.query_one(f"#{pane}-pane").set_class(pane not in shown, "-off")
        for row, panes in (
            ("charts", CHARTS),
            ("left", ("agents",)),
            ("side", ("endpoints", "heat")),
            ("tables", TABLES),
        ):
            self.query_one(f"#{row}").set_class(not shown & set(panes), "-off")
        if not self.focused or not self.focused.is_on_screen:
            self._focus_table(shown)

    def _focus_table(self, shown: frozenset[str]) -> None:
        first = next(pane for pane in (*TABLES, *PANES) if pane in shown)
        self.query_one(f"#{first}").focus()

    def action_pane(self, pane: str) -> None:
        """Show a pane, or put it away."""
        self._arrangements.keep(self._arrangements.current.toggled(pane))
        self._arrange()

    def action_table(self) -> None:
        """Endpoints beside the agents or not; where there is little room, the next table."""
        now = self._arrangements.current
        if self.app.size.width < WIDE:
            now = now.next_table()
        else:
            away = {"endpoints", "heat"} <= now.hidden
            now = now.__class__(now.hidden - {"endpoints", "heat"} if away else now.hidden | {"endpoints", "heat"})
        self._arrangements.keep(now)
        self._arrange()
        self._focus_table(now.shown(narrow=self.app.size.width < WIDE))

    # --- keys ------------------------------------------------------------------------------------------------------

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.view.id == "events":
            self._title_events()
        elif event.view.id == "agents":
            self._title_agents()

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        if event.view.id == "agents":
            self._open_agent(self.query_one(AgentGrid).current)
        elif event.view.id == "heat":
            at = event.index
            self._open_agent(self._shown.agents[at] if at < len(self._shown.agents) else None)
        elif event.view.id == "events":
            line = self.query_one(EventLog).current
            if line is not None:
                self.event_chosen(line)

    def event_chosen(self, line: LogLine) -> None:
        """An event was chosen: by default all of it is shown."""
        self.app.push_screen(_event_box(line))

    def _open_agent(self, agent: object) -> None:
        agent_id = getattr(agent, "id", None)
        if isinstance(agent_id, str):
            self.app.push_screen(AgentScreen(self._source, agent_id, self.head.at_s))

    def on_scrubber_picked(self, event: Scrubber.Picked) -> None:
        span = self._source.frames.span
        self._go(self.head.frozen(event.seconds).moved(event.seconds - (self.head.at_s or event.seconds), span))

    def action_move(self, seconds: int) -> None:
        """Back or on in time, as many seconds."""
        if len(self._source.frames):
            self._go(self.head.moved(float(seconds), self._source.frames.span))

    def action_event(self, step: int) -> None:
        """To the event before or after."""
        self._go(self.head.to_next(self._moments(grave=False), step, self._source.frames.span))

    def action_errors(self) -> None:
        self.app.push_screen(FailuresScreen(lambda: self._source.snapshot().failures, self._snapshot.config_name))

    def action_why(self) -> None:
        """The verdict on the stage with all facts."""
        stage = next((each for each in self._shown.stages if each.index == self._shown.stage_index), None)
        verdict = stage.attribution if stage is not None else Attribution()
        title = f"What limits {clean(stage.name)}" if stage is not None else "What limits this run"
        self.app.push_screen(ReadScreen(title, lambda width, palette: attribution_lines(verdict, width, palette)))

    def action_thresholds(self) -> None:
        """What the run must meet, where there is no room for its pane too."""
        thresholds = self._shown.thresholds
        if thresholds:
            self.app.push_screen(
                ReadScreen("Thresholds", lambda width, palette: threshold_lines(thresholds, width, palette))
            )
        else:
            self.notify("this run has no thresholds", markup=False)

    def action_sort(self) -> None:
        self.query_one(AgentGrid).cycle_sort()
        self._title_agents()

    def action_group(self) -> None:
        self.query_one(AgentGrid).toggle_groups()
        self._title_agents()

    def action_heat(self) -> None:
        self.query_one(HeatMap).cycle()
        self._title_heat()

    def action_filter(self) -> None:
        box = self.query_one("#agent-filter", Input)
        box.add_class("-open")
        box.focus()

    def _unfilter(self) -> None:
        box = self.query_one("#agent-filter", Input)
        box.value = ""
        box.remove_class("-open")
        self.query_one(AgentGrid).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one(AgentGrid).filter(event.value)
        self._title_agents()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.query_one(AgentGrid).focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.query_one("#agent-filter").has_class("-open"):
            event.stop()
            event.prevent_default()
            self._unfilter()

    def action_back(self) -> None:
        """One step back: out of a zoom, to the present, out of the screen."""
        if self.zoomed:
            self.action_zoom()
        elif not self.head.follows:
            self._go(Playhead(speed=self.head.speed))
        else:
            self.leave()

    def leave(self) -> None:
        """Nothing is left to go back from but the screen."""
        self.dismiss()


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


def _event_box(line: LogLine) -> ReadScreen:
    title = f"{time_of_day(line.time_ns)} UTC  {line.agent or 'controller'}  {line.level.word}"
    return ReadScreen(title, lambda width, palette: wrapped(line.text, width, palette.text), clean(line.text))
