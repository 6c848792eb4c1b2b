"""What workers need to know about each entry of a workload: what it works on, and where that comes from."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from sai3tui.agent.lease import (
    MixOp,
    SetSpec,
)
from sai3tui.agent.source import TAKE, StateSource, deletes_ahead, held
from sai3tui.agent.stages.base import StageContext, set_spec
from sai3tui.agent.stages.draws import draws_of
from sai3tui.agent.stages.in_order import InOrder
from sai3tui.agent.stages.keyspaces import Directory
from sai3tui.agent.stages.listing import find
from sai3tui.agent.stages.mix_sources import Part, Sources
from sai3tui.agent.stages.names import NameSource, new_names
from sai3tui.agent.stages.verify import can_tell
from sai3tui.config.model import Fill, Popularity, fixed_size
from sai3tui.config.ops import Op
from sai3tui.config.resolved import OpSource, ResolvedOp
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.events import Level, Objects
from sai3tui.state.generations import Generation
from sai3tui.state.names import NamePool
from sai3tui.workload.content import BLOCK_BYTES, STAMP
from sai3tui.workload.drawing import Draw
from sai3tui.workload.objects import ObjectSet
from sai3tui.workload.patterns import Selection
from sai3tui.workload.rng import combine
from sai3tui.workload.share import Paths

NAMES_AHEAD = 1024
"""New names that are leased at once: asking seldom saves CPU."""
ORDERED = (Popularity.SEQUENTIAL, Popularity.ONCE)
NAMES_PER_ENTRY = 65536


class Mix:
    """Collects what workers need to know about each entry of the workload."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self.ops: list[MixOp] = []
        self.sets: dict[int, SetSpec] = {each.set_id: set_spec(each) for each in context.setup.sets}
        self.source = Sources()
        self._names: list[NameSource] = []
        self._deletes: list[StateSource] = []
        self._parts: dict[int, list[Part]] = {}
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

    async def get_ready(self) -> None:
        """Put on record what the first operations need, so that none of them waits for the disk."""
        await asyncio.gather(*(names.reserve() for names in self._names))

    async def settle(self) -> None:
        """The workers are idle: put on record how far they got."""
        for names in self._names:
            await names.settle()
        for source in self._deletes:
            source.settle()
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
            draws = draws_of(selection, homes, like, keep)
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
                part = Part(op.pattern, leased, selection, tuple(known), self._halves(set_id))
                known.append(part)
                source = self._delete_source(record, set_id, None if part.whole else part)
                self._deletes.append(source)
                self.source.add(leased, source)
            self.ops.append(MixOp(op.op, op.weight, leased, leased=True))
        if len(self.ops) == first:
            raise self._nothing(op)

    def _delete_source(self, record: Generation, set_id: int, only: Part | None) -> StateSource:
        cache, setup = self._context.cache, self._context.setup
        mine = [each for each in record.holdings if each.set_id == set_id]
        endpoints = len(setup.endpoints)
        ahead = deletes_ahead(setup.sets[set_id].count, endpoints * len(setup.resolved.agents))
        return StateSource(cache, record, held(cache, record, mine, setup.sets), endpoints, TAKE, only, ahead=ahead)

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
