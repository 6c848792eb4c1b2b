"""All agents in one line-drawn table: state, rates, latency, errors, limits, the last minute; problems first."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType

from sai3tui.controller.hosts import HostView, by_host
from sai3tui.controller.snapshot import AgentView
from sai3tui.events import AgentState
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import AGENT, Look
from sai3tui.widgets.text import NOTHING, clean, millis, number, plural, share, short_count, sparkline, unit_for

SILENT_AFTER_S = 5.0
LIMIT_BAR = 3
_GONE = frozenset({AgentState.LOST, AgentState.FAILED, AgentState.CONNECTING, AgentState.COMPLETED, AgentState.IDLE})

NAME, LONGEST_NAME = 9, 18
COLUMNS = (
    Column("agent", "agent", NAME),
    Column("state", "state", 13),
    Column("get", "GET", 6, right=True),
    Column("put", "PUT", 6, right=True),
    Column("p99", "p99 ms", 6, right=True),
    Column("errors", "err", 4, right=True),
    Column("limit", "limit %", 7, right=True, need=1),
    Column("done", "done", 5, right=True, need=4),
    Column("cpu", "cpu %", 5, right=True, need=3),
    Column("skew", "clock ms", 8, right=True, need=5),
    Column("host", "host", 10, need=6),
    Column("history", "60 s", 4, need=2, grow=True),
)


class Sort(StrEnum):
    """What the table is sorted by; `s` goes round."""

    PROBLEMS = "problems first"
    NAME = "name"
    THROUGHPUT = "throughput"
    P99 = "p99"
    ERRORS = "errors"
    LIMIT = "limit"

    def next(self) -> Sort:
        every = list(Sort)
        return every[(every.index(self) + 1) % len(every)]


_BY_TITLE = {
    "agent": Sort.NAME,
    "state": Sort.PROBLEMS,
    "get": Sort.THROUGHPUT,
    "put": Sort.THROUGHPUT,
    "p99": Sort.P99,
    "errors": Sort.ERRORS,
    "limit": Sort.LIMIT,
}
"""What a click on a column's title sorts by."""


def agent_look(agent: AgentView) -> Look:
    """The state of an agent; one that should speak and does not is shown as silent."""
    if agent.state not in _GONE and agent.heartbeat_age_s > SILENT_AFTER_S:
        return Look("▲", f"silent {_age(agent.heartbeat_age_s)}", "warn", 2)
    return AGENT[agent.state]


def _age(seconds: float) -> str:
    """At most four cells, so that the state's column holds it whole."""
    for unit, letter in ((1, "s"), (60, "m")):
        if seconds < 99.5 * unit:
            return f"{seconds / unit:.0f} {letter}"
    return f"{min(99.0, seconds / 3600):.0f} h"


