"""Which endpoint gets what is due, by strategy; and rates of entries over several agents."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.streams import Waiting
from sai3tui.config.model import EndpointStrategy
from sai3tui.config.ops import Op
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.events import BarrierArrived
from sai3tui.local_agents import LocalAgents
from sai3tui.results.tally import Item
from tests.fault_proxy import Fault, fault_proxy
from tests.servers import ServerUnderTest

SECONDS = 2
GETS, STATS = 40, 20
"""Of the whole fleet, each second."""


def lanes(*counts: int) -> list[Lane]:
    """So many connections to each endpoint."""
    made = [SimpleNamespace(endpoint=endpoint) for endpoint, count in enumerate(counts) for _ in range(count)]
    return cast("list[Lane]", made)


def waiting(strategy: EndpointStrategy, everything: list[Lane]) -> Waiting:
    found = Waiting(strategy, everything)
    for lane in everything:
        found.add(lane)
    return found


def test_what_is_due_goes_by_turns() -> None:
    turns = waiting(EndpointStrategy.ROUND_ROBIN, lanes(3, 3))
    assert [turns.pop().endpoint for _ in range(6)] == [0, 1, 0, 1, 0, 1]
    assert not turns


def test_a_slow_endpoint_gets_less_where_the_one_with_the_fewest_in_flight_is_next() -> None:
    idlest = waiting(EndpointStrategy.LEAST_CONNECTIONS, lanes(4, 4))
    got: Counter[int] = Counter()
    for _ in range(12):
        lane = idlest.pop()
        got[lane.endpoint] += 1
        if lane.endpoint == 0:
            # Endpoint 0 answers at once, endpoint 1 not at all.
            idlest.add(lane)
    assert got == {0: 11, 1: 1}


def test_all_endpoints_get_their_part_where_all_are_as_fast() -> None:
    idlest = waiting(EndpointStrategy.LEAST_CONNECTIONS, lanes(2, 2, 2))
    got: Counter[int] = Counter()
    for _ in range(9):
        lane = idlest.pop()
        got[lane.endpoint] += 1
        idlest.add(lane)
    assert got == {0: 3, 1: 3, 2: 3}


def test_the_connection_that_waited_longest_is_next_where_connections_are_dealt_by_weight() -> None:
    weighted = waiting(EndpointStrategy.WEIGHTED, lanes(3, 1))
    assert [weighted.pop().endpoint for _ in range(4)] == [0, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [EndpointStrategy.ROUND_ROBIN, EndpointStrategy.LEAST_CONNECTIONS])
async def test_two_agents_keep_the_rates_of_entries_and_the_strategy(
    s3_server: ServerUnderTest, tmp_path: Path, strategy: EndpointStrategy
) -> None:
    bucket = s3_server.bucket(f"strategy-{strategy.value.replace('_', '-')}")

    async def late(seen: object) -> None:
        await asyncio.sleep(1.0 if slow.is_set() else 0.0)

    slow = asyncio.Event()
    fast_uri = f"s3+http://{s3_server.host_port}/{bucket}/"
    arrived: list[BarrierArrived] = []

    def look(item: Item) -> None:
        if isinstance(item, BarrierArrived):
            arrived.append(item)
            if item.summary is not None and item.summary.stage_name == "prepare":
                slow.set()

    async with fault_proxy(s3_server.host_port, Fault(wait=late)) as proxy:
        with LocalAgents.start(2, tmp_path, environ=s3_server.environ()) as agents:
            text = f"""
concurrency: 64
processes: 2
multi_endpoint:
  namespace: shared
  strategy: {strategy.value}
  endpoints: ["{fast_uri}", "s3+http://{proxy}/{bucket}/"]
prepare: {{ensure_objects: [{{base_uri: data/, count: 40, size_spec: 100}}]}}
workload:
  - {{op: get, path: "data/*", weight: 1, io_rate: {{iops: {GETS}, distribution: deterministic}}}}
  - {{op: stat, path: "data/*", weight: 1, io_rate: {{iops: {STATS}, distribution: deterministic}}}}
distributed:
  shared_filesystem: true
  tree_creation_mode: concurrent
  path_selection: random
  start_delay: 0
  agents: {list(agents.addresses)}
  stages:
    - {{name: prepare, order: 1, type: prepare}}
    - {{name: execute, order: 2, type: execute, duration: {SECONDS}s}}
"""
            s3_server.make_directories(bucket, text)
            session = RunSession(RunRequest(tmp_path / "t.yaml", text.encode(), tmp_path, access=agents.access))
            session.listen(look)
            outcome = await asyncio.wait_for(session.run(), 90)
    assert outcome.failure is None, outcome.failure
    executed = [item.summary for item in arrived if item.summary is not None and item.summary.stage_name == "execute"]
    assert len(executed) == 2
    for op, rate in ((Op.GET, GETS), (Op.STAT, STATS)):
        done = [sum(stats.ops for stats in summary.ops if stats.op is op) for summary in executed]
        # What a busy host does not get begun in time is begun late, but never more than is due: half of it at each.
        assert all(0 < each <= rate * SECONDS / 2 + 1 for each in done), (op, done)
    by_endpoint: Counter[str] = Counter()
    for summary in executed:
        by_endpoint.update({each.uri: each.ops for each in summary.endpoints})
    slow_part = 1 - by_endpoint[fast_uri] / by_endpoint.total()
    if strategy is EndpointStrategy.ROUND_ROBIN:
        assert slow_part == pytest.approx(0.5, abs=0.1), by_endpoint
    else:
        assert slow_part < 0.4, by_endpoint
