"""The time line of a run in one line: stages, events, and where the picture stands."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message

from sai3tui.theme import Palette
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.playhead import Playhead
from sai3tui.widgets.text import clock

HEAD = "◆"


class Scrubber(Painted):
    """Shown while the picture is not the present. A click goes there."""

    DEFAULT_CSS = """
    Scrubber { height: 1; padding: 0 1; display: none; }
    Scrubber.-shown { display: block; }
    """

    class Picked(Message):
        """Somebody pointed at a moment."""

        def __init__(self, seconds: float) -> None:
            super().__init__()
            self.seconds = seconds

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._head = Playhead()
        self._span = (0.0, 0.0)
        self._trouble: Sequence[float] = ()
        self._bar = (0, 1)

    def show(self, head: Playhead, span: tuple[float, float], trouble: Sequence[float]) -> None:
        """`trouble` holds the seconds at which there was a warning or an error."""
        self._head, self._span, self._trouble = head, span, trouble
        self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        first, last = self._span
        at = last if self._head.at_s is None else self._head.at_s
        left = f"{'▶' if self._head.playing else '▮▮'} {clock(at)} "
        right = f" {clock(last)}"
        if self._head.playing or self._head.speed != 1:
            right += f"  {self._head.speed:g}×"
        if width >= 90:
            right += "  ←→ move  [ ] events"
        room = max(4, width - len(left) - len(right))
        self._bar = (len(left), room)

        def cell(seconds: float) -> int:
            return max(0, min(room - 1, round((seconds - first) / max(1e-9, last - first) * (room - 1))))

        here = cell(at)
        marks = {cell(seconds) for seconds in self._trouble}
        line = Text(left, style=f"bold {palette.key}")
        for x in range(room):
            if x == here:
                line.append(HEAD, style=f"bold {palette.bright}")
            elif x in marks:
                line.append("▲", style=palette.warn)
            else:
                line.append("━", style=palette.info if x < here else palette.faint)
        line.append(right, style=palette.muted)
        return (line,)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        start, room = self._bar
        if offset is not None and start <= offset.x < start + room:
            first, last = self._span
            self.post_message(self.Picked(first + (offset.x - start) / max(1, room - 1) * (last - first)))
