"""Agents by endpoints: who gets how much from where, so that one slow path stands out of many."""

from __future__ import annotations

from enum import StrEnum
from statistics import median

from rich.text import Text

from sai3tui.controller.snapshot import AgentView, EndpointCell, RunSnapshot
from sai3tui.theme import Palette
from sai3tui.widgets.agent_grid import agent_look
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.endpoint_table import names_within
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.text import NOTHING, clean, fit_path, millis, number, share, unit_for

BLOCKS = " ▁▂▃▄▅▆▇█"
AGENT = 8
CELL = 9
MORE = 5
"""Room for how many endpoints are not shown."""
ODD = 1.6
"""What is so many times better or worse than the median stands out."""


class Heat(StrEnum):
    """What a cell shows; `m` goes round."""

    BYTES = "throughput"
    P99 = "p99 ms"
    OPS = "ops/s"
    ERRORS = "errors"

    def next(self) -> Heat:
        every = list(Heat)
        return every[(every.index(self) + 1) % len(every)]

    def of(self, cell: EndpointCell) -> float:
        match self:
            case Heat.BYTES:
                return cell.bytes
            case Heat.P99:
                return cell.p99_us
            case Heat.OPS:
                return cell.ops
            case Heat.ERRORS:
                return float(cell.errors)


class HeatMap(LineList):
    """The cells of a snapshot: an agent a row, an endpoint a column, a block whose height is the value's share of the
    largest, and the value."""

    HELP = (
        "What each agent got from each endpoint in its last second. A block stands for the value's share of the "
        "largest one; what is far off the others is marked. m shows throughput, p99, operations or errors."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._agents: tuple[AgentView, ...] = ()
        self._uris: tuple[str, ...] = ()
        self._peak = self._median = 0.0
        self.heat = Heat.BYTES

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the cells of this snapshot."""
        self._agents = snapshot.agents
        # In the order of the table of endpoints above it.
        seen = dict.fromkeys(endpoint.uri for endpoint in snapshot.endpoints)
        seen |= dict.fromkeys(cell.uri for agent in snapshot.agents for cell in agent.cells)
        self._uris = tuple(seen)
        self._measure()

    def cycle(self) -> Heat:
        """Show the next figure; returns it."""
        self.heat = self.heat.next()
        self._measure()
        return self.heat

    @property
    def unit_name(self) -> str:
        return unit_for(self._peak).name if self.heat is Heat.BYTES else self.heat.value

    def _measure(self) -> None:
        values = [value for agent in self._agents for cell in agent.cells if (value := self.heat.of(cell)) > 0]
        self._peak, self._median = max(values, default=0.0), median(values) if values else 0.0
        self.redraw()

    # --- LineList --------------------------------------------------------------------------------------------------

    def row_count(self) -> int:
        return len(self._agents) if self._uris else 0

    def _columns(self, width: int) -> tuple[tuple[Column, int], ...]:
        """The agent and as many endpoints as fit: of a name that is too long, its end tells more."""
        names = names_within(self._uris, CELL)
        titles = [fit_path(names[uri], CELL) for uri in self._uris]
        each = [Column(uri, titles[n], CELL, right=True, need=n + 1) for n, uri in enumerate(self._uris)]
        columns = [Column("agent", "agent", AGENT, grow=True), *each]
        shown = fitting(columns, width)
        return shown if len(shown) == len(columns) else fitting(columns, width - MORE)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        if not self._uris:
            return ()
        columns = self._columns(width)
        hidden = len(self._uris) - (len(columns) - 1)
        titled = [(columns[0][0], columns[0][1]), *columns[1:]]
        line = head_line(titled, palette)
        if hidden:
            line.append(f" +{min(999, hidden)}", style=palette.warn)
        return (line,)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("no agent has reached an endpoint yet", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        agent = self._agents[index]
        cells = {cell.uri: cell for cell in agent.cells}
        row = {"agent": (clean(agent.id), agent_look(agent).colour(palette))}
        for uri in self._uris:
            row[uri] = self._cell(cells.get(uri), palette)
        return row_line(self._columns(width), row)

    def _cell(self, cell: EndpointCell | None, palette: Palette) -> tuple[str, str]:
        value = self.heat.of(cell) if cell is not None else 0.0
        if cell is None or not value:
            return (NOTHING, palette.faint)
        part = share(value, self._peak)
        text = {
            Heat.BYTES: lambda: unit_for(self._peak).show(value),
            Heat.P99: lambda: millis(value),
        }.get(self.heat, lambda: number(value))()
        good = self.heat in (Heat.BYTES, Heat.OPS)
        odd = value * ODD < self._median if good else value > self._median * ODD
        role = "bad" if self.heat is Heat.ERRORS else "warn" if odd else "get"
        return (f"{BLOCKS[max(1, round(part * 8))]} {text:>5}", str(getattr(palette, role)))
