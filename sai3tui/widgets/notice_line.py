"""What must not be overlooked about a run, on as many lines as it takes."""

from __future__ import annotations

from rich.text import Text

from sai3tui.theme import Palette
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.text import clean
from sai3tui.widgets.wrapping import wrapped

MOST_LINES = 3


class NoticeLine(Painted):
    """Facts that must not be overlooked: checks that were skipped, agents that anybody may command. What does not fit
    into a few lines ends with an ellipsis; all of it is in the results."""

    DEFAULT_CSS = """
    NoticeLine { height: 1; padding: 0 1; display: none; }
    NoticeLine.-some { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._notices: tuple[str, ...] = ()
        self._lines = 1

    def show(self, notices: tuple[str, ...]) -> None:
        if notices != self._notices:
            self._notices = notices
            self.set_class(bool(notices), "-some")
            self._grow()
            self.refresh()

    def on_resize(self) -> None:
        self._grow()

    def _grow(self) -> None:
        """Take the lines that the notices need. They change a few times in a run at most."""
        width = self.content_size.width or self.app.size.width - self.gutter.width
        lines = max(1, len(self.paint(width, Palette.of(self.app))))
        if lines != self._lines:
            self._lines = lines
            self.styles.height = lines

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        lines = wrapped("  ".join(f"▲ {clean(notice)}" for notice in self._notices), width, f"bold {palette.warn}")
        if len(lines) > MOST_LINES:
            lines = lines[:MOST_LINES]
            lines[-1].truncate(max(0, width - 2))
            lines[-1].append(" …")
        return tuple(lines)
