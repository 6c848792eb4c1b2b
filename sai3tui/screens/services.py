"""What screens need from the rest of the program, as protocols, and what they ask of the app, as messages.

The app implements the first with the controller and the results reader; tests implement it with canned snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from textual.message import Message

from sai3tui.config.problems import Level, Problem
from sai3tui.controller.frames import Frames
from sai3tui.controller.reachability import AgentAnswer
from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.results.compared import Comparison
from sai3tui.results.reader import RunEntry
from sai3tui.widgets.run_views import RunReport

EXPORTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "html": ("report.html", "a page for people"),
        "csv": ("export.csv", "a table for spreadsheets"),
        "json": ("export.json", "a table for programs"),
        "xlsx": ("results.xlsx", "a workbook"),
        "markdown": ("export.md", "a table for a ticket"),
    }
)
"""Forms in which a run can be given away: the file's name in the results directory, and what it is."""


class RunSource(Protocol):
    """A run to look at, live or over."""

    def snapshot(self) -> RunSnapshot:
        """The latest one."""
        ...

    @property
    def frames(self) -> Frames:
        """How it came there."""
        ...

    @property
    def failure(self) -> BaseException | None:
        """What ended the run's thread when nothing should have."""
        ...


class SessionHandle(RunSource, Protocol):
    """A run on a thread of its own. No method blocks but `stop`."""

    def start(self) -> None: ...

    def proceed(self) -> None:
        """Go on after preflight."""

    def recheck(self) -> None:
        """Make the preflight checks again."""

    def accept(self, check: str, reason: str) -> None:
        """Let the run begin although a preflight check has found errors."""

    def abort(self, reason: str, exit_code: int = 130) -> None: ...

    def detach(self, reason: str) -> None:
        """Leave; the run goes on, if the snapshot says that it is detachable."""

    def wait_longer(self, seconds: float) -> None:
        """Give those who are late at the barrier more time."""

    def release_without(self, agent: str) -> None:
        """Wait for this agent no longer."""

    def pause_at_barrier(self) -> None:
        """Keep the next barrier shut until `go_on`."""

    def go_on(self) -> None: ...

    def successor(self) -> SessionHandle:
        """A session, not started yet, that takes the run over which this one only watches."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """End the thread; False if it did not within `timeout_s` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What to run. `hold`: wait after preflight until somebody says go."""

    path: Path
    text: bytes
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that was looked at: its problems, and its plan if it has no errors."""

    problems: tuple[Problem, ...] = ()
    plan: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.level is Level.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.level is Level.WARNING)


class Services(Protocol):
    """What the screens read and start. All but `open_session` may take a while: call them off the loop."""

    @property
    def results_root(self) -> Path: ...

    def check(self, text: str, path: str) -> Checked: ...

    def open_session(self, order: RunOrder) -> SessionHandle: ...

    def attach(self) -> SessionHandle | None:
        """A session for the run in progress that the command line named, if it did."""
        ...

    def hand_over(self, directory: Path) -> str:
        """Have a background controller go on with the run of this directory; what to tell who leaves it. Raises
        ResourceError."""
        ...

    def list_runs(self) -> tuple[RunEntry, ...]: ...

    def known_agents(self) -> Mapping[str, str]:
        """The agents that somebody keeps in a list: addresses by name. Raises Sai3Error if it cannot be read."""
        ...

    def ask_agents(self, agents: Mapping[str, str], unwanted: Callable[[], bool]) -> tuple[AgentAnswer, ...]:
        """What they answer, within a bound, or as far as they have when `unwanted` says so."""
        ...

    def load_run(self, path: Path) -> RunReport:
        """Raises Sai3Error for a directory that cannot be read."""
        ...

    def last_config(self, path: Path) -> tuple[str, str] | None:
        """The last run of this configuration that kept a copy: its name and the text."""
        ...

    def export(self, path: Path, form: str) -> Path:
        """Write a run in a form of `EXPORTS` into its directory. Raises Sai3Error if that cannot be done."""
        ...

    def load_replay(self, path: Path) -> RunSource:
        """A finished run from its log, to be played. Raises Sai3Error if that cannot be done."""
        ...

    def compare(self, first: Path, others: Sequence[Path]) -> tuple[Comparison, ...]:
        """Each of the other runs against the first. Raises Sai3Error if there is nothing to compare."""
        ...


# --- what screens ask of the app -----------------------------------------------------------------------------------


class OpenConfig(Message):
    """Edit a file; `text` replaces what is on disk, and counts as modified."""

    def __init__(self, path: Path | None, text: str | None = None) -> None:
        super().__init__()
        self.path = path
        self.text = text


class StartRun(Message):
    def __init__(self, order: RunOrder) -> None:
        super().__init__()
        self.order = order


class LeaveRun(Message):
    """Leave preflight: the session is not wanted any more."""


class CheckAgain(Message):
    """Preflight has ended with its session: begin again."""


class RunIsLive(Message):
    """Preflight is over and the agents run."""


class TakeOver(Message):
    """Lead the run that the session watches."""


class RunEnded(Message):
    def __init__(self, snapshot: RunSnapshot) -> None:
        super().__init__()
        self.snapshot = snapshot


class OpenRun(Message):
    """Show a finished run from its directory."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path


class RunDemo(Message):
    """Leave, and run the demo instead."""


class ExportRun(Message):
    """Write a finished run in a form of `EXPORTS`."""

    def __init__(self, path: Path, form: str) -> None:
        super().__init__()
        self.path = path
        self.form = form


class PlayRun(Message):
    """Open a finished run in the live screen, from its log."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path


class ShowReport(Message):
    def __init__(self, report: RunReport) -> None:
        super().__init__()
        self.report = report
