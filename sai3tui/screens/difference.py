"""What differs between two texts, as a screen to read."""

from __future__ import annotations

import difflib

from rich.text import Text

from sai3tui.screens.confirm import ReadScreen
from sai3tui.theme import Palette
from sai3tui.widgets.wrapping import wrapped


def difference_lines(before: str, after: str) -> list[str]:
    """A unified difference without its head; empty if there is none."""
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))[2:]


def difference_screen(title: str, before: str, after: str) -> ReadScreen:
    """What was taken away and what was added."""
    lines = difference_lines(before, after)

    def make(width: int, palette: Palette) -> list[Text]:
        if not lines:
            return [Text("no difference", style=palette.ok)]
        made: list[Text] = []
        for line in lines:
            role = {"+": palette.ok, "-": palette.bad, "@": palette.info}.get(line[:1], palette.muted)
            made += wrapped(line.replace(" ", "\N{NO-BREAK SPACE}"), width, role)
        return made

    return ReadScreen(title, make, "\n".join(lines))
