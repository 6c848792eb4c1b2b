"""Letters on everything that can have the focus: one key goes there."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

LABELS = "asdfghjklqwertyuiopzxcvbnm"


class JumpScreen(ModalScreen[Widget]):
    """Shows a letter on each target of the screen beneath; the result is the one that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+o", "dismiss", "Back", show=False)]
    DEFAULT_CSS = """
    JumpScreen { align: left top; background: $background 30%; }
    JumpScreen Static {
        position: absolute; width: 3; height: 1; background: $role-key; color: $background; text-style: bold;
    }
    """

    def __init__(self, beneath: Screen[object]) -> None:
        super().__init__()
        shown = [widget for widget in beneath.focus_chain if widget.is_on_screen]
        self._targets = dict(zip(LABELS, shown, strict=False))

    def compose(self) -> ComposeResult:
        for label, widget in self._targets.items():
            mark = Static(Text(f" {label} "))
            mark.styles.offset = (max(0, widget.region.x), max(0, widget.region.y))
            yield mark

    def on_key(self, event: events.Key) -> None:
        target = self._targets.get(event.key)
        if target is not None:
            event.stop()
            self.dismiss(target)
