"""The fault matrix: everything that can break, at every moment of a run, and what is promised then. The table of it is
in docs/reliability.md."""

from __future__ import annotations

import resource
import shlex
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import Done
from tests.fault_matrix import BURST, OBJECTS, Broken, Moment, broken
from tests.servers import ServerUnderTest
from tests.waiting import wait_until, wait_until_async

META_PAGES = 8192
"""The first pages of a state cache; what comes after them cannot be written under this limit."""
NO_LIMIT = resource.RLIM_INFINITY

Cell = Callable[[Broken], Awaitable[None]]


async def goes_on(fleet: Broken, code: int = 0) -> Done:
    """The run comes to its end by itself, with all objects written and all removed."""
    fleet.gate.opened.set()
    done = await fleet.end()
    assert done.code == code, (done.stderr, done.lines[-1:])
    await is_whole(fleet, done)
    return done


async def is_whole(fleet: Broken, done: Done) -> None:
    """All stages are done, on all objects, and nobody asks the storage for anything any more."""
    assert [stage["status"] for stage in done.result["stages"]] == ["done"] * 3
    for name in ("prepare", "cleanup"):
        assert done.stage(name)["objects"] >= OBJECTS, name
    assert fleet.keys() == {}
    assert await fleet.quiet()
    before = fleet.requests()
    assert told_once(fleet, done)
    assert fleet.requests() == before


def told_once(fleet: Broken, done: Done) -> str:
    """STATUS.txt, after a look at how it tells what went wrong: each cause once, with a count, and what to do."""
    status = (done.directory / "STATUS.txt").read_text()
    assert f"exit code {done.code}" in status
    assert "Traceback" not in status + done.stderr + "".join(agent.log for agent in fleet.agents)
    causes = [line.split(" x ", 1)[1] for line in section(status, "Failures by cause") if " x " in line[:12]]
    assert len(causes) == len(set(causes)), causes
    failure = done.result["failure"]
    if failure is not None:
        assert failure["kind"] != "internal"
        assert failure["hint"], failure
        assert failure["message"] in status
        assert failure["hint"] in status
        assert done.stderr.count(failure["message"]) == 1
    return status


def section(status: str, name: str) -> list[str]:
    return status.partition(f"=== {name} ===\n")[2].partition("\n===")[0].splitlines()


async def goes_on_after(fleet: Broken, done: Done, code: int) -> Done:
    """The run has ended; the command that it names brings it to its end, with nothing written needlessly."""
    assert done.code == code, (done.stderr, done.lines[-1:])
    status = told_once(fleet, done)
    command = done.result["resume"]
    assert command
    assert command in section(status, "How to go on")
    assert await fleet.quiet()
    program, *arguments = shlex.split(command)
    assert program == "sai3tui"
    before = len(fleet.keys())
    again = await fleet.command(*arguments, "--json")
    assert again.code == 0, (again.stderr, again.lines[-1:])
    assert fleet.keys() == {}
    if fleet.gate.moment is Moment.CLEANUP:
        assert "--cleanup-only" in arguments
        assert "this does cleanup alone" in status
        assert not any(stage["type"] == "prepare" for stage in again.result["stages"])
        return again
    assert again.stage("prepare")["objects"] == OBJECTS
    if done.stage("prepare")["status"] != "done":
        assert "will not be created again" in status
        assert 0 < again.stage("prepare")["existed"] <= before
    else:
        # What an agent without room on its disk had done was known elsewhere: then nothing is left to resume.
        assert fleet.gate.moment is not Moment.PREPARE
        assert "begins it anew if it has force_overwrite" in status
    return again


# --- rows ---


async def worker(fleet: Broken) -> None:
    fleet.kill_worker()
    await goes_on(fleet)


async def agent(fleet: Broken) -> None:
    fleet.kill_agent()
    await without_the_first(fleet, await goes_on(fleet, 6))


async def without_the_first(fleet: Broken, done: Done) -> None:
    assert "agent-1" in "\n".join(section((done.directory / "STATUS.txt").read_text(), "Coverage"))


async def endpoint(fleet: Broken) -> None:
    await fleet.end_endpoint()
    await goes_on(fleet)


async def controller(fleet: Broken) -> None:
    fleet.kill_controller()
    fleet.gate.opened.set()
    done = await fleet.command("attach", "--batch", "--json", str(fleet.results))
    assert done.code == 0, done.stderr
    await is_whole(fleet, done)


async def network_interrupted(fleet: Broken) -> None:
    await fleet.relay.interrupt()
    await goes_on(fleet)


