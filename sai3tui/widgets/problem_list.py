"""What is wrong with the configuration: position, sentence, hint; enter jumps there."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType

from sai3tui.config.problems import Problem
from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import PROBLEM
from sai3tui.widgets.text import clean
from sai3tui.widgets.wrapping import wrapped

INDENT = 9
"""Where sentences begin, beside the sign and the position."""


class ProblemList(LineList):
    """Problems, errors first, each on as many lines as its sentence and its hint take."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Go there")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._problems: tuple[Problem, ...] = ()
        self._checked = False
        self._made: tuple[int, Palette] | None = None
        self._lines: list[tuple[int, Text]] = []
        self._places: list[range] = []

    def show(self, problems: tuple[Problem, ...]) -> None:
        """Show these problems, worst first, then by place."""
        self._checked = True
        self._problems = tuple(sorted(problems, key=lambda p: (PROBLEM[p.level].rank, p.line, p.column)))
        self._made = None
        self.redraw()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """As shown."""
        return self._problems

    def row_count(self) -> int:
        return len(self._problems)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        if not self._checked:
            return (Text("◌ checking", style=palette.info),)
        return (Text("✓ nothing to complain about", style=palette.ok),)

    def lines_of(self, index: int) -> range:
        self._make()
        return self._places[index] if index < len(self._places) else range(index, index + 1)

    def row_at(self, line: int) -> int:
        self._make()
        return self._lines[line][0] if line < len(self._lines) else len(self._problems)

    def line_count(self) -> int:
        self._make()
        return len(self._lines)

    def line(self, at: int, width: int, palette: Palette) -> Text:
        self._make()
        return self._lines[at][1].copy()

    def _make(self) -> None:
        """Break the sentences for the width at hand."""
        key = (max(1, self.scrollable_content_region.width), self.palette)
        if self._made == key:
            return
        self._made, self._lines, self._places = key, [], []
        for index, problem in enumerate(self._problems):
            first = len(self._lines)
            self._lines += [(index, line) for line in problem_lines(problem, *key)]
            self._places.append(range(first, len(self._lines)))


def problem_lines(problem: Problem, width: int, palette: Palette) -> list[Text]:
    """A problem in as many lines of `width` cells as it takes."""
    look = PROBLEM[problem.level]
    room = max(8, width - INDENT)
    lines = wrapped(problem.message, room, palette.text)
    hint = clean(problem.hint)
    if hint and lines[-1].cell_len + 2 + cell_len(hint) <= room:
        lines[-1].append("  " + hint, style=palette.muted)
    elif hint:
        lines += wrapped(hint, room, palette.muted)
    head = Text(f"{look.glyph} ", style=look.colour(palette))
    head.append(f"{problem.line}:{problem.column}".ljust(INDENT - 2), style=palette.muted)
    return [(head if at == 0 else Text(" " * INDENT)).append_text(line) for at, line in enumerate(lines)]
