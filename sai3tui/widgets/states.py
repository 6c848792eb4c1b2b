"""How states look: a glyph, a word and the role of a colour, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from sai3tui.config.problems import Level as ProblemLevel
from sai3tui.controller.snapshot import Phase, RunSnapshot, StageStatus
from sai3tui.events import AgentState, Level
from sai3tui.theme import Palette
from sai3tui.widgets.text import clean


@dataclass(frozen=True, slots=True)
class Look:
    """`role` is a field of `Palette`; `rank` sorts problems first (0 is worst)."""

    glyph: str
    word: str
    role: str
    rank: int = 9

    def colour(self, palette: Palette) -> str:
        return str(getattr(palette, self.role))

    def text(self, palette: Palette) -> Text:
        return Text(f"{self.glyph} {self.word}", style=self.colour(palette), no_wrap=True)


AGENT = {
    AgentState.IDLE: Look("·", "idle", "muted", 6),
    AgentState.VALIDATING: Look("◌", "checking", "info", 5),
    AgentState.RUNNING: Look("●", "running", "ok", 5),
    AgentState.AT_BARRIER: Look("◆", "at barrier", "info", 5),
    AgentState.EXCLUDED: Look("▲", "excluded", "warn", 2),
    AgentState.COMPLETED: Look("✓", "completed", "ok", 6),
    AgentState.FAILED: Look("✗", "failed", "bad", 0),
    AgentState.ABORTING: Look("▲", "aborting", "warn", 3),
    AgentState.ABORTED: Look("■", "aborted", "warn", 4),
    AgentState.CONNECTING: Look("◌", "connecting", "info", 4),
    AgentState.LOST: Look("○", "lost", "bad", 1),
}

STAGE = {
    StageStatus.PENDING: Look("·", "pending", "muted"),
    StageStatus.RUNNING: Look("●", "running", "ok"),
    StageStatus.AT_BARRIER: Look("◆", "at barrier", "info"),
    StageStatus.DONE: Look("✓", "done", "ok"),
    StageStatus.FAILED: Look("✗", "failed", "bad"),
    StageStatus.ABORTED: Look("■", "aborted", "warn"),
    StageStatus.SKIPPED: Look("·", "skipped", "muted"),
}

PHASE = {
    Phase.CONNECTING: Look("◌", "connecting", "info"),
    Phase.PREFLIGHT: Look("◌", "preflight", "info"),
    Phase.READY: Look("◆", "ready", "info"),
    Phase.RUNNING: Look("●", "running", "ok"),
    Phase.ABORTING: Look("▲", "aborting", "warn"),
    Phase.WRITING: Look("◌", "writing results", "info"),
    Phase.FINISHED: Look("✓", "finished", "ok"),
}

OUTCOME = {
    "success": Look("✓", "success", "ok"),
    "failed": Look("✗", "failed", "bad"),
    "aborted": Look("■", "aborted", "warn"),
    "detached": Look("→", "detached", "muted"),
    "preflight_failed": Look("✗", "preflight failed", "bad"),
    "threshold_missed": Look("✗", "threshold missed", "bad"),
    "incomplete": Look("▲", "incomplete", "warn"),
}

LEVEL = {
    Level.OK: Look("✓", "ok", "ok", 3),
    Level.INFO: Look("·", "info", "muted", 2),
    Level.WARNING: Look("▲", "warning", "warn", 1),
    Level.ERROR: Look("✗", "error", "bad", 0),
}

PROBLEM = {
    ProblemLevel.ERROR: Look("✗", "error", "bad", 0),
    ProblemLevel.WARNING: Look("▲", "warning", "warn", 1),
    ProblemLevel.NOTICE: Look("·", "notice", "muted", 2),
}


def outcome_look(status: str) -> Look:
    """The look of a run's end; a status this version does not know is shown as it is."""
    return OUTCOME.get(status, Look("?", status or "unfinished", "muted"))


def run_look(snapshot: RunSnapshot) -> Look:
    """The one state that stands for a whole run."""
    return outcome_look(snapshot.outcome.status) if snapshot.outcome else PHASE[snapshot.phase]


def title_of(snapshot: RunSnapshot | None) -> str:
    """What the terminal's title says: short, and free of control characters."""
    if snapshot is None:
        return "sai3tui"
    name = clean(snapshot.config_name)[:60]
    look = run_look(snapshot)
    stage = next((s for s in snapshot.stages if s.index == snapshot.stage_index), None)
    where = f" {clean(stage.name)[:30]}" if stage is not None and snapshot.outcome is None else ""
    return f"{look.glyph} {look.word}{where}: {name} - sai3tui" if name else f"{look.glyph} {look.word} - sai3tui"
