"""The execute stage: the operation mix, for as long as the stage lasts."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sai3tui.agent.lease import (
    BYTES,
    LEASE_SIZE,
    TURNS,
    FleetPart,
    Lease,
    LeaseSource,
    MixJob,
    MixOp,
    MovableSource,
    SetSpec,
)
from sai3tui.agent.source import TAKE, StateSource, held
from sai3tui.agent.stages.base import StageContext, set_spec
from sai3tui.agent.stages.in_order import InOrder
from sai3tui.agent.stages.keyspaces import Directory
from sai3tui.agent.stages.listing import MAX_LISTED, find
from sai3tui.agent.stages.names import NameSource, new_names
from sai3tui.agent.stages.turns import TurnSource
from sai3tui.agent.stages.verify import can_tell
from sai3tui.config.model import EndpointPolicy, Fill, Popularity, fixed_size
from sai3tui.config.ops import Op
from sai3tui.config.resolved import OpSource, Resolved, ResolvedOp
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.events import Level, Objects
from sai3tui.state.generations import Generation
from sai3tui.state.names import NamePool
from sai3tui.workload.content import BLOCK_BYTES, STAMP
from sai3tui.workload.drawing import Draw
from sai3tui.workload.objects import ObjectSet
from sai3tui.workload.patterns import Selection
from sai3tui.workload.rng import combine, splitmix64
from sai3tui.workload.share import Paths

UNLIMITED_S = 366 * 86400.0
"""Of a stage that ends by what it has done, whenever that is."""
NAMES_AHEAD = 1024
"""New names that are leased at once: asking seldom saves CPU."""
ORDERED = (Popularity.SEQUENTIAL, Popularity.ONCE)
NAMES_PER_ENTRY = 65536


async def run(context: StageContext) -> None:
    """Raises StageError if an entry of the workload has nothing to work on, or too many operations failed."""
    setup = context.setup
    config = setup.config
    stage, resolved, agent = context.stage, setup.resolved, setup.agent
    mix = _Mix(context)
    # What PUT and MKDIR make comes first: others may take it.
    for op in sorted(resolved.ops_of(stage), key=lambda op: op.source is not OpSource.NEW):
        if op.weight:
            first = len(mix.ops)
            await mix.add(op)
            mix.ops[first:] = [_with_manner(each, op, resolved) for each in mix.ops[first:]]
    context.progress.parts.append(mix.objects)
    turns, until_bytes = _ends(context)
    job = MixJob(
        ops=tuple(mix.ops),
        sets=tuple(mix.sets.values()),
        duration=UNLIMITED_S if stage.duration is None else stage.duration,
        seed=combine(config.seed, context.index, agent.index),
        lease_size=max(LEASE_SIZE, *(op.delete_many for op in mix.ops)),
        start_ns=context.start_monotonic_ns,
        io_rate=config.io_rate if stage.io_rate is None else stage.io_rate,
        fleet=FleetPart(
            resolved.connections_before(stage, agent.index),
            resolved.connections_before(stage, len(resolved.agents)),
            combine(config.seed, context.index),
            agent.index,
            len(resolved.agents),
        ),
        strategy=agent.strategy,
        retry=context.retry(always=False),
        max_errors=config.error_handling.max_total_errors,
        brake=context.brake,
        turns=turns,
        until_bytes=until_bytes,
        connections=context.connections,
        rests=agent.policy is EndpointPolicy.TOLERANT,
    )
    if turns is not None:
        mix.source.add(TURNS, TurnSource(TURNS, turns))
    if until_bytes is not None:
        mix.source.add(BYTES, TurnSource(BYTES, job.byte_turns))
    try:
        await context.run_job(job, mix.source)
    finally:
        await mix.settle()


def _ends(context: StageContext) -> tuple[int | None, int | None]:
    """This agent's part of the operations, and of the bytes, after which the stage ends."""
    stage, resolved, agent = context.stage, context.setup.resolved, context.setup.agent.index
    until = stage.until
    if until is None:
        return None, None
    operations = None if until.operations is None else resolved.share_of(until.operations, stage, agent)
    return operations, None if until.bytes is None else resolved.share_of(until.bytes, stage, agent)


def _with_manner(each: MixOp, op: ResolvedOp, resolved: Resolved) -> MixOp:
    """How the operations of an entry are done."""
    engine = resolved.config.range_engine
    split = None
    # A range alone may not tell which write of an object that is overwritten it comes from.
    whole = each.verify and any(set_id in resolved.overwritten for set_id in op.set_ids)
    if engine is not None and op.op is Op.GET and op.read_range is None and not whole:
        split = (engine.chunk_size, max(engine.min_split_size, engine.chunk_size + 1), engine.max_concurrent_ranges)
    return replace(
        each,
        concurrency=op.concurrency,
        group=op.number,
        io_rate=op.io_rate,
        read_range=op.read_range,
        split=split,
        part_size=op.part_size,
        delete_many=op.delete_many,
    )


