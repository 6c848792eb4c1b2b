"""Who has arrived at which barrier, and who is being waited for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.screens.agent import AgentScreen
from sai3tui.screens.base import TICK_S, Pane, RoomScreen
from sai3tui.screens.services import RunSource
from sai3tui.theme import Palette
from sai3tui.widgets.barrier_board import BarrierBoard
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.stage_line import barrier_text


class BarrierLine(Painted):
    """The barrier that is being waited at, in one line."""

    DEFAULT_CSS = "BarrierLine { height: 1; padding: 0 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._snapshot = RunSnapshot()

    def show(self, snapshot: RunSnapshot) -> None:
        self._snapshot = snapshot
        self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        stage = next((s for s in self._snapshot.stages if s.index == self._snapshot.stage_index), None)
        if stage is None:
            return (Text("no stage has begun", style=palette.muted),)
        return (barrier_text(stage, len(self._snapshot.agents), palette, width),)


class BarrierScreen(RoomScreen):
    """Polls a session; escape goes back."""

    HELP = (
        "Every stage ends at a barrier: the next one starts when those who must arrive have arrived. A tick says how "
        "long after the first one an agent came; a yellow circle is who is being waited for, and for how long."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,b", "dismiss", "Back", id="barriers.dismiss"),
    ]

    def __init__(self, session: RunSource) -> None:
        super().__init__()
        self._session = session
        self._seen = -1

    def body(self) -> Iterable[Widget]:
        yield BarrierLine(id="barrier")
        yield Pane("Barriers", BarrierBoard(id="board"), id="board-pane")

    def on_mount(self) -> None:
        self.query_one(BarrierBoard).focus()
        self.set_interval(TICK_S, self.tick)
        self.tick()

    def tick(self) -> None:
        """Show what the session says by now."""
        snapshot = self._session.snapshot()
        if snapshot.version != self._seen:
            self._seen = snapshot.version
            self.status.show(snapshot)
            self.query_one(BarrierLine).show(snapshot)
            self.query_one(BarrierBoard).show(snapshot)

    def on_line_list_chosen(self, _event: LineList.Chosen) -> None:
        agent = self.query_one(BarrierBoard).current
        if agent is not None:
            self.app.push_screen(AgentScreen(self._session, agent.id))
