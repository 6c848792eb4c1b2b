"""What jobs do in a pool of workers: leases, mixes, pacing, limits, retries. Two pools serve all of these tests."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sai3tui.agent.figures import interval
from sai3tui.agent.lease import TURNS, ErrorBrake, MixJob, MixOp, RetryPolicy
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.reporter import StageReporter
from sai3tui.agent.stages.turns import TurnSource
from sai3tui.agent.vitals import VitalsMeter
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import ArrivalKind, IoRate
from sai3tui.config.ops import Op
from sai3tui.errors import ConfigError, ErrorKind, ResourceError, StateError
from sai3tui.events import Objects, OpStats, Report
from sai3tui.processes import free_port
from sai3tui.storage.engine import Endpoint
from sai3tui.workload.drawing import Draw
from tests.fault_server import CREDENTIALS, OK_EMPTY, FaultServer, Step, answer, error_document
from tests.lease_sources import MemorySource
from tests.pools import SETS, null_setup, put_job, total
from tests.waiting import wait_until_async

pytestmark = pytest.mark.asyncio(loop_scope="module")
DELAY_S = 0.005


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fast() -> AsyncIterator[WorkerPool]:
    """Two workers whose operations take no time."""
    async with WorkerPool(null_setup(), workers=2) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def slow() -> AsyncIterator[WorkerPool]:
    """Two workers with four connections each, whose operations take `DELAY_S`."""
    async with WorkerPool(null_setup(delay=DELAY_S), workers=2) as pool:
        yield pool


@pytest.mark.parametrize("count", [0, 1, 7, 2000])
async def test_every_granted_object_is_finished_once(fast: WorkerPool, count: int) -> None:
    source = MemorySource(count, 2)
    ended = await fast.run_leased(put_job(count), source)
    assert source.complete
    assert sorted(source.granted) == list(range(count))
    assert not source.out
    assert source.lost_leases == 0
    assert ended.totals.count == count
    assert ended.totals.bytes == 1024 * count
    assert not ended.stopped
    assert ended.failure is None


async def test_no_more_than_the_allowance_is_leased_at_once(fast: WorkerPool) -> None:
    source = MemorySource(5000, 2)
    await fast.run_leased(put_job(5000), source)
    # 1 % of the set, plus at most one rounding per endpoint and worker.
    assert 8 <= source.outstanding_most <= 50 + 8


async def test_worker_that_dies_between_stages_is_replaced(fast: WorkerPool) -> None:
    victim = fast.pids[1]
    os.kill(victim, signal.SIGKILL)
    assert await wait_until_async(lambda: victim not in fast.pids)
    source = MemorySource(300, 2)
    ended = await fast.run_leased(put_job(300), source)
    assert len(fast.pids) == 2
    assert source.complete
    assert ended.totals.count == 300


async def test_cancelling_a_stage_leaves_a_pool_that_can_run_another(slow: WorkerPool) -> None:
    first = MemorySource(10**6, 2)
    run = asyncio.create_task(slow.run_leased(put_job(10**6), first))
    assert await wait_until_async(lambda: len(first.done) > 50)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not first.out
    second = MemorySource(200, 2)
    ended = await slow.run_leased(put_job(200), second)
    assert second.complete
    assert ended.totals.count == 200


async def test_second_stage_at_once_is_refused(slow: WorkerPool) -> None:
    run = asyncio.create_task(slow.run_leased(put_job(10**6), MemorySource(10**6, 2)))
    await asyncio.sleep(0)
    with pytest.raises(StateError):
        await slow.run_leased(put_job(1), MemorySource(1, 2))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_source_that_cannot_grant_fails_the_stage_with_its_cause(fast: WorkerPool) -> None:
    class FullDisk(MemorySource):
        async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> None:
            raise ResourceError("cannot write the state cache", hint="free some space")

    ended = await asyncio.wait_for(fast.run_leased(put_job(100), FullDisk(100, 2)), 10)
    assert ended.failure is not None
    assert ended.failure.message == "cannot write the state cache"
    assert ended.failure.hint == "free some space"


async def test_mix_draws_by_weight_until_its_time_is_over(slow: WorkerPool) -> None:
    ops = (
        MixOp(Op.GET, 70, 0, (Draw(0, 1, 500),)),
        MixOp(Op.PUT, 20, 0, (Draw(0, 2, 250),), generation=1),
        MixOp(Op.STAT, 10, 0, (Draw(listed=b"\x05\0\0\0\0\0\0\0"),)),
        MixOp(Op.LIST, 0, 0, (Draw(0, 1, 1),)),
    )
    started = time.monotonic()
    ended = await slow.run_mix(MixJob(ops, SETS, 0.6), MemorySource(0, 2))
    assert time.monotonic() - started >= 0.6
    counts = {op: total(ended.totals.ops, op) for op in Op}
    everything = sum(counts.values())
    assert everything > 200
    assert counts[Op.GET] / everything == pytest.approx(0.7, abs=0.12)
    assert counts[Op.PUT] / everything == pytest.approx(0.2, abs=0.1)
    assert counts[Op.LIST] == 0
    assert ended.totals.errors == 0
    assert not ended.stopped or ended.failure is None


async def test_mix_takes_new_names_and_deletions_from_leases(fast: WorkerPool) -> None:
    source = MemorySource(400, 2)
    ops = (MixOp(Op.PUT, 1, 0, leased=True), MixOp(Op.GET, 1, 0, (Draw(0, 1, 10),)))
    ended = await fast.run_mix(MixJob(ops, SETS, 3.0), source)
    # The source has run dry long before; GETs went on, and no index was used twice.
    assert source.complete
    assert total(ended.totals.ops, Op.PUT) == 400
    assert total(ended.totals.ops, Op.GET) > 400
    assert not source.out


async def test_mix_of_exhausted_leases_ends_early(fast: WorkerPool) -> None:
    source = MemorySource(50, 2)
    run = fast.run_mix(MixJob((MixOp(Op.DELETE, 1, 0, leased=True),), SETS, 60.0), source)
    ended = await asyncio.wait_for(run, 20)
    assert total(ended.totals.ops, Op.DELETE) == 50


async def test_mix_without_any_object_is_refused(fast: WorkerPool) -> None:
    with pytest.raises(ConfigError):
        await fast.run_mix(MixJob((MixOp(Op.GET, 1, 0, (Draw(0, 1, 0),)),), SETS, 1.0), MemorySource(0, 2))


async def test_paced_mix_keeps_its_rate_and_tells_lateness(slow: WorkerPool) -> None:
    ops = (MixOp(Op.GET, 1, 0, (Draw(0, 1, 10),)),)
    rate = IoRate(200, ArrivalKind.DETERMINISTIC)
    ended = await slow.run_mix(MixJob(ops, SETS, 1.0, io_rate=rate), MemorySource(0, 2))
    late = await slow.run_mix(MixJob(ops, SETS, 0.5, io_rate=IoRate(100_000)), MemorySource(0, 2))
    # No operation begins before it is due; a busy machine may leave the last ones out.
    assert 100 <= ended.totals.count <= 202
    # Far more is due than eight connections with 5 ms each can do: operations begin ever later than they were due.
    (stats,) = late.totals.ops
    assert stats.scheduled.max_us > 100_000 > stats.service.percentile_us(0.5)


async def test_a_schedule_has_exactly_as_many_operations_as_asked_for(fast: WorkerPool) -> None:
    ops = (MixOp(Op.GET, 1, 0, (Draw(0, 1, 10),)),)
    rate = IoRate(400, ArrivalKind.DETERMINISTIC)
    source = TurnSource(TURNS, 150)
    ended = await asyncio.wait_for(fast.run_mix(MixJob(ops, SETS, 60.0, io_rate=rate, turns=150), source), 50)
    assert (ended.totals.count, ended.totals.errors) == (150, 0)
    assert ended.lateness is not None
    assert ended.lateness.begun == 150
    # 150 operations at 400 a second are not all due before so long.
    assert ended.seconds >= 149 / 400


async def test_stage_waits_for_its_start_time(fast: WorkerPool) -> None:
    start_ns = time.monotonic_ns() + 300_000_000
    await fast.run_leased(put_job(10, start_ns=start_ns), MemorySource(10, 2))
    assert time.monotonic_ns() >= start_ns


async def test_intervals_add_up_to_the_stage(slow: WorkerPool) -> None:
    source = MemorySource(1200, 2)
    merged: dict[int, OpStats] = {}
    readings = 0
    earlier = slow.read().stage
    run = asyncio.create_task(slow.run_leased(put_job(1200), source))
    before = None
    while not run.done():
        after = slow.read()
        if after.stage > earlier:
            for stats in interval(before, after).ops:
                merged.setdefault(stats.bucket, OpStats(stats.op, stats.bucket)).merge(stats)
            before = after
            readings += 1
        await asyncio.sleep(0.1)
    ended = await run
    for stats in interval(before, ended.totals).ops:
        merged[stats.bucket].merge(stats)
    (whole,) = ended.totals.ops
    assert readings > 1
    assert (merged[1].ops, merged[1].bytes, merged[1].attempts) == (whole.ops, whole.bytes, whole.attempts)
    for mine, theirs in ((merged[1].service, whole.service), (merged[1].ttfb, whole.ttfb)):
        assert (mine.counts == theirs.counts).all()
        assert mine.max_us == theirs.max_us
        assert mine.sum_us == theirs.sum_us


async def test_entries_keep_rates_of_their_own_beside_those_at_full_speed(slow: WorkerPool) -> None:
    everything = (Draw(0, 1, 500),)
    # Worker 1 of 2 has no part in the limited entry, and must not keep part of its rate to itself.
    ops = (
        MixOp(Op.STAT, 1, 0, everything, group=0, io_rate=IoRate(40, ArrivalKind.DETERMINISTIC), concurrency=1),
        MixOp(Op.LIST, 1, 0, everything, group=1, io_rate=IoRate(20, ArrivalKind.DETERMINISTIC)),
        MixOp(Op.GET, 1, 0, everything, group=2),
    )
    ended = await slow.run_mix(MixJob(ops, SETS, 2.0), MemorySource(0, 2))
    # What a busy host does not get begun in time is begun late, but never more than is due.
    assert 20 <= total(ended.totals.ops, Op.STAT) <= 80
    assert 10 <= total(ended.totals.ops, Op.LIST) <= 40
    assert total(ended.totals.ops, Op.GET) > 80


async def test_limit_of_an_entry_holds_and_keeps_the_weights(slow: WorkerPool) -> None:
    everything = (Draw(0, 1, 500),)
    ops = (MixOp(Op.GET, 1, 0, everything, concurrency=2, group=0), MixOp(Op.STAT, 1, 0, everything, group=1))
    ended = await slow.run_mix(MixJob(ops, SETS, 0.8), MemorySource(0, 2))
    gets, stats = (total(ended.totals.ops, op) for op in (Op.GET, Op.STAT))
    # Two at a time, each of which takes its time: without the limit there would be twice as many.
    assert 20 < gets <= 2 * (ended.seconds / DELAY_S + 1)
    assert gets / (gets + stats) == pytest.approx(0.5, abs=0.15)
    assert ended.failure is None


async def test_entries_of_a_group_share_their_limit_and_a_worker_may_have_no_part_in_it(slow: WorkerPool) -> None:
    halves = ((Draw(0, 2, 250),), (Draw(1, 2, 250),))
    ops = tuple(MixOp(Op.GET, 1, 0, half, concurrency=1) for half in halves)
    ended = await slow.run_mix(MixJob(ops, SETS, 0.4), MemorySource(0, 2))
    assert 5 < ended.totals.count <= ended.seconds / DELAY_S + 1


async def test_limited_entry_that_runs_dry_does_not_hold_the_others_up(slow: WorkerPool) -> None:
    source = MemorySource(40, 2)
    ops = (MixOp(Op.DELETE, 5, 0, leased=True, concurrency=2), MixOp(Op.GET, 1, 0, (Draw(0, 1, 9),), group=1))
    ended = await asyncio.wait_for(slow.run_mix(MixJob(ops, SETS, 0.8), source), 20)
    assert total(ended.totals.ops, Op.DELETE) == 40
    assert source.complete
    # Once nothing is left to delete, all eight connections read.
    assert total(ended.totals.ops, Op.GET) > 40


def s3_pool(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, connections: int, **callbacks: object) -> WorkerPool:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return WorkerPool(WorkerSetup((endpoint,), (connections,)), workers=1, **callbacks)  # type: ignore[arg-type]


async def test_latency_of_an_operation_includes_its_retries_and_service_latency_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Step(answer(error_document("SlowDown"), "503 Slow Down"))
    retry = RetryPolicy(max_retries=3, initial_delay=0.3, max_delay=0.3, jitter=0.0)
    source = MemorySource(1, 1)
    async with (
        FaultServer([busy, Step(b"", "reset"), Step(OK_EMPTY)]) as server,
        s3_pool(monkeypatch, server.endpoint, 1) as pool,
    ):
        totals = (await asyncio.wait_for(pool.run_leased(put_job(1, retry=retry), source), 30)).totals
        uri = server.endpoint.uri
        assert len(server.heads) == 3, "somebody retried without telling"
    assert source.complete
    (stats,) = totals.ops
    assert (stats.ops, stats.errors, stats.attempts) == (1, 0, 3)
    assert stats.scheduled.max_us >= 600_000
    assert stats.service.max_us <= stats.scheduled.max_us - 600_000
    found = {each.kind: each for each in totals.failed_attempts}
    assert {kind: (each.subclass, each.count, each.retried) for kind, each in found.items()} == {
        ErrorKind.THROTTLED: ("http_5xx", 1, 1),
        ErrorKind.NETWORK: ("reset", 1, 1),
    }
    assert found[ErrorKind.THROTTLED].request_id == "req-1"
    assert found[ErrorKind.THROTTLED].uri == uri
    assert found[ErrorKind.THROTTLED].last_ns < found[ErrorKind.NETWORK].first_ns <= time.time_ns()


async def test_what_the_engine_sends_again_by_itself_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        FaultServer([Step(OK_EMPTY), Step(b"", "close"), Step(OK_EMPTY)]) as server,
        s3_pool(monkeypatch, server.endpoint, 1) as pool,
    ):
        await asyncio.wait_for(pool.run_leased(put_job(1), MemorySource(1, 1)), 30)
        # A connection that has been idle for so long may have been closed meanwhile.
        later = put_job(1, start_ns=time.monotonic_ns() + 1_200_000_000)
        totals = (await asyncio.wait_for(pool.run_leased(later, MemorySource(1, 1)), 30)).totals
        assert len(server.heads) == 3
    (stats,) = totals.ops
    assert (stats.ops, stats.errors, stats.attempts) == (1, 0, 2)
    (again,) = totals.failed_attempts
    assert (again.kind, again.subclass, again.count, again.retried) == (ErrorKind.NETWORK, "stale", 1, 1)
    assert stats.scheduled.max_us > stats.service.max_us


async def test_brake_is_pulled_when_errors_come_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    nowhere = Endpoint(f"s3://127.0.0.1:{port}/bucket/", "s3", "127.0.0.1", port, "bucket")
    pulled: list[tuple[int, float]] = []
    brake = ErrorBrake(rate=2.0, window=1.0, pause=0.7)
    source = MemorySource(16, 1)
    pool = s3_pool(
        monkeypatch, nowhere, 4, on_pause=lambda brake, count: pulled.append((count, asyncio.get_running_loop().time()))
    )
    async with pool:
        ended = await asyncio.wait_for(pool.run_leased(put_job(16, 4, brake=brake), source), 60)
        over = asyncio.get_running_loop().time()
    assert pulled
    assert all(count > 2 for count, _ in pulled)
    # Four connections were done with four objects or a few more by then: the rest had to wait.
    assert over - pulled[0][1] >= 0.7
    assert len(source.failed) == 16
    assert sum(each.count for each in ended.totals.failed_attempts) == 16
    assert not any(each.retried for each in ended.totals.failed_attempts)


async def test_generator_that_is_its_own_limit_says_so(fast: WorkerPool) -> None:
    reports: list[Report] = []
    reporter = StageReporter("a", 2, time.time_ns(), fast.read, Objects, reports.append, VitalsMeter())
    job = MixJob((MixOp(Op.GET, 1, 0, (Draw(0, 1, 500),)),), SETS, 1.5)
    run = asyncio.create_task(fast.run_mix(job, MemorySource(0, 2)))
    while not run.done():
        await asyncio.wait({run}, timeout=0.5)
        reporter.report()
    summary = reporter.summary("load", "execute", time.time_ns())
    assert summary.client_limited
    # On a machine with other work to do, its CPUs may be used up before a worker's core is.
    assert "worker process" in summary.client_limited_reason or "CPUs" in summary.client_limited_reason
    assert any(report.client_limited_reason for report in reports)
    busy = [report.vitals for report in reports if report.ops]
    assert max(vitals.worker_cpu_pct for vitals in busy) > 10
    assert any(vitals.worker_lag_p99_us for vitals in busy)
    assert all((vitals.worker_lag_p99_us or 0) <= (vitals.worker_lag_max_us or 0) for vitals in busy)
