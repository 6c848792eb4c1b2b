from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sai3tui.agent.lease import LeasedJob, MixJob, MixOp, RetryPolicy, SetSpec, lease_size
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import fixed_size
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Failure, Sai3Error
from sai3tui.processes import free_port
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Endpoint
from sai3tui.workload.content import ContentMaker, Payload
from sai3tui.workload.drawing import Draw
from tests.lease_sources import MemorySource
from tests.pools import SETS, null_setup, put_job
from tests.waiting import gone, wait_until, wait_until_async


def file_setup(directory: Path) -> WorkerSetup:
    return WorkerSetup((Endpoint(f"file://{directory}/", "file", prefix=f"{directory}/"),), (4,))


def children() -> set[int]:
    """Process ids of all children; servers of other tests may be among them."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def mapped() -> str:
    return "\n".join(line for line in Path("/proc/self/maps").read_text().splitlines() if "sai3tui-worker" in line)


async def test_endpoints_share_the_work_and_the_connections() -> None:
    source = MemorySource(1000, 2)
    async with WorkerPool(null_setup((3, 5)), workers=3) as pool:
        totals = (await pool.run_leased(put_job(1000), source)).totals
    assert {(stats.uri, stats.ops) for stats in totals.endpoints} == {("s3://a/b/", 500), ("s3://c/b/", 500)}


async def test_pool_leaves_no_process_descriptor_or_memory_behind() -> None:
    async with WorkerPool(null_setup(), workers=1) as warm:
        await warm.run_leased(put_job(10), MemorySource(10, 2))
    known = children()
    before = descriptors()
    async with WorkerPool(null_setup(), workers=2) as pool:
        pids = pool.pids
        assert len(pids) == 2
        assert mapped()
        await pool.run_leased(put_job(100), MemorySource(100, 2))
    assert all(gone(pid) for pid in pids)
    assert children() <= known
    assert descriptors() == before
    assert mapped() == ""


async def test_killed_worker_costs_nothing_but_what_was_in_flight() -> None:
    lost: list[Failure] = []
    source = MemorySource(1500, 2)
    async with WorkerPool(null_setup(delay=0.005), workers=2, on_worker_lost=lost.append) as pool:
        run = asyncio.create_task(pool.run_leased(put_job(1500), source))
        assert await wait_until_async(lambda: len(source.done) > 200)
        victim = pool.pids[0]
        os.kill(victim, signal.SIGKILL)
        ended = await asyncio.wait_for(run, 30)
        assert victim not in pool.pids
        assert len(pool.pids) == 2
    assert source.complete
    assert not source.out
    assert source.lost_leases > 0
    assert ended.failure is None
    # Figures of the dead worker count, but for those that it had not written down yet.
    assert 1500 - 200 <= ended.totals.count <= 1500 + 16
    assert [failure.kind for failure in lost] == [ErrorKind.RESOURCE]
    assert "SIGKILL" in lost[0].message
    assert str(victim) in lost[0].message


async def test_workers_that_keep_dying_fail_the_stage() -> None:
    source = MemorySource(10**6, 2)
    async with WorkerPool(null_setup(delay=0.01), workers=1) as pool:
        run = asyncio.create_task(pool.run_leased(put_job(10**6), source))
        killed: set[int] = set()
        while not run.done():
            for pid in set(pool.pids) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        ended = await run
    assert ended.failure is not None
    assert ended.failure.kind is ErrorKind.RESOURCE
    assert ended.stopped
    assert not source.out


async def test_stop_ends_operations_in_flight_after_their_grace() -> None:
    source = MemorySource(100, 2)
    async with WorkerPool(null_setup(delay=60.0), workers=2) as pool:
        run = asyncio.create_task(pool.run_leased(put_job(100), source))
        assert await wait_until_async(lambda: len(source.granted) >= 8)
        await asyncio.wait_for(pool.stop_stage(0.1), 10)
        ended = await asyncio.wait_for(run, 10)
        again = MemorySource(0, 2)
        await pool.run_leased(put_job(0), again)
    assert ended.stopped
    assert ended.failure is None
    assert ended.totals.errors == 0
    assert not source.done
    assert not source.failed
    assert not source.out, "what was in flight has not been given back"


async def test_engine_that_cannot_open_is_an_error_with_its_cause() -> None:
    setup = WorkerSetup((Endpoint("gs://bucket/", "gs"),), (2,))
    known = children()
    before = descriptors()
    with pytest.raises(Sai3Error, match="gs://") as caught:
        async with WorkerPool(setup, workers=2):
            pass
    assert caught.value.kind is ErrorKind.CONFIG
    assert caught.value.hint
    assert descriptors() == before
    assert children() <= known


async def test_connection_refused_is_retried_counted_and_reported_whole() -> None:
    port = free_port()
    endpoint = Endpoint(f"s3+http://127.0.0.1:{port}/bucket/", "s3", "127.0.0.1", port, "bucket")
    retry = RetryPolicy(max_retries=1, initial_delay=0.01, max_delay=0.02)
    seen: list[tuple[int, Failure]] = []
    source = MemorySource(2, 1)
    environ = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "something"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        setup = WorkerSetup((endpoint,), (2,))
        async with WorkerPool(setup, workers=1, on_failures=lambda count, sample: seen.append((count, sample))) as pool:
            ended = await pool.run_leased(put_job(2, retry=retry), source)
    assert set(source.failed) == {0, 1}
    assert ended.totals.errors == 2
    assert ended.totals.attempts == 4
    assert sum(count for count, _ in seen) == 2
    failure = source.failed[1]
    assert failure.kind is ErrorKind.NETWORK
    assert failure.context.object_index == 1
    assert str(port) in failure.context.endpoint + failure.context.uri


async def test_too_many_errors_stop_the_stage(tmp_path: Path) -> None:
    async with WorkerPool(file_setup(tmp_path), workers=1) as pool:
        source = MemorySource(5000, 1)
        job = LeasedJob(Op.DELETE, SETS, lease_size(5000, 4), max_errors=20)
        ended = await asyncio.wait_for(pool.run_leased(job, source), 20)
    assert ended.stopped
    assert ended.failure is not None
    assert ended.failure.kind is ErrorKind.NOT_FOUND
    assert len(source.failed) < 5000


async def test_objects_are_written_and_deleted_with_the_content_of_their_index(tmp_path: Path) -> None:
    objects = new_names(NamePool("data/", 7, 1, 0), fixed_size(300_000))
    sets = (SetSpec(0, objects, seed=7),)
    async with WorkerPool(file_setup(tmp_path), workers=2) as pool:
        source = MemorySource(40, 1)
        ended = await pool.run_leased(LeasedJob(Op.PUT, sets, 1), source)
        assert ended.failure is None
        assert source.complete
        payload = Payload()
        for index in (0, 17, 39):
            payload.become(ContentMaker(sets[0].content, 7), 1, index, 0, 300_000)
            expected = b"".join(bytes(payload.piece(o, min(200_000, 300_000 - o))) for o in (0, 200_000))
            assert (tmp_path / objects.key(index)).read_bytes() == expected
        gone_before = tmp_path / objects.key(5)
        gone_before.unlink()
        deletes = MemorySource(40, 1)
        ended = await pool.run_leased(LeasedJob(Op.DELETE, sets, 1, missing_is_done=True), deletes)
    assert deletes.complete
    assert ended.totals.errors == 0
    assert not list((tmp_path / "data").glob("obj_*"))


async def test_operations_in_flight_at_the_end_of_a_mix_count() -> None:
    ops = (MixOp(Op.GET, 1, 0, (Draw(0, 1, 10),)),)
    async with WorkerPool(null_setup(delay=2.0), workers=1) as pool:
        ended = await pool.run_mix(MixJob(ops, SETS, 1.5), MemorySource(0, 2))
    assert ended.totals.count == 8
    assert ended.totals.errors == 0


def test_workers_die_with_a_killed_parent() -> None:
    program = """
