"""The states of a fleet's objects: taken from all who know of them, kept in the controller's own cache, dealt out.

Agents say what they know when they are ready, and every second what has changed. From that the controller tells each
of them what to do with which objects: at the beginning of a stage, and again when an agent is lost. Messages are
handed back as orders; whoever leads the run sends them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sai3tui.config.model import StageType
from sai3tui.config.ops import Op
from sai3tui.config.resolved import Resolved
from sai3tui.config.units import format_count
from sai3tui.controller.cache_claim import CacheClaim, Note
from sai3tui.controller.cache_places import SHARED_SPACE, space_of_agent
from sai3tui.controller.handed import Handed, HandOver, handed_from_proto, handed_to_proto
from sai3tui.controller.heard import NO_RECORDS, Heard, Records, as_it_followed, found_there, remembered
from sai3tui.controller.space import TO_CREATE, TO_DELETE, Space
from sai3tui.errors import ResourceError
from sai3tui.events import Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.decide import Action
from sai3tui.state.generations import Holding, Known
from sai3tui.state.layout import LayoutCache
from sai3tui.state.names import NamePool
from sai3tui.state.states import Mask, ObjectState, wanted
from sai3tui.state.wire import (
    known_from_proto,
    known_to_proto,
    names_from_rows,
    names_to_rows,
    slots_from_proto,
)

logger = logging.getLogger(__name__)

Order = tuple[str, pb.Assignment]
"""Which agent is to do what."""

WORK: Mapping[StageType, Mask] = {
    StageType.PREPARE: TO_CREATE,
    StageType.CLEANUP: TO_DELETE,
    StageType.VERIFY: wanted(ObjectState.CREATED),
}
"""Stages that do something once to every object, and which objects are their work."""

DONE: Mapping[StageType, ObjectState] = {
    StageType.PREPARE: ObjectState.CREATED,
    StageType.CLEANUP: ObjectState.DELETED,
    StageType.VERIFY: ObjectState.CREATED,
}
"""In which state they leave them."""

READY = 0
"""The number of the assignment that agents get before the first stage."""


@dataclass(slots=True)
class _Stage:
    index: int
    type: StageType
    agents: tuple[str, ...]
    undone: list[str] = field(default_factory=list)
    """Agents that are not there any more, and whose work nobody has got."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Likewise, where not even the storage was looked at: so many objects may be missing."""


