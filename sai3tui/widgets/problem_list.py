"""What is wrong with the configuration: position, sentence, hint; enter jumps there."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from sai3tui.config.problems import Problem
from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import PROBLEM
from sai3tui.widgets.text import clean


class ProblemList(LineList):
    """Problems, errors first, each on one line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Go there")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._problems: tuple[Problem, ...] = ()
        self._checked = False

    def show(self, problems: tuple[Problem, ...]) -> None:
        """Show these problems, worst first, then by place."""
        self._checked = True
        self._problems = tuple(sorted(problems, key=lambda p: (PROBLEM[p.level].rank, p.line, p.column)))
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

    def row(self, index: int, width: int, palette: Palette) -> Text:
        problem = self._problems[index]
        look = PROBLEM[problem.level]
        line = Text(f"{look.glyph} ", style=look.colour(palette))
        line.append(f"{problem.line}:{problem.column}".ljust(7), style=palette.muted)
        line.append(clean(problem.message), style=palette.text)
        if problem.hint:
            line.append("  " + clean(problem.hint), style=palette.muted)
        return line