import asyncio, sys
from sai3tui.agent.pool import WorkerPool
from tests.lease_sources import MemorySource
from tests.pools import null_setup, put_job
async def main():
    async with WorkerPool(null_setup(delay=0.01), workers=2) as pool:
        print(*pool.pids, flush=True)
        await pool.run_leased(put_job(10**6), MemorySource(10**6, 2))
asyncio.run(main())
"""
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ}
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
        parent.wait()
    assert len(pids) == 2
    assert wait_until(lambda: all(gone(pid) for pid in pids))


async def test_verified_reads_find_the_objects_that_are_not_as_they_were_written(tmp_path: Path) -> None:
    setup = file_setup(tmp_path)
    seen: list[tuple[int, Failure]] = []
    objects = new_names(NamePool("data/", 1, 1, 0), fixed_size(300_000))
    sets = (SetSpec(0, objects),)
    async with WorkerPool(setup, workers=1, on_failures=lambda n, failure: seen.append((n, failure))) as pool:
        await pool.run_leased(LeasedJob(Op.PUT, sets, 4), MemorySource(20, 1))
        get = MixOp(Op.GET, 1.0, 0, (Draw(0, 1, 20),), generation=1, verify=True)
        ended = await pool.run_mix(MixJob((get,), sets, 0.3), MemorySource(0, 1))
        assert ended.totals.errors == 0
        assert ended.totals.count > 0
        path = tmp_path / objects.key(7)
        damaged = bytearray(path.read_bytes())
        damaged[123_456] ^= 1
        path.write_bytes(damaged)
        ended = await pool.run_mix(MixJob((get,), sets, 0.5), MemorySource(0, 1))
    assert ended.totals.errors == sum(count for count, _ in seen) > 0
    failure = seen[0][1]
    assert failure.kind is ErrorKind.CORRUPT
    assert failure.context.object_index == 7
    assert "offset 123456" in failure.message
