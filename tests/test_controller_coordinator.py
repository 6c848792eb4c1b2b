"""What the controller tells agents to do with which objects: every row of the table, and after a change of hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sai3tui.agent.work import echo_of
from sai3tui.config.model import StageType
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import Resolved
from sai3tui.controller.coordinator import Coordinator, Order
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Generation, Known
from sai3tui.state.names import NamePool, NamesTaken
from sai3tui.state.states import ObjectState
from sai3tui.state.wire import known_from_proto, known_to_proto, names_from_rows, names_to_rows, slots_to_proto

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


def inventory(created: int, *, complete: bool = False, restored: bool = False) -> pb.Inventory:
    """What an agent says that has 100 objects in one slot, the first `created` of them created; `restored`: as a
    checkpoint tells it."""
    known = Known(Generation(4, 1, 1, {0: 100}, complete=complete))
    known.record = Generation(4, 1, 1, {0: 100}, known.everything(), complete)
    known.states(0, 0).set(np.arange(created, dtype=np.int64), ObjectState.CREATED)
    told = [known_to_proto(known)]
    return pb.Inventory(restored=told) if restored else pb.Inventory(generations=told)


def coordinator_of(
    config: str | Resolved, directory: Path | None = None, *, fresh: bool = False, run_id: str = "r"
) -> Coordinator:
    of = resolved(config) if isinstance(config, str) else config
    return Coordinator(of, run_id=run_id, fresh=fresh, directory=directory, note=lambda *_: None)


def arrive(coordinator: Coordinator, agent: str, told: pb.Inventory | None = None) -> None:
    coordinator.take(agent, pb.AgentMessage(arrived=pb.Arrived(stage_index=0, inventory=told)))


async def first_orders(
    flags: str, told: pb.Inventory | None, *, fresh: bool = False
) -> tuple[Coordinator, list[Order]]:
    coordinator = coordinator_of(flags, fresh=fresh)
    arrive(coordinator, "a", told)
    arrive(coordinator, "b")
    coordinator.ready()
    return coordinator, coordinator.begin(1, StageType.PREPARE, ["a", "b"])


@pytest.mark.parametrize(
    ("flags", "told", "fresh", "survey"),
    [
        ("force_overwrite: false", None, False, "compare"),
        ("skip_verification: true", None, False, "adopt"),
        ("force_overwrite: false", inventory(100, complete=True), False, "repair"),
        ("force_overwrite: false", inventory(100, restored=True), False, "repair"),
        ("skip_verification: true", inventory(60, complete=True), False, "repair"),
        ("force_overwrite: true", inventory(60), False, "resume"),
        ("skip_verification: true", inventory(60), False, "resume"),
        ("force_overwrite: true", inventory(60, restored=True), False, "resume"),
        ("force_overwrite: true", inventory(100), False, "resume"),
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
        ("force_overwrite: true", inventory(100, restored=True), False, 5, 0),
        ("force_overwrite: true", inventory(0), False, 4, 0),
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


def states_of(order: pb.Assignment, state: ObjectState) -> pb.StateChanges:
    """What an agent reports that has brought all it got to this state."""
    known = known_from_proto(order.generation)
    for each in known.record.holdings:
        known.states(each.set_id, each.slot).set(np.arange(each.first_k, each.end_k, dtype=np.int64), state)
    return pb.StateChanges(generation=known.record.number, states=slots_to_proto(known.slots))


def echo(order: pb.Assignment) -> pb.AgentMessage:
    return pb.AgentMessage(assigned=echo_of(order))


def done(order: pb.Assignment, state: ObjectState = ObjectState.CREATED) -> pb.AgentMessage:
    report = pb.Report(stage_index=order.stage_index, states=states_of(order, state))
    return pb.AgentMessage(report=report)


def said_of(orders: list[Order], *through: str) -> list[tuple[str, pb.AgentMessage]]:
    """What agents have kept that got these orders; those `through` have done them."""
    said = []
    for agent, order in orders:
        said.append((agent, echo(order)))
        if agent in through:
            said.append((agent, done(order)))
    return said


READY = [(agent, pb.AgentMessage(assigned=echo_of(pb.Assignment(epoch=0)))) for agent in ("a", "b")]
"""What agents have kept of what they were told before the first stage, of a storage that nobody knew."""


def come_later(said: list[tuple[str, pb.AgentMessage]], flags: str, tmp_path: Path) -> Coordinator:
    later = coordinator_of(flags, tmp_path)
    for agent, message in said:
        assert later.take(agent, message) == []
    return later


def held_by(orders: list[Order]) -> int:
    holdings = [each for _, order in orders for each in known_from_proto(order.generation).record.holdings]
    return sum(each.end_k - each.first_k for each in holdings)


async def test_a_controller_that_comes_later_learns_from_what_agents_have_said(tmp_path: Path) -> None:
    first, orders = await first_orders("force_overwrite: true", None)
    await first.close()
    later = come_later(READY + said_of(orders, "a"), "force_overwrite: true", tmp_path)
    assert later.resume(["a", "b"]) == []
    handed, given = later.lose("b", ["a"])
    assert handed.objects == 50
    ((agent, order),) = given
    assert (agent, order.added) == ("a", True)
    assert not later.settled(1, "a", orders[0][1].epoch)
    later.take("a", done(order))
    assert later.finish(1)
    cleaning = later.begin(2, StageType.CLEANUP, ["a"])
    assert held_by(cleaning) == 100
    await later.close()


async def test_what_was_decided_is_not_decided_again(tmp_path: Path) -> None:
    """After prepare with force_overwrite, whoever decides again begins the generation after the one that exists."""
    coordinator, orders = await first_orders("force_overwrite: true", inventory(100, complete=True))
    said = [("a", pb.AgentMessage(arrived=pb.Arrived(stage_index=0, inventory=inventory(100, complete=True))))]
    said += said_of(orders, "a", "b")
    await coordinator.close()
    assert {order.generation.number for _, order in orders} == {5}
    later = come_later(said, "force_overwrite: true", tmp_path / "later")
    assert later.resume(["a", "b"]) == []
    assert later.finish(1)
    cleaning = later.begin(2, StageType.CLEANUP, ["a", "b"])
    assert {order.generation.number for _, order in cleaning} == {5}
    assert held_by(cleaning) == 100
    await later.close()

    # It had told agents what to do, and died before the barrier opened.
    early = come_later(said_of(orders), "force_overwrite: true", tmp_path / "early")
    assert early.resume(["a", "b"]) == []
    again = early.begin(1, StageType.PREPARE, ["a", "b"])
    assert {order.generation.number for _, order in again} == {5}
    assert all(order.epoch > before.epoch for (_, order), (_, before) in zip(again, orders, strict=True))
    await early.close()


async def test_the_work_of_an_agent_that_cannot_say_what_it_was_told_is_inferred(tmp_path: Path) -> None:
    first, orders = await first_orders("force_overwrite: true", None)
    await first.close()
    later = come_later(said_of(orders[:1], "a"), "force_overwrite: true", tmp_path)
    later.resume(["a", "b"])
    handed, given = later.lose("b", ["a"])
    assert handed.objects == 50
    assert held_by(given) == 50
    await later.close()


def of_record(order: pb.Assignment, created: int, sequence: int = 9) -> pb.OnRecordReply:
    """What an agent has on record that has created the first so many objects of what it got."""
    known = known_from_proto(order.generation)
    held = known.record.holdings[0]
    ks = np.arange(held.first_k, held.first_k + created, dtype=np.int64)
    known.states(held.set_id, held.slot).set(ks, ObjectState.CREATED)
    return pb.OnRecordReply(inventory=pb.Inventory(generations=[known_to_proto(known)]), sequence=sequence)


async def test_what_agents_have_on_record_says_more_than_their_reports() -> None:
    first, orders = await first_orders("force_overwrite: true", None)
    await first.close()
    told = dict(orders)
    later = coordinator_of("force_overwrite: true")
    for agent, message in READY + [(agent, echo(order)) for agent, order in orders]:
        later.take(agent, message)
    await later.come({"a": of_record(told["a"], 50), "b": of_record(told["b"], 30)})
    assert later.resume(["a", "b"]) == []
    # A report from before, which comes after all: it takes nothing back.
    early = pb.Report(stage_index=1, states=states_of(told["b"], ObjectState.CREATING))
    later.take("b", pb.AgentMessage(sequence=9, report=early))
    handed, given = later.lose("b", ["a"])
    assert handed.objects == 20
    assert known_from_proto(given[0][1].generation).total(ObjectState.CREATED) == 30
    await later.close()


INDEPENDENT = """\
multi_endpoint: {namespace: independent, endpoints: ["s3://10.0.0.1/bucket/"]}
concurrency: 4
prepare:
  force_overwrite: true
  ensure_objects: [{base_uri: "data/", count: 100, size_spec: 1000}]
