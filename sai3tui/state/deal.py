"""Who holds which objects: dealt to the agents at the beginning of a stage, and dealt again when one is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from sai3tui.state.generations import Holding, Known
from sai3tui.state.states import CHUNK, Mask, ObjectState, wanted

ANY = wanted(*ObjectState)
UNEVEN = 1.25
"""An agent may have so many times its share of the work before slots are cut."""


def deal(known: Known, agents: int, take: Mask, epoch: int) -> list[list[Holding]]:
    """All objects of a generation, dealt to so many agents. Objects in a state s with `take[s]` are work, of which each
    agent gets about as much as the others. Where there are as many slots as agents and the work in them is alike, each
    agent holds one slot."""
    if known.record.slots == agents:
        work = [
            sum(known.states(set_id, slot).count_in(0, CHUNK * CHUNK, take) for set_id in known.record.sets)
            for slot in range(agents)
        ]
        if max(work) * agents <= UNEVEN * sum(work) + agents * agents:
            by_slot: list[list[Holding]] = [[] for _ in range(agents)]
            for holding in known.everything():
                by_slot[holding.slot].append(replace(holding, epoch=epoch))
            return by_slot
    return _cut(known, known.everything(), agents, take, epoch)


def hand_over(known: Known, lost: Iterable[Holding], agents: int, take: Mask, epoch: int) -> list[list[Holding]]:
    """The work that is left in the holdings of a lost agent, dealt to so many others."""
    dealt = _cut(known, tuple(lost), agents, take, epoch)
    return [
        [replace(each, first_k=_reach(known, each, take, 0)) for each in holdings if work_in(known, [each], take)]
        for holdings in dealt
    ]


def work_in(known: Known, holdings: Iterable[Holding], take: Mask) -> int:
    """How many objects in these holdings are in a state s with `take[s]`."""
    return sum(known.states(each.set_id, each.slot).count_in(each.first_k, each.end_k, take) for each in holdings)


def without(whole: Iterable[Holding], held: Iterable[Holding]) -> list[Holding]:
    """What of `whole` is in none of the pieces `held`."""
    taken = sorted(held)
    left: list[Holding] = []
    for piece in whole:
        first = piece.first_k
        for other in taken:
            if (other.set_id, other.slot) == (piece.set_id, piece.slot) and other.end_k > first:
                if other.first_k > first:
                    left.append(replace(piece, first_k=first, end_k=min(other.first_k, piece.end_k)))
                first = other.end_k
            if first >= piece.end_k:
                break
        if first < piece.end_k:
            left.append(replace(piece, first_k=first))
    return left


def _cut(known: Known, pieces: Sequence[Holding], agents: int, take: Mask, epoch: int) -> list[list[Holding]]:
    dealt: list[list[Holding]] = [[] for _ in range(agents)]
    for set_id in sorted({piece.set_id for piece in pieces}):
        of_set = [piece for piece in pieces if piece.set_id == set_id]
        mask = take if work_in(known, of_set, take) else ANY
        total = work_in(known, of_set, mask)
        agent = given = 0
        for piece in of_set:
            first = piece.first_k
            while first < piece.end_k:
                room = total * (agent + 1) // agents - given if agent < agents - 1 else total
                end = _reach(known, replace(piece, first_k=first), mask, room)
                if end > first:
                    part = replace(piece, first_k=first, end_k=end, epoch=epoch)
                    dealt[agent].append(part)
                    given += work_in(known, [part], mask)
                if end < piece.end_k:
                    agent += 1
                first = end
    return dealt


def _reach(known: Known, piece: Holding, mask: Mask, room: int) -> int:
    """Where the part of a piece ends that has at most `room` objects of work."""
    states = known.states(piece.set_id, piece.slot)
    first = piece.first_k
    while first < piece.end_k:
        end = min((first // CHUNK + 1) * CHUNK, piece.end_k)
        work = states.count_in(first, end, mask)
        if work > room:
            number, low = divmod(first, CHUNK)
            places = np.flatnonzero(mask[states.chunk(number)[low : low + end - first]])
            return first + int(places[room])
        room -= work
        first = end
    return piece.end_k
