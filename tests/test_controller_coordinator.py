"""What the controller tells agents to do with which objects: every row of the table, and after a change of hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sai3tui.config.model import StageType
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import Resolved
from sai3tui.controller.coordinator import Coordinator, Order
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Generation, Known
from sai3tui.state.states import ObjectState
from sai3tui.state.wire import known_from_proto, known_to_proto, slots_to_proto

CONFIG = """\
target: s3://10.0.0.1/bucket/
concurrency: 4
prepare:
  FLAGS
  ensure_objects: [{base_uri: "data/", count: 100, size_spec: 1000}]
workload: [{op: get, path: "data/*", weight: 1}]
distributed:
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
    - {name: cleanup, order: 2, type: cleanup, completion: tasks_done}
  agents: [{id: a, address: "127.0.0.1:1"}, {id: b, address: "127.0.0.1:2"}]
"""


def resolved(flags: str = "force_overwrite: false") -> Resolved:
    return load_resolved(CONFIG.replace("FLAGS", flags), "test.yaml").require()


def inventory(created: int, *, complete: bool = False) -> pb.Inventory:
    """What an agent says that has 100 objects in one slot, the first `created` of them created."""
    known = Known(Generation(4, 1, 1, {0: 100}, complete=complete))
    known.record = Generation(4, 1, 1, {0: 100}, known.everything(), complete)
    known.states(0, 0).set(np.arange(created, dtype=np.int64), ObjectState.CREATED)
    return pb.Inventory(generations=[known_to_proto(known)])


def arrive(coordinator: Coordinator, agent: str, told: pb.Inventory | None = None) -> None:
    coordinator.take(agent, pb.AgentMessage(arrived=pb.Arrived(stage_index=0, inventory=told)))


async def first_orders(
    flags: str, told: pb.Inventory | None, *, fresh: bool = False
) -> tuple[Coordinator, list[Order]]:
    coordinator = Coordinator(resolved(flags), fresh=fresh, directory=None, note=lambda *_: None)
    arrive(coordinator, "a", told)
    arrive(coordinator, "b")
    coordinator.ready()
    return coordinator, coordinator.begin(1, StageType.PREPARE, ["a", "b"])


@pytest.mark.parametrize(
    ("flags", "told", "fresh", "survey"),
    [
        ("force_overwrite: false", None, False, "compare"),
        ("skip_verification: true", None, False, "adopt"),
        ("force_overwrite: false", inventory(100), False, "repair"),
        ("skip_verification: true", inventory(60, complete=True), False, "repair"),
    ],
)
async def test_one_agent_looks_for_all(flags: str, told: pb.Inventory | None, fresh: bool, survey: str) -> None:
    coordinator, orders = await first_orders(flags, told, fresh=fresh)
    ((agent, order),) = orders
    assert (agent, order.survey) == ("a", survey)
    assert not coordinator.settled(1, "a", order.epoch)
    assert not coordinator.settled(1, "b", order.epoch)
    # It is lost while it looks: the other one does.
    _, again = coordinator.lose("a", ["b"])
    ((agent, order),) = again
    assert (agent, order.survey) == ("b", survey)
    found = known_from_proto(order.generation)
    for slot in range(found.record.slots):
        states = found.states(0, slot)
        states.set(np.arange(min(10, states.count), dtype=np.int64), ObjectState.CREATED)
    answer = pb.Surveyed(stage_index=1, epoch=order.epoch, generation=known_to_proto(found))
    dealt = coordinator.take("b", pb.AgentMessage(surveyed=answer))
    assert [agent for agent, _ in dealt] == ["b"]
    held = known_from_proto(dealt[0][1].generation)
    assert sum(each.end_k - each.first_k for each in held.record.holdings) == 100
    assert coordinator.settled(1, "b", dealt[0][1].epoch)
    await coordinator.close()


@pytest.mark.parametrize(
    ("flags", "told", "fresh", "number", "created"),
    [
        ("force_overwrite: true", None, False, 1, 0),
        ("force_overwrite: true", inventory(100, complete=True), False, 5, 0),
        ("force_overwrite: true", inventory(60), False, 4, 60),
        ("skip_verification: true", inventory(60), False, 4, 60),
        ("force_overwrite: false", inventory(60), True, 5, 0),
        ("force_overwrite: false", None, True, 1, 0),
    ],
)
async def test_all_get_their_part_of_one_generation(
    flags: str, told: pb.Inventory | None, fresh: bool, number: int, created: int
) -> None:
    coordinator, orders = await first_orders(flags, told, fresh=fresh)
    assert [(agent, order.survey) for agent, order in orders] == [("a", ""), ("b", "")]
    parts = [known_from_proto(order.generation) for _, order in orders]
    assert {part.record.number for part in parts} == {number}
    held = [each for part in parts for each in part.record.holdings]
    assert sum(each.end_k - each.first_k for each in held) == 100
    work = [
        sum(
            part.states(each.set_id, each.slot).get(k) is not ObjectState.CREATED
            for each in part.record.holdings
            for k in range(each.first_k, each.end_k)
        )
        for part in parts
    ]
    assert sum(work) == 100 - created
    assert max(work) - min(work) <= 1
    await coordinator.close()


async def test_a_controller_that_comes_later_learns_from_what_agents_have_said(tmp_path: Path) -> None:
    def states_of(order: pb.Assignment, state: ObjectState) -> pb.StateChanges:
        known = known_from_proto(order.generation)
        for each in known.record.holdings:
            known.states(each.set_id, each.slot).set(np.arange(each.first_k, each.end_k, dtype=np.int64), state)
        return pb.StateChanges(generation=known.record.number, states=slots_to_proto(known.slots))

    first, orders = await first_orders("force_overwrite: true", None)
    said: list[tuple[str, pb.AgentMessage]] = []
    for agent, order in orders:
        said.append((agent, pb.AgentMessage(arrived=pb.Arrived(stage_index=0, inventory=pb.Inventory()))))
        echo = pb.Assignment.FromString(order.SerializeToString())
        echo.generation.ClearField("states")
        said.append((agent, pb.AgentMessage(assigned=echo)))
        if agent == "a":
            changes = states_of(order, ObjectState.CREATED)
            said.append((agent, pb.AgentMessage(report=pb.Report(stage_index=1, states=changes))))
    await first.close()

    later = Coordinator(resolved(), fresh=False, directory=tmp_path, note=lambda *_: None)
    for agent, message in said:
        assert later.take(agent, message) == []
    handed, given = later.lose("b", ["a"])
    assert handed.objects == 50
    ((agent, order),) = given
    assert (agent, order.added) == ("a", True)
    assert not later.settled(1, "a", orders[0][1].epoch)
    later.take("a", pb.AgentMessage(report=pb.Report(stage_index=1, states=states_of(order, ObjectState.CREATED))))
    assert later.finish(1)
    cleaning = later.begin(2, StageType.CLEANUP, ["a"])
    held = known_from_proto(cleaning[0][1].generation).record.holdings
    assert sum(each.end_k - each.first_k for each in held) == 100
    await later.close()
