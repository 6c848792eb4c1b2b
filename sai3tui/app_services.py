"""The real `Services` of the control room: configuration, results directories, sessions on threads of their own."""

from __future__ import annotations

from pathlib import Path

from sai3tui.access import NO_ACCESS, Access
from sai3tui.config.resolve import load_resolved
from sai3tui.config.stage_choice import StageChoice
from sai3tui.controller.request import AttachOrder, RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.thread import SessionThread
from sai3tui.handover import hand_over, parting_words
from sai3tui.results.compared import Comparison, compare_runs, load_for_comparison
from sai3tui.results.reader import RunEntry, list_runs, load_run
from sai3tui.screens.services import Checked, RunOrder, SessionHandle
from sai3tui.widgets.run_views import RunReport, report_of_record
from sai3tui.workload.plan import make_plan


class LiveServices:
    """See `sai3tui.screens.services.Services`."""

    def __init__(
        self,
        results: Path | None,
        agents: tuple[str, ...],
        access: Access = NO_ACCESS,
        *,
        verbose: bool,
        baseline: Path | None = None,
        attach: AttachOrder | None = None,
        owned: bool = False,
        only: StageChoice = StageChoice.ALL,
    ) -> None:
        self._results = results
        self._agents = agents
        self._access = access
        self._verbose = verbose
        self._baseline = baseline
        self._attach = attach
        self._owned = owned
        self._only = only

    @property
    def results_root(self) -> Path:
        return self._results or Path.cwd()

    def check(self, text: str, path: str) -> Checked:
        found = load_resolved(text, path, agents_override=self._agents, only=self._only)
        if found.resolved is None:
            return Checked(found.problems)
        plan = make_plan(found.resolved.config, found.resolved, found.problems)
        return Checked(found.problems, plan.to_json())

    def open_session(self, order: RunOrder) -> SessionHandle:
        request = RunRequest(
            config_path=order.path,
            owned=self._owned,
            config_text=order.text,
            results_root=self._results,
            agents_override=self._agents,
            only=self._only,
            hold_after_preflight=order.hold,
            verbose=self._verbose,
            access=self._access,
            baseline=self._baseline,
        )
        return SessionThread(RunSession(request))

    def attach(self) -> SessionHandle | None:
        if self._attach is None:
            return None
        request = RunRequest(
            Path(), b"", results_root=self._results, verbose=self._verbose, access=self._access, attach=self._attach
        )
        return SessionThread(RunSession(request))

    def hand_over(self, directory: Path) -> str:
        return parting_words(directory, hand_over(directory, self._access.options()))

    def list_runs(self) -> tuple[RunEntry, ...]:
        try:
            return tuple(list_runs(self.results_root))
        except OSError:
            return ()

    def load_run(self, path: Path) -> RunReport:
        return report_of_record(load_run(path))

    def compare(self, first: Path, second: Path) -> Comparison:
        return compare_runs(load_for_comparison(first), load_for_comparison(second))
