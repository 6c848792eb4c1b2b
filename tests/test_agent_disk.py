"""A disk that fills up under an agent in the middle of prepare: told with its place, ended cleanly, and resumed."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, running_agent, stub_of
from tests.resuming import children, config_of, versions
from tests.servers import ServerUnderTest
from tests.waiting import gone, wait_until, wait_until_async

OBJECTS = 800
META_PAGES = 8192
"""The first pages of a cache; what comes after them cannot be written under this limit."""


async def test_a_full_disk_fails_the_run_with_its_place_and_costs_nothing_but_time(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("agent-disk")
    config = config_of(s3_server, bucket, "force_overwrite: true", objects=OBJECTS)
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        pid = agent.child.pid
        async with stub_of(agent) as stub:
            driver = Driver(stub, config)
            running = asyncio.ensure_future(driver.run())
            assert await wait_until_async(lambda: len(versions(s3_server, bucket)) > 50, 30)
            workers = children(agent)
            # Workers have no such limit: it is the agent's own state that finds no room.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (META_PAGES, resource.RLIM_INFINITY))
            await running

            failure = driver.failure
            assert failure is not None, driver.states
            assert failure.kind == pb.RESOURCE
            assert str(agent.data_dir / "cache") in failure.message
            assert any("File too large" in cause for cause in failure.causes)
            assert "--data-dir" in failure.hint
            assert failure.stage == "prepare"
            assert driver.states[-2:] == ["failed", "idle"]
            assert wait_until(lambda: all(gone(each) for each in workers))
            there = versions(s3_server, bucket)
            assert 0 < len(there) < OBJECTS

            # There is room again: the same agent goes on where the state was last on disk.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            again = Driver(stub, config, "run-2")
            await again.run()
            assert again.failure is None, again.failure
    assert any("resumed" in note for note in again.notes)
    assert again.summary("prepare").objects.existed > 0
    assert len(versions(s3_server, bucket)) == OBJECTS
