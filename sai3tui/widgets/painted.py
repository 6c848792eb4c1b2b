"""A widget of a fixed size that paints a text made for its width: no layout when the text changes."""

from __future__ import annotations

from rich.text import Text
from textual.app import RenderResult
from textual.widget import Widget

from sai3tui.theme import Palette
from sai3tui.widgets.text import cut


class Painted(Widget):
    """Subclasses say what they look like at a width; whoever has news for them calls `refresh()`."""

    DEFAULT_CSS = """
    Painted { height: 1; background: $background; }
    """

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        """The lines, each at most `width` cells (longer ones are cut)."""
        return ()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.refresh())

    def render(self) -> RenderResult:
        width = self.content_size.width
        lines = self.paint(width, Palette.of(self.app))
        return Text("\n", no_wrap=True).join([cut(line, width) for line in lines])
