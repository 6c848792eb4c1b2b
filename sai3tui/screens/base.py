"""What all screens share: the status line, the footer, the two sizes, the notice for windows that are too small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget

from sai3tui.theme import Palette
from sai3tui.widgets.key_line import KeyLine
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.status_line import StatusLine
from sai3tui.widgets.text import cut

MIN_WIDTH = 60
MIN_HEIGHT = 16
WIDE = 100
"""From so many columns on there is room for two panes beside each other."""
TICK_S = 0.25
CORNER_MARGIN = 6
"""Cells of a frame in which no words of its lower right can stand."""


class TooSmall(Painted):
    """Stands alone where nothing else fits."""

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        size = self.app.size
        text = f"Terminal {size.width}x{size.height}, needs {MIN_WIDTH}x{MIN_HEIGHT}"
        above = max(0, (size.height - 1) // 2)
        return (*[Text()] * above, Text(text.center(width), style=palette.warn))


class Pane(Vertical, can_focus=False):
    """A titled frame around one view; bright while the view has the focus."""

    def __init__(self, title: str, *children: Widget, id: str | None = None) -> None:
        super().__init__(*children, id=id, classes="pane")
        self._parts: tuple[tuple[str, str], ...] = ((title, ""),)
        self._corner: tuple[tuple[str, str], ...] = ()

    def on_mount(self) -> None:
        self._write()
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._write())

    def retitle(self, *parts: tuple[str, str]) -> None:
        """Parts of the title with roles of the palette."""
        if parts != self._parts:
            self._parts = parts
            self._write()

    @property
    def heading(self) -> str:
        """The first part of the title."""
        return self._parts[0][0].strip()

    def corner(self, *parts: tuple[str, str]) -> None:
        """Words in the lower right, with roles of the palette. Of what is too long, the first part is cut."""
        if parts != self._corner:
            self._corner = parts
            self._write()

    def on_resize(self) -> None:
        self._write()

    def _write(self) -> None:
        palette = Palette.of(self.app)
        title, corner = _line(self._parts, palette), _line(self._corner, palette)
        room = max(0, self.size.width - CORNER_MARGIN)
        if corner.cell_len > room and len(self._corner) > 1:
            rest = _line(self._corner[1:], palette)
            corner = cut(_line(self._corner[:1], palette), room - rest.cell_len).append_text(rest)
        self.border_title, self.border_subtitle = title, corner


def _line(parts: tuple[tuple[str, str], ...], palette: Palette) -> Text:
    line = Text()
    for text, role in parts:
        line.append(text, style=str(getattr(palette, role)) if role else "")
    return line


class RoomScreen(Screen[None]):
    """A screen of the control room. Subclasses compose `body` and say in `HELP` what they are for."""

    # Textual declares these as instance variables.
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (MIN_WIDTH, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (MIN_HEIGHT, "-short"), (30, "-tall")]  # noqa: RUF012
    HELP: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next pane", show=False),
        Binding("shift+tab", "app.focus_previous", "Previous pane", show=False),
        Binding("z", "zoom", "Zoom pane", show=False, id="view.zoom"),
    ]

    def compose(self) -> ComposeResult:
        yield TooSmall(id="too-small")
        yield StatusLine(id="status")
        yield from self.body()
        yield KeyLine(id="keys")

    def body(self) -> Iterable[Widget]:
        """The widgets between status line and footer."""
        return ()

    @property
    def status(self) -> StatusLine:
        return self.query_one("#status", StatusLine)

    @property
    def unsaid(self) -> frozenset[str]:
        """Actions that have no place in the line of keys now, although their keys answer."""
        return frozenset()

    @property
    def focused_pane(self) -> Pane | None:
        """The pane that has the focus."""
        around = self.focused.ancestors if self.focused is not None else ()
        return next((node for node in around if isinstance(node, Pane)), None)

    @property
    def zoomed(self) -> bool:
        return self.has_class("-zoomed")

    def action_zoom(self) -> None:
        """The focused pane alone, or all as before."""
        pane = None if self.zoomed else self.focused_pane
        self.set_class(pane is not None, "-zoomed")
        path = {pane, *pane.ancestors} if pane is not None else set()
        for each in self.query(".pane, .row"):
            each.set_class(pane is not None and each not in path, "-beside")
            each.set_class(each in path, "-zoom")