def _draws(selection: Selection, homes: int, like: Draw, keep: Callable[[int], bool] | None) -> tuple[Draw, ...]:
    """What to choose from, otherwise as `like` says: one draw for all endpoints, or one for each of `homes` that have
    objects of their own. `keep` leaves out indices where not all of a set are meant."""
    count = len(selection)
    if selection.covers_all:
        return tuple(replace(like, first=home, step=homes, count=-(-(count - home) // homes)) for home in range(homes))
    if count <= MAX_LISTED:
        indices = [selection.nth(place) for place in range(count)]
    else:
        # Too many to name: a sample of them stands for all.
        indices = sorted(selection.draw(splitmix64(number)) for number in range(MAX_LISTED // 10))
    if keep is not None:
        indices = [index for index in indices if keep(index)]
    parts = [array("Q", [index for index in indices if index % homes == home]) for home in range(homes)]
    return tuple(replace(like, count=len(part), listed=part.tobytes(), halves=0) for part in parts)


@dataclass(slots=True)
class _Sources:
    """One `LeaseSource` for each set that has leases; their lease numbers are told apart by the set's place."""

    by_set: dict[int, LeaseSource] = field(default_factory=dict)
    _order: list[LeaseSource] = field(default_factory=list)

    def add(self, set_id: int, source: LeaseSource) -> None:
        self.by_set[set_id] = source
        self._order.append(source)

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        source = self.by_set.get(-1 if set_id is None else set_id)
        if source is None:
            return None
        lease = await source.grant(endpoint, want, set_id)
        if lease is None or set_id is None:
            return None
        number = lease.lease_id * len(self._order) + self._order.index(source) if lease.lease_id else 0
        return _renamed(lease, number, set_id)

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        number, place = divmod(lease_id, len(self._order))
        self._order[place].finished(number, done, failed)

    def unused(self, lease_id: int, count: int) -> None:
        number, place = divmod(lease_id, len(self._order))
        self._order[place].unused(number, count)

    def taken_out(self, endpoint: int, *, out: bool) -> None:
        for source in self._order:
            if isinstance(source, MovableSource):
                source.taken_out(endpoint, out=out)

    def lost(self, lease_id: int) -> None:
        number, place = divmod(lease_id, len(self._order))
        self._order[place].lost(number)


def _renamed(lease: Lease, number: int, set_id: int) -> Lease:
    return Lease(
        number,
        set_id,
        lease.generation,
        lease.slot,
        lease.slots,
        lease.endpoint,
        lease.first_k,
        lease.count,
        lease.stride,
        lease.epoch,
        lease.explicit,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The objects of a set that one DELETE entry takes: those that match and that no earlier entry has. `leased` is
    the number of the set that its leases name."""

    pattern: str
    leased: int
    selection: Selection
    earlier: tuple[_Part, ...] = ()
    halves: int = 0

    @property
    def whole(self) -> bool:
        """Whether it has all objects of the set."""
        return self.selection.covers_all and not self.earlier and not self.halves

    def __contains__(self, index: object) -> bool:
        if not isinstance(index, int) or index not in self.selection:
            return False
        if self.halves and index // self.halves % 2 == 0:
            return False
        return not any(index in part.selection for part in self.earlier)


class _Mix:
    """Collects what workers need to know about each entry of the workload."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self.ops: list[MixOp] = []
        self.sets: dict[int, SetSpec] = {each.set_id: set_spec(each) for each in context.setup.sets}
        self.source = _Sources()
        self._names: list[NameSource] = []
        self._deletes: list[StateSource] = []
        self._parts: dict[int, list[_Part]] = {}
        self._new_sets: dict[int, int] = {}
        """The sets of new objects by the numbers of their entries."""
        self._selections: dict[tuple[str, int], Selection] = {}
        self._blocks: dict[int, int] = {}
        self._mkdirs: dict[str, int] = {}
        """By the path of a MKDIR, the set of its directories."""
        self._next_set = len(self.sets)

    def objects(self) -> Objects:
        """New objects made and old ones deleted."""
        done = sum(names.done for names in self._names) + sum(source.done for source in self._deletes)
        return Objects(done=done, failed=sum(source.failed for source in self._deletes))

    async def settle(self) -> None:
        """The workers are idle: put on record how far they got."""
        for names in self._names:
            await names.settle()
        await self._context.cache.flush()

    async def add(self, op: ResolvedOp) -> None:
        match op.source:
            case OpSource.NEW:
                await self._add_new(op)
            case OpSource.PREFIX:
                set_id = self._add_set(SetSpec(self._next_set, Directory(op.pattern)))
                self.ops.append(MixOp(op.op, op.weight, set_id, (Draw(0, 1, 1),), recursive=op.recursive))
            case OpSource.LISTED:
                await self._add_listed(op)
            case OpSource.MADE:
                self._add_made(op)
            case OpSource.SETS if op.op is Op.DELETE:
                self._add_deletes(op)
            case OpSource.SETS:
                self._add_existing(op)
                self._add_fresh(op, 0.0)

    def _add_set(self, spec: SetSpec) -> int:
        self.sets[spec.set_id] = spec
        self._next_set = spec.set_id + 1
        return spec.set_id

    async def _add_new(self, op: ResolvedOp) -> None:
        setup = self._context.setup
        pool = NamePool(
            op.pattern,
            setup.config.seed,
            self._context.index * NAMES_PER_ENTRY + op.number,
            setup.agent.index,
            setup.resolved.shards,
            1 if setup.resolved.shared else len(setup.endpoints),
            directories=op.op is Op.MKDIR,
        )
        names = new_names(pool, op.size or fixed_size(0))
        set_id = self._add_set(SetSpec(self._next_set, names, op.content, combine(setup.config.seed, pool.stage)))
        taken = self._context.cache.reserved().get(pool)
        source = NameSource(self._context.cache, pool, set_id, taken)
        self._names.append(source)
        self.source.add(set_id, source)
        self._new_sets[op.number] = set_id
        ahead = min(64, NAMES_AHEAD // setup.agent.concurrency)
        self.ops.append(MixOp(op.op, op.weight, set_id, leased=True, ahead=ahead))
        if op.op is Op.MKDIR:
            self._mkdirs[op.pattern] = set_id

    def _add_made(self, op: ResolvedOp) -> None:
        set_id = self._mkdirs[op.pattern]
        self.ops.append(MixOp(op.op, op.weight, set_id, made=True, recursive=op.recursive))

    def _add_fresh(self, op: ResolvedOp, weight: float) -> None:
        """What PUTs of the stage make is read too; `weight` is what no other entry of the operation has."""
        resolved = self._context.setup.resolved
        verify = op.op is Op.GET and (resolved.config.verify or op.verify)
        for number in op.fresh:
            set_id = self._new_sets[number]
            apart = not resolved.shared
            self.ops.append(MixOp(op.op, weight, set_id, verify=verify, fresh=True, apart=apart))
            weight = 0.0

    def _add_existing(self, op: ResolvedOp) -> None:
        """Every object that matches is as likely as the others, whichever set it is of."""
        setup = self._context.setup
        chosen = [(set_id, self._selection(op.pattern, set_id)) for set_id in op.set_ids]
        total = sum(len(selection) for _, selection in chosen)
        if not total:
            raise self._nothing(op)
        # In a shared namespace any endpoint serves any object.
        homes = 1 if setup.resolved.shared else len(setup.endpoints)
        latest = self._context.cache.latest
        generation = latest.number if latest is not None else 0
        verified = op.op is Op.GET and (setup.config.verify or op.verify) and latest is not None
        for set_id, selection in chosen:
            if not len(selection):
                continue
            objects = setup.sets[set_id]
            halves = self._halves(set_id)
            like = Draw(
                popularity=op.popularity,
                zipf_exponent=op.zipf_exponent,
                paths=self._paths(objects),
                halves=halves,
            )
            keep = (lambda index, halves=halves: index // halves % 2 == 0) if halves else None
            draws = _draws(selection, homes, like, keep)
            weight = op.weight * len(selection) / total
            verify = verified and self._tells(objects, op)
            population = len(selection) // 2 if halves else len(selection)
            made = MixOp(op.op, weight, set_id, draws, generation=generation, verify=verify, population=population)
            if op.popularity in ORDERED:
                named = self._add_set(replace(self.sets[set_id], set_id=self._next_set))
                self.source.add(named, InOrder(named, draws, once=op.popularity is Popularity.ONCE))
                made = replace(made, set_id=named, draws=(), leased=True)
            self.ops.append(made)

    def _paths(self, objects: ObjectSet | None) -> Paths | None:
        """How this agent chooses among the objects of all agents; None where they are all its own."""
        resolved = self._context.setup.resolved
        if not resolved.shared or len(resolved.agents) < 2:
            return None
        fleet = resolved.config.distributed
        group = 1
        if objects is not None and objects.tree is not None:
            group = max(1, objects.tree.shape.files_per_dir)
        agent = self._context.setup.agent.index
        return Paths(fleet.path_selection, agent, len(resolved.agents), group, fleet.partition_overlap)

    def _halves(self, set_id: int) -> int:
        """Blocks of so many indices of the set are by turns for reads and for deletes, so that every slot has objects
        at every endpoint in both halves; 0: it is not divided."""
        if set_id not in self._blocks:
            self._blocks[set_id] = self._blocks_of(set_id)
        return self._blocks[set_id]

    def _blocks_of(self, set_id: int) -> int:
        setup = self._context.setup
        if set_id not in setup.resolved.divided:
            return 0
        ops = [op for op in setup.resolved.ops if op.weight and set_id in op.set_ids]
        deleted = [self._selection(op.pattern, set_id) for op in ops if op.op is Op.DELETE]
        used = [self._selection(op.pattern, set_id) for op in ops if op.op is not Op.DELETE]
        if not any(one.meets(other) for one in deleted for other in used):
            return 0
        endpoints = max(len(agent.endpoints) for agent in setup.resolved.agents)
        return max(1, min(setup.slots * endpoints, setup.sets[set_id].count // 2))

    def _selection(self, pattern: str, set_id: int) -> Selection:
        """The objects of a set that match, looked for once."""
        found = self._selections.get((pattern, set_id))
        if found is None:
            found = self._selections[pattern, set_id] = Selection(pattern, self._context.setup.sets[set_id])
        return found

    def _tells(self, objects: ObjectSet, op: ResolvedOp) -> bool:
        """Whether what is read from the set can be compared. Says so if not."""
        if not can_tell(self._context, objects):
            return False
        part = op.read_range
        stamped = objects.content.fill is not Fill.ZERO and objects.content.dedup_factor <= 1
        if part is None or not stamped or objects.set_id not in self._context.setup.resolved.overwritten:
            return True
        if part.align % BLOCK_BYTES or part.size < STAMP.size:
            text = "parts of objects that are overwritten are verified only if range.align is a multiple of 4 KiB"
            self._context.note(Level.WARNING, text, "not-verified")
            return False
        return True

    def _add_deletes(self, op: ResolvedOp) -> None:
        """DELETE takes objects that this agent holds, each once; what two entries match is the first one's."""
        record = self._context.cache.latest
        if record is None:
            raise self._nothing(op)
        first = len(self.ops)
        for set_id in op.set_ids:
            known = self._parts.setdefault(set_id, [])
            leased = next((part.leased for part in known if part.pattern == op.pattern), None)
            if leased is None:
                selection = self._selection(op.pattern, set_id)
                if not len(selection):
                    continue
                # Leases of two entries are told apart by the number of their set.
                leased = self._add_set(replace(self.sets[set_id], set_id=self._next_set)) if known else set_id
                part = _Part(op.pattern, leased, selection, tuple(known), self._halves(set_id))
                known.append(part)
                source = self._delete_source(record, set_id, None if part.whole else part)
                self._deletes.append(source)
                self.source.add(leased, source)
            self.ops.append(MixOp(op.op, op.weight, leased, leased=True))
        if len(self.ops) == first:
            raise self._nothing(op)

    def _delete_source(self, record: Generation, set_id: int, only: _Part | None) -> StateSource:
        cache, setup = self._context.cache, self._context.setup
        mine = [each for each in record.holdings if each.set_id == set_id]
        return StateSource(cache, record, held(cache, record, mine, setup.sets), len(setup.endpoints), TAKE, only)

    async def _add_listed(self, op: ResolvedOp) -> None:
        """Objects that exist already; each of them once where they are deleted, or asked for so."""
        found = await find(self._context, op, self._context.setup.resolved.ops)
        self._add_fresh(op, 0.0 if len(found) else op.weight)
        if not len(found):
            if op.fresh:
                return
            raise self._nothing(op)
        if op.op is Op.GET and (self._context.setup.config.verify or op.verify):
            text = f"what get {op.pattern!r} reads was not made by this configuration: it is not verified"
            self._context.note(Level.WARNING, text, "not-verified")
        deletes = op.op is Op.DELETE
        like = Draw(
            popularity=op.popularity,
            zipf_exponent=op.zipf_exponent,
            paths=None if deletes else self._paths(None),
        )
        draws = tuple(replace(like, count=len(part), listed=part.astype(np.uint64).tobytes()) for part in found.places)
        set_id = self._add_set(SetSpec(self._next_set, found.manifest))
        made = MixOp(op.op, op.weight, set_id, draws, population=len(found))
        if deletes or op.popularity in ORDERED:
            self.source.add(set_id, InOrder(set_id, draws, once=deletes or op.popularity is Popularity.ONCE))
            made = replace(made, draws=(), leased=True)
        self.ops.append(made)

    def _nothing(self, op: ResolvedOp) -> Exception:
        endpoint = self._context.setup.endpoints[0].uri
        return self._context.failed(
            Failure(
                ErrorKind.NOT_FOUND,
                f"there is nothing that {op.op.word} {op.pattern!r} could work on",
                context=ErrorContext(uri=endpoint + op.pattern, endpoint=endpoint, op=op.op.word),
                hint="add a prepare stage that makes it, or correct the path",
            )
        )
