"""The preflight matrix: one row per agent, one column per check, a cursor that picks a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import set_cell_size
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive

from sai3tui.controller.snapshot import AgentView, Phase, RunSnapshot
from sai3tui.events import AgentState, Finding, Level
from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.states import AGENT, LEVEL, Look
from sai3tui.widgets.text import clean, fit, plural

AGENT_WIDTH = 12
CELL_WIDTH = 9
MIN_CELL_WIDTH = 6
VERDICT_WIDTH = 13
FOLDED_WIDTH = 6
NOT_RUN = Look("·", "", "muted")
# The glyph that notes have elsewhere stands for "not run" here.
NOTE = Look("i", "", "info")
RUNNING = Look("◌", "running", "info")
_LOST = frozenset({AgentState.LOST, AgentState.FAILED})


@dataclass(frozen=True, slots=True)
class Cell:
    """All findings of one check by one agent, worst first."""

    agent: str
    check: str
    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> Level | None:
        return self.findings[0].level if self.findings else None


class Findings:
    """The findings of a snapshot, arranged by agent and check."""

    def __init__(self, snapshot: RunSnapshot) -> None:
        self.checks = tuple(dict.fromkeys(finding.check for finding in snapshot.findings))
        self.phase = snapshot.phase
        known = {agent.id: agent for agent in snapshot.agents}
        names = dict.fromkeys([*(a.id for a in snapshot.agents), *(f.agent for f in snapshot.findings)])
        self.agents = tuple((name, known.get(name)) for name in names)
        cells: dict[tuple[str, str], list[Finding]] = {}
        for finding in snapshot.findings:
            cells.setdefault((finding.agent, finding.check), []).append(finding)
        self._cells = {key: tuple(sorted(found, key=lambda f: -f.level)) for key, found in cells.items()}

    def cell(self, agent: str, check: str) -> Cell:
        return Cell(agent, check, self._cells.get((agent, check), ()))

    def count(self, agent: str, level: Level) -> int:
        return sum(f.level is level for (name, _), found in self._cells.items() if name == agent for f in found)

    def total(self, level: Level) -> int:
        """Findings of this level by anybody."""
        return sum(f.level is level for found in self._cells.values() for f in found)

    def passed_by_all(self, check: str) -> bool:
        """Whether every agent has made this check, without a warning."""
        levels = [self.cell(name, check).level for name, _ in self.agents]
        return all(level is not None and level < Level.WARNING for level in levels)

    def done(self, agent: AgentView | None) -> bool:
        """Whether an agent has made all its checks."""
        if agent is None or self.phase not in (Phase.CONNECTING, Phase.PREFLIGHT):
            return True
        return agent.state not in (AgentState.CONNECTING, AgentState.VALIDATING)

    def verdict(self, name: str, agent: AgentView | None) -> Look:
        """One look for a whole row."""
        if agent is not None and agent.state in _LOST:
            return AGENT[agent.state]
        errors, warnings = self.count(name, Level.ERROR), self.count(name, Level.WARNING)
        if errors:
            return Look("✗", plural(errors, "error"), "bad", 0)
        if not self.done(agent):
            return RUNNING
        if warnings:
            return Look("▲", plural(warnings, "warning"), "warn", 1)
        if any(name == key[0] for key in self._cells):
            return Look("✓", "ready", "ok", 5)
        if agent is not None and not agent.version:
            return Look("○", "no answer", "bad", 0)
        return Look("·", "not checked", "muted", 4)


def cell_look(cell: Cell, *, running: bool) -> Look:
    """Glyph and at most one short word: an HTTP status or the kind of failure."""
    if cell.level is None:
        return RUNNING if running else NOT_RUN
    if cell.level is Level.INFO:
        return NOTE
    look = LEVEL[cell.level]
    failure = cell.findings[0].failure
    if failure is None or cell.level < Level.WARNING:
        return Look(look.glyph, "", look.role)
    word = str(failure.context.http_status) if failure.context.http_status else failure.kind.word
    return Look(look.glyph, word, look.role)


class CheckMatrix(LineList):
    """Findings as a matrix. Posts `Picked` when the cursor is at another cell."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "column(-1)", "Left", show=False),
        Binding("right,l", "column(1)", "Right", show=False),
        Binding("enter", "choose", "Next"),
    ]
    check: reactive[str] = reactive("", repaint=False)

    class Picked(Message):
        """The cursor is at this cell."""

        def __init__(self, cell: Cell) -> None:
            super().__init__()
            self.cell = cell

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._findings = Findings(RunSnapshot())
        self._rows: tuple[tuple[str, AgentView | None], ...] = ()
        self._touched = False
        self.problems_only = False

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the findings of this snapshot. Until somebody moves the cursor it goes to the worst cell."""
        self._findings = Findings(snapshot)
        self._arrange()
        if not self._touched:
            self.go_to_problem()
        self.post_message(self.Picked(self.current))

    def toggle_problems(self) -> bool:
        """Show only agents with a problem, or all again; returns which."""
        self.problems_only = not self.problems_only
        self._arrange()
        self.post_message(self.Picked(self.current))
        return self.problems_only

    @property
    def findings(self) -> Findings:
        return self._findings

    @property
    def current(self) -> Cell:
        """The cell at the cursor; an empty one while there is nothing."""
        if not self._rows or not self._findings.checks:
            return Cell("", "")
        name = self._rows[min(self.cursor, len(self._rows) - 1)][0]
        return self._findings.cell(name, self._picked())

    def go_to_problem(self, *, after: bool = False) -> None:
        """Put the cursor on the worst cell, or on the next problem `after` it."""
        problems = self._problems()
        if not problems:
            return
        _, row, check = min(problems)
        if after:
            picked = self._findings.checks.index(self._picked())
            later = [(r, c) for _, r, c in problems if (r, c) > (self.cursor, picked)]
            row, check = min(later) if later else min((r, c) for _, r, c in problems)
        self.check = self._findings.checks[check]
        self.cursor = row

    def _problems(self) -> list[tuple[int, int, int]]:
        """Negative level, row and check of every cell that is not well."""
        found = []
        for row, (name, _) in enumerate(self._rows):
            for position, check in enumerate(self._findings.checks):
                level = self._findings.cell(name, check).level
                if level is not None and level >= Level.WARNING:
                    found.append((-int(level), row, position))
        return found

    def _arrange(self) -> None:
        rows = self._findings.agents
        rank = {name: self._findings.verdict(name, agent).rank for name, agent in rows}
        if self.problems_only:
            rows = tuple(row for row in rows if rank[row[0]] <= 1)
        elif len(rows) > self._visible_rows():
            rows = tuple(sorted(rows, key=lambda row: rank[row[0]]))
        self._rows = rows
        self.redraw()

    # --- LineList --------------------------------------------------------------------------------------------------

    def row_count(self) -> int:
        return len(self._rows)

    def _layout(self, width: int) -> tuple[tuple[tuple[str, int], ...], int]:
        """The checks that have a column, each with its width, and how many have none: where there is no room for all,
        those that every agent has passed share one."""
        checks = list(self._findings.checks)
        room = width - AGENT_WIDTH - VERDICT_WIDTH
        if sum(_widths(checks, CELL_WIDTH)) <= room:
            return tuple(zip(checks, _widths(checks, CELL_WIDTH), strict=True)), 0
        folded = 0
        for check in self._findings.checks:
            if sum(_widths(checks, MIN_CELL_WIDTH)) <= room - (FOLDED_WIDTH if folded else 0):
                break
            if self._findings.passed_by_all(check):
                checks.remove(check)
                folded += 1
        room -= FOLDED_WIDTH if folded else 0
        wanted = _widths(checks, MIN_CELL_WIDTH)
        while sum(wanted) > room and max(wanted, default=0) > 4:
            wanted[wanted.index(max(wanted))] -= 1
        return tuple(zip(checks, wanted, strict=True)), folded

    def _shown(self) -> tuple[str, ...]:
        """The checks that have a column now."""
        return tuple(check for check, _ in self._layout(self._width())[0])

    def _picked(self) -> str:
        """The check at the cursor: what somebody chose as long as it has a column, else the first that has."""
        shown = self._shown() or self._findings.checks
        return self.check if self.check in shown else shown[0]

    def _width(self) -> int:
        return self.scrollable_content_region.width

    def head(self, width: int, palette: Palette) -> tuple[Text, ...]:
        columns, folded = self._layout(width)
        line = Text(fit("agent", AGENT_WIDTH), style=palette.muted)
        if folded:
            line.append(fit(f" {folded} ok", FOLDED_WIDTH))
        picked = self._picked() if columns else ""
        for check, cell in columns:
            style = f"bold {palette.text}" if check == picked else palette.muted
            # A title without its end is as clear as one with an ellipsis, and longer.
            line.append(set_cell_size(set_cell_size(" " + clean(check), cell - 1), cell), style=style)
        return (line.append(" verdict", style=palette.muted),)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        if self.problems_only:
            return (Text("✓ no agent has a problem", style=palette.ok),)
        return (Text("◌ waiting for the first agent", style=palette.info),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        name, agent = self._rows[index]
        line = Text(fit(clean(name) or "controller", AGENT_WIDTH - 1) + " ", style=palette.text)
        busy = not self._findings.done(agent)
        columns, folded = self._layout(width)
        if folded:
            line.append(fit(" ✓", FOLDED_WIDTH), style=palette.ok)
        picked = self._picked() if columns else ""
        for check, cell_width in columns:
            cell = self._findings.cell(name, check)
            running = busy and not cell.findings and self._is_next(name, check)
            look = cell_look(cell, running=running)
            style = look.colour(palette)
            if index == self.cursor and check == picked:
                style = f"bold reverse {style}"
            word = "" if running or len(look.word) + 4 > cell_width else look.word
            line.append(fit(f" {look.glyph} {word}", cell_width - 1), style=style)
            line.append(" ")
        verdict = self._findings.verdict(name, agent)
        return line.append(f" {verdict.glyph} {verdict.word}", style=verdict.colour(palette))

    def _is_next(self, name: str, check: str) -> bool:
        before: Sequence[str] = self._findings.checks[: self._findings.checks.index(check)]
        return all(self._findings.cell(name, earlier).findings for earlier in before)

    # --- moving ----------------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Other checks may have a column now, so that the cursor is at another cell."""
        self.post_message(self.Picked(self.current))

    def watch_check(self) -> None:
        self.refresh()
        self.post_message(self.Picked(self.current))

    def on_line_list_moved(self) -> None:
        self.post_message(self.Picked(self.current))

    def on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down", "left", "right", "h", "j", "k", "l"):
            self._touched = True

    def on_click(self, event: events.Click) -> None:
        self._touched = True
        offset = event.get_content_offset(self)
        if offset is not None and offset.x >= AGENT_WIDTH:
            right = AGENT_WIDTH
            columns, folded = self._layout(self._width())
            right += FOLDED_WIDTH if folded else 0
            for check, cell in columns:
                right += cell
                if offset.x < right:
                    self.check = check
                    return

    def action_column(self, step: int) -> None:
        shown = self._shown()
        if shown:
            self.check = shown[max(0, min(shown.index(self._picked()) + step, len(shown) - 1))]

    def action_choose(self) -> None:
        self._touched = True
        self.go_to_problem(after=True)


def _widths(checks: Sequence[str], least: int) -> list[int]:
    return [max(least, len(check) + 2) for check in checks]
