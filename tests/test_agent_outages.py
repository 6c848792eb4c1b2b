"""Endpoints that keep failing: taken out for a while, tried again, and said so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.lease import MixJob, MixOp, RetryPolicy
from sai3tui.agent.outage import LONGEST_S, EndpointRests
from sai3tui.agent.pool import WorkerPool
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, Failure
from sai3tui.processes import free_port
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.null_sink import null_sink
from sai3tui.workload.drawing import Draw
from tests.lease_sources import MemorySource
from tests.pools import SETS, put_job, total

Told = list[tuple[str, float, Failure | None]]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0.0, 5.0)), max_size=40))
def test_one_endpoint_is_always_left(events: list[tuple[int, bool, float]]) -> None:
    rests = EndpointRests(4)
    now = 1000.0
    last: dict[int, float] = {}
    for endpoint, failing, later in events:
        now += later
        if failing:
            until = rests.failing(endpoint, now)
            assert until is None or now < until <= now + LONGEST_S
            if until is not None:
                last[endpoint] = until
        elif rests.back(endpoint):
            last.pop(endpoint)
        assert {each for each in range(4) if rests.out(each)} == set(last)
        assert len(last) < 4


def test_rests_grow_until_it_answers() -> None:
    rests = EndpointRests(2)
    now = 0.0
    lengths = []
    for _ in range(7):
        until = rests.failing(1, now)
        assert until is not None
        assert rests.failing(1, now) == until
        assert rests.failing(0, now) is None
        lengths.append(until - now)
        now = until + 0.1
    assert lengths == pytest.approx([1, 2, 4, 8, 16, 30, 30])
    assert rests.back(1)
    assert not rests.back(1)
    assert rests.failing(1, now) == pytest.approx(now + 1)


@pytest.fixture
def one_of_two_is_down(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerSetup]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    with null_sink() as alive:
        ports = (alive, free_port())
        endpoints = tuple(
            Endpoint(f"s3+http://127.0.0.1:{port}/bucket/", "s3", "127.0.0.1", port, "bucket") for port in ports
        )
        yield WorkerSetup(endpoints, (4, 4))


@pytest.mark.parametrize("rests", [True, False])
async def test_a_mix_goes_on_at_the_endpoints_that_work(one_of_two_is_down: WorkerSetup, rests: bool) -> None:
    told: Told = []
    ops = (MixOp(Op.GET, 1, 0, (Draw(0, 1, 100),)),)
    async with WorkerPool(one_of_two_is_down, workers=1, on_endpoint=lambda *event: told.append(event)) as pool:
        ended = await pool.run_mix(MixJob(ops, SETS, 3.0, rests=rests), MemorySource(0, 2))
    assert total(ended.totals.ops, Op.GET) > 0
    if not rests:
        assert told == []
        return
    # Some failures until it is taken out, then one for each time that it is tried.
    assert 8 <= ended.totals.errors <= 24
    ((uri, seconds, failure),) = told
    assert uri == one_of_two_is_down.endpoints[1].uri
    assert 0 < seconds <= 1.0
    assert failure is not None
    assert failure.kind is ErrorKind.NETWORK


async def test_others_do_the_part_of_an_endpoint_that_is_out(one_of_two_is_down: WorkerSetup) -> None:
    told: Told = []
    source = MemorySource(300, 2)
    job = put_job(300, retry=RetryPolicy(3, 0.2), rests=True, anywhere=True, max_errors=20)
    async with WorkerPool(one_of_two_is_down, workers=1, on_endpoint=lambda *event: told.append(event)) as pool:
        ended = await pool.run_leased(job, source)
    assert ended.failure is None
    assert source.complete
    assert (ended.totals.errors, total(ended.totals.ops, Op.PUT)) == (0, 300)
    assert [uri for uri, _, _ in told] == [one_of_two_is_down.endpoints[1].uri]


async def test_what_fails_at_one_endpoint_is_done_at_another_before_that_is_taken_out(
    one_of_two_is_down: WorkerSetup,
) -> None:
    # Two connections and so few retries: both give up long before eight attempts have failed.
    source = MemorySource(20, 2)
    job = put_job(20, retry=RetryPolicy(1, 0.01), rests=True, anywhere=True, max_errors=20)
    setup = WorkerSetup(one_of_two_is_down.endpoints, (1, 1))
    async with WorkerPool(setup, workers=1) as pool:
        ended = await pool.run_leased(job, source)
    assert ended.failure is None
    assert source.complete
    assert (ended.totals.errors, total(ended.totals.ops, Op.PUT)) == (0, 20)
