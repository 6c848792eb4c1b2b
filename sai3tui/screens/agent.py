"""One agent: what it moved and how long that took, all that is known of it, its endpoints, what went wrong there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from sai3tui.controller.frames import AgentSeries
from sai3tui.controller.snapshot import AgentView, EndpointCell, RunSnapshot
from sai3tui.screens.base import TICK_S, Pane, RoomScreen
from sai3tui.screens.services import RunSource
from sai3tui.theme import Palette
from sai3tui.widgets.agent_card import agent_lines
from sai3tui.widgets.agent_grid import agent_look
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.endpoint_table import names_within
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.plot import Line, Plot, PlotData
from sai3tui.widgets.states import LEVEL
from sai3tui.widgets.text import NOTHING, clean, fit_path, millis, plural, time_of_day, unit_for
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.wrapping import failure_lines, wrapped

COLUMNS = (
    Column("uri", "endpoint", 12, grow=True),
    Column("rate", "rate", 6, right=True),
    Column("ops", "ops/s", 7, right=True),
    Column("p99", "p99 ms", 6, right=True),
    Column("errors", "err", 4, right=True),
)


class CellTable(LineList):
    """What one agent got from each endpoint in its last second."""

    HELP = "What this agent got from each endpoint in its last second."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._cells: tuple[EndpointCell, ...] = ()

    def show(self, cells: tuple[EndpointCell, ...]) -> None:
        self._cells = cells
        self.redraw()

    @property
    def unit_name(self) -> str:
        return unit_for(max((cell.bytes for cell in self._cells), default=0.0)).name

    def row_count(self) -> int:
        return len(self._cells)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(fitting(COLUMNS, width), palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("nothing came from any endpoint just now", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        cell = self._cells[index]
        columns = fitting(COLUMNS, width)
        names = names_within(tuple(each.uri for each in self._cells), columns[0][1])
        unit = unit_for(max(each.bytes for each in self._cells))
        return row_line(
            columns,
            {
                "uri": (fit_path(names[cell.uri], columns[0][1]), palette.text),
                "rate": (unit.show(cell.bytes) if cell.bytes else NOTHING, palette.get),
                "ops": (f"{cell.ops:,.0f}" if cell.ops else NOTHING, palette.text),
                "p99": (millis(cell.p99_us), palette.text),
                "errors": (f"{cell.errors:,}", palette.bad if cell.errors else palette.muted),
            },
        )


class AgentScreen(RoomScreen):
    """Polls a source; `at_s` is the moment to show, None the present."""

    HELP = (
        "One agent. Its curves come from the same second-by-second figures as the fleet's; below stands what is known "
        "of its host and its load generator, what it gets from each endpoint, and what went wrong on it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "other", "Endpoints, errors", id="agent.other"),
        Binding("left", "neighbour(-1)", "Agent before", show=False, id="agent.before"),
        Binding("right", "neighbour(1)", "Agent after", show=False, id="agent.after"),
        Binding("y", "copy", "Copy", id="agent.copy"),
        Binding("escape,enter", "dismiss", "Back", id="agent.leave"),
    ]

    def __init__(self, source: RunSource, agent_id: str, at_s: float | None = None) -> None:
        super().__init__()
        self._source = source
        self._agent_id = agent_id
        self._at_s = at_s
        self._seen: tuple[int, str] = (-1, "")
        self._drawn_s = -1

    def body(self) -> Iterable[Widget]:
        yield Horizontal(
            Pane("Throughput", Plot(id="agent-throughput"), id="agent-throughput-pane"),
            Pane("Latency", Plot(id="agent-latency"), id="agent-latency-pane"),
            id="agent-charts",
            classes="row",
        )
        yield Horizontal(
            Pane("Agent", TextRows(id="agent-card"), id="agent-card-pane"),
            Vertical(
                Pane("Endpoints", CellTable(id="agent-cells"), id="agent-cells-pane"),
                Pane("Went wrong here", TextRows(id="agent-errors"), id="agent-errors-pane"),
                id="agent-right",
                classes="row column",
            ),
            id="agent-lower",
            classes="row",
        )

    def on_mount(self) -> None:
        self.query_one("#agent-card").focus()
        self.set_interval(TICK_S, self.tick)
        self.tick()

    def tick(self) -> None:
        """Show what is known by now; the curves once a second, since plotext takes its time."""
        latest = self._source.snapshot()
        seen = (latest.version, self._agent_id)
        if seen == self._seen:
            return
        self._seen = seen
        snapshot = latest if self._at_s is None else self._source.frames.at(self._at_s, latest)
        self.status.show(snapshot, "" if self._at_s is None else "BACK THEN")
        agent = next((each for each in snapshot.agents if each.id == self._agent_id), None)
        if agent is None:
            return
        self._draw(snapshot, agent)
        second = int(snapshot.elapsed_s)
        if second != self._drawn_s:
            self._drawn_s = second
            self._plot(snapshot)

    def _draw(self, snapshot: RunSnapshot, agent: AgentView) -> None:
        look = agent_look(agent)
        pane = self.query_one("#agent-card-pane", Pane)
        pane.retitle((clean(agent.id), ""), (f"  {look.glyph} {look.word}", look.role))
        self.query_one("#agent-card", TextRows).show(lambda width, palette: agent_lines(agent, width, palette))
        cells = self.query_one(CellTable)
        cells.show(agent.cells)
        self.query_one("#agent-cells-pane", Pane).retitle(("Endpoints ", ""), (cells.unit_name, "muted"))

        def wrong(width: int, palette: Palette) -> list[Text]:
            return error_lines(snapshot, agent, width, palette)

        self.query_one("#agent-errors", TextRows).show(wrong)

    def _plot(self, snapshot: RunSnapshot) -> None:
        series = self._source.frames.agent_series(self._agent_id, snapshot.elapsed_s)
        names = {stage.index: clean(stage.name) for stage in snapshot.stages}
        unit = unit_for(max((*series.get_bytes, *series.put_bytes), default=0.0))
        rates = (
            Line("GET", "get", [value / unit.bytes for value in series.get_bytes]),
            Line("PUT", "put", [value / unit.bytes for value in series.put_bytes]),
        )
        latencies = [
            Line("p99", "meta", [value / 1000 for value in series.p99_us]),
            Line("p50", "ok", [value / 1000 for value in series.p50_us]),
        ]
        if any(due > got for due, got in zip(series.scheduled_p99_us, series.p99_us, strict=True)):
            latencies.insert(0, Line("p99 from due", "key", [value / 1000 for value in series.scheduled_p99_us]))
        marks = stage_starts(series, names)
        for name, title, lines in (
            ("throughput", f"Throughput {unit.name}", rates),
            ("latency", "Latency ms", tuple(latencies)),
        ):
            self.query_one(f"#agent-{name}", Plot).show(PlotData(series.at_s, lines, marks))
            parts = [(title, ""), *((f"  ━ {line.name}", line.role) for line in lines if any(line.values))]
            self.query_one(f"#agent-{name}-pane", Pane).retitle(*parts)

    def action_other(self) -> None:
        """Where there is little room: latency, endpoints and errors instead of throughput and the host."""
        shown = self.toggle_class("-other").has_class("-other")
        self.query_one("#agent-cells" if shown else "#agent-card").focus()

    def action_neighbour(self, step: int) -> None:
        """The agent before or after this one, in the order of the configuration."""
        ids = [agent.id for agent in self._source.snapshot().agents]
        if self._agent_id in ids:
            self._agent_id = ids[(ids.index(self._agent_id) + step) % len(ids)]
            self._drawn_s = -1
            self.tick()

    def action_copy(self) -> None:
        agent = next((a for a in self._source.snapshot().agents if a.id == self._agent_id), None)
        if agent is not None:
            lines = agent_lines(agent, 200, Palette.of(self.app))
            self.app.copy_to_clipboard("\n".join([agent.id, *(line.plain for line in lines)]))
            self.notify("copied", markup=False)


def stage_starts(series: AgentSeries, names: dict[int, str]) -> tuple[tuple[float, str], ...]:
    """When in a series each stage begins, with its name."""
    marks: list[tuple[float, str]] = []
    last = 0
    for second, index in zip(series.at_s, series.stage_index, strict=True):
        if index != last:
            last = index
            marks.append((second, names.get(index, "")))
    return tuple(marks)


def error_lines(snapshot: RunSnapshot, agent: AgentView, width: int, palette: Palette) -> list[Text]:
    """Failures that this agent had a part in, and what it said that was no good news, the newest first."""
    lines: list[Text] = []
    if agent.failure is not None:
        lines += [*failure_lines(agent.failure, width, palette), Text()]
    for group in snapshot.failures:
        if agent.id in group.agents:
            seen = f"{plural(group.count, 'time')}, last {time_of_day(group.last_ns)} UTC"
            lines += wrapped("✗ " + group.sample.sentence(), width, palette.bad)
            lines += wrapped(seen, width, palette.muted, 2)
    grave = [line for line in snapshot.log if line.agent == agent.id and LEVEL[line.level].rank <= 1]
    for line in reversed(grave[-20:]):
        look = LEVEL[line.level]
        lines += wrapped(f"{time_of_day(line.time_ns)} {look.glyph} {line.text}", width, look.colour(palette))
    return lines or [Text("✓ nothing went wrong on this agent", style=palette.ok)]
