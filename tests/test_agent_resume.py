"""What survives an agent: kill -9 in the middle of prepare, a lost data directory."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sai3tui.agent.owner import MARKER
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import AgentUnderTest, Driver, running_agent, stub_of
from tests.resuming import children, config_of, killed, recorded, versions
from tests.servers import ServerUnderTest
from tests.waiting import wait_until_async

OBJECTS = 800


async def test_what_was_recorded_created_before_a_kill_is_not_put_again(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("agent-resume")
    # skip_verification and force_overwrite as in the seed configuration: an unfinished generation goes before both.
    config = config_of(s3_server, bucket, "force_overwrite: true\n  skip_verification: true")
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            running = asyncio.ensure_future(Driver(stub, config).run())
            assert await wait_until_async(lambda: 100 < len(versions(s3_server, bucket)) < OBJECTS, 30)
            await killed(agent, running, children(agent))
    created, creating = await recorded(agent, config)
    before = versions(s3_server, bucket)
    assert 0 < len(created) < OBJECTS
    assert created <= set(before)
    assert set(before) <= created | creating
    # At most 1 % of the set is leased at once, or two leases for each connection.
    assert len(creating) <= OBJECTS // 100

    with running_agent(tmp_path, environ=s3_server.environ()) as again:
        async with stub_of(again) as stub:
            driver = Driver(stub, config, "run-2")
            await driver.run()
        assert driver.failure is None, driver.failure
    summary = driver.summary("prepare")
    assert (summary.objects.existed, summary.objects.done) == (len(created), OBJECTS - len(created))
    assert summary.objects.repeated_puts == len(creating)
    assert summary.objects.generation == 1
    assert any("resumed" in note for note in driver.notes)
    after = versions(s3_server, bucket)
    assert len(after) == OBJECTS
    assert {key for key in before if before[key] != after[key]} <= creating


@pytest.mark.parametrize("emptied", [pytest.param(1, marks=pytest.mark.slow), 4])
async def test_what_was_removed_after_an_interrupted_prepare_is_written_again(
    s3_server: ServerUnderTest, tmp_path: Path, emptied: int
) -> None:
    """All of it, or each fourth object; also with force_overwrite, where nobody looks at what there is."""
    bucket = s3_server.bucket(f"agent-emptied-{emptied}")
    config = config_of(s3_server, bucket, "force_overwrite: true")
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            running = asyncio.ensure_future(Driver(stub, config).run())
            assert await wait_until_async(lambda: 100 < len(versions(s3_server, bucket)) < OBJECTS, 30)
            await stub.Abort(pb.AbortRequest(wait_ms=20_000))
            await asyncio.wait({running})
        created, _ = await recorded_after(agent, config)
        gone_by_hand = sorted(created)[::emptied]
        client = s3_server.client()
        for key in gone_by_hand:
            client.delete_object(Bucket=bucket, Key=key)
        before = versions(s3_server, bucket)
        driver = await finish(agent, config, "run-2")
    after = versions(s3_server, bucket)
    assert len(after) == OBJECTS
    assert {key for key in created if before.get(key) != after[key]} == set(gone_by_hand)
    assert driver.summary("prepare").objects.existed == len(created) - len(gone_by_hand)
    assert any("gone" in note for note in driver.notes)


@pytest.mark.slow
async def test_a_prepare_that_was_through_when_it_was_stopped_is_not_begun_anew(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    """All is written, and its barrier has not opened: force_overwrite is for what is finished."""
    bucket = s3_server.bucket("agent-through")
    config = config_of(s3_server, bucket, "force_overwrite: true")
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            held = Driver(stub, config, hold=[1])
            running = asyncio.ensure_future(held.run())
            assert await wait_until_async(lambda: "at_barrier 1" in held.states, 60)
            await stub.Abort(pb.AbortRequest(wait_ms=20_000))
            await asyncio.wait({running})
        written = versions(s3_server, bucket)
        assert len(written) == OBJECTS
        again = (await finish(agent, config, "run-2")).summary("prepare").objects
        assert (again.done, again.existed, again.generation) == (0, OBJECTS, 1)
        assert versions(s3_server, bucket) == written
        anew = (await finish(agent, config, "run-3")).summary("prepare").objects
        assert (anew.done, anew.existed, anew.generation) == (OBJECTS, 0, 2)


async def recorded_after(agent: AgentUnderTest, config: str) -> tuple[set[str], set[str]]:
    """What is on record at an agent that goes on: in a copy of its cache, which it may have open."""
    copy = AgentUnderTest(agent.child, agent.address, agent.data_dir.with_name("copied"))
    shutil.copytree(agent.data_dir, copy.data_dir)
    return await recorded(copy, config)


async def finish(stub_agent: AgentUnderTest, config: str, run_id: str, **options: bool) -> Driver:
    async with stub_of(stub_agent) as stub:
        driver = Driver(stub, config, run_id, **options)  # type: ignore[arg-type]
        await driver.run()
    assert driver.failure is None, driver.failure
    return driver


async def test_a_finished_generation_is_left_written_again_or_repaired(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("agent-finished")
    plain = config_of(s3_server, bucket, "skip_verification: true")
    forced = config_of(s3_server, bucket, "force_overwrite: true")
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        first = (await finish(agent, plain, "a")).summary("prepare")
        assert (first.objects.done, first.objects.existed, first.objects.generation) == (OBJECTS, 0, 1)
        written = versions(s3_server, bucket)

        second = await finish(agent, plain, "b")
        assert second.notes == []
        again = second.summary("prepare")
        assert (again.objects.done, again.objects.existed, again.objects.generation) == (0, OBJECTS, 1)
        assert versions(s3_server, bucket) == written

        # Something deletes a quarter behind our back: the sample sees it, and the rest is found by a list.
        client = s3_server.client()
        for key in sorted(written)[::4]:
            client.delete_object(Bucket=bucket, Key=key)
        repaired = await finish(agent, plain, "c")
        assert repaired.summary("prepare").objects.done == OBJECTS // 4
        assert any("gone" in note for note in repaired.notes)
        assert {k: v for k, v in versions(s3_server, bucket).items() if k not in sorted(written)[::4]} == {
            k: v for k, v in written.items() if k not in sorted(written)[::4]
        }

        overwritten = (await finish(agent, forced, "d")).summary("prepare")
        assert (overwritten.objects.done, overwritten.objects.generation) == (OBJECTS, 2)


async def test_an_emptied_host_goes_on_from_the_checkpoint(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-checkpoint")
    config = config_of(s3_server, bucket, "skip_verification: true")
    with running_agent(tmp_path, environ=s3_server.environ(), name="one") as agent:
        await finish(agent, config, "a")
    (checkpoint,) = set(s3_server.keys(bucket, ".sai3tui/")) - {MARKER}
    assert checkpoint.endswith("/1/0.tar.zst")
    with running_agent(tmp_path, environ=s3_server.environ(), name="two") as agent:
        driver = await finish(agent, config, "b")
        assert any("restored" in note for note in driver.notes)
        summary = driver.summary("prepare")
        assert (summary.objects.done, summary.objects.existed) == (0, OBJECTS)
    s3_server.client().put_object(Bucket=bucket, Key=checkpoint, Body=b"not a checkpoint")
    with running_agent(tmp_path, environ=s3_server.environ(), name="three") as agent:
        driver = await finish(agent, config, "c")
        assert any("checkpoint was not restored" in note for note in driver.notes)
        # Adopted: a sample by HEAD found all of them.
        assert driver.summary("prepare").objects.existed == OBJECTS
        assert any("taken as created" in note for note in driver.notes)
