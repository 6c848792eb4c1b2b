"""Who has arrived where: one row per agent, one column per stage, and how far who is awaited has come. The screen for
when it hangs."""

from __future__ import annotations

from rich.text import Text

from sai3tui.controller.snapshot import (
    AgentView,
    BarrierAgent,
    BarrierView,
    Known,
    RunSnapshot,
    StageStatus,
    StageView,
    Standing,
)
from sai3tui.theme import Palette
from sai3tui.widgets.agent_grid import SILENT_AFTER_S, agent_look
from sai3tui.widgets.columns import GAP, Column, fitting, row_line
from sai3tui.widgets.endpoint_table import short_uri
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import STAGE
from sai3tui.widgets.text import clean, fit, millis, number, span

AGENT_WIDTH = 14
CELL_WIDTH = 15


class BarrierBoard(LineList):
    """The barriers of a snapshot."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._snapshot = RunSnapshot()

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the barriers of this snapshot."""
        self._snapshot = snapshot
        self.redraw()

    @property
    def current(self) -> AgentView | None:
        """The agent at the cursor."""
        agents = self._snapshot.agents
        return agents[self.cursor] if self.cursor < len(agents) else None

    def row_count(self) -> int:
        return len(self._snapshot.agents)

    def _columns(self, width: int) -> tuple[tuple[Column, int], ...]:
        """The agent and its stages; where there is no room for all, the stages around the current one."""
        current = self._snapshot.stage_index
        stages = [
            Column(str(stage.index), clean(stage.name), CELL_WIDTH, need=1 + abs(stage.index - current))
            for stage in self._snapshot.stages
        ]
        details = (
            Column("done", "done", 17, right=True, need=1),
            Column("eta", "ETA", 8, right=True, need=1),
            Column("rate", "objects/s", 9, right=True, need=3),
            Column("slowest", "slowest endpoint, p99", 30, need=4),
        )
        last = (Column("missed", "missed", 7, right=True, need=2), Column("heard", "heard", 8))
        return fitting(
            [
                Column("agent", "agent", AGENT_WIDTH),
                *stages,
                *(details if self._snapshot.barrier is not None else ()),
                *(last if self._snapshot.barrier is not None else last[1:]),
            ],
            width,
        )

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        columns = self._columns(width)
        stages = {str(stage.index): stage for stage in self._snapshot.stages}
        names, kinds, counts = Text(), Text(), Text()
        for position, (column, cell) in enumerate(columns):
            gap = GAP if position else ""
            stage = stages.get(column.key)
            names.append(
                gap + fit(column.title, cell, right=column.right),
                style=f"bold {palette.text}" if stage else palette.muted,
            )
            kinds.append(gap + fit(clean(stage.barrier) if stage else "", cell), style=palette.muted)
            counts.append(gap)
            if stage is None:
                counts.append(fit("", cell))
            else:
                look = STAGE[stage.status]
                count = f"{look.glyph} {len(stage.arrived)}/{len(self._snapshot.agents)} arrived"
                counts.append(fit(count, cell), style=look.colour(palette))
        return (names, kinds, counts)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("no agents yet", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        agent = self._snapshot.agents[index]
        silent = agent.heartbeat_age_s > SILENT_AFTER_S
        cells = {
            "agent": (clean(agent.id), palette.text),
            "heard": (
                span(agent.heartbeat_age_s) if agent.heartbeat_age_s else "now",
                palette.warn if silent else palette.muted,
            ),
        }
        barrier = self._snapshot.barrier
        known = barrier.agent(agent.id) if barrier is not None else None
        if known is not None:
            cells |= _details(known, palette)
        for stage in self._snapshot.stages:
            cells[str(stage.index)] = _cell(stage, agent, palette)
        return row_line(self._columns(width), cells)


def _details(agent: BarrierAgent, palette: Palette) -> dict[str, tuple[str, str]]:
    """How far an agent has come, for those that somebody may wait for."""
    missing = palette.warn if agent.missed else palette.muted
    cells = {"missed": (f"{agent.missed} of {agent.threshold}", missing)}
    if agent.standing not in (Standing.WORKING, Standing.SILENT):
        return cells
    if agent.planned:
        cells["done"] = (f"{agent.done:,}/{agent.planned:,}", palette.text)
        cells["rate"] = (number(agent.rate), palette.text)
    cells["eta"] = ("unknown" if agent.eta_s is None else span(agent.eta_s), palette.text)
    if agent.slowest:
        cells["slowest"] = (f"{short_uri(agent.slowest)} {millis(agent.slowest_p99_us)} ms", palette.muted)
    return cells


def barrier_words(barrier: BarrierView, *, viewing: bool = False) -> tuple[tuple[str, str], ...]:
    """Sentences about the current barrier with roles of the palette: whom it waits for, and what happens then.
    `viewing`: another controller leads the run."""
    words: list[tuple[str, str]] = []
    holder = barrier.agent(barrier.holder)
    if holder is not None:
        text = f"{holder.id} holds it up for {span(barrier.waited_s or 0.0)}"
        if holder.standing is Standing.SILENT:
            text += f", silent for {span(holder.heartbeat_age_s)}"
        elif holder.eta_s is not None:
            text += f", through in {span(holder.eta_s)}"
        if holder.slowest:
            text += f", slowest on {short_uri(holder.slowest)}"
        words.append((clean(text), "warn"))
    then = []
    if barrier.left_s is not None and barrier.at_end:
        then.append(f"in {span(barrier.left_s)} {barrier.at_end}")
    if barrier.known is Known.BY_LEADER:
        then.append("how long it waits is known to the leader only")
    elif barrier.known is Known.NOBODY:
        then.append("nobody leads the run: it stays shut until somebody does")
    if barrier.held:
        then.append(f"all are here: it stays shut until {'the leader' if viewing else 'p'} lets it open")
    elif barrier.pausing:
        then.append("it will stay shut when all are here")
    if then:
        words.append((clean("; ".join(then)), "warn" if barrier.pausing or barrier.known is Known.NOBODY else "text"))
    return tuple(words)


def _cell(stage: StageView, agent: AgentView, palette: Palette) -> tuple[str, str]:
    late = dict(stage.arrived).get(agent.id)
    if late is not None:
        return (f"✓ +{span(late)}" if late else "✓ first", palette.ok)
    look = agent_look(agent)
    if stage.status in (StageStatus.PENDING, StageStatus.SKIPPED, StageStatus.DONE):
        return ("·", palette.muted)
    if agent.id in stage.waiting_for and look.rank >= 5:
        return (f"◌ out {span(stage.waiting_s)}", palette.warn)
    return (f"{look.glyph} {look.word}", look.colour(palette))
