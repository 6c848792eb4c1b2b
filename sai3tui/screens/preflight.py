"""Preflight: what each agent found before anything is written, and whether the run can start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from sai3tui.config.preflight import OVERRIDABLE
from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.events import Level
from sai3tui.screens.base import TICK_S, Pane, RoomScreen
from sai3tui.screens.confirm import PathScreen
from sai3tui.screens.services import CheckAgain, LeaveRun, RunIsLive, SessionHandle
from sai3tui.theme import Palette
from sai3tui.widgets.check_matrix import Cell, CheckMatrix, Findings
from sai3tui.widgets.finding_pane import cell_plain, finding_lines
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.states import outcome_look
from sai3tui.widgets.text import clean, clock, plural
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.wrapping import failure_lines


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether f5 starts the run, and which rule says so."""

    allowed: bool
    reason: str
    role: str


def start_verdict(snapshot: RunSnapshot) -> Verdict:
    """What the findings so far mean for the start."""
    findings = Findings(snapshot)
    errors = findings.total(Level.ERROR)
    if snapshot.outcome is not None and snapshot.outcome.status != "success":
        failure = snapshot.outcome.failure
        why = clean(failure.message) if failure else outcome_look(snapshot.outcome.status).word
        return Verdict(False, f"✗ {why}. r checks again.", "bad")
    if snapshot.phase in (Phase.CONNECTING, Phase.PREFLIGHT):
        done = sum(findings.done(agent) for _, agent in findings.agents)
        return Verdict(False, f"◌ {done} of {plural(len(findings.agents), 'agent')} done", "info")
    if errors:
        return Verdict(
            False,
            f"✗ {plural(errors, 'error')}: the run cannot start, every agent must pass. r checks again.",
            "bad",
        )
    warnings = findings.total(Level.WARNING)
    also = f", with {plural(warnings, 'warning')}" if warnings else ""
    stages = ", ".join(clean(stage.name) for stage in snapshot.stages)
    return Verdict(True, f"✓ All checks passed{also}. f5 starts: {stages}", "ok")


def foreign_places(snapshot: RunSnapshot) -> tuple[str, ...]:
    """URIs of what belongs to others, each once."""
    found = (each for each in snapshot.findings if each.check == "owner" and each.level is Level.ERROR)
    return tuple(dict.fromkeys(each.subject for each in found))


