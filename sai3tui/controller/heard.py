"""What agents have said to an earlier controller, in an order in which it can have happened."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Known, overlay
from sai3tui.state.wire import known_from_proto, known_to_proto, slots_from_proto

Records = Mapping[str, pb.OnRecordReply]
"""What agents have on record now."""
NO_RECORDS: Records = MappingProxyType({})

Said = pb.Assignment | pb.Surveyed | pb.StateChanges
Heard = tuple[str, Said]


class _Space:
    """What has been said of the orders for one space, and how much of it has not had its turn yet."""

    def __init__(self) -> None:
        self.orders: Counter[int] = Counter()
        self.answers: Counter[int] = Counter()
        self.looks: set[int] = set()

    def waits(self, order: pb.Assignment) -> bool:
        """Whether something has to come before this order: an earlier one, or the answer that it follows from."""
        if any(left and epoch < order.epoch for epoch, left in self.orders.items()):
            return True
        looks = sorted(self.looks)
        place = bisect_left(looks, order.epoch)
        return not order.survey and place > 0 and self.answers[looks[place - 1]] > 0


def found_there(said: pb.Surveyed) -> Known:
    """What whoever has looked at the storage knows: of all objects, since it was told to look."""
    known = known_from_proto(said.generation)
    everything = tuple(replace(each, epoch=said.epoch) for each in known.everything())
    return Known(replace(known.record, holdings=everything), known.slots)


def remembered(heard: Iterable[Heard], records: Records) -> list[tuple[str, pb.Inventory]]:
    """What agents know of objects: what they have on record, or, where that cannot be had, what they have said. Who
    finds something out for all comes first."""
    found: list[tuple[str, pb.Inventory]] = []
    said_of: dict[str, Known] = {}
    for agent, said in heard:
        if isinstance(said, pb.Surveyed):
            if not said.begin:
                found.append((agent, pb.Inventory(generations=[known_to_proto(found_there(said))])))
        elif agent not in records:
            _remember(said_of, agent, said)
    found += [(agent, pb.Inventory(generations=[known_to_proto(known)])) for agent, known in said_of.items()]
    return found + [(agent, record.inventory) for agent, record in records.items()]


def _remember(said_of: dict[str, Known], agent: str, said: pb.Assignment | pb.StateChanges) -> None:
    known = said_of.get(agent)
    if isinstance(said, pb.Assignment):
        if said.survey or not said.HasField("generation"):
            return
        record = known_from_proto(said.generation).record
        if known is None or known.record.number != record.number:
            said_of[agent] = Known(record)
        else:
            before = known.record.holdings if said.added else ()
            known.record = replace(record, holdings=(*before, *record.holdings))
    elif known is not None and known.record.number == said.generation:
        for (set_id, slot), states in slots_from_proto(said.states, known.record).items():
            overlay(known.states(set_id, slot), states, 0, states.count)


def as_it_followed(heard: Iterable[Heard], space_of: Callable[[str], int]) -> list[Heard]:
    """`heard` is by time, and agents' clocks are known to a millisecond or two, in which one may have answered and
    another one have been told what follows from it. Each agent's own order is kept. Of a space, orders come by their
    epochs, and after the answer of whoever had looked at the storage before.
    """
    queues: dict[str, deque[tuple[int, Said]]] = {}
    spaces: dict[int, _Space] = {}
    for number, (agent, said) in enumerate(heard):
        queues.setdefault(agent, deque()).append((number, said))
        space = spaces.setdefault(space_of(agent), _Space())
        if isinstance(said, pb.Assignment):
            space.orders[said.epoch] += 1
            if said.survey:
                space.looks.add(said.epoch)
        elif isinstance(said, pb.Surveyed):
            space.answers[said.epoch] += 1
    turns = [(queue[0][0], agent) for agent, queue in queues.items()]
    heapq.heapify(turns)
    waiting: list[tuple[int, str]] = []
    ordered: list[Heard] = []
    while turns or waiting:
        # Where all wait for each other it cannot have happened like this; then time decides.
        stuck = not turns
        if stuck:
            turns.append(min(waiting))
            waiting.remove(turns[0])
        number, agent = heapq.heappop(turns)
        said = queues[agent][0][1]
        space = spaces[space_of(agent)]
        if isinstance(said, pb.Assignment) and not stuck and space.waits(said):
            waiting.append((number, agent))
            continue
        queues[agent].popleft()
        ordered.append((agent, said))
        if isinstance(said, pb.Assignment):
            space.orders[said.epoch] -= 1
        elif isinstance(said, pb.Surveyed):
            space.answers[said.epoch] -= 1
        if not isinstance(said, pb.StateChanges):
            for turn in waiting:
                heapq.heappush(turns, turn)
            waiting.clear()
        if queues[agent]:
            heapq.heappush(turns, (queues[agent][0][0], agent))
    return ordered
