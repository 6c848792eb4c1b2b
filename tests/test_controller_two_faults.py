"""An agent is lost and its controller too: whoever comes then has every object made, and says what was missing."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from sai3tui.controller.agent_link import AgentLink
from sai3tui.events import AgentState, StateChanged, WorkHandedOver
from sai3tui.results.tally import Item
from tests.agents import AgentUnderTest, agent_in_process, running_agent
from tests.e2e import ended, started
from tests.test_controller_attach import attached, finished, going, in_stage, session_for
from tests.waiting import wait_until_async

OBJECTS = 1000
CONFIG = """\
target: file://{target}/
concurrency: 1
prepare:
  force_overwrite: true
  ensure_objects: [{{base_uri: "data/", count: {objects}, size_spec: 1000}}]
workload: [{{op: get, path: "data/*", weight: 1}}]
distributed:
  shared_filesystem: true
  start_delay: 0
  barrier_sync: {{enabled: true, prepare: {{type: {barrier}}}, execute: best_effort}}
  stages:
    - {{name: prepare, order: 1, type: prepare, completion: tasks_done}}
    - {{name: execute, order: 2, type: execute, completion: duration, duration: 0.2s}}
  agents: [{agents}]
"""


def config_for(target: Path, addresses: list[str], barrier: str, objects: int = OBJECTS) -> bytes:
    agents = ", ".join(f'{{id: a{number}, address: "{address}"}}' for number, address in enumerate(addresses, 1))
    return CONFIG.format(target=target, objects=objects, barrier=barrier, agents=agents).encode()


def made(target: Path) -> int:
    return sum(path.is_file() for path in (target / "data").rglob("*"))


def handed(items: list[Item]) -> list[WorkHandedOver]:
    return [item for item in items if isinstance(item, WorkHandedOver)]


@pytest.mark.parametrize("barrier", ["all_or_nothing", pytest.param("best_effort", marks=pytest.mark.slow)])
async def test_what_a_lost_agent_left_is_done_though_its_controller_leaves_too(tmp_path: Path, barrier: str) -> None:
    target = tmp_path / "target"
    async with AsyncExitStack() as stack, AsyncExitStack() as first_agent:
        places = [(tmp_path / name, first_agent if name == "a1" else stack) for name in ("a1", "a2")]
        addresses = [(await owner.enter_async_context(agent_in_process(place, target)))[0] for place, owner in places]
        first = session_for(tmp_path, config_for(target, addresses, barrier), preflight=False)
        items: list[Item] = []
        first.listen(items.append)
        async with going(first) as leading:
            # Its first report comes when it may be through.
            assert await wait_until_async(lambda: (target / "data").exists() and made(target) > OBJECTS // 20, 60)
            await first_agent.aclose()
            assert await wait_until_async(lambda: bool(handed(items)), 60)
            first.request_detach("gone")
            await asyncio.wait_for(leading, 60)
        outcome, snapshot = await finished(attached(tmp_path, first.snapshot().results_dir))
        assert (outcome.status, outcome.exit_code, outcome.failure) == ("incomplete", 6, None)
        assert made(target) == OBJECTS
        assert (snapshot.stages[0].done, snapshot.stages[0].planned) == (OBJECTS, OBJECTS)


@pytest.mark.slow
async def test_an_agent_that_was_started_anew_is_lost_at_once_and_what_it_did_counts_once(tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with agent_in_process(tmp_path / "a2", target) as (stays, _):
        async with agent_in_process(tmp_path / "a1", target) as (address, _):
            first = session_for(tmp_path, config_for(target, [address, stays], "all_or_nothing"), preflight=False)
            async with going(first) as leading:
                assert await wait_until_async(in_stage(first, 1), 60)
                first.request_detach("gone")
                await asyncio.wait_for(leading, 60)
        async with agent_in_process(tmp_path / "a1", target, port=int(address.rpartition(":")[2])) as (again, _):
            assert again == address
            second = attached(tmp_path, first.snapshot().results_dir)
            # A silence of 90 s would be more than a minute.
            outcome = await asyncio.wait_for(second.run(), 60)
            snapshot = second.snapshot()
        assert (outcome.status, outcome.exit_code, outcome.failure) == ("incomplete", 6, None)
        assert made(target) == OBJECTS
        assert (snapshot.stages[0].done, snapshot.stages[0].planned) == (OBJECTS, OBJECTS)
        assert any("does not know this run any more" in line.text for line in snapshot.log)


LATE = """\
target: file://{target}/
workload: [{{op: put, path: "new/", object_size: 1000, weight: 1}}]
distributed:
  shared_filesystem: true
  start_delay: 0
  stages:
    - name: first
      order: 1
      type: custom
      command: sh
      args: ["-c", "test $SAI3_AGENT = a1 || sleep 60"]
      barrier: {{type: best_effort, agent_barrier_timeout: 0.1}}
    - {{name: second, order: 2, type: custom, command: sh, args: ["-c", "while ! test -e {go}; do sleep 0.05; done"]}}
    - {{name: third, order: 3, type: custom, command: "true"}}
  agents: [{agents}]
