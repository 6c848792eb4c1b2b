"""The line at the bottom of every screen: the keys that mean something here and now."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.binding import ActiveBinding

from sai3tui.theme import Palette
from sai3tui.widgets.painted import Painted

MOST = 8
"""More keys than this are not read; the rest is in the help and in the palette."""


class KeyLine(Painted):
    """Key and name of every binding that is shown, once per action; a click is the key. Painted anew when bindings
    change, without a widget per key."""

    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; background: $bar; }
    """

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.refresh())

    @property
    def keys(self) -> tuple[ActiveBinding, ...]:
        """What is shown, left to right."""
        by_action: dict[str, ActiveBinding] = {}
        unsaid = getattr(self.screen, "unsaid", frozenset[str]())
        for active in self.screen.active_bindings.values():
            if active.binding.show and active.binding.action not in unsaid:
                by_action.setdefault(active.binding.action, active)
        return tuple(by_action.values())

    def _words(self, width: int) -> tuple[list[tuple[ActiveBinding, str, str]], int]:
        """Binding, key and name of each, and how many cells are between them."""
        words = [(each, self.app.get_key_display(each.binding), each.binding.description) for each in self.keys]
        needed = sum(len(key) + 1 + len(name) for _, key, name in words)
        return words, 2 if needed + 2 * len(words) <= width else 1

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        words, gap = self._words(width)
        line = Text()
        for active, key, name in words:
            line.append(" " * gap if line else "")
            line.append(key, style=f"bold {palette.key}" if active.enabled else palette.faint)
            line.append(f" {name}", style=palette.text if active.enabled else palette.faint)
        return (line,)

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        words, gap = self._words(self.content_size.width)
        end = 0
        for active, key, name in words:
            end += len(key) + 1 + len(name) + gap
            if event.x < end:
                if active.enabled:
                    self.app.simulate_key(active.binding.key)
                return
