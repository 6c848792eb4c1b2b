"""A session that shows canned snapshots: what the screens need, without agents, network or clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sai3tui.config.resolve import load_resolved
from sai3tui.controller.reachability import AgentAnswer
from sai3tui.controller.snapshot import (
    Outcome,
    RunSnapshot,
)
from sai3tui.errors import Sai3Error
from sai3tui.results.compared import Comparison, compare_runs, load_for_comparison
from sai3tui.results.reader import RunEntry
from sai3tui.screens.services import EXPORTS, Checked, RunOrder
from sai3tui.widgets.run_views import RunReport, report_of
from sai3tui.workload.plan import make_plan
from tests.canned_runs import aborted, finished, past, ready, report, running


class ScriptedSession:
    """Shows one snapshot until somebody asks for something; `on_*` make the next one out of the current one."""

    def __init__(self, snapshot: RunSnapshot) -> None:
        self._snapshot = snapshot
        self.calls: list[str] = []
        self.on_start: Callable[[RunSnapshot], RunSnapshot] | None = None
        self.on_proceed: Callable[[RunSnapshot], RunSnapshot] = running
        self.on_abort: Callable[[RunSnapshot], RunSnapshot] = aborted
        self.on_recheck: Callable[[RunSnapshot], RunSnapshot] = lambda _snapshot: ready()
        self.failure: BaseException | None = None
        self.frames = past(snapshot)
        self.next = self
        """Who leads after somebody has taken over."""

    def put(self, snapshot: RunSnapshot) -> None:
        """Show this from now on, as a newer version."""
        self._snapshot = replace(snapshot, version=self._snapshot.version + 1)
        if not len(self.frames):
            self.frames = past(snapshot)

    def start(self) -> None:
        self.calls.append("start")
        if self.on_start is not None:
            self.put(self.on_start(self._snapshot))

    def snapshot(self) -> RunSnapshot:
        return self._snapshot

    def proceed(self) -> None:
        self.calls.append("proceed")
        self.put(self.on_proceed(self._snapshot))

    def recheck(self) -> None:
        self.calls.append("recheck")
        self.put(self.on_recheck(self._snapshot))

    def accept(self, check: str, reason: str) -> None:
        self.calls.append(f"accept {check} {reason}")

    def detach(self, reason: str) -> None:
        self.calls.append(f"detach {reason}")
        self.put(replace(self._snapshot, outcome=Outcome("detached", 0, None, self._snapshot.results_dir)))

    def wait_longer(self, seconds: float) -> None:
        self.calls.append(f"wait_longer {seconds:g}")

    def release_without(self, agent: str) -> None:
        self.calls.append(f"release_without {agent}")

    def pause_at_barrier(self) -> None:
        self.calls.append("pause")

    def go_on(self) -> None:
        self.calls.append("go_on")

    def successor(self) -> ScriptedSession:
        self.calls.append("successor")
        return self.next

    def abort(self, reason: str, exit_code: int = 130) -> None:
        self.calls.append(f"abort {exit_code} {reason}")
        self.put(self.on_abort(self._snapshot))

    def stop(self, timeout_s: float) -> bool:
        self.calls.append("stop")
        return True


class ScriptedReplay:
    """A run that is over, with the past of a canned snapshot."""

    def __init__(self, snapshot: RunSnapshot) -> None:
        self._snapshot = snapshot
        self.frames = past(snapshot)
        self.failure = None

    def snapshot(self) -> RunSnapshot:
        return self._snapshot


class ScriptedServices:
    """`Services` over canned runs and sessions; configurations are checked for real."""

    def __init__(
        self,
        *sessions: ScriptedSession,
        runs: tuple[RunEntry, ...] = (),
        report: RunReport | None = None,
        root: Path = Path("/srv/bench/results"),
        agents: tuple[AgentAnswer, ...] = (),
    ) -> None:
        self.sessions = list(sessions)
        self.orders: list[RunOrder] = []
        self.handed_over: list[Path] = []
        self._runs = runs
        self._report = report
        self._root = root
        self._agents = agents

    @property
    def results_root(self) -> Path:
        return self._root

    def check(self, text: str, path: str) -> Checked:
        found = load_resolved(text, path)
        if found.resolved is None:
            return Checked(found.problems)
        return Checked(found.problems, make_plan(found.resolved.config, found.resolved, found.problems).to_json())

    def open_session(self, order: RunOrder) -> ScriptedSession:
        self.orders.append(order)
        return self.sessions[min(len(self.orders), len(self.sessions)) - 1]

    def attach(self) -> ScriptedSession | None:
        return None

    def hand_over(self, directory: Path) -> str:
        self.handed_over.append(directory)
        return "it goes on"

    def list_runs(self) -> tuple[RunEntry, ...]:
        return self._runs

    def known_agents(self) -> Mapping[str, str]:
        return {answer.name: answer.address for answer in self._agents}

    def ask_agents(self, agents: Mapping[str, str], unwanted: Callable[[], bool]) -> tuple[AgentAnswer, ...]:
        return self._agents

    def load_run(self, path: Path) -> RunReport:
        for session in self.sessions:
            outcome = session.snapshot().outcome
            if outcome is not None and outcome.results == str(path):
                return report() if outcome.status == "success" else report_of(session.snapshot())
        if self._report is None:
            raise Sai3Error(f"{path} has no metadata.json", hint="open another one")
        return self._report

    def last_config(self, path: Path) -> tuple[str, str] | None:
        if not path.exists():
            return None
        return "sai3-20251124-140200", path.read_text().replace("concurrency: 8 ", "concurrency: 4 ")

    def export(self, path: Path, form: str) -> Path:
        return path / EXPORTS[form][0]

    def load_replay(self, path: Path) -> ScriptedReplay:
        return ScriptedReplay(finished())

    def compare(self, first: Path, others: Sequence[Path]) -> tuple[Comparison, ...]:
        measure = load_for_comparison(first)
        return tuple(compare_runs([measure], [load_for_comparison(other)]) for other in others)
