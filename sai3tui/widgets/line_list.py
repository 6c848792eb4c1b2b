"""The one list of this program: rows drawn line by line, only those that are visible, under a head that stays.

A table of 256 agents costs as much as one of ten. Subclasses say how many rows there are and how one looks.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from sai3tui.theme import Palette
from sai3tui.widgets.text import cut


class LineList(ScrollView, can_focus=True):
    """A scrolling list with a fixed head and a row cursor.

    Posts `Moved` when the cursor is at another row and `Chosen` for enter or a double click.
    """

    DEFAULT_CSS = """
    LineList {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        background: $background;
        & > .line-list--cursor { background: $dim; }
        &:focus > .line-list--cursor { background: $pick; text-style: bold; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"line-list--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False),
        Binding("down,j", "cursor(1)", "Down", show=False),
        Binding("home,g", "cursor_to(0)", "First", show=False),
        Binding("end,G", "cursor_to(-1)", "Last", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]

    class Moved(Message):
        """The cursor is at another row."""

        def __init__(self, view: LineList, index: int) -> None:
            super().__init__()
            self.view = view
            self.index = index

        @property
        def control(self) -> LineList:
            return self.view

    class Chosen(Message):
        """A row was chosen."""

        def __init__(self, view: LineList, index: int) -> None:
            super().__init__()
            self.view = view
            self.index = index

        @property
        def control(self) -> LineList:
            return self.view

    cursor: reactive[int] = reactive(0, repaint=False)
    show_cursor = True
    wheel_rows = 2

    # --- what subclasses say ---------------------------------------------------------------------------------------

    def row_count(self) -> int:
        """How many rows there are."""
        return 0

    def row(self, index: int, width: int, palette: Palette) -> Text:
        """Row `index` in at most `width` cells."""
        raise LookupError(index)

    def lines_of(self, index: int) -> range:
        """The lines that row `index` takes: one, if a subclass does not say otherwise, here and below."""
        return range(index, index + 1)

    def row_at(self, line: int) -> int:
        """The row that a line belongs to."""
        return line

    def line_count(self) -> int:
        """How many lines all rows take."""
        return self.row_count()

    def line(self, at: int, width: int, palette: Palette) -> Text:
        """Line `at` of all rows."""
        return self.row(at, width, palette)

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        """The lines above the rows."""
        return ()

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        """What stands where rows would be, while there are none."""
        return ()

    # --- what they call --------------------------------------------------------------------------------------------

    def redraw(self) -> None:
        """Rows have changed: measure and paint again."""
        rows = self.row_count()
        size = Size(self.size.width, self.line_count() + self._head_height())
        if self.virtual_size != size:
            self.virtual_size = size
        if self.cursor >= rows:
            self.cursor = max(0, rows - 1)
        self.refresh()

    @property
    def palette(self) -> Palette:
        return Palette.of(self.app)

    def _head_height(self) -> int:
        return len(self.head(max(1, self.size.width), self.palette))

    def _visible_rows(self) -> int:
        return max(1, self.scrollable_content_region.height - self._head_height())

    # --- drawing ---------------------------------------------------------------------------------------------------

    def render(self) -> str:
        return ""

    def on_resize(self) -> None:
        self.redraw()
        if self.show_cursor:
            self.call_after_refresh(self.show_row, self.cursor)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.refresh())
        self.redraw()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        palette = self.palette
        head = self.head(width, palette)
        if y < len(head):
            return self._strip(head[y], width, self.rich_style)
        if not self.row_count():
            lines = self.empty(palette)
            at = y - len(head)
            return self._strip(lines[at] if at < len(lines) else Text(), width, self.rich_style)
        at = y - len(head) + self.scroll_offset.y
        if at >= self.line_count():
            return Strip.blank(width, self.rich_style)
        style = self.rich_style
        if self.show_cursor and self.row_at(at) == self.cursor:
            style = self.get_component_rich_style("line-list--cursor")
        return self._strip(self.line(at, width, palette), width, style)

    def _strip(self, text: Text, width: int, style: Style) -> Strip:
        line = cut(text, width)
        line.end = ""
        # A text without spans renders without its own style.
        segments = line.render(self.app.console) if line.spans else [Segment(line.plain, _style_of(line))]
        strip = Strip(segments)
        return strip.apply_style(style).adjust_cell_length(width, style)

    # --- moving ----------------------------------------------------------------------------------------------------

    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, self.row_count() - 1))

    def watch_cursor(self, _old: int, new: int) -> None:
        self.show_row(new)
        self.refresh()
        self.post_message(self.Moved(self, new))

    def show_row(self, index: int) -> None:
        """Scroll as little as needed to see a row."""
        visible, top, lines = self._visible_rows(), self.scroll_offset.y, self.lines_of(index)
        if lines.start < top:
            self.scroll_to(y=lines.start, animate=False, force=True)
        elif lines.stop > top + visible:
            self.scroll_to(y=min(lines.start, lines.stop - visible), animate=False, force=True)

    def action_cursor(self, step: int) -> None:
        self.cursor += step

    def action_cursor_to(self, index: int) -> None:
        self.cursor = index if index >= 0 else self.row_count() - 1

    def action_page(self, pages: int) -> None:
        self.cursor += pages * self._visible_rows()

    def action_choose(self) -> None:
        if self.row_count():
            self.post_message(self.Chosen(self, self.cursor))

    def _row_at(self, event: events.Click) -> int | None:
        offset = event.get_content_offset(self)
        if offset is None:
            return None
        at = offset.y - self._head_height() + self.scroll_offset.y
        return self.row_at(at) if offset.y >= self._head_height() and at < self.line_count() else None

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y < self._head_height():
            self.head_clicked(offset.x)
            return
        index = self._row_at(event)
        if index is None or not self.show_cursor:
            return
        self.cursor = index
        if event.chain == 2:
            self.action_choose()

    def head_clicked(self, x: int) -> None:
        """The head was clicked at column `x`."""

    def cursor_region(self) -> Region:
        """Where the cursor's row is on the widget."""
        lines = self.lines_of(self.cursor)
        return Region(0, self._head_height() + lines.start - self.scroll_offset.y, self.size.width, len(lines))


def _style_of(line: Text) -> Style:
    return line.style if isinstance(line.style, Style) else Style.parse(line.style)
