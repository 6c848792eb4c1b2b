"""Prepare, killed with SIGKILL at seeded points and run again: nothing is missing, nothing is written needlessly."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import pytest

from sai3tui.agent.lease import LEASES_PER_CONNECTION, MAX_OUTSTANDING
from sai3tui.config.resolve import load_resolved
from sai3tui.workload.content import ContentMaker, Payload
from sai3tui.workload.objects import object_sets
from tests.agents import Driver, running_agent, stub_of
from tests.resuming import config_of, content_of, killed, recorded, versions, workers_of
from tests.servers import ServerUnderTest

OBJECTS = 400
CONNECTIONS = 4
IN_FLIGHT = max(min(OBJECTS // 100, MAX_OUTSTANDING), LEASES_PER_CONNECTION * CONNECTIONS)
SAMPLE = 3
POINTS = 200


class Victim(Enum):
    WORKER = "worker"
    AGENT = "agent"
    BOTH = "both"


async def reached(server: ServerUnderTest, bucket: str, objects: int, running: asyncio.Future[None]) -> None:
    """Until the server holds so many objects, watched closely, for at most 30 s."""
    deadline = time.monotonic() + 30
    while len(versions(server, bucket)) < objects and not running.done():
        assert time.monotonic() < deadline, f"{objects} objects were not written in time"
        await asyncio.sleep(0.002)


def assert_all_there(server: ServerUnderTest, bucket: str, config: str, generation: int) -> None:
    """Every object exists, with the bytes that its index says."""
    resolved = load_resolved(config, "test.yaml").require()
    objects = object_sets(resolved)[0]
    maker, payload = ContentMaker(objects.content, objects.seed), Payload()
    assert len(versions(server, bucket)) == objects.count == OBJECTS
    for index in range(objects.count):
        size = objects.size(index)
        payload.become(maker, generation, index, 0, size)
        assert content_of(server, bucket, objects.key(index)) == bytes(payload.piece(0, size)), index


@pytest.mark.parametrize(
    "seed", [*range(SAMPLE), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(SAMPLE, POINTS))]
)
async def test_a_killed_prepare_is_completed_and_repeats_only_what_was_in_flight(
    s3_server: ServerUnderTest, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    victim = list(Victim)[seed % len(Victim)]
    point = random.Random(seed).randrange(1, OBJECTS // 2)
    bucket = s3_server.bucket(f"agent-kill-{seed}")
    config = config_of(s3_server, bucket, "force_overwrite: true", objects=OBJECTS)

    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config)
            running = asyncio.ensure_future(driver.run())
            await reached(s3_server, bucket, point, running)
            assert not running.done(), "prepare was over before it could be killed"
            workers = workers_of(agent)
            assert workers
            # Frozen, so that the kill comes before the end however slow this test is.
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            if victim is Victim.WORKER:
                created, _ = await recorded(agent, config)
                before = versions(s3_server, bucket)
                os.kill(workers[0], signal.SIGKILL)
                for pid in workers[1:]:
                    os.kill(pid, signal.SIGCONT)
                await running
                assert driver.failure is None, driver.failure
                assert any("worker" in note for note in driver.notes)
            else:
                if victim is Victim.BOTH:
                    os.kill(workers[0], signal.SIGKILL)
                await killed(agent, running, workers)
                created, creating = await recorded(agent, config)
                before = versions(s3_server, bucket)
                assert created <= set(before) <= created | creating
                assert len(creating) <= IN_FLIGHT

    if victim is not Victim.WORKER:
        with running_agent(tmp_path, environ=s3_server.environ()) as again:
            async with stub_of(again) as stub:
                driver = Driver(stub, config, "run-2")
                await driver.run()
            assert driver.failure is None, driver.failure

    after = versions(s3_server, bucket)
    objects = driver.summary("prepare").objects
    assert objects.done + objects.existed == OBJECTS
    assert_all_there(s3_server, bucket, config, objects.generation)
    if objects.generation == 2:
        # On a busy host the barrier had opened before it could be killed: what is finished force_overwrite begins anew.
        assert victim is not Victim.WORKER
        assert (len(created), objects.existed) == (OBJECTS, 0)
        return
    rewritten = {key for key in before if before[key] != after[key]}
    record_property(f"kill -9 of {victim.value}: objects recorded as created", len(created))
    record_property(f"kill -9 of {victim.value}: of these PUT again", len(rewritten & created))
    record_property(f"kill -9 of {victim.value}: objects PUT twice (bound {IN_FLIGHT})", len(rewritten))
    assert not rewritten & created, "an object that was recorded created was PUT again"
    assert len(rewritten) <= IN_FLIGHT
    assert objects.repeated_puts <= IN_FLIGHT
    assert objects.generation == 1
