"""The parts of a stage side by side: its agents, or its endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from sai3tui.results.views import AgentStageView, EndpointView
from sai3tui.theme import Palette
from sai3tui.widgets.columns import Column, fitting, head_line, row_line
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.text import NOTHING, Unit, clean, fit_path, millis, number, share, unit_for

COLUMNS = (
    Column("name", "", 16, grow=True),
    Column("get", "GET", 7, right=True),
    Column("put", "PUT", 7, right=True),
    Column("rate", "ops/s", 7, right=True, need=2),
    Column("get99", "GET p99", 7, right=True, need=4),
    Column("put99", "PUT p99", 7, right=True, need=5),
    Column("p99", "p99 ms", 7, right=True),
    Column("ops", "operations", 11, right=True, need=3),
    Column("share", "share", 16, need=1),
    Column("errors", "err", 5, right=True),
)
BAR = 8


@dataclass(frozen=True, slots=True)
class Part:
    """A row: an agent or an endpoint. Bytes and operations per second, latencies in µs."""

    name: str
    get_bytes: float
    put_bytes: float
    ops: float
    get_p99_us: float
    put_p99_us: float
    p99_us: float
    total_ops: int
    share: float
    errors: int
    note: str = ""


def agent_parts(views: Sequence[AgentStageView]) -> tuple[Part, ...]:
    return tuple(
        Part(
            view.agent,
            view.rates.get_bytes,
            view.rates.put_bytes,
            view.rates.ops,
            view.rates.get_p99_us,
            view.rates.put_p99_us,
            view.rates.p99_us,
            view.total_ops,
            view.share,
            view.errors,
            "lost" if view.unreported else "own limit" if view.client_limited else "",
        )
        for view in views
    )


def endpoint_parts(views: Sequence[EndpointView]) -> tuple[Part, ...]:
    whole = sum(view.total_ops for view in views)
    return tuple(
        Part(
            view.uri,
            view.get_bytes,
            view.put_bytes,
            view.ops,
            0.0,
            0.0,
            view.p99_us,
            view.total_ops,
            share(view.total_ops, whole),
            view.errors,
        )
        for view in views
    )


class PartTable(LineList):
    """Parts in the order given; `s` puts the worst p99 first, and back."""

    HELP = "Averages over the stage at the cursor above. s puts the slowest first."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._parts: tuple[Part, ...] = ()
        self._title = ""
        self._worst_first = False

    def show(self, title: str, parts: tuple[Part, ...]) -> None:
        """Show these parts; `title` says what they are."""
        self._title, self._parts = title, parts
        self.redraw()

    def toggle_sort(self) -> bool:
        """Worst p99 first, or no more; returns which."""
        self._worst_first = not self._worst_first
        self.redraw()
        return self._worst_first

    @property
    def unit_name(self) -> str:
        return self._unit().name

    def _unit(self) -> Unit:
        return unit_for(max((max(part.get_bytes, part.put_bytes) for part in self._parts), default=0.0))

    def _sorted(self) -> tuple[Part, ...]:
        if not self._worst_first:
            return self._parts
        return tuple(sorted(self._parts, key=lambda part: -part.p99_us))

    def row_count(self) -> int:
        return len(self._parts)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        columns = fitting(COLUMNS, width)
        named = ((Column("name", self._title, columns[0][1], grow=True), columns[0][1]), *columns[1:])
        return (head_line(named, palette),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("nothing was measured in this stage", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        part = self._sorted()[index]
        columns = fitting(COLUMNS, width)
        unit = self._unit()
        name = clean(part.name).split("://", 1)[-1].rstrip("/")
        note = f"  ▲ {part.note}" if part.note else ""
        room = columns[0][1]
        label = fit_path(name, room - len(note)) + note if len(note) < room - 6 else fit_path(name, room)
        bar = "━" * max(1, round(part.share * BAR)) if part.share else ""
        cells = {
            "name": (label, palette.warn if part.note else palette.text),
            "get": (unit.show(part.get_bytes) if part.get_bytes else NOTHING, palette.get),
            "put": (unit.show(part.put_bytes) if part.put_bytes else NOTHING, palette.put),
            "rate": (number(part.ops) if part.ops else NOTHING, palette.text),
            "get99": (millis(part.get_p99_us), palette.get),
            "put99": (millis(part.put_p99_us), palette.put),
            "p99": (millis(part.p99_us), palette.text),
            "ops": (f"{part.total_ops:,}", palette.muted),
            "share": (f"{bar:<{BAR}} {part.share:>6.1%}", palette.ok),
            "errors": (f"{part.errors:,}", palette.bad if part.errors else palette.muted),
        }
        return row_line(columns, cells)
