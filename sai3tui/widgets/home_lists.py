"""What stands beside the runs on home: configurations that were opened last, and agents of one's own."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding

from sai3tui.controller.reachability import AgentAnswer
from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import AGENT, Look
from sai3tui.widgets.text import clean, fit, fit_path
from sai3tui.widgets.wrapping import wrapped

ASKED = Look("◌", "asking", "info")
SILENT = Look("○", "no answer", "bad")
STATE_WIDTH = 12
LEAST_NAME = 6
WIDEST_NAME = 24


class ConfigList(LineList):
    """Configurations, the one opened last on top."""

    BINDINGS = [Binding("enter", "choose", "Edit")]  # noqa: RUF012

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._configs: tuple[Path, ...] = ()

    def show(self, configs: tuple[Path, ...]) -> None:
        """Show these."""
        self._configs = configs
        self.redraw()

    @property
    def current(self) -> Path | None:
        """The one at the cursor."""
        return self._configs[self.cursor] if self.cursor < len(self._configs) else None

    def row_count(self) -> int:
        return len(self._configs)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        path = self._configs[index]
        name = clean(path.name)
        line = Text(fit(name, min(len(name), width)) if len(name) >= width else name, style="")
        line.stylize(palette.text)
        left = width - line.cell_len - 2
        if left > 4:
            line.append(f"  {fit_path(clean(short_path(path.parent)), left)}", style=palette.muted)
        return line


class KnownAgents(LineList):
    """Agents with what they answered."""

    BINDINGS = [Binding("enter", "choose", "Why")]  # noqa: RUF012

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._answers: tuple[AgentAnswer, ...] = ()
        self._problem = ""

    def show(self, answers: tuple[AgentAnswer, ...], problem: str = "") -> None:
        """Show these; `problem` is what is wrong with the list itself."""
        self._answers, self._problem = answers, problem
        self.redraw()

    @property
    def current(self) -> AgentAnswer | None:
        """The one at the cursor."""
        return self._answers[self.cursor] if self.cursor < len(self._answers) else None

    def row_count(self) -> int:
        return len(self._answers)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return tuple(wrapped(self._problem, max(1, self.scrollable_content_region.width), palette.warn))

    def row(self, index: int, width: int, palette: Palette) -> Text:
        answer = self._answers[index]
        look = answer_look(answer)
        line = Text()
        line.append(fit(f"{look.glyph} {look.word}", STATE_WIDTH), style=look.colour(palette))
        # Of what does not fit the name is cut, not the address: that is what one would correct.
        address = clean(answer.address)
        room = max(LEAST_NAME, width - STATE_WIDTH - 4 - cell_len(address))
        line.append("  " + fit(clean(answer.name), min(room, WIDEST_NAME)), style=palette.text)
        line.append(f"  {address}", style=palette.muted)
        return line


def answer_look(answer: AgentAnswer) -> Look:
    """How an answer looks."""
    if answer.problem:
        return SILENT
    return AGENT[answer.state] if answer.state is not None else ASKED


def short_path(path: Path) -> str:
    """A path with ~ for the home directory."""
    try:
        return "~/" + str(path.resolve().relative_to(Path.home()))
    except (ValueError, OSError, RuntimeError):
        return str(path)
