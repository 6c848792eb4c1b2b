"""The real `Services` of the control room: configuration, results directories, sessions on threads of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sai3tui.access import NO_ACCESS, Access
from sai3tui.config.resolve import load_resolved
from sai3tui.config.stage_choice import StageChoice
from sai3tui.controller.reachability import AgentAnswer, ask_agents
from sai3tui.controller.replay import load_replay
from sai3tui.controller.request import AttachOrder, RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.thread import SessionThread
from sai3tui.handover import hand_over, parting_words
from sai3tui.results.compared import Comparison, compare_runs, earlier_runs, load_for_comparison
from sai3tui.results.export_files import write_export
from sai3tui.results.reader import RunEntry, list_runs
from sai3tui.results.report_data import load_report_data
from sai3tui.screens.agents_file import agents_file, read_agents
from sai3tui.screens.services import EXPORTS, Checked, RunOrder, RunSource, SessionHandle
from sai3tui.widgets.run_views import RunReport, report_of_data
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
            stays=True,
            keeps_past=True,
        )
        return SessionThread(RunSession(request))

    def attach(self) -> SessionHandle | None:
        if self._attach is None:
            return None
        request = RunRequest(
            Path(),
            b"",
            results_root=self._results,
            verbose=self._verbose,
            access=self._access,
            baseline=self._baseline,
            attach=self._attach,
            stays=True,
            keeps_past=True,
        )
        return SessionThread(RunSession(request))

    def hand_over(self, directory: Path) -> str:
        return parting_words(directory, hand_over(directory, self._access.options()))

    def list_runs(self) -> tuple[RunEntry, ...]:
        try:
            return tuple(list_runs(self.results_root))
        except OSError:
            return ()

    def known_agents(self) -> Mapping[str, str]:
        return read_agents(agents_file())

    def ask_agents(self, agents: Mapping[str, str], unwanted: Callable[[], bool]) -> tuple[AgentAnswer, ...]:
        return asyncio.run(ask_agents(agents, self._access, unwanted))

    def load_run(self, path: Path) -> RunReport:
        return report_of_data(load_report_data(path))

    def last_config(self, path: Path) -> tuple[str, str] | None:
        for run in self.list_runs():
            if run.config_name in (path.name, path.stem):
                with suppress(OSError, UnicodeDecodeError):
                    return run.name, (run.path / "config.yaml").read_text(encoding="utf-8")
        return None

    def export(self, path: Path, form: str) -> Path:
        target = path / EXPORTS[form][0]
        write_export(load_report_data(path), form, target)
        return target

    def load_replay(self, path: Path) -> RunSource:
        return load_replay(path)

    def compare(self, first: Path, others: Sequence[Path]) -> tuple[Comparison, ...]:
        measure, compared = load_for_comparison(first), [load_for_comparison(other) for other in others]
        before = earlier_runs([measure, *compared])
        return tuple(compare_runs([measure], [other], before) for other in compared)