workload: [{op: get, path: "data/*", weight: 1}]
distributed:
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
  agents: [AGENTS]
"""


async def test_of_agents_with_objects_of_their_own_each_is_known_by_name_and_place(tmp_path: Path) -> None:
    """Not by its number in the list, which another configuration of the same objects may have changed."""
    places = [f'{{id: {name}, address: "127.0.0.1:{number}"}}' for number, name in enumerate("ab", 1)]
    ways = [", ".join(order) for order in (places, places[::-1])]
    orders = [load_resolved(INDEPENDENT.replace("AGENTS", way), "test.yaml").require() for way in ways]
    first = coordinator_of(orders[0], tmp_path)
    for agent in "ab":
        arrive(first, agent)
    first.ready()
    for agent, order in first.begin(1, StageType.PREPARE, ["a", "b"]):
        known = known_from_proto(of_record(order, {"a": 90, "b": 10}[agent]).inventory.generations[0])
        states = pb.StateChanges(generation=known.record.number, states=slots_to_proto(known.slots))
        first.take(agent, pb.AgentMessage(report=pb.Report(stage_index=1, states=states)))
    first.over()
    await first.close()

    async def begun(of: Resolved) -> dict[str, tuple[str, int]]:
        later = coordinator_of(of, tmp_path, run_id="later")
        for agent in "ab":
            arrive(later, agent)
        later.ready()
        orders = dict(later.begin(1, StageType.PREPARE, ["a", "b"]))
        later.over()
        await later.close()
        created = {a: known_from_proto(order.generation).total(ObjectState.CREATED) for a, order in orders.items()}
        return {agent: (order.survey, created[agent]) for agent, order in orders.items()}

    # In another order agents have other places for their objects: of these nothing is on record.
    assert await begun(orders[1]) == {"a": ("", 0), "b": ("", 0)}
    # Each has to look at its own storage first: who has that name may be another host by now.
    assert await begun(orders[0]) == {"a": ("resume", 90), "b": ("resume", 10)}


@pytest.mark.parametrize("over", [True, False])
async def test_the_cache_of_a_controller_whose_run_went_on_without_it_is_in_doubt(tmp_path: Path, over: bool) -> None:
    first = coordinator_of("force_overwrite: true", tmp_path)
    for agent in "ab":
        arrive(first, agent)
    first.ready()
    orders = first.begin(1, StageType.PREPARE, ["a", "b"])
    first.take("a", done(orders[0][1]))
    if over:
        first.over()
    await first.close()

    async def looks(run_id: str, told: pb.Inventory | None = None) -> str:
        later = coordinator_of("force_overwrite: true", tmp_path, run_id=run_id)
        arrive(later, "a", told)
        arrive(later, "b")
        later.ready()
        (_, order), *_ = later.begin(1, StageType.PREPARE, ["a", "b"])
        later.over()
        await later.close()
        return order.survey

    assert await looks("another") == ("resume" if over else "confirm")
    # That it has ended is no answer. The agent has it on record itself, or it is the same run: nothing is in doubt.
    assert await looks("another", of_record(orders[0][1], 50).inventory) == "resume"
    assert await looks("r") == "resume"


@pytest.mark.parametrize("dealt", [False, True])
async def test_what_was_found_on_the_storage_is_known_to_who_comes_later(tmp_path: Path, dealt: bool) -> None:
    first, orders = await first_orders("force_overwrite: false", None)
    ((agent, order),) = orders
    assert (agent, order.survey) == ("a", "compare")
    found = Known(known_from_proto(order.generation).record)
    found.states(0, 0).set(np.arange(20, dtype=np.int64), ObjectState.CREATED)
    surveyed = pb.AgentMessage(surveyed=pb.Surveyed(stage_index=1, epoch=order.epoch, generation=known_to_proto(found)))
    said = [("a", echo(order)), ("a", surveyed)]
    given = first.take("a", surveyed)
    if dealt:
        said += said_of(given)
    await first.close()
    later = come_later(said, "force_overwrite: false", tmp_path)
    missing = later.resume(["a", "b"])
    # If nobody has been told what to do since, that is made up for.
    assert held_by(missing) == (0 if dealt else 100)
    assert [agent for agent, _ in missing] == ([] if dealt else ["a", "b"])
    handed, _ = later.lose("a", ["b"])
    other, _ = later.lose("b", [])
    assert handed.objects <= 50
    assert other.objects == 80
    await later.close()


async def test_agents_are_told_at_the_beginning_how_far_their_names_are_taken(tmp_path: Path) -> None:
    """Else they would take the same ones again, and cleanup would not know of all that exist."""
    names = {NamePool("uploads/", 1, 65536, slot): NamesTaken((100 * (slot + 1),)) for slot in range(3)}
    first = coordinator_of("force_overwrite: true")
    arrive(first, "a", pb.Inventory(names=names_to_rows(names)))
    arrive(first, "b")
    orders = first.ready()
    told = {agent: names_from_rows(order.names) for agent, order in orders}
    assert {pool: taken for each in told.values() for pool, taken in each.items()} == names
    assert {pool.slot for pool in told["b"]} - {2} == {1}
    begun = first.begin(1, StageType.PREPARE, ["a", "b"])
    assert [list(order.names) for _, order in begun] == [[], []]
    await first.close()

    # Who comes later hands over objects in prepare, and no names.
    later = come_later([(agent, echo(order)) for agent, order in orders + begun], "force_overwrite: true", tmp_path)
    arrive(later, "a", pb.Inventory(names=names_to_rows(names)))
    later.resume(["a", "b"])
    _, given = later.lose("b", ["a"])
    assert [list(order.names) for _, order in given] == [[]]
    await later.close()


THREE = CONFIG.replace('"127.0.0.1:2"}]', '"127.0.0.1:2"}, {id: c, address: "127.0.0.1:3"}]')


@pytest.mark.parametrize("heard", ["bc", "b", "", "through"])
async def test_work_that_was_handed_over_before_is_not_done_again(heard: str) -> None:
    """Who comes later knows what a lost agent had done if anybody has heard of what became of its work."""
    config = load_resolved(THREE.replace("FLAGS", "force_overwrite: true"), "test.yaml").require()
    first, later = (coordinator_of(config) for _ in range(2))
    for agent in "abc":
        arrive(first, agent)
    first.ready()
    orders = dict(first.begin(1, StageType.PREPARE, list("abc")))
    known = known_from_proto(orders["a"].generation)
    (held,) = known.record.holdings
    # Agents do not do things in order: some that are done stand behind some that are not.
    known.states(held.set_id, held.slot).set(np.r_[0:20, 25].astype(np.int64), ObjectState.CREATED)
    changes = pb.StateChanges(generation=known.record.number, states=slots_to_proto(known.slots))
    first.take("a", pb.AgentMessage(report=pb.Report(stage_index=1, states=changes)))
    handed, given = first.lose("a", ["b", "c"])
    assert handed.objects == 34 - 21
    await first.close()

    for agent in "bc":
        later.take(agent, echo(orders[agent]))
        later.take(agent, done(orders[agent]))
    for agent, order in given:
        if agent in heard:
            later.take(agent, echo(order))
            later.take(agent, done(order))
    later.resume(list("abc"), "a" if heard == "through" else "")
    again, orders_again = later.lose("a", ["b", "c"])
    share = held_by([order for order in given if order[0] == "c"])
    assert again.objects == {"bc": 0, "b": share, "": 34, "through": 0}[heard]
    assert held_by(orders_again) == again.objects
    for agent, order in orders_again:
        later.take(agent, done(order))
    assert later.finish(1)
    await later.close()


async def test_of_names_that_were_handed_over_those_nobody_heard_of_are_left() -> None:
    config = load_resolved(THREE.replace("FLAGS", "force_overwrite: true"), "test.yaml").require()
    first, later = (coordinator_of(config) for _ in range(2))
    names = {NamePool("uploads/", 1, 65536 + number, 0): NamesTaken((100,)) for number in range(2)}
    arrive(first, "a", pb.Inventory(names=names_to_rows(names)))
    for agent in "bc":
        arrive(first, agent)
    first.ready()
    orders = dict(first.begin(2, StageType.CLEANUP, list("abc")))
    handed, given = first.lose("a", ["b", "c"])
    assert handed.objects == 200
    await first.close()
    for agent in "bc":
        later.take(agent, echo(orders[agent]))
    later.take("b", echo(dict(given)["b"]))
    later.resume(list("abc"))
    again, _ = later.lose("a", ["b"])
    assert again.objects == 100
    assert again.names == {"b": handed.names["c"]}
    await later.close()


@pytest.mark.parametrize("complete", [True, False])
async def test_who_comes_to_a_cleanup_has_all_deleted_that_only_a_lost_agent_had_known(complete: bool) -> None:
    names = {NamePool("uploads/", 1, 65536, 0): NamesTaken((100,))}
    told = pb.Inventory(generations=inventory(100, complete=complete).generations, names=names_to_rows(names))
    first, later = (coordinator_of("force_overwrite: true") for _ in range(2))
    arrive(first, "a", told)
    arrive(first, "b")
    ready = dict(first.ready())
    orders = dict(first.begin(2, StageType.CLEANUP, ["a", "b"]))
    await first.close()
    for given in (ready, orders):
        later.take("b", echo(given["b"]))
    await later.come({"b": of_record(orders["b"], 0)})
    assert later.resume(["a", "b"], current=2) == []
    handed, again = later.lose("a", ["b"])
    assert handed.objects == 50 + 100
    assert held_by(again) == 50
    assert names_from_rows(again[0][1].names) == names
    await later.close()


async def test_if_the_agent_that_looks_at_the_storage_and_its_controller_are_lost_another_one_looks() -> None:
    """Nobody who is left has heard that anybody was told to."""
    later = coordinator_of("force_overwrite: false")
    for agent, message in READY[1:]:
        later.take(agent, message)
    given = later.resume(["a", "b"], current=1)
    assert [(agent, order.survey) for agent, order in given] == [("a", "compare")]
    _, again = later.lose("a", ["b"])
    assert [(agent, order.survey) for agent, order in again] == [("b", "compare")]
    await later.close()


@pytest.mark.parametrize(("op", "cleaned", "verified"), [("get", False, 100), ("delete", False, 50), ("get", True, 50)])
async def test_objects_of_a_lost_agent_are_there_since_a_barrier_opened_with_all_of_them(
    op: str, cleaned: bool, verified: int
) -> None:
    """Unless the workload or a cleanup has deleted some of them."""
    text = CONFIG.replace("FLAGS", "force_overwrite: true").replace("op: get", f"op: {op}")
    verify = "    - {name: verify, order: 3, type: verify, completion: tasks_done}\n"
    text = text.replace("  agents:", f"{verify}  agents:")
    if not cleaned:
        text = text.replace("type: cleanup", "type: verify")
    config = load_resolved(text, "test.yaml").require()
    first, later = (coordinator_of(config) for _ in range(2))
    for agent in "ab":
        arrive(first, agent)
    first.ready()
    orders = first.begin(1, StageType.PREPARE, ["a", "b"])
    await first.close()
    later.take("b", echo(dict(orders)["b"]))
    later.take("b", done(dict(orders)["b"]))
    later.take("b", pb.AgentMessage(released=pb.Release(stage_index=1, generation_complete=True)))
    given = later.resume(["a", "b"], "a", current=3)
    assert [agent for agent, _ in given] == ["a", "b"]
    assert sum(known_from_proto(order.generation).held(ObjectState.CREATED) for _, order in given) == verified
    await later.close()