def sorted_agents(agents: tuple[AgentView, ...], by: Sort) -> tuple[AgentView, ...]:
    """`agents` in the order of `by`; equal ones stay in the order of the configuration."""
    match by:
        case Sort.PROBLEMS:
            return tuple(sorted(agents, key=lambda a: (agent_look(a).rank, -a.errors)))
        case Sort.THROUGHPUT:
            return tuple(sorted(agents, key=lambda a: -(a.rates.get_bytes + a.rates.put_bytes)))
        case Sort.P99:
            return tuple(sorted(agents, key=lambda a: -a.rates.p99_us))
        case Sort.ERRORS:
            return tuple(sorted(agents, key=lambda a: -a.errors))
        case Sort.LIMIT:
            return tuple(sorted(agents, key=lambda a: -a.limit_used))
        case Sort.NAME:
            return tuple(sorted(agents, key=lambda a: _natural(a.id)))


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that puts agent-2 before agent-10."""
    parts: list[str] = []
    for character in name:
        if parts and parts[-1][-1].isdecimal() == character.isdecimal():
            parts[-1] += character
        else:
            parts.append(character)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def limit_bar(used: float) -> str:
    """How much of its nearest limit a generator uses, as a bar and a number of per cent."""
    full = max(0, min(LIMIT_BAR, round(used * LIMIT_BAR)))
    if used >= 9.995:
        return f"{'━' * (LIMIT_BAR - 1)} 999+"
    return f"{'━' * full + '─' * (LIMIT_BAR - full)} {used * 100:>3.0f}"


class AgentGrid(LineList):
    """The agents of a snapshot. The cursor stays at its agent when the order changes."""

    HELP = (
        "Every agent with what it did in its last second. The limit is how much of its nearest own limit a load "
        "generator uses (processes, answers that wait, CPUs, network): from 100 on it measures itself, not the "
        "storage. s sorts by something else (so does a click on a title), / shows only agents whose name, host or "
        "state has all the words, h puts those of a host together. enter opens one agent."
    )

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Agent")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._agents: tuple[AgentView, ...] = ()
        self._rows: tuple[AgentView | HostView, ...] = ()
        self._peak = 0.0
        self._top = 0.0
        self._words: tuple[str, ...] = ()
        self._name_width = NAME
        self.sort = Sort.PROBLEMS
        self.grouped = False

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

    def filter(self, text: str) -> None:
        """Show only agents that have all words of `text`."""
        self._words = tuple(text.lower().split())
        self._arrange()

    def toggle_groups(self) -> bool:
        """Put agents of a host together, or no more; returns which."""
        self.grouped = not self.grouped
        self._arrange()
        return self.grouped

    @property
    def current(self) -> AgentView | None:
        """The agent at the cursor; None on a host's line."""
        row = self._rows[self.cursor] if self.cursor < len(self._rows) else None
        return row if isinstance(row, AgentView) else None

    @property
    def facts(self) -> str:
        """What the table shows, for its title."""
        shown = sum(1 for row in self._rows if isinstance(row, AgentView))
        count = f"{shown} of {len(self._agents)}" if self._words else f"{shown}"
        return f"  {count}   {self.unit_name}   sort: {self.sort.value}" + ("   by host" if self.grouped else "")

    @property
    def unit_name(self) -> str:
        """The unit of the columns GET and PUT."""
        return unit_for(self._peak).name

    def _arrange(self) -> None:
        at = self.current
        shown = sorted_agents(tuple(a for a in self._agents if self._wanted(a)), self.sort)
        rows: tuple[AgentView | HostView, ...] = shown
        if self.grouped:
            rows = ()
            for host in by_host(shown):
                rows += (host, *host.agents)
        self._rows = rows
        longest = max((cell_len(clean(agent.id)) for agent in shown), default=0) + (2 if self.grouped else 0)
        self._name_width = max(NAME, min(LONGEST_NAME, longest))
        if at is not None and self.cursor > 0:
            self.cursor = next((i for i, r in enumerate(rows) if isinstance(r, AgentView) and r.id == at.id), 0)
        self.redraw()

    def _wanted(self, agent: AgentView) -> bool:
        said = f"{agent.id} {agent.hostname} {agent.address} {agent_look(agent).word}".lower()
        return all(word in said for word in self._words)

    # --- LineList --------------------------------------------------------------------------------------------------

    def row_count(self) -> int:
        return len(self._rows)

    def _columns(self, width: int) -> tuple[tuple[Column, int], ...]:
        """The columns that fit; names take the room they need, up to a limit."""
        return fitting((replace(COLUMNS[0], width=self._name_width), *COLUMNS[1:]), width)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (head_line(self._columns(width), palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        text = "no agent has all these words" if self._words else "no agent has answered yet"
        return (Text(text, style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        row = self._rows[index]
        columns = self._columns(width)
        return self._host(row, columns, palette) if isinstance(row, HostView) else self._agent(row, columns, palette)

    def _agent(self, agent: AgentView, columns: tuple[tuple[Column, int], ...], palette: Palette) -> Text:
        unit = unit_for(self._peak)
        look = agent_look(agent)
        history_width = next((w for column, w in columns if column.key == "history"), 0)
        done = f"{share(agent.done, agent.planned):.0%}" if agent.planned else NOTHING
        cpu = agent.vitals.cpu_user_pct + agent.vitals.cpu_system_pct
        busy = palette.warn if cpu >= 90 else palette.muted
        limited = palette.warn if agent.limit_used >= 1 else palette.ok
        skew = number(agent.clock_offset_ms) if agent.version else NOTHING
        cells = {
            "agent": (("  " if self.grouped else "") + clean(agent.id), palette.text),
            "state": (f"{look.glyph} {look.word}", look.colour(palette)),
            "get": (unit.show(agent.rates.get_bytes) if agent.rates.get_bytes else NOTHING, palette.get),
            "put": (unit.show(agent.rates.put_bytes) if agent.rates.put_bytes else NOTHING, palette.put),
            "p99": (millis(agent.rates.p99_us), palette.text),
            "errors": (short_count(agent.errors), palette.bad if agent.errors else palette.muted),
            "limit": (limit_bar(agent.limit_used) if agent.limit_used else NOTHING, limited),
            "done": (done, palette.text),
            "cpu": (f"{'▲' if cpu >= 90 else ''}{cpu:.0f}" if agent.vitals.workers else NOTHING, busy),
            "skew": (skew, palette.muted),
            "host": (clean(agent.hostname), palette.muted),
            "history": (sparkline(agent.history, history_width, self._top), palette.get),
        }
        return row_line(columns, cells)

    def _host(self, host: HostView, columns: tuple[tuple[Column, int], ...], palette: Palette) -> Text:
        unit = unit_for(self._peak)
        cells = {
            "agent": (clean(host.name), f"bold {palette.bright}"),
            "state": (plural(len(host.agents), "agent"), palette.muted),
            "get": (unit.show(host.get_bytes) if host.get_bytes else NOTHING, f"bold {palette.get}"),
            "put": (unit.show(host.put_bytes) if host.put_bytes else NOTHING, f"bold {palette.put}"),
            "p99": (millis(host.p99_us), palette.text),
            "errors": (short_count(host.errors), palette.bad if host.errors else palette.muted),
            "cpu": (f"{host.cpu_pct:.0f}", palette.muted),
        }
        return row_line(columns, cells)

    def head_clicked(self, x: int) -> None:
        """Sort by the column whose title is at `x`."""
        start = 0
        for column, width in self._columns(max(1, self.scrollable_content_region.width)):
            if start <= x < start + width and column.key in _BY_TITLE:
                self.sort = _BY_TITLE[column.key]
                self._arrange()
                self.post_message(self.Moved(self, self.cursor))
                return
            start += width + 2
