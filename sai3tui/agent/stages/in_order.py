"""Objects one after the other, once or round and round: leases that nobody has to report on."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from sai3tui.agent.lease import Lease
from sai3tui.config.model import PathSelection
from sai3tui.errors import Failure
from sai3tui.workload.drawing import Draw, Population, read_half
from sai3tui.workload.popularity import Places
from sai3tui.workload.share import Paths

SCANNED = 4096
"""Objects looked at at once where only some of them are to be handed out."""


class InOrder:
    """A `LeaseSource` over the objects of one draw for each of the `homes` that have objects of their own, or over one
    draw for all endpoints. Of a draw with `paths` it hands out the agent's share, whatever the path selection: all
    agents together have each object once.

    With `once` it has nothing left when all are handed out, otherwise it begins again. What a worker had that died is
    not handed out again.
    """

    def __init__(self, set_id: int, draws: Sequence[Draw], *, once: bool) -> None:
        self._set_id = set_id
        self._walks = [_Walk(draw, once=once) for draw in draws]

    async def grant(self, endpoint: int, want: int, set_id: int | None = None) -> Lease | None:
        del set_id
        walk = self._walks[endpoint] if len(self._walks) > 1 else self._walks[0]
        indices = walk.take(want)
        if not len(indices):
            return None
        explicit = indices.astype(np.uint64).tobytes()
        return Lease(0, self._set_id, 0, 0, 1, endpoint, 0, len(indices), explicit=explicit)

    def finished(self, lease_id: int, done: array[int], failed: Sequence[tuple[int, Failure]]) -> None:
        """Nobody reports."""

    def unused(self, lease_id: int, count: int) -> None:
        """Nobody reports."""

    def lost(self, lease_id: int) -> None:
        """Nobody reports."""


class _Walk:
    """Goes through the objects of one draw."""

    def __init__(self, draw: Draw, *, once: bool) -> None:
        paths = draw.paths
        if paths is not None and paths.selection is PathSelection.RANDOM:
            # Nobody has objects of its own then, but each is somebody's turn.
            paths = Paths(PathSelection.EXCLUSIVE, paths.agent, paths.agents)
        self._population = Population(Draw(draw.first, draw.step, draw.count, draw.listed, paths=paths))
        self._own = paths is not None
        self._halves = draw.halves
        self._count = self._population.own_count if self._own else self._population.count
        self._once = once
        self._next = 0

    def take(self, want: int) -> Places:
        """At most `want` indices; none if there is nothing left."""
        looked_at = 0
        while self._next < self._count or not self._once:
            if looked_at > self._count:
                break
            if self._next >= self._count:
                self._next = 0
                if not self._count:
                    break
            end = min(self._count, self._next + (SCANNED if self._halves else want))
            places = np.arange(self._next, end, dtype=np.int64)
            population = self._population
            found = population.own_indices(places) if self._own else population.indices(places)
            looked_at += len(found)
            if self._halves:
                kept = np.flatnonzero(read_half(found, self._halves))[:want]
                self._next += int(kept[-1]) + 1 if len(kept) else len(found)
                found = found[kept]
            else:
                self._next = end
            if len(found):
                return found
        return np.empty(0, dtype=np.int64)