"""


@pytest.mark.slow
@pytest.mark.parametrize("gone_on", [pytest.param(False, marks=pytest.mark.slow), True])
async def test_who_was_left_behind_learns_it_from_whoever_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone_on: bool
) -> None:
    """The controller dies between opening a barrier and telling the agent that was late there; the others may be at
    the next one already, or past it, when that agent gets there."""
    target, go = tmp_path / "target", tmp_path / "go"
    async with agent_in_process(tmp_path / "a1", target) as one, agent_in_process(tmp_path / "a2", target) as other:
        agents = f'{{id: a1, address: "{one[0]}"}}, {{id: a2, address: "{other[0]}"}}'
        first = session_for(tmp_path, LATE.format(target=target, go=go, agents=agents).encode(), preflight=False)
        with monkeypatch.context() as dying:
            dying.setattr(AgentLink, "exclude", _unsaid)
            async with going(first):
                assert await wait_until_async(lambda: first.snapshot().stage_index == 2, 60)
        if gone_on:
            go.touch()
        second = attached(tmp_path, first.snapshot().results_dir)
        items: list[Item] = []
        second.listen(items.append)
        async with going(second) as leading:
            assert await wait_until_async(lambda: ("a2", AgentState.EXCLUDED, 1) in states(items), 60)
            go.touch()
            outcome = await asyncio.wait_for(leading, 60)
        assert (outcome.status, outcome.exit_code) == ("incomplete", 6)
        assert ("a2", AgentState.COMPLETED, 3) in states(items)
        assert ("a2", AgentState.IDLE, 0) in states(items)


async def _unsaid(link: AgentLink, stage_index: int, reason: str) -> None:
    """The controller has died before it could say so."""


def states(items: list[Item]) -> list[tuple[str, AgentState, int]]:
    return [(item.agent, item.state, item.stage_index) for item in items if isinstance(item, StateChanged)]


KILLED = 6000


def three_led(
    stack: ExitStack, tmp_path: Path, config_for_all: Callable[[list[str]], bytes]
) -> tuple[list[AgentUnderTest], subprocess.Popen[str]]:
    """Three agents and their controller, each a process, and a target that is there."""
    target = tmp_path / "target"
    target.mkdir()
    agents = [
        stack.enter_context(running_agent(tmp_path, "--allow-path", str(target), name=name))
        for name in ("a1", "a2", "a3")
    ]
    config = tmp_path / "pair.yaml"
    config.write_bytes(config_for_all([agent.address for agent in agents]))
    arguments = ["--batch", str(config), "--json", "--no-preflight", "--results", str(tmp_path / "results")]
    return agents, stack.enter_context(started(arguments))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("barrier", "by", "handed_on"),
    [
        ("all_or_nothing", "directory", True),
        ("best_effort", "directory", False),
        ("all_or_nothing", "agent", False),
        ("best_effort", "agent", True),
    ],
)
async def test_an_agent_is_killed_and_then_the_controller_in_the_same_stage(
    tmp_path: Path, barrier: str, by: str, handed_on: bool
) -> None:
    target = tmp_path / "target"
    with ExitStack() as stack:
        agents, controller = three_led(
            stack, tmp_path, lambda addresses: config_for(target, addresses, barrier, KILLED)
        )
        assert await wait_until_async(lambda: (target / "data").exists() and made(target) > KILLED // 20, 60)
        agents[0].child.process.kill()
        (results,) = tmp_path.glob("results/sai3-*")
        if handed_on:
            log = results / "events.jsonl"
            assert await wait_until_async(lambda: "WorkHandedOver" in log.read_text(), 60)
        controller.kill()
        controller.wait()
        where = str(results) if by == "directory" else agents[1].address
        coming = ["attach", "--batch", "--json", "--results", str(tmp_path / "later"), where]
        done = await asyncio.to_thread(ended, stack.enter_context(started(coming)))
        assert (done.code, done.result["status"]) == (6, "incomplete"), done.stderr
        assert made(target) == KILLED
        assert done.stage("prepare")["status"] == "done"
        if by == "directory":
            assert done.stage("prepare")["objects"] == KILLED


def cleaned(config: bytes) -> bytes:
    """With a cleanup at its end."""
    stage = b"    - {name: cleanup, order: 3, type: cleanup, completion: tasks_done}\n"
    return config.replace(b"  agents: [", stage + b"  agents: [").replace(b"  force_", b"  cleanup: true\n  force_")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_whoever_comes_by_an_agent_s_address_deletes_what_only_the_dead_ones_knew(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with ExitStack() as stack:
        agents, controller = three_led(
            stack, tmp_path, lambda addresses: cleaned(config_for(target, addresses, "all_or_nothing", KILLED))
        )
        assert await wait_until_async(lambda: (target / "data").exists() and made(target) == KILLED, 120)
        assert await wait_until_async(lambda: made(target) < KILLED, 60)
        agents[0].child.process.kill()
        controller.kill()
        controller.wait()
        assert made(target) > 0
        coming = ["attach", "--batch", "--json", "--results", str(tmp_path / "later"), agents[1].address]
        done = await asyncio.to_thread(ended, stack.enter_context(started(coming)))
        assert (done.code, done.result["status"]) == (6, "incomplete"), done.stderr
        assert made(target) == 0
        assert done.stage("cleanup")["status"] == "done"
        # Nobody is left who knows what the first agent did in prepare.
        status = (done.directory / "STATUS.txt").read_text()
        assert "prepare: what a1 did after the last report that is known is not counted" in status
