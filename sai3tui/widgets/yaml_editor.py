"""A YAML editor that says at the line what is wrong with it."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.widgets import TextArea

from sai3tui.config.problems import Level, Problem
from sai3tui.theme import Palette
from sai3tui.widgets.states import PROBLEM
from sai3tui.widgets.text import clean, fit

HIGHLIGHT_LINES = 5000
LEAST_NOTE = 16
"""Cells in which a note can begin to say something."""

_PATH = re.compile(r"^[\w.\[\]-]+:? (?=is |must |')")
"""Where a problem is; at its line one sees that."""


class YamlEditor(TextArea):
    """A text area with YAML colours; `mark` writes problems behind their lines, outside of the document."""

    DEFAULT_CSS = """
    YamlEditor { border: none; padding: 0; background: $background; scrollbar-size-vertical: 1; }
    YamlEditor:focus { border: none; }
    """

    def __init__(self, text: str = "", *, id: str | None = None) -> None:
        super().__init__(
            text,
            id=id,
            language="yaml",
            theme="css",
            soft_wrap=True,
            show_line_numbers=True,
            tab_behavior="focus",
            highlight_cursor_line=True,
        )
        self.indent_width = 2
        self._by_line: dict[int, list[Problem]] = {}

    def open_text(self, text: str) -> None:
        """Replace the document; very long ones go without colours, which cost 30 ms a key."""
        self.language = "yaml" if text.count("\n") < HIGHLIGHT_LINES else None
        self.load_text(text)

    def mark(self, problems: tuple[Problem, ...]) -> None:
        """Show these problems at their lines; notices are for the list only."""
        by_line: dict[int, list[Problem]] = {}
        for problem in problems:
            if problem.level is not Level.NOTICE and problem.line > 0:
                by_line.setdefault(problem.line - 1, []).append(problem)
        if by_line != self._by_line:
            self._by_line = by_line
            self.notify_style_update()
            self.refresh()

    def problems_at(self, row: int) -> list[Problem]:
        """What is wrong in a line, counted from 0."""
        return self._by_line.get(row, [])

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        found = self._by_line.get(line_index)
        if not found:
            return line
        palette = Palette.of(self.app)
        for problem in found:
            colour = PROBLEM[problem.level].colour(palette)
            start = min(max(0, problem.column - 1), max(0, len(line.plain) - 1))
            line.stylize(Style(underline=True, color=colour), start, _token_end(line.plain, start))
        worst = min(found, key=lambda p: PROBLEM[p.level].rank)
        look = PROBLEM[worst.level]
        more = f" (+{len(found) - 1})" if len(found) > 1 else ""
        note = f"   {look.glyph} {_PATH.sub('', clean(worst.message))}{more}"
        # The line is as long as it is. What does not fit behind it ends with an ellipsis, or is a sign alone: the list
        # below has it all, and the corner while the cursor is here.
        room = max(0, self.wrap_width - line.cell_len % max(1, self.wrap_width) - 1)
        if cell_len(note) > room:
            note = fit(note, room) if room >= LEAST_NOTE else f" {look.glyph}"[:room]
        line.append(note, Style(color=look.colour(palette), italic=True))
        return line


def _token_end(line: str, start: int) -> int:
    """Where the word that begins at `start` ends; at least one character on."""
    end = start
    while end < len(line) and (line[end] not in " #,]}" or end == start):
        end += 1
    return max(end, start + 1)
