"""What a viewer knows of a run that another controller leads: from real agents alone, as on another host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sai3tui.config.model import Completion, Stage, StageType
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.fleet import LiveAgent
from sai3tui.controller.journal import Journal
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import BarrierView, Known, Lead, Outcome, RunSnapshot, Standing
from sai3tui.controller.told import told_again
from sai3tui.controller.viewer import Viewer
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    BarrierWait,
    Event,
    LeaderTold,
    Objects,
    Report,
    RunFinished,
    StateChanged,
    Steered,
    Vitals,
    WorkHandedOver,
)
from sai3tui.results.events_log import event_line
from sai3tui.results.tally import Item
from sai3tui.results.views import StageInfo
from tests.agents import agent_in_process
from tests.test_controller_attach import attached, going, session_for
from tests.waiting import wait_until_async

CONFIG = """\
target: file://{target}/
concurrency: 1
workload: []
distributed:
  shared_filesystem: true
  start_delay: 0
  stages:
    - name: wait
      order: 1
      type: custom
      command: /bin/sh
      args: ["-c", "test $SAI3_AGENT = a1 || while ! test -e {gate}; do sleep 0.05; done"]
      barrier: {{type: all_or_nothing, agent_barrier_timeout: 600}}
  agents:
    - {{id: a1, address: "{one}"}}
    - {{id: a2, address: "{two}"}}
