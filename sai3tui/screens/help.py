"""Help for the screen beneath: what it is for, its keys, and what the signs mean."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen

from sai3tui.theme import Palette
from sai3tui.widgets.states import AGENT, STAGE
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.wrapping import wrapped

KEY_WIDTH = 18
_HIDDEN = frozenset({"app.focus_next", "app.focus_previous", "screen.copy_text", "zoom"})


class HelpScreen(ModalScreen[None]):
    """Shows the bindings that are active on a screen, those of its focused pane first."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q,question_mark", "dismiss", "Close")]

    def __init__(self, beneath: Screen[object]) -> None:
        super().__init__()
        self._purpose = str(getattr(beneath, "HELP", ""))
        self._keys = _keys_of(beneath)
        focused = beneath.focused
        self._pane = str(getattr(focused, "HELP", "")) if focused is not None else ""
        pane = getattr(beneath, "focused_pane", None)
        self._heading = pane.heading if self._pane and pane is not None else ""

    def compose(self) -> ComposeResult:
        box = Vertical(TextRows(self._lines, id="help"), classes="dialog tall")
        box.border_title = "Help"
        box.border_subtitle = "esc closes"
        yield box

    def _lines(self, width: int, palette: Palette) -> list[Text]:
        lines: list[Text] = []
        if self._pane:
            lines += [Text(self._heading, style=f"bold {palette.bright}"), *wrapped(self._pane, width, palette.text)]
            lines += [Text(), Text("The whole screen", style=f"bold {palette.bright}")]
        for paragraph in self._purpose.split("\n"):
            lines += wrapped(paragraph, width, palette.text)
        lines += [Text(), Text("Keys", style=f"bold {palette.bright}")]
        for keys, description, name in self._keys:
            line = _key_line(keys, description, palette)
            if name and width - line.cell_len > len(name) + 2:
                line.append(" " * (width - line.cell_len - len(name) - 1) + name, style=palette.faint)
            lines.append(line)
        lines += [Text(), Text("Signs", style=f"bold {palette.bright}")]
        looks = dict.fromkeys([*AGENT.values(), *STAGE.values()])
        named: dict[tuple[str, str], list[str]] = {}
        for look in looks:
            named.setdefault((look.glyph, look.role), []).append(look.word)
        for (glyph, role), words in named.items():
            text = Text(f"{glyph}  ", style=str(getattr(palette, role)))
            lines.append(text.append(", ".join(dict.fromkeys(words)), style=palette.text))
        lines += [Text(), Text("Everywhere", style=f"bold {palette.bright}")]
        for keys, description in (
            ("tab  shift+tab", "next and previous pane"),
            ("arrows  j k", "move in a list; home and end go to its ends"),
            ("enter", "more about what is at the cursor"),
            ("z", "one pane over the whole screen, and back"),
            ("ctrl+p", "commands: all that can be done now, and themes"),
            ("ctrl+o", "letters on all panes; one key goes there"),
            ("ctrl+q", "quit; asks while a run is live"),
        ):
            lines.append(_key_line(keys, description, palette))
        return lines


def _keys_of(screen: Screen[object]) -> list[tuple[str, str, str]]:
    """Keys, descriptions and ids of what is bound on the screen and its focused widget, each action once."""
    found: dict[str, tuple[list[str], str, str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        shown = binding.description and (binding.show or active.node is screen)
        if not shown or binding.action in _HIDDEN:
            continue
        keys, *_ = found.setdefault(binding.action, ([], binding.description, binding.id or ""))
        keys.append(binding.key_display or screen.app.get_key_display(binding))
    return [("  ".join(dict.fromkeys(keys)), description, name) for keys, description, name in found.values()]


def _key_line(keys: str, description: str, palette: Palette) -> Text:
    return Text.assemble((keys.ljust(KEY_WIDTH), f"bold {palette.key}"), (description, palette.text))