class VerdictLine(Painted):
    """The verdict, always in sight."""

    DEFAULT_CSS = "VerdictLine { height: 1; padding: 0 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._verdict = Verdict(False, "", "muted")

    def show(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        return (Text(self._verdict.reason, style=f"bold {getattr(palette, self._verdict.role)}"),)


class PreflightScreen(RoomScreen):
    """Polls a session until it runs."""

    HELP = (
        "Before anything is written each agent checks that it understands the plan and that it can list, write, read "
        "and delete where the plan says. The pane below explains the cell under the cursor. The run can start when "
        "no check has failed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "start", "Start", id="preflight.start"),
        Binding("r", "recheck", "Recheck", id="preflight.recheck"),
        Binding("p", "problems", "Problems", id="preflight.problems"),
        Binding("o", "override", "Override", id="preflight.override"),
        Binding("y", "copy", "Copy", show=False, id="preflight.copy"),
        Binding("escape", "back", "Back", id="preflight.back"),
    ]

    def __init__(self, session: SessionHandle) -> None:
        super().__init__()
        self._session = session
        self._snapshot = RunSnapshot()
        self._seen = -1
        self._gone = False

    def body(self) -> Iterable[Widget]:
        yield Pane("Agents × checks", CheckMatrix(id="matrix"), id="matrix-pane")
        yield Pane("Why", TextRows(id="why"), id="why-pane")
        yield VerdictLine(id="verdict")

    def on_mount(self) -> None:
        self.query_one(CheckMatrix).focus()
        self.query_one("#matrix-pane", Pane).corner(("✓ ok  i note  ▲ warning  ✗ error  ◌ running  · not run", ""))
        self.set_interval(TICK_S, self.tick)
        self.tick()

    def tick(self) -> None:
        """Show what the session says by now."""
        snapshot = self._session.snapshot()
        if snapshot.version == self._seen:
            return
        self._seen, self._snapshot = snapshot.version, snapshot
        self.query_one(CheckMatrix).show(snapshot)
        verdict = start_verdict(snapshot)
        self.query_one(VerdictLine).show(verdict)
        findings = Findings(snapshot)
        errors, warnings = findings.total(Level.ERROR), findings.total(Level.WARNING)
        parts = [(clean(snapshot.config_name), "text"), ("preflight " + verdict.reason[:1], verdict.role)]
        if snapshot.phase in (Phase.CONNECTING, Phase.PREFLIGHT) and snapshot.outcome is None:
            parts[1] = (verdict.reason, verdict.role)
        if errors:
            parts.append((f"✗ {plural(errors, 'error')}", "bad"))
        if warnings:
            parts.append((f"▲ {plural(warnings, 'warning')}", "warn"))
        if any(agent.insecure for agent in snapshot.agents):
            parts.append(("INSECURE", "bad"))
        self.status.say(*parts, (clock(snapshot.elapsed_s), "muted"))
        self.refresh_bindings()
        if _running(snapshot) and not self._gone:
            self._gone = True
            self.post_message(RunIsLive())

    def on_check_matrix_picked(self, event: CheckMatrix.Picked) -> None:
        self._explain(event.cell)
        self.refresh_bindings()

    def _explain(self, cell: Cell) -> None:
        outcome = self._snapshot.outcome

        def lines(width: int, palette: Palette) -> list[Text]:
            if not cell.check and outcome is not None and outcome.failure is not None:
                return failure_lines(outcome.failure, width, palette)
            return finding_lines(cell, width, palette)

        self.query_one("#why", TextRows).show(lines)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "start":
            return True if start_verdict(self._snapshot).allowed else None
        if action == "override":
            held = self._snapshot.phase is Phase.READY and self._snapshot.outcome is None
            failed = self.query_one(CheckMatrix).current.level is Level.ERROR
            return True if held and failed else None
        return True

    def action_start(self) -> None:
        self._session.proceed()

    def action_recheck(self) -> None:
        if self._snapshot.outcome is not None:
            self.post_message(CheckAgain())
        else:
            self._session.recheck()

    def action_problems(self) -> None:
        self.query_one(CheckMatrix).toggle_problems()

    def action_override(self) -> None:
        """Accept the errors of the check at the cursor, for a reason."""
        cell = self.query_one(CheckMatrix).current
        check = cell.check

        def answered(reason: str | None) -> None:
            if reason:
                self._session.accept(check, reason)

        if check == "owner":
            self._adopt(foreign_places(self._snapshot))
            return
        if check not in OVERRIDABLE:
            self.notify(f"{check}: correct what it found, this cannot be overridden", severity="warning", markup=False)
            return
        title = f"Start although {check} failed: why? It goes into the results"
        self.app.push_screen(PathScreen(title, keys="enter accepts, esc leaves"), answered)

    def _adopt(self, places: Sequence[str], number: int = 0) -> None:
        """Take over what belongs to others, once somebody has typed where each of it is."""
        if number >= len(places):
            if places:
                self._session.accept("owner", ", ".join(places))
            return
        place = places[number].partition("://")[2].partition("/")[2] or places[number]

        def answered(typed: str | None) -> None:
            if typed == place:
                self._adopt(places, number + 1)
            elif typed:
                self.notify(f"that is not {clean(place)}: nothing is taken over", severity="warning", markup=False)

        lines = (place, "", "All below it may be overwritten and deleted. To take it over, type it:")
        keys = "enter takes over, esc leaves"
        self.app.push_screen(PathScreen("Take over what belongs to others?", keys=keys, lines=lines), answered)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(cell_plain(self.query_one(CheckMatrix).current))
        self.notify("copied", markup=False)

    def action_back(self) -> None:
        self.post_message(LeaveRun())


def _running(snapshot: RunSnapshot) -> bool:
    if snapshot.phase in (Phase.RUNNING, Phase.ABORTING):
        return True
    return (snapshot.outcome is not None or snapshot.phase is Phase.WRITING) and snapshot.stage_index > 0