"""


@dataclass
class Fleet:
    """Two agents of a run whose second one comes to its barrier when the file `gate` is there."""

    place: Path
    addresses: tuple[str, str]
    text: bytes
    gate: Path

    def leader(self) -> RunSession:
        return session_for(self.place / "leader", self.text, preflight=False, stays=True)

    def viewer(self) -> RunSession:
        """It has no results directory to read."""
        return attached(self.place / "elsewhere", self.addresses[1], view=True)

    def next_leader(self) -> RunSession:
        return attached(self.place / "elsewhere", self.addresses[0])


@asynccontextmanager
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    target, gate = tmp_path / "target", tmp_path / "gate"
    async with AsyncExitStack() as stack:
        one, _ = await stack.enter_async_context(agent_in_process(tmp_path / "a1", target))
        two, _ = await stack.enter_async_context(agent_in_process(tmp_path / "a2", target))
        text = CONFIG.format(target=target, gate=gate, one=one, two=two)
        yield Fleet(tmp_path, (one, two), text.encode(), gate)


async def seen(session: RunSession, condition: Callable[[BarrierView], bool]) -> BarrierView:
    """The board of the barrier after the stage, once it is as wanted."""
    found: list[BarrierView] = []

    def there() -> bool:
        board = session.snapshot().barrier
        if board is not None and board.index == 1 and condition(board):
            found.append(board)
        return bool(found) or session.snapshot().outcome is not None

    assert await wait_until_async(there, 60), session.snapshot().barrier
    assert found, session.snapshot().outcome
    return found[0]


def one_here(board: BarrierView) -> bool:
    return any(agent.standing is Standing.ARRIVED for agent in board.agents)


def decided(board: BarrierView) -> BarrierView:
    """What does not depend on when one looks."""
    agents = tuple(replace(agent, late_s=0.0, heartbeat_age_s=0.0) for agent in board.agents)
    return replace(board, agents=agents, waited_s=None, left_s=None)


def close(first: float | None, second: float | None) -> bool:
    """Within what passes between two looks on a busy machine."""
    return first is not None and second is not None and abs(first - second) < 30


def lines(snapshot: RunSnapshot) -> list[str]:
    return [line.text for line in snapshot.log]


async def ended(task: asyncio.Task[Outcome]) -> tuple[str, int, object]:
    outcome = await asyncio.wait_for(task, 60)
    return outcome.status, outcome.exit_code, outcome.failure


async def test_a_viewer_sees_what_leaders_decide_and_the_next_one_goes_on_with_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as runs:
        leader, viewer = runs.leader(), runs.viewer()
        async with going(leader) as leading:
            await seen(leader, one_here)
            async with going(viewer) as watching:
                first = await seen(viewer, lambda b: one_here(b) and b.left_s is not None)
                assert close(first.left_s, (await seen(leader, one_here)).left_s)
                assert decided(first) == decided(await seen(leader, one_here))
                assert (first.known, first.at_end) == (Known.WHOLE, "the run fails")

                leader.wait_longer(3600)
                leader.pause_at_barrier()
                longer = await seen(viewer, lambda b: (b.left_s or 0) > 3000 and b.pausing)
                mine = await seen(leader, lambda b: (b.left_s or 0) > 3000 and b.pausing)
                assert close(longer.left_s, mine.left_s)
                assert decided(longer) == decided(mine)
                asked = ["asked for: wait longer by 3600 s", "asked for: pause at the next barrier"]
                assert [text for text in lines(viewer.snapshot()) if text in asked] == asked

                late = runs.viewer()
                async with going(late):
                    again = await seen(late, lambda b: (b.left_s or 0) > 3000)
                    assert decided(again) == decided(mine)
                    assert [text for text in lines(late.snapshot()) if text in asked] == asked

                # It is gone, as after kill -9.
                leading.cancel()
                alone = await seen(viewer, lambda b: b.known is Known.NOBODY)
                assert (alone.left_s, alone.pausing, alone.awaited) == (None, False, ("a2",))

                second = runs.next_leader()
                async with going(second) as leading_next:
                    mine = await seen(second, lambda b: (b.left_s or 0) > 3000)
                    assert mine.pausing
                    assert any(t.startswith("barriers stay shut, as was asked for") for t in lines(second.snapshot()))
                    theirs = await seen(viewer, lambda b: (b.left_s or 0) > 3000)
                    assert decided(theirs) == decided(mine)
                    second.release_without("a2")
                    held = await seen(viewer, lambda b: b.held)
                    assert decided(held) == decided(await seen(second, lambda b: b.held))
                    second.go_on()
                    assert await ended(leading_next) == await ended(watching) == ("incomplete", 6, None)
        told = ["asked for: release without a2", "asked for: go on", "late at barrier 1 and left behind"]
        assert [text for text in lines(viewer.snapshot()) if text in told] == told


STAGES = (StageInfo(1, "wait", "custom", "best_effort"),)


def told(event: Event, by: str = "anna", *, at_ns: int, agent: str = "a1", number: int = 1) -> LeaderTold:
    """What an agent has kept of this, said at `at_ns` of our clock."""
    line = event_line(event).decode()
    return LeaderTold(at_ns, agent, by, event.time_ns, line, sequence=number)


def watching() -> tuple[Viewer, Journal, list[Item]]:
    """A viewer of two agents in the only stage, and what its run log gets."""
    journal = Journal("x")
    journal.fleet.plan("run-1", STAGES, (LiveAgent("a1", "h1"), LiveAgent("a2", "h2")))
    seen: list[Item] = []
    journal.listen(seen.append)
    streams: Any = SimpleNamespace(
        controller="bert",
        machine=Barriers(("a1", "a2"), time.monotonic()),
        links={"a1": SimpleNamespace(state=None), "a2": SimpleNamespace(state=None)},
        changed=asyncio.Event(),
        flow=lambda _messages: None,
    )
    plan: Any = SimpleNamespace(
        stages=STAGES, resolved=SimpleNamespace(stages=(Stage("wait", 1, StageType.CUSTOM, Completion.TASKS_DONE),))
    )
    viewer = Viewer(plan, streams, journal)
    viewer.adopt([BarrierReleased(1, "", 0, 1, ("a1", "a2"))], {})
    viewer._begin()
    return viewer, journal, seen


def test_who_is_lost_to_the_leader_is_lost_to_a_viewer_that_still_hears_it() -> None:
    viewer, journal, seen = watching()
    now = time.time_ns()
    gone = Failure(ErrorKind.AGENT_LOST, "agent a2 has been silent")
    words = [
        StateChanged(5 * 10**9, "a2", AgentState.LOST, 0, "", gone),
        WorkHandedOver(5 * 10**9 + 1, "a2", 1, 100, ("a1",)),
        BarrierWait(5 * 10**9 + 2, "", 1, 0, excused=("a2",)),
    ]
    for word in words:
        # Three agents tell the same.
        for number in range(3):
            viewer.take(told(word, at_ns=now, number=number + 1))
    assert [type(item) for item in seen] == [type(word) for word in words]
    assert all(isinstance(item, Event) and item.time_ns == now for item in seen)
    report = Report("a2", 1, now, now + 10**9, (), (), Objects(planned=100, done=50), Vitals())
    viewer.take(report)
    viewer.take(BarrierArrived(now, "a2", 1))
    assert report not in seen
    assert {agent.id: agent.state for agent in journal.fleet.snapshot(now).agents}["a2"] is AgentState.LOST
    waiting = viewer.waiting()
    assert waiting is not None
    assert waiting.awaited == ("a1",)


def test_what_a_leader_says_has_our_time_and_another_one_starts_anew() -> None:
    viewer, _, _ = watching()
    now = time.time_ns()
    viewer.told_lead("a1", Lead("anna", now))
    # Anna's clock is an hour behind.
    theirs = now - 3600 * 10**9
    viewer.take(told(BarrierWait(theirs, "", 1, theirs + 600 * 10**9), at_ns=now))
    waiting = viewer.waiting()
    assert waiting is not None
    assert waiting.left_s is not None
    assert 500 < waiting.left_s <= 600
    viewer.told_lead("a1", Lead("carl", now + 1))
    after = viewer.waiting()
    assert after is not None
    assert (after.left_s, after.known) == (None, Known.BY_LEADER)
    viewer.take(told(BarrierWait(now + 2, "", 1, now + 900 * 10**9), by="carl", at_ns=now))
    later = viewer.waiting()
    assert later is not None
    assert later.known is Known.WHOLE
    # Of its own words, as of what it does not understand, it learns nothing.
    viewer.take(told(BarrierWait(now + 3, "", 1, 0), by="bert", at_ns=now))
    viewer.take(LeaderTold(now, "a1", "carl", now + 4, '{"type": "Unknown"}', sequence=9))
    assert viewer.waiting() is not None
    assert (viewer.waiting() or waiting).left_s is not None


def test_who_comes_later_has_once_what_the_results_or_agents_have() -> None:
    asked, longer = Steered(5, "", "pause at the next barrier"), Steered(7, "", "wait longer", "", 60.0)
    kept = [told(each, at_ns=at, agent=agent) for each, at in ((asked, 105), (longer, 107)) for agent in ("a1", "a2")]
    assert told_again(kept) == [replace(asked, time_ns=105), replace(longer, time_ns=107)]
    assert told_again([asked, *kept]) == [replace(longer, time_ns=107)]
    ended = told(RunFinished(9, "", "success"), at_ns=109)
    assert told_again([asked, longer, *kept, ended]) == []
