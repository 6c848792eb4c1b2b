"""Generations: one begins when a prepare starts from nothing and ends when every object of the slot is created."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from sai3tui.state.decide import Found
from sai3tui.state.states import CHUNK, ObjectState, SlotStates
from sai3tui.workload.partition import slot_count


@dataclass(frozen=True, slots=True)
class Generation:
    """What is fixed when a generation begins, and whether this agent's slot of it is complete.

    `sets` are the sizes of the object sets in this slot, by set id.
    """

    number: int
    slots: int
    slot: int
    seed: int
    endpoints: tuple[str, ...]
    sets: Mapping[int, int] = field(default_factory=dict)
    complete: bool = False

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Generation:
        """Raises ValueError for what is not a generation record."""
        try:
            fields = json.loads(text)
            return cls(
                int(fields["number"]),
                int(fields["slots"]),
                int(fields["slot"]),
                int(fields["seed"]),
                tuple(str(uri) for uri in fields["endpoints"]),
                {int(set_id): int(count) for set_id, count in fields["sets"].items()},
                bool(fields["complete"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a generation record: {text[:200]!r}") from error


def found(latest: Generation | None) -> Found:
    """The column of the decision table that the latest generation is in."""
    if latest is None:
        return Found.NOTHING
    return Found.FINISHED if latest.complete else Found.UNFINISHED


def moved(old: SlotStates, before: tuple[int, int], count: int, after: tuple[int, int]) -> SlotStates:
    """The states of another slot, as far as an old one knows them. `before` and `after` are (slots, slot), `count` is
    that of the whole object set. What the old slot did not hold is planned."""
    old_slots, old_slot = before
    slots, slot = after
    made = SlotStates(slot_count(count, slots, slot))
    for number in made.chunks():
        ks = np.arange(number * CHUNK, min((number + 1) * CHUNK, made.count), dtype=np.int64)
        index = slot + ks * slots
        held = index % old_slots == old_slot
        ks, old_ks = ks[held], index[held] // old_slots
        if not ks.size:
            continue
        first = int(old_ks[0]) // CHUNK
        last = int(old_ks[-1]) // CHUNK
        window = np.concatenate([old.chunk(c) for c in range(first, last + 1)])
        states = window[old_ks - first * CHUNK]
        for state in (ObjectState.CREATING, ObjectState.CREATED, ObjectState.DELETED):
            made.set(ks[states == state], state)
    return made
