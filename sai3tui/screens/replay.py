"""The time machine: a finished run in the live screen, from its log."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from sai3tui.controller.snapshot import LogLine, RunSnapshot
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.run_view import RunView
from sai3tui.widgets.playhead import Playhead


class ReplayScreen(RunView):
    """Plays a run that is over."""

    HELP = (
        "A finished run as it was on the live screen, made from its log. space plays it or stands still, + and − "
        "change the speed, the arrows move by a second and with shift by ten, [ and ] go from event to event. enter "
        "on an event goes to its moment, a click on the time line too. escape leaves."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "Play", id="replay.play"),
        Binding("plus,equals_sign", "speed(1)", "Faster", key_display="+", id="replay.faster"),
        Binding("minus", "speed(-1)", "Slower", show=False, id="replay.slower"),
        Binding("b", "barriers", "Barriers", show=False, id="replay.barriers"),
        Binding("escape", "dismiss", "Back", id="replay.leave"),
    ]

    def on_mount(self) -> None:
        # Before the first operation there is nothing to see.
        self._go(Playhead(self._source.snapshot().series.first_ops_s(self._source.frames.span[0])))

    def show_status(self, picture: RunSnapshot) -> None:
        self.status.show(picture, "PLAYING" if self.head.playing else "REPLAY")

    def _go(self, head: Playhead) -> None:
        # There is no present to follow: the end is a moment like any other.
        last = self._source.frames.span[1]
        super()._go(Playhead(last, False, head.speed) if head.at_s is None else head)

    def event_chosen(self, line: LogLine) -> None:
        """Go to its moment."""
        at = (line.time_ns - self._snapshot.started_ns) / 1e9
        first, last = self._source.frames.span
        self._go(Playhead(max(first, min(at, last)), speed=self.head.speed))

    def action_play(self) -> None:
        """Play or stand still; from the end, play all of it again."""
        first, last = self._source.frames.span
        head = self.head if (self.head.at_s or 0.0) < last else Playhead(first, speed=self.head.speed)
        self._go(head.toggled((first, last)))

    def action_speed(self, steps: int) -> None:
        self._go(self.head.faster(steps))

    def action_barriers(self) -> None:
        self.app.push_screen(BarrierScreen(self._source))
