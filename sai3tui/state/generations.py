"""Generations: one begins when a prepare starts from nothing and ends when every object of the fleet is created."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from sai3tui.state.decide import Found
from sai3tui.state.states import CHUNK, Mask, ObjectState, SlotStates, chunk_count, wanted
from sai3tui.workload.partition import slot_count


@dataclass(frozen=True, slots=True, order=True)
class Holding:
    """The objects k from `first_k` up to before `end_k` of one set in one slot, and since which epoch somebody holds
    them: whoever holds objects does to them what a stage asks for, and knows best what state they are in."""

    set_id: int
    slot: int
    first_k: int
    end_k: int
    epoch: int = 0


MOST_OBJECTS = 1 << 53
"""In a set."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What is fixed when a generation begins, whether it is complete, and what the keeper of this record holds of it.

    `sets` are the sizes of the object sets, by set id; slot s of `slots` has their indices i with i mod slots = s.
    `surveyed` is the epoch at which somebody has looked at the whole storage last, 0 if nobody has: what was known of
    the objects before counts no more, whoever says it.
    """

    number: int
    slots: int
    seed: int
    sets: Mapping[int, int] = field(default_factory=dict)
    holdings: tuple[Holding, ...] = ()
    complete: bool = False
    surveyed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be: records come from others, too."""
        if self.slots < 1:
            raise ValueError(f"a generation of {self.slots} slots")
        if any(not 0 <= count <= MOST_OBJECTS for count in self.sets.values()):
            raise ValueError("a generation with more objects than there can be")

    def count(self, set_id: int, slot: int) -> int:
        """How many objects of a set are in a slot."""
        return slot_count(self.sets.get(set_id, 0), self.slots, slot)

    @property
    def epoch(self) -> int:
        """The latest of the holdings."""
        return max((holding.epoch for holding in self.holdings), default=0)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Generation:
        """Raises ValueError for what is not a generation record."""
        try:
            fields = json.loads(text)
            record = cls(
                int(fields["number"]),
                int(fields["slots"]),
                int(fields["seed"]),
                {int(set_id): int(count) for set_id, count in fields["sets"].items()},
                tuple(Holding(**{name: int(value) for name, value in each.items()}) for each in fields["holdings"]),
                bool(fields["complete"]),
                int(fields.get("surveyed", 0)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a generation record: {text[:200]!r}") from error
        return record


Slots = dict[tuple[int, int], SlotStates]
"""By set id and slot."""


@dataclass(slots=True)
class Known:
    """A generation and the states of its objects, as far as somebody knows them."""

    record: Generation
    slots: Slots = field(default_factory=dict)

    def states(self, set_id: int, slot: int) -> SlotStates:
        """Those of one set in one slot; made if nothing is known of it."""
        found = self.slots.get((set_id, slot))
        if found is None:
            found = self.slots[set_id, slot] = SlotStates(self.record.count(set_id, slot))
        return found

    def total(self, state: ObjectState) -> int:
        """How many objects of the generation are in `state`."""
        known = sum(states.total(state) for states in self.slots.values())
        if state is ObjectState.PLANNED:
            known += sum(self.record.sets.values()) - sum(states.count for states in self.slots.values())
        return known

    @property
    def whole(self) -> bool:
        """Whether nothing is left to create, whether or not everybody knows that yet."""
        return not self.total(ObjectState.PLANNED) and not self.total(ObjectState.CREATING)

    def held(self, state: ObjectState) -> int:
        """How many objects of what is held are in `state`."""
        mask = wanted(state)
        return sum(
            self.states(held.set_id, held.slot).count_in(held.first_k, held.end_k, mask)
            for held in self.record.holdings
        )

    def bring(self, holdings: Iterable[Holding], take: Mask, state: ObjectState) -> None:
        """Of the objects in these holdings, those in a state s with `take[s]` are in `state` now."""
        for each in holdings:
            states = self.states(each.set_id, each.slot)
            end_k = min(each.end_k, states.count)
            for number in range(each.first_k // CHUNK, chunk_count(end_k)):
                low, high = max(0, each.first_k - number * CHUNK), min(CHUNK, end_k - number * CHUNK)
                window = states.chunk(number)[low:high]
                window[take[window]] = state
                states.put(number, low, window)

    def everything(self) -> tuple[Holding, ...]:
        """All objects, as holdings of nobody yet."""
        return tuple(
            Holding(set_id, slot, 0, self.record.count(set_id, slot))
            for set_id in sorted(self.record.sets)
            for slot in range(self.record.slots)
            if self.record.count(set_id, slot)
        )


def found(known: Known | None) -> Found:
    """The column of the decision table that a generation is in. One whose objects are all created is unfinished until
    the barrier after its prepare has opened: whoever interrupts it there wants nothing written again."""
    if known is None:
        return Found.NOTHING
    return Found.FINISHED if known.record.complete else Found.UNFINISHED


def unite(sources: Iterable[Known]) -> dict[int, Known]:
    """Everything that is known, by generation. Where two know of the same objects, whoever has held them later is
    right, and of two that are equal in that the later one of `sources`; the other one fills in what that one does not
    know, unless the storage has been looked at since. Whoever does not hold objects has nothing to say about them."""
    by_number: dict[int, list[Known]] = {}
    for source in sources:
        by_number.setdefault(source.record.number, []).append(source)
    return {number: _united(known) for number, known in by_number.items()}


def _united(sources: list[Known]) -> Known:
    newest = max(sources, key=lambda source: source.record.epoch)
    surveyed = max(source.record.surveyed for source in sources)
    complete = any(source.record.complete for source in sources if source.record.epoch >= surveyed)
    made = Known(replace(newest.record, holdings=(), complete=complete, surveyed=surveyed))
    alike = [in_slots(source, newest.record) for source in sources]
    claims = [
        (holding, place)
        for place, source in enumerate(alike)
        for holding in source.record.holdings
        if holding.epoch >= surveyed
    ]
    claims.sort(key=lambda claim: (claim[0].epoch, claim[1]))
    for holding, place in claims:
        told = alike[place].slots.get((holding.set_id, holding.slot))
        if told is not None:
            overlay(made.states(holding.set_id, holding.slot), told, holding.first_k, holding.end_k, keep=True)
    made.record = replace(made.record, holdings=tuple(sorted({holding for holding, _ in claims})))
    return made


def overlay(onto: SlotStates, told: SlotStates, first: int, end: int, *, keep: bool = False) -> None:
    """Take over what `told` says about the objects `first` up to before `end`; `keep`: not where it says nothing."""
    for number, low, states in told.windows(first, min(end, onto.count)):
        onto.put(number, low, states, keep=keep)


def told_to(mine: Known | None, told: Known) -> Known:
    """What somebody knows who is told of a generation, and keeps what it has recorded itself where whoever tells knows
    nothing, unless the storage has been looked at since."""
    if mine is None or mine.record.sets != told.record.sets:
        return told
    mine = in_slots(mine, told.record)
    made = Known(told.record, {place: states.copy() for place, states in told.slots.items()})
    for held in mine.record.holdings:
        own = mine.slots.get((held.set_id, held.slot))
        if own is None or held.epoch < told.record.surveyed:
            continue
        for given in told.record.holdings:
            if (given.set_id, given.slot) == (held.set_id, held.slot):
                first, end = max(held.first_k, given.first_k), min(held.end_k, given.end_k)
                kept = own.copy()
                states = made.states(given.set_id, given.slot)
                overlay(kept, states, first, end, keep=True)
                overlay(states, kept, first, end)
    return made


def in_slots(source: Known, record: Generation) -> Known:
    """What `source` knows, in the slots of `record`, which is about the same objects."""
    if source.record.slots == record.slots:
        return source
    before = source.record
    made = Known(record)
    held: list[Holding] = []
    for (set_id, old_slot), old in source.slots.items():
        epoch = max((h.epoch for h in before.holdings if (h.set_id, h.slot) == (set_id, old_slot)), default=0)
        for slot in range(record.slots):
            states = moved(old, (before.slots, old_slot), record.sets.get(set_id, 0), (record.slots, slot))
            overlay(made.states(set_id, slot), states, 0, states.count, keep=True)
            held.append(Holding(set_id, slot, 0, states.count, epoch))
    made.record = replace(source.record, slots=record.slots, holdings=tuple(sorted(set(held))))
    return made


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
