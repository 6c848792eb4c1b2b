"""What a viewer knows of a run that another controller leads: from real agents alone, as on another host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import BarrierView, Known, Outcome, RunSnapshot, Standing
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


async def test_a_viewer_sees_what_the_leader_decides_whenever_it_comes(tmp_path: Path) -> None:
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

                runs.gate.touch()
                held = await seen(viewer, lambda b: b.held)
                assert decided(held) == decided(await seen(leader, lambda b: b.held))
                leader.request_abort("enough")
                assert await ended(leading) == await ended(watching) == ("aborted", 130, None)
        assert "aborting: enough" in lines(viewer.snapshot())


async def test_who_leads_next_goes_on_with_what_was_asked_for(tmp_path: Path) -> None:
    async with fleet(tmp_path) as runs:
        leader, viewer = runs.leader(), runs.viewer()
        async with going(leader) as leading:
            await seen(leader, one_here)
            leader.wait_longer(3600)
            leader.pause_at_barrier()
            await seen(leader, lambda b: b.pausing)
        # It is gone, as after kill -9.
        assert leading.cancelled()
        async with going(viewer) as watching:
            alone = await seen(viewer, lambda b: b.known is Known.NOBODY)
            assert (alone.left_s, alone.pausing, alone.awaited) == (None, False, ("a2",))
            second = runs.next_leader()
            async with going(second) as leading:
                mine = await seen(second, lambda b: (b.left_s or 0) > 3000)
                assert mine.pausing
                assert any(text.startswith("barriers stay shut, as was asked for") for text in lines(second.snapshot()))
                theirs = await seen(viewer, lambda b: (b.left_s or 0) > 3000)
                assert decided(theirs) == decided(mine)
                second.release_without("a2")
                held = await seen(viewer, lambda b: b.held)
                assert decided(held) == decided(await seen(second, lambda b: b.held))
                second.go_on()
                assert await ended(leading) == await ended(watching) == ("incomplete", 6, None)
        told = ["asked for: release without a2", "asked for: go on", "late at barrier 1 and left behind"]
        assert [text for text in lines(viewer.snapshot()) if text in told] == told