class Coordinator:
    """One run. `directory` is where the coordinator cache stands; None: nothing is kept. Belongs to one event loop.

    `note(level, text, code)` tells whoever watches the run.
    """

    def __init__(self, resolved: Resolved, *, run_id: str, fresh: bool, directory: Path | None, note: Note) -> None:
        self._resolved = resolved
        self._fresh = fresh
        self._claim = CacheClaim(directory, run_id, note)
        self._note = note
        self._agents = tuple(agent.id for agent in resolved.agents)
        self._told: dict[str, pb.Inventory] = {}
        self._heard: list[Heard] = []
        """What agents say that another controller has assigned to them, and what they made of it, as they said it."""
        self._records: Records = NO_RECORDS
        self._whole = 0
        """The last barrier that is known to have opened with all objects of the generation created; of a run that
        another controller began."""
        self._stood: dict[str, int] = {}
        """By agent: the message up to which we know from its record what became of its objects."""
        self._spaces: list[Space] = []
        self._caches: list[LayoutCache] = []
        self._expected: dict[tuple[int, str], int] = {}
        """The epoch of the last assignment by stage and agent."""
        self._surveying: dict[int, str] = {}
        """By space: who looks at the storage."""
        self._stage: _Stage | None = None
        self._broken = False

    # --- what agents say

    def take(self, agent: str, message: pb.AgentMessage) -> list[Order]:
        """Whatever an agent says; what follows from it. What is only for us is taken out of the message."""
        body = message.WhichOneof("body")
        news = not 0 < message.sequence <= self._stood.get(agent, 0)
        if body == "report":
            if message.report.HasField("states"):
                if news:
                    self._changed(agent, message.report.states)
                message.report.ClearField("states")
        elif body == "arrived":
            arrived = message.arrived
            if arrived.HasField("inventory"):
                self._told[agent] = pb.Inventory.FromString(arrived.inventory.SerializeToString())
                arrived.ClearField("inventory")
            if arrived.HasField("states"):
                if news:
                    self._changed(agent, arrived.states)
                arrived.ClearField("states")
        elif body == "released":
            if message.released.generation_complete:
                self._whole = max(self._whole, message.released.stage_index)
        elif body == "assigned":
            if not self._spaces:
                self._heard.append((agent, pb.Assignment.FromString(message.assigned.SerializeToString())))
        elif body == "surveyed":
            if self._spaces:
                return self._surveyed(agent, message.surveyed)
            self._heard.append((agent, pb.Surveyed.FromString(message.surveyed.SerializeToString())))
        return []

    def settled(self, stage_index: int, agent: str, epoch: int) -> bool:
        """Whether an agent that has done its assignment number `epoch` of a stage has nothing left to do in it."""
        return epoch >= self._expected.get((stage_index, agent), 0)

    # --- what they are told

    def ready(self) -> list[Order]:
        """All agents are ready: unite what they know, unless another controller had. Once, before the first stage."""
        if not self._spaces:
            self._open()
            self._unite()
        orders: list[Order] = []
        for space in self._spaces:
            space.assign(space.agents, TO_DELETE)
            orders += self._orders(space, READY, space.agents)
        return orders

    def begin(self, stage_index: int, stage_type: StageType, agents: Sequence[str]) -> list[Order]:
        """A stage is about to begin with these agents."""
        self._look()
        decided = self._stage is not None and self._stage.index == stage_index
        self._stage = _Stage(stage_index, stage_type, tuple(agents))
        orders: list[Order] = []
        for number, space in enumerate(self._spaces):
            present = [agent for agent in space.agents if agent in agents]
            if not present or stage_type not in WORK:
                continue
            if stage_type is StageType.PREPARE and not (decided and number not in self._surveying):
                orders += self._prepare(number, space, present)
                continue
            if stage_type is StageType.CLEANUP:
                space.gather()
            space.assign(present, WORK[stage_type])
            orders += self._orders(space, stage_index, present)
        return orders

    def lose(self, agent: str, survivors: Sequence[str], *, hand_over: bool = True) -> tuple[HandOver, list[Order]]:
        """An agent is lost in the current stage, or left behind. Its work goes to those survivors that take part in the
        stage, if it may be handed over; else it stays undone. To look at the storage for all is always another one's
        turn."""
        stage = self._stage
        if stage is None or stage.type not in WORK or agent not in stage.agents:
            return HandOver(0, {}), []
        stage.agents = tuple(each for each in stage.agents if each != agent)
        number = self._space_of(agent)
        space = self._spaces[number]
        left = [each for each in survivors if each in stage.agents and each in space.agents]
        if number in self._surveying:
            # Nothing has been dealt yet.
            if self._surveying[number] == agent:
                del self._surveying[number]
                if left:
                    return HandOver(0, {}), self._survey(number, space, left, self._action(space))
                stage.unseen[agent] = sum(space.sets.values())
            return HandOver(stage.unseen.get(agent, 0), {}), []
        handed = space.lose(agent, left if hand_over else (), WORK[stage.type])
        if handed.objects and not handed.agents:
            stage.undone.append(agent)
        orders = [
            (
                name,
                self._order(
                    space,
                    stage.index,
                    name,
                    handed.to.get(name, ()),
                    handed.names.get(name, ()),
                    part_of=handed_to_proto(agent, handed, space.names),
                ),
            )
            for name in handed.agents
        ]
        return handed, orders

    def undone(self) -> dict[str, int]:
        """How many objects of the current stage are nobody's work any more, by the agent that has left them."""
        stage = self._stage
        if stage is None or stage.type not in WORK:
            return {}
        take = WORK[stage.type]
        left = {agent: self._spaces[self._space_of(agent)].left(agent, take) for agent in stage.undone}
        return {agent: count for agent, count in (stage.unseen | left).items() if count}

    def objects(self) -> int:
        """Of the object sets, in all spaces together."""
        return sum(sum(space.sets.values()) for space in self._spaces)

    def finish(self, stage_index: int) -> bool:
        """The stage is over: whether all objects of all spaces are created now."""
        if not stage_index or self._resolved.stages[stage_index - 1].type is not StageType.PREPARE:
            return False
        self._look()
        complete = bool(self._spaces)
        for space in self._spaces:
            complete = space.finished() and complete
        if complete:
            self._claim.settle()
        return complete

    @property
    def twice(self) -> Mapping[str, int]:
        """Objects that lost agents are known to have written after others had got them to write, by agent."""
        return {agent: count for space in self._spaces for agent, count in space.twice.items()}

    def over(self) -> None:
        """The run has ended."""
        self._claim.over()

    async def close(self) -> None:
        """Keep what is known and let go of the cache. Idempotent."""
        try:
            while self._caches:
                try:
                    await self._caches.pop().close()
                except ResourceError as error:
                    self._warn(error)
        finally:
            self._claim.close()

    # --- a run that another controller began

    async def come(self, records: Records) -> None:
        """Before `resume`: what agents have on record, which says what became of objects. Reports do as well, but may
        not be kept any more. Another controller, which leads no more, may be about to let go of the cache here: that is
        waited for, for a bounded time."""
        self._records = records
        await self._claim.wait()

    def resume(
        self, participants: Sequence[str], through: Collection[str] = (), *, current: int = READY
    ) -> list[Order]:
        """Agents have said all that happened before we came: take over what an earlier controller had made of it.
        `participants` take part in the `current` stage, of which those that are `through` are known to have done their
        part. Returns what it had no time to order, or what nobody can have got who is still there; nothing else that
        it had decided is decided again."""
        records = self._records
        heard, self._heard = self._heard, []
        assigned = [said for _, said in heard if isinstance(said, pb.Assignment)]
        if not assigned:
            return []
        self._open()
        self._stood = {agent: record.sequence for agent, record in records.items()}
        self._unite(remembered(heard, records))
        for agent, said in heard:
            if isinstance(said, pb.StateChanges):
                self._names_changed(self._spaces[self._space_of(agent)], said)
        for space in self._spaces:
            if all(agent in records for agent in space.agents):
                rows = [row for agent in space.agents for row in records[agent].inventory.names]
                space.name_only(names_from_rows(rows))
        last = max(order.stage_index for order in assigned)
        if last:
            self._stage = _Stage(last, self._resolved.stages[last - 1].type, tuple(participants))
        looked: dict[int, tuple[str, pb.Surveyed]] = {}
        gathered: set[tuple[int, int]] = set()
        for agent, said in as_it_followed(heard, self._space_of):
            if isinstance(said, pb.StateChanges):
                continue
            number = self._space_of(agent)
            if isinstance(said, pb.Surveyed):
                looked[number] = agent, said
                continue
            if not said.survey:
                looked.pop(number, None)
            place = said.stage_index, number
            if self._cleans(said.stage_index) and place not in gathered:
                gathered.add(place)
                self._spaces[number].gather()
            self._repeat(number, agent, said)
        self._presume(current)
        current_type = self._resolved.stages[current - 1].type if current else None
        if current > last and current_type is not None and current_type in WORK:
            # Whoever was to look at the storage for all is gone, and with it that it had been told to.
            return self.begin(current, current_type, participants)
        given = {(order.handed_over.agent, order.epoch): order for order in assigned if order.stage_index == last}
        self._infer([handed_from_proto(order) for order in given.values() if order.added], through)
        if self._cleans(last):
            held = {each.agent: each for order in assigned if order.stage_index == last for each in order.held}
            speaking = {agent for agent, said in heard if isinstance(said, pb.Assignment) and said.stage_index == last}
            handed = {order.handed_over.agent for order in given.values()}
            for agent in held.keys() - speaking - handed - set(through):
                self._spaces[self._space_of(agent)].silent_names(agent, names_from_rows(held[agent].names))
        return [order for agent, said in looked.values() for order in self._surveyed(agent, said)]

    def _presume(self, current: int) -> None:
        """Objects of a complete generation exist, also where nobody is left who knows it; unless something may have
        deleted them since."""
        stages = self._resolved.stages
        since = {stage.type for stage in stages[self._whole : current]}
        whole = bool(self._whole) and StageType.PREPARE not in since
        deletes = StageType.CLEANUP in since or any(op.op is Op.DELETE for op in self._resolved.config.entries)
        for space in self._spaces:
            space.presume(ObjectState.CREATED if whole and not deletes else ObjectState.CREATING, whole=whole)

    def _infer(self, handed: Sequence[Handed], through: Collection[str]) -> None:
        stage = self._stage
        if stage is None or stage.type not in WORK:
            return
        for number, space in enumerate(self._spaces):
            if number not in self._surveying:
                mine = [each for each in handed if each.agent in space.agents]
                space.infer(mine, through, WORK[stage.type], DONE[stage.type])

    def _space_of(self, agent: str) -> int:
        return next(number for number, space in enumerate(self._spaces) if agent in space.agents)

    def _cleans(self, stage_index: int) -> bool:
        return stage_index != READY and self._resolved.stages[stage_index - 1].type is StageType.CLEANUP

    def _repeat(self, number: int, agent: str, order: pb.Assignment) -> None:
        space = self._spaces[number]
        self._expected[order.stage_index, agent] = order.epoch
        space.epoch = max(space.epoch, order.epoch)
        if order.survey:
            self._surveying[number] = agent
            # As when it was ordered: nobody is through before it has been told what to do.
            for each in space.agents:
                self._expected[order.stage_index, each] = order.epoch + 1
            return
        self._surveying.pop(number, None)
        if order.names and self._cleans(order.stage_index):
            before = space.pools.get(agent, ()) if order.added else ()
            space.pools[agent] = (*before, *names_from_rows(order.names))
        if order.HasField("generation"):
            space.repeat(agent, known_from_proto(order.generation).record, order.epoch, added=order.added)

    def _unite(self, later: Iterable[tuple[str, pb.Inventory]] = ()) -> None:
        """What agents said when they were ready, and `later`."""
        inventories = [*self._told.items(), *later]
        for space in self._spaces:
            told = [inventory for agent, inventory in inventories if agent in space.agents]
            space.unite(
                [each for inventory in told for each in self._read(inventory.generations)],
                [names_from_rows(inventory.names) for inventory in told],
                restored=[each for inventory in told for each in self._read(inventory.restored)],
                doubtful=self._claim.doubtful,
            )
        self._told.clear()

    # --- prepare

    def _action(self, space: Space) -> Action:
        prepare = self._resolved.config.prepare
        return space.decide(
            fresh=self._fresh,
            force_overwrite=prepare is not None and prepare.force_overwrite,
            skip_verification=prepare is not None and prepare.skip_verification,
        )

    def _prepare(self, number: int, space: Space, agents: list[str]) -> list[Order]:
        if not space.sets:
            return self._orders(space, self._stage.index if self._stage is not None else 0, agents)
        action = self._action(space)
        if action in (Action.RESUME, Action.CONFIRM) and space.latest is not None:
            created = space.latest.total(ObjectState.CREATED)
            text = f"an unfinished prepare is resumed: {format_count(created)} objects were created before"
            if space.latest.record.slots != len(space.agents):
                text += f", by another number of agents ({space.latest.record.slots})"
            self._note(Level.INFO, text, "resumed")
            if not created:
                return self._deal(space, agents)
        if action is Action.BEGIN:
            space.begin()
            return self._deal(space, agents)
        return self._survey(number, space, agents, action)

    def _survey(self, number: int, space: Space, agents: list[str], action: Action) -> list[Order]:
        stage_index = self._stage.index if self._stage is not None else 0
        self._surveying[number] = agents[0]
        space.epoch += 1
        known = space.to_survey()
        order = pb.Assignment(
            stage_index=stage_index, epoch=space.epoch, survey=action.value, generation=known_to_proto(known)
        )
        # Nobody is through before it has been told what to do.
        for agent in agents:
            self._expected[stage_index, agent] = space.epoch + 1
        return [(agents[0], order)]

    def _surveyed(self, agent: str, message: pb.Surveyed) -> list[Order]:
        stage = self._stage
        number = next((n for n, who in self._surveying.items() if who == agent), None)
        if stage is None or number is None or message.stage_index != stage.index:
            return []
        del self._surveying[number]
        self._learn(number, message)
        space = self._spaces[number]
        return self._deal(space, [each for each in space.agents if each in stage.agents])

    def _learn(self, number: int, message: pb.Surveyed) -> None:
        """What the storage has, whoever has asked."""
        if message.begin:
            self._spaces[number].begin()
        else:
            self._spaces[number].surveyed(found_there(message))

    def _deal(self, space: Space, agents: Sequence[str]) -> list[Order]:
        if self._stage is None:
            return []
        space.assign(agents, TO_CREATE)
        return self._orders(space, self._stage.index, agents)

    # --- messages

    def _orders(self, space: Space, stage_index: int, agents: Iterable[str]) -> list[Order]:
        # Before the first stage agents are told how far their names are taken, in cleanup which ones to delete.
        pools = self._pools_of(space) if stage_index == READY or self._cleans(stage_index) else {}
        space.pools = pools if stage_index != READY else {}
        orders = [
            (agent, self._order(space, stage_index, agent, space.holdings.get(agent, ()), pools.get(agent, ())))
            for agent in agents
        ]
        if stage_index != READY:
            held = [pb.NamesHeld(agent=agent, names=order.names) for agent, order in orders if order.names]
            everyones = pb.Assignment(held=held)
            for _, order in orders:
                order.MergeFrom(everyones)
        return orders

    def _order(
        self,
        space: Space,
        stage_index: int,
        agent: str,
        holdings: tuple[Holding, ...],
        pools: Iterable[NamePool] = (),
        *,
        part_of: pb.HandedOver | None = None,
    ) -> pb.Assignment:
        self._expected[stage_index, agent] = space.epoch
        part = space.part(holdings)
        return pb.Assignment(
            stage_index=stage_index,
            epoch=space.epoch,
            generation=known_to_proto(part) if part is not None else None,
            names=names_to_rows({pool: space.names[pool] for pool in pools}),
            added=part_of is not None,
            handed_over=part_of,
        )

    def _pools_of(self, space: Space) -> dict[str, tuple[NamePool, ...]]:
        """Names that PUTs have taken, by the agent that has them: whose they are, or anybody if that one is not
        there."""
        stage = self._stage
        present = [agent for agent in space.agents if stage is None or agent in stage.agents]
        found: dict[str, tuple[NamePool, ...]] = {}
        for number, pool in enumerate(space.names):
            owner = self._agents[pool.slot] if pool.slot < len(self._agents) else ""
            if owner not in present:
                owner = present[number % len(present)]
            found[owner] = (*found.get(owner, ()), pool)
        return found

    def _changed(self, agent: str, changes: pb.StateChanges) -> None:
        if not self._spaces:
            self._heard.append((agent, pb.StateChanges.FromString(changes.SerializeToString())))
            return
        for space in self._spaces:
            if agent not in space.agents:
                continue
            known = space.latest
            same = known is not None and known.record.number == changes.generation
            try:
                slots = slots_from_proto(changes.states, known.record) if known is not None and same else {}
                names = names_from_rows(changes.names)
            except ValueError as error:
                logger.warning("agent %s reports states that cannot be: %s", agent, error)
                return
            space.name(names)
            space.changed(agent, changes.generation, slots)

    def _names_changed(self, space: Space, changes: pb.StateChanges) -> None:
        try:
            space.name(names_from_rows(changes.names))
        except ValueError as error:
            logger.warning("names that cannot be: %s", error)

    def _read(self, messages: Sequence[pb.GenerationStates]) -> Iterator[Known]:
        # Of two that are equal the later one counts, and agents put first what is newer.
        for message in reversed(messages):
            try:
                yield known_from_proto(message)
            except ValueError as error:
                self._note(Level.WARNING, f"what an agent knows of earlier runs cannot be used: {error}", "inventory")

    # --- the cache

    def _open(self) -> None:
        resolved = self._resolved
        sets = {each.set_id: each.count for each in resolved.sets if each.count}
        shared = resolved.shared
        owners = [self._agents] if shared else [(agent,) for agent in self._agents]
        directory = self._claim.take()
        objects = sum(sets.values())
        for agents in owners:
            place = SHARED_SPACE if shared else space_of_agent(resolved, agents[0])
            cache = self._cache(None if directory is None else directory / place, objects)
            self._caches.append(cache)
            self._spaces.append(Space(agents, sets, resolved.config.seed, cache))

    def _cache(self, directory: Path | None, objects: int) -> LayoutCache:
        if directory is not None and not self._broken:
            try:
                return LayoutCache.open(directory, objects)
            except ResourceError as error:
                self._warn(error)
        return LayoutCache.in_memory(directory or Path())

    def _look(self) -> None:
        """What is kept here is of use to a later run only: that it cannot be kept is told, and ends nothing."""
        if any(cache.failed for cache in self._caches):
            self._warn(ResourceError(f"the coordinator cache in {self._claim.directory} cannot be written"))

    def _warn(self, error: ResourceError) -> None:
        if not self._broken:
            self._broken = True
            text = f"the controller cannot keep what the fleet has done: {error.failure().sentence()}"
            self._note(Level.WARNING, text, "coordinator")
