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
from sai3tui.screens.confirm import Answer, ConfirmScreen
from sai3tui.screens.leaving import abort_question, take_over_question, watching_words
from sai3tui.screens.services import RunSource, SessionHandle, TakeOver
from sai3tui.theme import Palette
from sai3tui.widgets.barrier_board import BarrierBoard, barrier_words
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.stage_line import barrier_text

LONGER_S = 60.0
"""How much more time one key press gives."""


class BarrierCard(Painted):
    """The barrier that is being waited at: who is here, who holds it up and since when, and what happens at the end of
    the wait."""

    DEFAULT_CSS = "BarrierCard { height: 3; padding: 0 2; }"

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
        lines = [barrier_text(stage, len(self._snapshot.agents), palette, width)]
        barrier = self._snapshot.barrier
        if barrier is not None:
            words = barrier_words(barrier, viewing=self._snapshot.viewing)
            lines += [Text(text, style=str(getattr(palette, role))) for text, role in words]
        return tuple(lines)


class BarrierScreen(RoomScreen):
    """Polls a run; escape goes back. With `steer` somebody can intervene."""

    HELP = (
        "Every stage ends at a barrier: the next one starts when those who must arrive have arrived. A tick says how "
        "long after the first one an agent came; a yellow circle is who is being waited for, and for how long. w gives "
        "those who are late a minute more, o opens without the agent at the cursor, p keeps the next barrier shut or "
        "lets it open again, x aborts the run. What cannot be undone is asked first."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "wait_longer", "Wait longer", id="barriers.wait"),
        Binding("o", "open_without", "Open without it", id="barriers.without"),
        Binding("p", "pause", "Pause, go on", id="barriers.pause"),
        Binding("x", "abort", "Abort", id="barriers.abort"),
        Binding("t", "take_over", "Take over", id="barriers.take_over"),
        Binding("escape,b", "dismiss", "Back", id="barriers.dismiss"),
    ]

    def __init__(self, session: RunSource, steer: SessionHandle | None = None) -> None:
        super().__init__()
        self._session = session
        self._steer = steer
        self._steerable = (False, False)
        """Whether there is a barrier to steer, and whether somebody else does."""
        self._asked: tuple[bool, bool] | None = None
        """Whether barriers were kept shut when somebody asked, and what for."""
        self._seen = -1

    def body(self) -> Iterable[Widget]:
        yield BarrierCard(id="barrier")
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
            self.query_one(BarrierCard).show(snapshot)
            self.query_one(BarrierBoard).show(snapshot)
            steerable = self._steer is not None and snapshot.barrier is not None, snapshot.viewing
            if steerable != self._steerable:
                self._steerable = steerable
                self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("wait_longer", "open_without", "pause", "abort"):
            return self._steerable[0]
        if action == "take_over":
            return self._steer is not None and self._steerable[1]
        return True

    def _only_watches(self) -> bool:
        """Whether what was asked for cannot be done here; says why."""
        words = watching_words(self._session.snapshot())
        if words:
            self.notify(words, markup=False)
        return bool(words)

    def action_take_over(self) -> None:
        def answered(answer: str | None) -> None:
            if answer == "take":
                self.post_message(TakeOver())

        self.app.push_screen(take_over_question(self._session.snapshot()), answered)

    def action_wait_longer(self) -> None:
        if self._steer is not None and not self._only_watches():
            self._steer.wait_longer(LONGER_S)
            self.notify(f"whoever is late has {LONGER_S:.0f} s more", markup=False)

    def action_open_without(self) -> None:
        """Asked first: the agent is left behind, and the result is incomplete."""
        agent, barrier = self.query_one(BarrierBoard).current, self._session.snapshot().barrier
        if agent is None or barrier is None or self._only_watches():
            return
        if agent.id not in barrier.awaited:
            self.notify(f"{agent.id} is not waited for", markup=False)
            return

        def answered(answer: str | None) -> None:
            if answer == "open" and self._steer is not None:
                self._steer.release_without(agent.id)

        lines = [
            f"Wait no longer for {agent.id} at barrier {barrier.name}?",
            "",
            "It stops this stage and is left behind until the next barrier.",
            "The result says that the run is incomplete (exit code 6).",
        ]
        answers = [Answer("o", "open without it", "open"), Answer("s", "keep waiting", "stay")]
        self.app.push_screen(ConfirmScreen("Open without an agent", lines, answers), answered)

    def action_pause(self) -> None:
        """Keep the next barrier shut, or let it open again."""
        barrier = self._session.snapshot().barrier
        if self._steer is None or barrier is None or self._only_watches():
            return
        # A second key may come before the first is seen in a snapshot: what was asked for last counts until then.
        if self._asked is None or self._asked[0] != barrier.pausing:
            self._asked = (barrier.pausing, barrier.pausing)
        wanted = not self._asked[1]
        self._asked = (barrier.pausing, wanted)
        if wanted:
            self._steer.pause_at_barrier()
        else:
            self._steer.go_on()

    def action_abort(self) -> None:
        if self._only_watches():
            return

        def answered(answer: str | None) -> None:
            if answer == "abort" and self._steer is not None and not self._session.snapshot().viewing:
                self._steer.abort("aborted in the control room")

        self.app.push_screen(abort_question(self._session.snapshot(), "Abort the run", "abort it"), answered)

    def on_line_list_chosen(self, _event: LineList.Chosen) -> None:
        agent = self.query_one(BarrierBoard).current
        if agent is not None:
            self.app.push_screen(AgentScreen(self._session, agent.id))
