"""What a run does on its own thread keeps nobody from being answered, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from sai3tui.agent.run_thread import RunThread
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, agent_in_process, stub_of
from tests.test_agent_abort import config_of, loaded
from tests.waiting import wait_until_async

BLOCKED_S = 5.0
"""Longer than the missed heartbeats and the query below."""
LOST_SOON = """
  barrier_sync:
    execute: {heartbeat_interval: 1, missed_threshold: 1, query_timeout: 1, query_retries: 0}
"""
FAILS = "- {name: fails, order: 1, type: custom, command: 'false'}"


async def test_a_run_that_blocks_delays_no_heartbeat_no_query_and_no_abort(tmp_path: Path) -> None:
    target = tmp_path / "target"
    unblocked = threading.Event()
    async with AsyncExitStack() as stack:
        address, thread = await stack.enter_async_context(agent_in_process(tmp_path, target))
        stack.callback(unblocked.set)
        stub = await stack.enter_async_context(stub_of(address))
        driver = Driver(stub, config_of(f"file://{target}/"))
        running = await loaded(driver)
        assert driver.call is not None
        thread.post(unblocked.wait)
        pongs = len(driver.pongs)
        await driver.call.write(pb.ControllerMessage(ping=pb.Ping(controller_time_ns=time.time_ns())))
        assert await wait_until_async(lambda: len(driver.pongs) > pongs, 30)
        assert driver.pongs[-1].state == pb.RUNNING
        assert (await stub.Status(pb.StatusRequest(), timeout=30)).run_id == "run-1"
        assert (await stub.Abort(pb.AbortRequest(reason="enough", wait_ms=1))).was_running
        unblocked.set()
        await running
        assert driver.states[-3:] == ["aborting", "aborted", "idle"]


@pytest.mark.slow
async def test_an_agent_whose_run_blocks_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, thread):
        text = config_of(f"file://{target}/", duration="7s").replace("127.0.0.1:7000", address)
        text = text.replace("\n  agents:", LOST_SOON + "  agents:")
        session = RunSession(RunRequest(tmp_path / "blocked.yaml", text.encode(), results_root=tmp_path))
        running = asyncio.ensure_future(session.run())
        assert await wait_until_async(lambda: any(stage.total_ops for stage in session.snapshot().stages), 60)
        thread.post(lambda: time.sleep(BLOCKED_S))
        outcome = await running
    assert (outcome.status, outcome.exit_code) == ("success", 0)
    assert session.snapshot().coverage == 1.0


@pytest.mark.parametrize("runs", [5, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_runs_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    """However they end: completed, aborted, failed."""
    target = tmp_path / "target"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    config = config_of(f"file://{target}/", duration="0.2s")
    failing = config_of(f"file://{target}/", stages=FAILS)
    async with agent_in_process(tmp_path, target) as (address, thread), stub_of(address) as stub:
        for number in range(runs):
            kind = ("completed", "aborted", "failed")[number % 3]
            if kind == "aborted":
                driver = Driver(stub, config_of(f"file://{target}/"), f"run-{number}")
                running = await loaded(driver)
                await stub.Abort(pb.AbortRequest(wait_ms=30_000))
                await running
            else:
                driver = Driver(stub, failing if kind == "failed" else config, f"run-{number}")
                await driver.run()
            assert driver.states[-2:] == [kind, "idle"]
            if number == 2:
                before = await left(thread, tmp_path)
        after = await left(thread, tmp_path)
    assert after == before


async def left(thread: RunThread, tmp_path: Path) -> dict[str, object]:
    """What this process has. Threads of a pool that is bounded are none of a run's."""

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    descriptors: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            descriptors[os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0]] += 1
        except FileNotFoundError:
            # The one of the listing.
            continue
    return {
        "processes": psutil.Process().children(recursive=True),
        "tasks": await thread.run(tasks()),
        "threads": sorted(t.name for t in threading.enumerate() if not t.name.startswith("asyncio_")),
        "descriptors": descriptors,
        "shared memory": Path("/proc/self/maps").read_text().count("memfd:"),
        "files": sorted(os.listdir(tmp_path / "tmp")),
    }
