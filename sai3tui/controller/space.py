"""What the fleet knows of one index space: its generations, who holds which objects, and what is to be done next.

In a shared namespace there is one space for all agents, otherwise one for each. Pure but for the cache, which is told
everything and asked once; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sai3tui.controller.handed import Handed, HandOver
from sai3tui.state.deal import deal, hand_over, without, work_in
from sai3tui.state.decide import Action, decide
from sai3tui.state.generations import Generation, Holding, Known, Slots, found, in_slots, overlay, unite
from sai3tui.state.layout import LayoutCache
from sai3tui.state.names import NO_NAMES, NamePool, NamesTaken
from sai3tui.state.states import Mask, ObjectState, SlotStates, wanted

TO_CREATE = wanted(ObjectState.PLANNED, ObjectState.CREATING, ObjectState.DELETED)
TO_DELETE = wanted(ObjectState.CREATING, ObjectState.CREATED)
_THERE = wanted(ObjectState.CREATING, ObjectState.CREATED)


@dataclass(slots=True)
class _Revoked:
    """What a lost agent held, and in which states that was when others got it."""

    holdings: tuple[Holding, ...]
    before: Slots = field(default_factory=dict)


class Space:
    """`agents` are those whose space it is, in the order of their slots; `sets` are the sizes of its object sets."""

    def __init__(self, agents: Sequence[str], sets: Mapping[int, int], seed: int, cache: LayoutCache) -> None:
        self.agents = tuple(agents)
        self.sets = dict(sets)
        self._seed = seed
        self._cache = cache
        self.generations: dict[int, Known] = {}
        self.names: dict[NamePool, NamesTaken] = dict(cache.reserved())
        self.holdings: dict[str, tuple[Holding, ...]] = {}
        self.pools: dict[str, tuple[NamePool, ...]] = {}
        """Names whose objects an agent has to delete, in cleanup."""
        self.epoch = 0
        self.twice: dict[str, int] = {}
        """Objects that a lost agent has written after others had got them to write."""
        self._revoked: dict[str, _Revoked] = {}
        self._doubtful = False
        """The cache knows more than all others, and may be behind what has happened since."""

    @property
    def latest(self) -> Known | None:
        return self.generations[max(self.generations)] if self.generations else None

    # --- what is known

    def unite(
        self,
        told: Iterable[Known],
        names: Iterable[Mapping[NamePool, NamesTaken]],
        *,
        restored: Iterable[Known] = (),
        doubtful: bool = False,
    ) -> None:
        """Take in what agents know and what checkpoints do, beside what the cache here does, which may be
        `doubtful`."""
        alike = [each for each in told if each.record.sets == self.sets]
        copies = [each for each in restored if each.record.sets == self.sets]
        mine = self._cache.known()
        self.generations = unite([*mine, *copies, *alike])
        for number in self.generations.keys() - {each.record.number for each in (*mine, *alike)}:
            # Checkpoints are written before the barrier opens: they cannot say that it did.
            known = self.generations[number]
            known.record = replace(known.record, complete=known.record.complete or known.whole)
        if doubtful and self.latest is not None:
            others = unite([*copies, *alike]).get(self.latest.record.number)
            created = ObjectState.CREATED
            self._doubtful = others is None or others.total(created) < self.latest.total(created)
        self.epoch = max((known.record.epoch for known in self.generations.values()), default=0)
        for known in self.generations.values():
            self._keep(known)
        for each in names:
            for pool, taken in each.items():
                known_taken = self.names.get(pool)
                # Who has given out more has gone on longer, and knows what was used of it.
                if known_taken is None or sum(taken.counts) >= sum(known_taken.counts):
                    self.names[pool] = taken
        self._cache.note_names(self.names)

    def name(self, names: Mapping[NamePool, NamesTaken]) -> None:
        """An agent has taken names, or deleted the objects of a pool."""
        for pool, taken in names.items():
            self.names[pool] = taken
            if not taken.counts:
                del self.names[pool]
        self._cache.note_names(names)

    def name_only(self, names: Mapping[NamePool, NamesTaken]) -> None:
        """No other pools but these have any objects."""
        self.name({**dict.fromkeys(self.names, NO_NAMES), **names})

    def changed(self, agent: str, generation: int, slots: Slots) -> None:
        """An agent has got on with what it holds. What it no longer holds is only counted."""
        known = self.latest
        if known is None or known.record.number != generation:
            return
        if agent in self._revoked:
            self._count_twice(agent, slots)
            return
        for holding in self.holdings.get(agent, ()):
            states = slots.get((holding.set_id, holding.slot))
            if states is not None:
                overlay(known.states(holding.set_id, holding.slot), states, holding.first_k, holding.end_k)
        self._cache.flush_soon()

    # --- what is to be done

    def decide(self, *, fresh: bool, force_overwrite: bool, skip_verification: bool) -> Action:
        """What prepare does with what is known."""
        return decide(
            found(self.latest),
            fresh=fresh,
            force_overwrite=force_overwrite,
            skip_verification=skip_verification,
            doubtful=self._doubtful,
        )

    def begin(self) -> Known:
        """A new generation, of which nothing exists. What is known of the one before stays until it is complete."""
        number = max(self.generations, default=0) + 1
        known = Known(Generation(number, max(1, len(self.agents)), self._seed, self.sets))
        self._adopt(known)
        return known

    def surveyed(self, told: Known) -> Known:
        """The latest generation is as whoever has looked at the storage says."""
        self._adopt(told)
        return told

    def to_survey(self) -> Known:
        """What whoever looks at the storage starts from."""
        if self.latest is not None:
            return self.latest
        return Known(Generation(1, max(1, len(self.agents)), self._seed, self.sets))

    def assign(self, agents: Sequence[str], take: Mask) -> dict[str, tuple[Holding, ...]]:
        """Deal all objects of the latest generation to these agents; who holds anything is in the answer."""
        known = self.latest
        if known is None or not agents:
            return {}
        self.epoch += 1
        self._revoked.clear()
        dealt = deal(known, len(agents), take, self.epoch)
        self.holdings = {agent: tuple(held) for agent, held in zip(agents, dealt, strict=True)}
        self._save(known)
        return self.holdings

    def gather(self) -> None:
        """Before a cleanup: objects of older generations that the latest one has not touched may exist too."""
        known = self.latest
        if known is None:
            return
        for older in [self.generations[n] for n in sorted(self.generations, reverse=True)][1:]:
            for (set_id, slot), states in in_slots(older, known.record).slots.items():
                onto = known.states(set_id, slot)
                for number, _, there in states.windows(0, states.count):
                    newer = onto.chunk(number)
                    newer[_THERE[there] & (newer == ObjectState.PLANNED)] = ObjectState.CREATING
                    onto.put(number, 0, newer)

    def lose(self, agent: str, survivors: Sequence[str], take: Mask) -> HandOver:
        """An agent is lost: what is left of its work goes to the survivors. Without any it keeps that, as it may yet do
        some of it."""
        known = self.latest
        held = self.holdings.get(agent, ())
        pools = self._left_pools(agent)
        objects = self.left(agent, take)
        if not survivors or not (pools or (known is not None and held)):
            return HandOver(objects, {})
        self.holdings.pop(agent, None)
        self.pools.pop(agent, None)
        self.epoch += 1
        to: dict[str, tuple[Holding, ...]] = {}
        if known is not None and held:
            before = {(each.set_id, each.slot): known.states(each.set_id, each.slot).copy() for each in held}
            self._revoked[agent] = _Revoked(held, before)
            dealt = hand_over(known, held, len(survivors), take, self.epoch)
            to = {name: tuple(holdings) for name, holdings in zip(survivors, dealt, strict=True) if holdings}
            for name, holdings in to.items():
                self.holdings[name] = (*self.holdings.get(name, ()), *holdings)
            self._save(known)
        names = {name: pools[number :: len(survivors)] for number, name in enumerate(survivors)}
        names = {name: given for name, given in names.items() if given}
        for name, given in names.items():
            self.pools[name] = (*self.pools.get(name, ()), *given)
        return HandOver(objects, to, names, held)

    def left(self, agent: str, take: Mask) -> int:
        """How much of the work of an agent is left, as far as it has said."""
        known = self.latest
        objects = sum(self.names[pool].total for pool in self._left_pools(agent))
        return objects + (work_in(known, self.holdings.get(agent, ()), take) if known is not None else 0)

    def _left_pools(self, agent: str) -> tuple[NamePool, ...]:
        return tuple(pool for pool in self.pools.get(agent, ()) if pool in self.names)

    def repeat(self, agent: str, record: Generation, epoch: int, *, added: bool) -> None:
        """Another controller has assigned these holdings; its later words replace earlier ones, unless they were
        `added`. Who held any of it before does so no more."""
        if record.number not in self.generations:
            self._adopt(Known(replace(record, holdings=())))
        before = self.holdings.get(agent, ()) if added else ()
        if added:
            self.holdings = {each: tuple(without(held, record.holdings)) for each, held in self.holdings.items()}
        else:
            # Whoever deals anew deals everything.
            self.holdings = {each: held for each, held in self.holdings.items() if not held or held[-1].epoch >= epoch}
        self.holdings[agent] = (*before, *record.holdings)
        self.epoch = max(self.epoch, epoch)

    def infer(self, handed: Sequence[Handed], through: Collection[str], take: Mask, done: ObjectState) -> None:
        """What nobody of those who said what they hold has, another one must have got that cannot say so any more; if
        it is known to be `through`, it has done all of that. Of work that was `handed` over others hold what they have
        heard of, the lost agent what none of them has heard of, and the rest it had done before. What is done is
        brought from the states that `take` has to the state `done`."""
        for each in handed:
            pooled = {pool for pools in self.pools.values() for pool in pools}
            unheard = {pool: names for pool, names in each.names.items() if pool not in pooled}
            self.pools[each.agent] = (*self.pools.get(each.agent, ()), *unheard)
            self.names |= unheard
        known = self.latest
        silent = [agent for agent in self.agents if agent not in self.holdings]
        if known is None or not self.holdings:
            return
        taken = [each for held in self.holdings.values() for each in held]
        for each in sorted(handed, key=lambda each: each.epoch, reverse=True):
            self._gets_back(each.agent, without(each.left, taken))
            taken += each.held
            known.bring(without(each.held, each.left), take, done)
        if silent:
            rest = without(known.everything(), taken)
            working = [agent for agent in silent if agent not in through]
            if working:
                if done is ObjectState.DELETED:
                    # What is not known of any more may exist: to delete what does not is harmless.
                    known.bring(rest, wanted(ObjectState.PLANNED), ObjectState.CREATING)
                self._gets_back(working[0], rest)
            else:
                known.bring(rest, take, done)
        self._cache.flush_soon()

    def silent_names(self, agent: str, names: Mapping[NamePool, NamesTaken]) -> None:
        """In cleanup an agent had to delete these, which cannot say any more how far it has got."""
        self.pools[agent] = tuple(dict.fromkeys((*self.pools.get(agent, ()), *names)))
        self.names = {**names, **self.names}

    def presume(self, state: ObjectState, *, whole: bool) -> None:
        """Of a generation that was complete once, as its record or whoever says that it is `whole` knows, objects of
        which nothing is known are in this state."""
        known = self.latest
        if known is None or not (whole or known.record.complete):
            return
        if not known.record.complete:
            known.record = self._cache.complete(known.record)
        known.bring(known.everything(), wanted(ObjectState.PLANNED), state)
        self._cache.flush_soon()

    def _gets_back(self, agent: str, holdings: Iterable[Holding]) -> None:
        self.holdings[agent] = (*self.holdings.get(agent, ()), *holdings)

    def part(self, holdings: Sequence[Holding]) -> Known | None:
        """What whoever holds these objects has to know."""
        known = self.latest
        if known is None:
            return None
        places = {(each.set_id, each.slot) for each in holdings}
        slots = {place: states for place, states in known.slots.items() if place in places}
        return Known(replace(known.record, holdings=tuple(holdings)), slots)

    def finished(self) -> bool:
        """Whether every object of the latest generation is created; if so, it is complete and older ones are
        forgotten."""
        known = self.latest
        if known is None or not known.whole:
            return False
        known.record = self._cache.complete(known.record)
        self.generations = {known.record.number: known}
        return True

    # --- keeping it

    def _adopt(self, known: Known) -> None:
        self.generations[known.record.number] = known
        self.holdings = {}
        self._keep(known)

    def _keep(self, known: Known) -> None:
        """Have the cache keep a generation, and use its states from now on."""
        self._cache.put_known(known)
        known.slots = {
            (set_id, slot): self._cache.states(known.record, set_id, slot)
            for set_id in known.record.sets
            for slot in range(known.record.slots)
            if known.record.count(set_id, slot)
        }

    def _save(self, known: Known) -> None:
        everything = tuple(sorted(each for held in self.holdings.values() for each in held))
        known.record = replace(known.record, holdings=everything)
        self._cache.save(known.record)

    def _count_twice(self, agent: str, slots: Slots) -> None:
        revoked = self._revoked[agent]
        count = 0
        for holding in revoked.holdings:
            place = (holding.set_id, holding.slot)
            if place in slots:
                count += _created_since(revoked.before[place], slots[place], holding)
        self.twice[agent] = max(count, self.twice.get(agent, 0))


def _created_since(before: SlotStates, after: SlotStates, holding: Holding) -> int:
    count = 0
    for number, low, states in after.windows(holding.first_k, holding.end_k):
        known = before.chunk(number)[low : low + states.size]
        count += int(np.count_nonzero((states == ObjectState.CREATED) & (known != ObjectState.CREATED)))
    return count
