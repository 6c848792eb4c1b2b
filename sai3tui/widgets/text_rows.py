"""A pane of text that scrolls: the lines are made for the width at hand."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.geometry import Size

from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList

MakeLines = Callable[[int, Palette], list[Text]]


class TextRows(LineList):
    """Shows what a function makes of a width and a palette."""

    show_cursor = False

    def __init__(self, make: MakeLines | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._make: MakeLines = make or (lambda _width, _palette: [])
        self._made: tuple[int, Palette] | None = None
        self._lines: list[Text] = []

    def show(self, make: MakeLines) -> None:
        """Show other lines."""
        self._make = make
        self._made = None
        self.redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As high as the lines beside a scroll bar, where a style sheet says `height: auto`: without that room they
        would be more as soon as there is one."""
        return len(self._make(max(1, width - self.scrollbar_size_vertical), self.palette))

    def _current(self) -> list[Text]:
        key = (max(1, self.scrollable_content_region.width), self.palette)
        if self._made != key:
            self._lines, self._made = self._make(*key), key
        return self._lines

    def row_count(self) -> int:
        return len(self._current())

    def row(self, index: int, width: int, palette: Palette) -> Text:
        return self._current()[index].copy()

    def action_cursor(self, step: int) -> None:
        self.scroll_relative(y=step, animate=False)

    def action_cursor_to(self, index: int) -> None:
        self.scroll_to(y=0 if index == 0 else self.max_scroll_y, animate=False)

    def action_page(self, pages: int) -> None:
        self.scroll_relative(y=pages * self._visible_rows(), animate=False)

    def action_choose(self) -> None:
        """There is nothing to choose."""
