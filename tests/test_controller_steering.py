"""Somebody intervenes at a barrier: through the session, against agents that are late, and as events of the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sai3tui.controller.request import EXIT_SIGINT
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import BarrierView, Outcome, Standing
from sai3tui.events import AgentState, BarrierReleased, Event, Report, RunStarted, Steered
from sai3tui.results.events_log import read_events
from tests.scripted_agent import Script, ScriptedAgent, scripted_agent
from tests.test_controller_session import config_text, request
from tests.waiting import wait_until_async


@dataclass
class Steering:
    session: RunSession
    agents: list[ScriptedAgent]
    task: asyncio.Task[Outcome]
    items: list[Event | Report]

    def commands(self) -> list[tuple[str, str, float]]:
        return [(item.command, item.subject, item.seconds) for item in self.items if isinstance(item, Steered)]

    def opened(self) -> list[int]:
        return [item.stage_index for item in self.items if isinstance(item, BarrierReleased)]

    async def board(self, index: int, condition: Callable[[BarrierView], bool]) -> BarrierView:
        """The board of barrier `index`, once it is as wanted."""
        found: list[BarrierView] = []

        def there() -> bool:
            board = self.session.snapshot().barrier
            if board is not None and board.index == index and condition(board):
                found.append(board)
            return bool(found) or self.task.done()

        assert await wait_until_async(there, 60)
        assert found, self.session.snapshot()
        return found[0]

    async def outcome(self) -> Outcome:
        return await asyncio.wait_for(self.task, 60)


@asynccontextmanager
async def steering(tmp_path: Path, *scripts: Script, barrier: str, timeout: int) -> AsyncIterator[Steering]:
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(scripted_agent(script)) for script in scripts]
        session = RunSession(request(tmp_path, config_text([agent.address for agent in agents], barrier, timeout)))
        items: list[Event | Report] = []
        session.listen(items.append)
        task = asyncio.create_task(session.run())
        try:
            yield Steering(session, agents, task, items)
        finally:
            session.request_abort("the test is over")
            await asyncio.wait_for(task, 60)


def one_here(board: BarrierView) -> bool:
    return any(agent.standing is Standing.ARRIVED for agent in board.agents)


async def test_the_board_says_who_holds_it_up_since_when_and_where(tmp_path: Path) -> None:
    async with steering(
        tmp_path, Script(), Script(hang_stage=1, interval_s=0.3), barrier="majority", timeout=600
    ) as it:
        board = await it.board(1, lambda b: one_here(b) and bool(b.agent("a2") and b.agent("a2").done))  # type: ignore[union-attr]
        here, late = board.agents
        assert (here.id, here.standing, here.late_s) == ("a1", Standing.ARRIVED, 0.0)
        assert (late.id, late.standing) == ("a2", Standing.WORKING)
        assert (late.done, late.planned) == (50, 100)
        assert late.rate > 0
        assert late.eta_s == 50 / late.rate
        assert late.slowest == "s3://10.0.0.1/bucket/"
        assert (late.missed, late.threshold) == (0, 3)
        assert (board.policy, board.awaited, board.holder) == ("majority", ("a2",), "a2")
        assert board.waited_s is not None
        assert board.left_s is not None
        assert 599 < board.waited_s + board.left_s <= 601
        # One of two is no majority.
        assert board.at_end == "the run fails"


async def test_the_board_says_who_would_be_left_behind(tmp_path: Path) -> None:
    async with steering(tmp_path, Script(), Script(hang_stage=1), barrier="best_effort", timeout=600) as it:
        board = await it.board(1, one_here)
        assert board.at_end == "it opens without a2"


async def test_waiting_longer_moves_the_end_of_the_wait(tmp_path: Path) -> None:
    async with steering(tmp_path, Script(), Script(hang_stage=1), barrier="all_or_nothing", timeout=600) as it:
        await it.board(1, one_here)
        it.session.wait_longer(3600)
        board = await it.board(1, lambda b: (b.left_s or 0) > 3000)
        assert board.at_end == "the run fails"
        assert it.commands() == [("wait longer", "", 3600.0)]


async def test_a_barrier_opens_without_an_agent_when_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The agent that hangs never says that it is through.
    monkeypatch.setattr("sai3tui.controller.conductor.COMPLETED_TIMEOUT_S", 0.5)
    async with steering(
        tmp_path, Script(), Script(hang_stage=1, deaf=True), barrier="all_or_nothing", timeout=600
    ) as it:
        await it.board(1, one_here)
        it.session.release_without("a2")
        board = await it.board(2, lambda b: b.agent("a1") is not None)
        late = board.agent("a2")
        assert late is not None
        assert late.standing is Standing.EXCLUDED
        outcome = await it.outcome()
        assert (outcome.status, outcome.exit_code) == ("incomplete", 6)
        released = next(i for i in it.items if isinstance(i, BarrierReleased) and i.stage_index == 1)
        assert (released.arrived, released.missing) == (("a1",), ("a2",))
        kept = [e for e in read_events(Path(outcome.results) / "events.jsonl") if isinstance(e, Steered)]
        assert [(e.command, e.subject) for e in kept] == [("release without", "a2")]


async def test_a_pause_keeps_the_next_barrier_shut_until_it_may_open(tmp_path: Path) -> None:
    async with steering(tmp_path, Script(), Script(), barrier="all_or_nothing", timeout=600) as it:
        it.session.listen(lambda item: it.session.pause_at_barrier() if isinstance(item, RunStarted) else None)
        board = await it.board(0, lambda b: b.held)
        assert board.pausing
        assert (board.awaited, board.left_s, board.at_end) == ((), None, "")
        assert it.opened() == []
        it.session.go_on()
        outcome = await it.outcome()
        assert (outcome.status, outcome.exit_code) == ("success", 0)
        assert it.opened() == [0, 1, 2]
        assert [command for command, *_ in it.commands()] == ["pause at the next barrier", "go on"]
        assert it.session.snapshot().barrier is None


async def test_an_abort_at_a_barrier_leaves_everybody_idle(tmp_path: Path) -> None:
    async with steering(tmp_path, Script(), Script(hang_stage=1), barrier="all_or_nothing", timeout=600) as it:
        await it.board(1, one_here)
        it.session.request_abort("enough")
        outcome = await it.outcome()
        assert (outcome.status, outcome.exit_code) == ("aborted", EXIT_SIGINT)
        assert [agent.aborts for agent in it.agents] == [["enough"], ["enough"]]
        assert {agent.state for agent in it.session.snapshot().agents} == {AgentState.IDLE}
