"""All agents in one line-drawn table: state, rates, latency, errors, the last minute; problems first."""

from __future__ import annotations

from enum import StrEnum

from rich.text import Text

from sai3tui.controller.snapshot import AgentView
from sai3tui.events import AgentState
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import AGENT, Look
from sai3tui.widgets.text import NOTHING, clean, millis, share, sparkline, unit_for

SILENT_AFTER_S = 5.0
_GONE = frozenset({AgentState.LOST, AgentState.FAILED, AgentState.CONNECTING, AgentState.COMPLETED, AgentState.IDLE})

COLUMNS = (
    Column("agent", "agent", 10),
    Column("state", "state", 13),
    Column("get", "GET", 6, right=True),
    Column("put", "PUT", 6, right=True),
    Column("p99", "p99 ms", 6, right=True),
    Column("errors", "err", 4, right=True),
    Column("done", "done", 5, right=True, need=2),
    Column("cpu", "cpu %", 5, right=True, need=3),
    Column("history", "60 s", 8, need=1, grow=True),
)


class Sort(StrEnum):
    """What the table is sorted by; `s` goes round."""

    PROBLEMS = "problems first"
    NAME = "name"
    THROUGHPUT = "throughput"
    P99 = "p99"

    def next(self) -> Sort:
        every = list(Sort)
        return every[(every.index(self) + 1) % len(every)]


def agent_look(agent: AgentView) -> Look:
    """The state of an agent; one that should speak and does not is shown as silent."""
    if agent.state not in _GONE and agent.heartbeat_age_s > SILENT_AFTER_S:
        return Look("▲", f"silent {agent.heartbeat_age_s:.0f} s", "warn", 2)
    return AGENT[agent.state]


def sorted_agents(agents: tuple[AgentView, ...], by: Sort) -> tuple[AgentView, ...]:
    """`agents` in the order of `by`; equal ones stay in the order of the configuration."""
    if by is Sort.PROBLEMS:
        return tuple(sorted(agents, key=lambda a: (agent_look(a).rank, -a.errors)))
    if by is Sort.THROUGHPUT:
        return tuple(sorted(agents, key=lambda a: -(a.rates.get_bytes + a.rates.put_bytes)))
    if by is Sort.P99:
        return tuple(sorted(agents, key=lambda a: -a.rates.p99_us))
    return tuple(sorted(agents, key=lambda a: a.id))


class AgentGrid(LineList):
    """The agents of a snapshot. The cursor stays at its agent when the order changes."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._agents: tuple[AgentView, ...] = ()
        self._shown: tuple[AgentView, ...] = ()
        self._peak = 0.0
        self._top = 0.0
        self.sort = Sort.PROBLEMS

    def show(self, agents: tuple[AgentView, ...]) -> None:
        """Show these agents."""
        self._agents = agents
        self._peak = max((max(a.rates.get_bytes, a.rates.put_bytes) for a in agents), default=0.0)
        self._top = max((max(a.history, default=0.0) for a in agents), default=0.0)
        self._arrange()

    def cycle_sort(self) -> Sort:
        """Sort by the next thing; returns it."""
        self.sort = self.sort.next()
        self._arrange()
        return self.sort

    @property
    def current(self) -> AgentView | None:
        """The agent at the cursor."""
        return self._shown[self.cursor] if self.cursor < len(self._shown) else None

    @property
    def unit_name(self) -> str:
        """The unit of the columns GET and PUT."""
        return unit_for(self._peak).name

    def _arrange(self) -> None:
        at = self.current
        self._shown = sorted_agents(self._agents, self.sort)
        if at is not None and self.cursor > 0:
            self.cursor = next((i for i, agent in enumerate(self._shown) if agent.id == at.id), 0)
        self.redraw()

    # --- LineList --------------------------------------------------------------------------------------------------

    def row_count(self) -> int:
        return len(self._shown)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(fitting(COLUMNS, width), palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("no agent has answered yet", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        agent = self._shown[index]
        columns = fitting(COLUMNS, width)
        unit = unit_for(self._peak)
        look = agent_look(agent)
        history_width = next((w for column, w in columns if column.key == "history"), 0)
        done = f"{share(agent.done, agent.planned):.0%}" if agent.planned else NOTHING
        cpu = agent.vitals.cpu_user_pct + agent.vitals.cpu_system_pct
        busy = palette.warn if cpu >= 90 else palette.muted
        cells = {
            "agent": (clean(agent.id), palette.text),
            "state": (f"{look.glyph} {look.word}", look.colour(palette)),
            "get": (unit.show(agent.rates.get_bytes) if agent.rates.get_bytes else NOTHING, palette.get),
            "put": (unit.show(agent.rates.put_bytes) if agent.rates.put_bytes else NOTHING, palette.put),
            "p99": (millis(agent.rates.p99_us), palette.text),
            "errors": (f"{agent.errors:,}", palette.bad if agent.errors else palette.muted),
            "done": (done, palette.text),
            "cpu": (f"{'▲' if cpu >= 90 else ''}{cpu:.0f}" if agent.vitals.workers else NOTHING, busy),
            "history": (sparkline(agent.history, history_width, self._top), palette.get),
        }
        return row_line(columns, cells)
