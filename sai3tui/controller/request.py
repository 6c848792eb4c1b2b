"""What a front asks of a session, and how ways to end map to exit codes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from sai3tui.access import NO_ACCESS, Access
from sai3tui.config.model import StageType
from sai3tui.config.stage_choice import StageChoice
from sai3tui.errors import ErrorKind, Failure

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_PREFLIGHT = 3
EXIT_THRESHOLD = 4
EXIT_CORRUPT = 5
EXIT_INCOMPLETE = 6
EXIT_SIGINT = 130


COMPLETE = ("success", "incomplete")
"""Statuses of runs that went through all their stages."""
THRESHOLD_MISSED = "threshold_missed"
DETACHED = "detached"


@dataclass(frozen=True, slots=True)
class AttachOrder:
    """Come to a run in progress: addresses of its agents, or its results directory. `view`: watch only; `take_over`:
    lead it even while another controller does."""

    targets: tuple[str, ...]
    view: bool = False
    take_over: bool = False


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run. `results_root` is where its directory is made (None: the current directory). `only` says which stages
    are done. `preflight_only` ends after the checks, `hold_after_preflight` waits there for `proceed()`. `baseline` is
    the results directory of a run to compare with."""

    config_path: Path
    config_text: bytes
    results_root: Path | None = None
    fresh: bool = False
    preflight: bool = True
    agents_override: tuple[str, ...] = ()
    only: StageChoice = StageChoice.ALL
    hold_after_preflight: bool = False
    preflight_only: bool = False
    command_line: tuple[str, ...] = ()
    verbose: bool = False
    access: Access = NO_ACCESS
    measure_rate: bool = False
    adopt: bool = False
    baseline: Path | None = None
    attach: AttachOrder | None = None
    owned: bool = False
    """The agents end with us, so that nobody can go on with the run when we leave."""
    resumed: Path | None = None
    """The results directory of the earlier run that this one resumes; the configuration is the copy in there."""
    name: str = ""
    """Of the configuration, where its file has another one."""
    stays: bool = False
    """Whoever takes the run over from us makes us a viewer of it; else we leave in order."""
    keeps_past: bool = False
    """For a front that goes back in time: a snapshot of every second is kept."""

    @property
    def config_name(self) -> str:
        return self.name or self.config_path.name

    @property
    def root(self) -> Path:
        return self.results_root if self.results_root is not None else Path.cwd()

    def resume_command(self, results: str, only: StageChoice) -> str:
        """The command line that runs this again, or those of its stages that `only` leaves; what is recorded as created
        is not created again then. By its `results` directory, if the configuration is not here: of a run that we came
        to, its path is another host's."""
        rest = [] if only is StageChoice.ALL else [f"--{only.value}"]
        copy = str(self.resumed) if self.resumed is not None else results
        if self.resumed is not None or (results and (self.attach is not None or not self.config_path.is_file())):
            words = ["sai3tui", "resume", copy]
        else:
            words = ["sai3tui", "--batch", str(self.config_path)]
            if self.results_root is not None:
                words += ["--results", str(self.results_root)]
            if self.agents_override:
                words += ["--agents", ",".join(self.agents_override)]
            if not self.preflight:
                rest.append("--no-preflight")
        compared = ["--baseline", str(self.baseline)] if self.baseline is not None else []
        return shlex.join([*words, *rest, *self.access.options(), *compared])


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to its end. `reason` is what agents are told that have to stop."""

    status: str
    exit_code: int
    failure: Failure | None = None
    reason: str = ""

    @property
    def clean(self) -> bool:
        """Whether all stages were gone through."""
        return self.status in COMPLETE


SUCCESS = Ending("success", EXIT_OK)
INCOMPLETE = Ending("incomplete", EXIT_INCOMPLETE)


class RunStopped(Exception):
    """Raised where a run cannot go on."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


def failed(failure: Failure, stage_type: str = "") -> Ending:
    """The ending that `failure` brings about in a stage of `stage_type`."""
    if failure.kind is ErrorKind.CORRUPT:
        code, status = EXIT_CORRUPT, "failed"
    elif failure.kind in (ErrorKind.CONFIG, ErrorKind.RESOLVE):
        code, status = EXIT_CONFIG, "failed"
    elif stage_type == StageType.VALIDATION.value and failure.kind is not ErrorKind.AGENT_LOST:
        code, status = EXIT_PREFLIGHT, "preflight_failed"
    else:
        code, status = EXIT_FAILED, "failed"
    return Ending(status, code, failure, failure.message)
