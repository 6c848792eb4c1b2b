"""The events of a run: the session's ring, drawn where it stands; nothing is copied and nothing grows."""

from __future__ import annotations

from rich.text import Text

from sai3tui.controller.snapshot import LogLine
from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import LEVEL
from sai3tui.widgets.text import clean, fit, time_of_day

AGENT_WIDTH = 11


class EventLog(LineList):
    """Log lines, oldest first. Follows the end until the cursor leaves it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: tuple[LogLine, ...] = ()
        self._total = 0
        self._seen_total = 0

    def show(self, lines: tuple[LogLine, ...], total: int) -> None:
        """Show these lines, the last of `total`."""
        following = self.following
        dropped = max(0, (total - len(lines)) - (self._total - len(self._lines)))
        self._lines, self._total = lines, total
        if following:
            self._seen_total = total
            self.redraw()
            self.cursor = len(lines) - 1
        else:
            self.cursor = max(0, self.cursor - dropped)
            self.redraw()

    @property
    def following(self) -> bool:
        """Whether the cursor is at the last line."""
        return self.cursor >= len(self._lines) - 1

    @property
    def unseen(self) -> int:
        """Lines that came while the cursor was elsewhere."""
        return 0 if self.following else self._total - self._seen_total

    @property
    def current(self) -> LogLine | None:
        """The line at the cursor."""
        return self._lines[self.cursor] if self.cursor < len(self._lines) else None

    def row_count(self) -> int:
        return len(self._lines)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("nothing has happened yet", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        entry = self._lines[index]
        look = LEVEL[entry.level]
        line = Text(time_of_day(entry.time_ns), style=palette.muted)
        line.append(f" {look.glyph} ", style=look.colour(palette))
        line.append(fit(clean(entry.agent) or "controller", AGENT_WIDTH), style=palette.muted)
        grave = look.rank <= 1
        line.append(" " + clean(entry.text), style=look.colour(palette) if grave else palette.text)
        return line