async def swallows(fleet: Broken) -> None:
    """What agents are told at the barrier does not arrive, and then the connection breaks."""
    fleet.relay.swallows = True
    fleet.gate.opened.set()
    opened = await wait_until_async(
        lambda: any(each["stage_index"] == 1 for each in fleet.events("BarrierReleased")), 60
    )
    assert opened
    fleet.relay.swallows = False
    await fleet.relay.interrupt()
    await goes_on(fleet)


async def network_cut(fleet: Broken) -> None:
    await fleet.relay.cut()
    fleet.gate.opened.set()
    done = await fleet.end()
    assert done.code == 6, (done.stderr, done.lines[-1:])
    assert [stage["status"] for stage in done.result["stages"]] == ["done"] * 3
    told_once(fleet, done)
    await without_the_first(fleet, done)


async def bursts_of_503(fleet: Broken) -> None:
    fleet.gate.storming = True
    done = await goes_on(fleet)
    assert fleet.gate.refused > 0
    assert sum(sum(a["count"] for a in stage["failed_attempts"]) for stage in done.result["stages"]) > 0


async def slow_storage(fleet: Broken) -> None:
    fleet.gate.slow = True
    await goes_on(fleet)
    assert 0 < fleet.gate.late <= BURST


async def disk_of_agents(fleet: Broken) -> None:
    fleet.limit_agents(META_PAGES)
    fleet.gate.opened.set()
    done = await fleet.end()
    fleet.limit_agents(NO_LIMIT)
    assert done.result["failure"]["kind"] == "resource"
    await goes_on_after(fleet, done, 1)


async def disk_of_controller(fleet: Broken) -> None:
    fleet.limit_controller()
    fleet.gate.opened.set()
    done = await fleet.end()
    assert done.code == 1
    assert done.result["failure"]["kind"] == "resource"
    assert [stage["status"] for stage in done.result["stages"]] == ["done"] * 3
    assert fleet.keys() == {}


async def sigterm(fleet: Broken) -> None:
    fleet.terminate_everything()
    fleet.gate.opened.set()
    done = await fleet.end()
    assert wait_until(lambda: not any(agent.child.running for agent in fleet.agents), 30)
    assert [agent.child.process.returncode for agent in fleet.agents] == [143, 143]
    fleet.start_agents_again()
    await goes_on_after(fleet, done, 143)


ROWS: Mapping[str, Cell] = {
    "worker": worker,
    "agent": agent,
    "endpoint": endpoint,
    "controller": controller,
    "network interrupted": network_interrupted,
    "network cut": network_cut,
    "503 bursts": bursts_of_503,
    "slow storage": slow_storage,
    "disk of agents": disk_of_agents,
    "disk of controller": disk_of_controller,
    "SIGTERM": sigterm,
}
DIAGONAL = {
    ("worker", Moment.PREPARE),
    ("agent", Moment.BARRIER),
    ("endpoint", Moment.EXECUTE),
    ("controller", Moment.CLEANUP),
    ("network cut", Moment.PREPARE),
    ("503 bursts", Moment.BARRIER),
}
"""What runs each time, of a matrix that takes half an hour."""


SLOW = pytest.mark.slow


def cells() -> list[Any]:
    return [
        pytest.param(row, moment, id=f"{row}-{moment.name.lower()}", marks=() if (row, moment) in DIAGONAL else SLOW)
        for row in ROWS
        for moment in Moment
    ]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("row", "moment"), cells())
async def test_what_is_promised_is_kept(s3_server: ServerUnderTest, tmp_path: Path, row: str, moment: Moment) -> None:
    bucket = f"matrix-{row}-{moment.name}".lower().replace(" ", "-")
    async with broken(s3_server, bucket, tmp_path, moment) as fleet:
        await ROWS[row](fleet)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_what_a_stream_has_swallowed_is_said_again(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    async with broken(s3_server, "matrix-swallowed", tmp_path, Moment.BARRIER) as fleet:
        await swallows(fleet)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_what_was_written_before_anybody_heard_so_is_not_written_again(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    """SIGTERM to all, when all objects are written and the controller has yet to hear of the last ones."""
    async with broken(s3_server, "matrix-through", tmp_path, Moment.BARRIER, late=0) as fleet:
        fleet.relay.flows.clear()
        fleet.gate.opened.set()
        assert await wait_until_async(lambda: "at barrier 1" in fleet.agents[0].log, 60)
        fleet.terminate_everything()
        assert await wait_until_async(lambda: bool(fleet.events("AbortRequested")), 60)
        fleet.relay.flows.set()
        done = await fleet.end()
        assert wait_until(lambda: not any(agent.child.running for agent in fleet.agents), 30)
        assert done.stage("prepare")["status"] != "done"
        fleet.start_agents_again()
        again = await goes_on_after(fleet, done, 143)
        assert again.stage("prepare")["existed"] == OBJECTS
