"""Names that PUTs of execute stages take: what cleanup is told, and what it then does."""

from __future__ import annotations

import asyncio
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.lease import Lease
from sai3tui.agent.stages.names import NameSource, TakenNames
from sai3tui.config.ops import Op
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.layout import LayoutCache
from sai3tui.state.names import NamePool, NamesTaken, Span, names_from_json, names_to_json
from tests.agents import Driver, agent_in_process, running_agent, stub_of

SPANS = st.builds(Span, st.integers(0, 2), st.integers(0, 30), st.integers(1, 6))


def numbers(spans: list[Span]) -> set[tuple[int, int]]:
    return {(span.home, j) for span in spans for j in range(span.first, span.end)}


@given(st.lists(st.integers(0, 30), min_size=3, max_size=3), st.lists(SPANS, max_size=6))
def test_what_is_used_is_what_was_given_out_and_not_given_back(counts: list[int], spans: list[Span]) -> None:
    unused: list[Span] = []
    for span in spans:
        if span.end <= counts[span.home] and not numbers(unused) & numbers([span]):
            unused.append(span)
    taken = NamesTaken(tuple(counts), tuple(unused))
    given_out = {(home, j) for home, count in enumerate(counts) for j in range(count)}
    used = given_out - numbers(unused)
    for each in (taken, taken.trimmed()):
        assert numbers([span for home in range(3) for span in each.used(home)]) == used
        assert each.total == len(used)
        pool = NamePool("a/", 1, 2, 3, homes=3)
        assert names_from_json(names_to_json(pool, each)) == (pool, each)
    for home, count in enumerate(taken.trimmed().counts):
        assert count == 0 or (home, count - 1) in used


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 9)), max_size=12))
async def test_a_name_is_given_out_once_and_known_if_it_was_used(
    homes: int, grants: list[tuple[int, int, int]]
) -> None:
    cache = _Rows()
    pool = NamePool("new/", 1, 1, 0, homes=homes)
    used: set[int] = set()
    for _ in range(2):
        source = NameSource(cache, pool, 7, cache.rows.get(pool))  # type: ignore[arg-type]
        for endpoint, want, begun in grants:
            lease = await source.grant(endpoint, want)
            assert lease is not None
            indices = list(lease.indices())
            assert {index % homes for index in indices} == {endpoint % homes}
            done = indices[:begun]
            assert not used & set(done)
            used.update(done)
            source.finished(lease.lease_id, array("Q", done), ())
            if begun < len(indices):
                source.unused(lease.lease_id, len(indices) - begun)
            assert used <= await everything(cache.rows[pool])
        await source.settle()
        assert await everything(cache.rows[pool]) == used


async def everything(taken: NamesTaken) -> set[int]:
    """All indices that cleanup would be granted."""
    source = TakenNames(0, taken)
    found: list[int] = []
    for endpoint in range(len(taken.counts)):
        while (lease := await source.grant(endpoint, 5)) is not None:
            found += lease.indices()
    assert len(found) == len(set(found)) == taken.total
    return set(found)


class _Rows:
    """What a `LayoutCache` has on record of names."""

    def __init__(self) -> None:
        self.rows: dict[NamePool, NamesTaken] = {}

    async def reserve(self, pool: NamePool, taken: NamesTaken) -> None:
        self.rows[pool] = taken


async def test_what_a_dead_worker_had_counts_as_used(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path, 1)
    pool = NamePool("new/", 1, 1, 0)
    source = NameSource(cache, pool, 0, None)
    first, second = await source.grant(0, 4), await source.grant(0, 4)
    assert isinstance(first, Lease)
    assert isinstance(second, Lease)
    source.lost(first.lease_id)
    source.unused(second.lease_id, 4)
    await source.settle()
    assert cache.reserved() == {pool: NamesTaken((4,))}
    await cache.close()


CONFIG = """
concurrency: 4
multi_endpoint: {namespace: independent, endpoints: ["file://TARGET/one/", "file://TARGET/two/"]}
workload:
  - {op: put, path: "new/", object_size: 100, weight: 1}
distributed:
  stages:
    - {name: execute, order: 1, type: execute, completion: duration, duration: 60s, until: {operations: 200}}
    - {name: cleanup, order: 2, type: cleanup, completion: tasks_done}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""


async def test_cleanup_deletes_exactly_what_was_put_where_it_was_put(tmp_path: Path) -> None:
    target = tmp_path / "target"
    left: list[Path] = []
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:

            def look(message: pb.AgentMessage) -> None:
                # Before the barrier is released: cleanup begins as soon as it is.
                if message.HasField("arrived") and message.arrived.stage_index == 1:
                    left.extend(target.rglob("obj_*"))

            driver = Driver(stub, CONFIG.replace("TARGET", str(target)), on_message=look)
            await driver.run()
    assert driver.failure is None, driver.failure
    execute, cleanup = driver.summary("execute"), driver.summary("cleanup")
    put = sum(stats.ops for stats in execute.ops if stats.op == Op.PUT)
    assert put == len(left)
    assert put == 200
    assert {path.relative_to(target).parts[0] for path in left} == {"one", "two"}
    # One DELETE for each, none for names that were at hand at the end and not used.
    assert sum(stats.attempts for stats in cleanup.ops if stats.op == Op.DELETE) == put
    assert (cleanup.errors, cleanup.objects.planned, cleanup.objects.done) == (0, put, put)
    assert not list(target.rglob("obj_*"))


async def test_a_stage_begins_when_its_names_are_on_record_however_slow_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    on_record: list[int] = []
    reserve = LayoutCache.reserve

    async def slowly(cache: LayoutCache, pool: NamePool, taken: NamesTaken) -> None:
        if not on_record:
            # Longer than the stage, and than there is between a barrier and the stage behind it.
            await asyncio.sleep(1.0)
        await reserve(cache, pool, taken)
        on_record.append(time.time_ns())

    monkeypatch.setattr(LayoutCache, "reserve", slowly)
    config = CONFIG.replace("TARGET", str(target)).replace("60s, until: {operations: 200}", "0.3s")
    async with agent_in_process(tmp_path, target) as (address, _), stub_of(address) as stub:
        driver = Driver(stub, config)
        await driver.run()
    assert driver.failure is None, driver.failure
    execute = driver.summary("execute")
    assert sum(stats.ops for stats in execute.ops) > 0
    assert execute.start_ns >= on_record[0]
    (began,) = [
        message.began for message in driver.messages if message.HasField("began") and message.began.stage_index == 1
    ]
    assert began.began_ns >= on_record[0] > began.planned_start_ns
    measured = [report for report in driver.reports(1) if not report.warmup]
    assert all(report.start_ns >= on_record[0] for report in measured)
    assert sum(stats.ops for report in measured for stats in report.ops) == sum(stats.ops for stats in execute.ops)
