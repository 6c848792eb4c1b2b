"""A mix in which what PUTs have made is read too (`dynamic_put_pool`)."""

from __future__ import annotations

from random import Random
from time import monotonic_ns

from sai3tui.agent.lease import MixJob
from sai3tui.agent.worker.driver import WorkerContext
from sai3tui.agent.worker.lane import Lane
from sai3tui.agent.worker.messages import StartStage
from sai3tui.agent.worker.mix import MixDriver
from sai3tui.agent.worker.streams import Stream
from sai3tui.config.ops import Op
from sai3tui.storage.engine import OK, Connection
from sai3tui.workload.rng import combine

KEPT = 65536
"""So many of the newest objects of an entry can be read by a worker."""


class Ring:
    """The newest objects that a worker has put, by their indices. Draws among them like a `Drawer`."""

    __slots__ = ("_indices", "_random", "made")

    def __init__(self, seed: int) -> None:
        self._indices: list[int] = []
        self._random = Random(seed)
        self.made = 0
        """All that were ever added."""

    def add(self, index: int) -> None:
        if len(self._indices) < KEPT:
            self._indices.append(index)
        else:
            self._indices[self.made % KEPT] = index
        self.made += 1

    def next(self) -> int | None:
        indices = self._indices
        return indices[int(self._random.random() * len(indices))] if indices else None


class FreshMixDriver(MixDriver):
    """Reads what its own PUTs have made with the likelihood that new objects have among all, which it looks at several
    times a second. In independent namespaces a new object is read where it was put."""

    def __init__(self, start: StartStage, context: WorkerContext, job: MixJob) -> None:
        super().__init__(start, context, job)
        self._rings: dict[int, list[Ring]] = {}
        self._shares: list[tuple[Stream, list[int], float]] = []
        endpoints = 1 + max((lane.endpoint for lane in context.lanes), default=0)
        groups: dict[int, list[int]] = {}
        for number, op in enumerate(job.ops):
            groups.setdefault(op.group, []).append(number)
            if op.fresh:
                homes = endpoints if op.apart else 1
                if op.set_id not in self._rings:
                    seed = combine(job.seed, start.stage, context.number, op.set_id)
                    self._rings[op.set_id] = [Ring(combine(seed, home)) for home in range(homes)]
                self._entries[number].drawers = list(self._rings[op.set_id])
        for numbers in groups.values():
            if any(job.ops[number].fresh for number in numbers):
                weight = sum(self._entries[number].weight for number in numbers)
                self._shares.append((self._stream_of(numbers[0]), numbers, weight))
        self._seen = -1

    def on_done(self, connection: Connection, status: int, size: int, t0: int, t_first: int, t_last: int) -> None:
        request = connection.request
        if status == OK and request is not None and request.op is Op.PUT:
            self._remember(self._lanes[request.tag])
        super().on_done(connection, status, size, t0, t_first, t_last)

    def _remember(self, lane: Lane) -> None:
        """The lane has put a new object."""
        rings = self._rings.get(self._entries[lane.entry].runtime.set_id)
        if rings is not None:
            rings[lane.endpoint if len(rings) > 1 else 0].add(lane.index)

    def tick(self) -> None:
        super().tick()
        made = sum(ring.made for rings in self._rings.values() for ring in rings)
        if made != self._seen and not self._stopping:
            self._seen = made
            self._weigh()

    def _weigh(self) -> None:
        """Give every entry of a group the likelihood of its objects."""
        for stream, numbers, weight in self._shares:
            counts = [self._objects_of(number) for number in numbers]
            total = sum(counts)
            if not total:
                continue
            was_empty = stream.mix.empty
            for number, count in zip(numbers, counts, strict=True):
                self._entries[number].weight = weight * count / total
                stream.restore(number, weight * count / total)
            if was_empty:
                stream.skip(monotonic_ns())
                self._wake(None)

    def _objects_of(self, number: int) -> int:
        """How many objects an entry is about. What this worker has made stands for what all workers have."""
        op = self._job.ops[number]
        if not op.fresh:
            return op.population
        return sum(ring.made for ring in self._rings[op.set_id]) * self._context.workers
