"""Which object comes next: drawn in batches, so that one draw costs a list's pop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.model import DEFAULT_ZIPF_EXPONENT, PathSelection, Popularity
from sai3tui.workload.popularity import Chooser, Places
from sai3tui.workload.share import Paths, Share

BATCH = 1024
MAX_TRIES = 64
"""So many batches without an object that may be drawn mean that there is none; and so often an object that belongs to
others is drawn again, until it does."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What to choose among: the objects first + j * step, j from 0 to count - 1, or those of `listed` (the bytes of an
    ascending array('Q')).

    `popularity` is UNIFORM or ZIPF; those that go through the objects in order come by leases. `paths` prefers the
    agent's own objects. `halves`, unless 0: blocks of so many indices are by turns for those who read and for those who
    delete, and this is one who reads.
    """

    first: int = 0
    step: int = 1
    count: int = 0
    listed: bytes = b""
    popularity: Popularity = Popularity.UNIFORM
    zipf_exponent: float = DEFAULT_ZIPF_EXPONENT
    paths: Paths | None = None
    halves: int = 0


def read_half(indices: Places, halves: int) -> NDArray[np.bool_]:
    """Which of these indices are for those who read, where blocks of `halves` are for reads and deletes by turns."""
    return np.equal(indices // halves % 2, 0)


class Drawing(Protocol):
    """Draws one object after another."""

    def next(self) -> int | None:
        """The index of the next object; None if there is none."""
        ...


class Population:
    """The objects of a `Draw` by their place, and those that the agent calls its own."""

    __slots__ = ("_first", "_listed", "_own", "_share", "_step", "count", "own_count")

    def __init__(self, draw: Draw) -> None:
        self._first = draw.first
        self._step = draw.step
        self._listed = np.frombuffer(draw.listed, dtype=np.uint64).astype(np.int64) if draw.listed else None
        self.count = draw.count if self._listed is None else len(self._listed)
        paths = draw.paths
        self._own: Places | None = None
        self._share: Share | None = None
        self.own_count = 0
        if paths is None or paths.selection is PathSelection.RANDOM:
            return
        if self._listed is not None:
            self._own = self._listed[paths.owned(self._listed)]
            self.own_count = len(self._own)
        else:
            self._share = Share(self.count, paths.agent, paths.agents, paths.group)
            self.own_count = len(self._share)

    def indices(self, places: Places) -> Places:
        """The indices of the objects at these places."""
        if self._listed is not None:
            return self._listed[places]
        return places * self._step + self._first

    def own_indices(self, places: Places) -> Places:
        """The indices of the agent's own objects at these places of its own."""
        if self._share is not None:
            return self._share.indices(places) * self._step + self._first
        assert self._own is not None
        return self._own[places]


class Drawer:
    """Draws objects of a `Draw`, for one worker.

    RANDOM draws among all; EXCLUSIVE among the agent's own; PARTITIONED among its own, but with probability `overlap`
    among all; WEIGHTED among its own with probability 1 - `overlap`, else among those of the others. An agent without
    objects of its own draws among all.
    """

    __slots__ = ("_all", "_drawn", "_expect", "_halves", "_leave", "_others", "_own", "_population", "_random")

    def __init__(self, draw: Draw, seed: int, expect: Callable[[Places], None] | None = None) -> None:
        """`expect` is told of every batch of objects that is drawn."""
        self._expect = expect
        population = self._population = Population(draw)
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._halves = draw.halves
        self._drawn: list[int] = []
        self._all = self._own = None
        self._leave, self._others = 1.0, None
        if not population.count:
            return
        self._all = Chooser(population.count, draw.popularity, draw.zipf_exponent)
        if population.own_count and draw.paths is not None:
            self._own = Chooser(population.own_count, draw.popularity, draw.zipf_exponent)
            self._leave = draw.paths.leave
            if draw.paths.selection is PathSelection.WEIGHTED and population.own_count < population.count:
                self._others = draw.paths

    def next(self) -> int | None:
        """The index of the next object; None if there is none."""
        if not self._drawn:
            self._refill()
            if not self._drawn:
                return None
        return self._drawn.pop()

    def _refill(self) -> None:
        if self._all is None:
            return
        for _ in range(MAX_TRIES):
            drawn = self._draw(self._all)
            if self._halves:
                drawn = drawn[read_half(drawn, self._halves)]
            if len(drawn):
                self._drawn = drawn.tolist()
                if self._expect is not None:
                    self._expect(drawn)
                return

    def _draw(self, everything: Chooser) -> Places:
        own = self._own
        if own is None or self._leave >= 1.0:
            return self._beyond(everything, BATCH)
        drawn = self._population.own_indices(own.choose(self._random, BATCH))
        leaving = self._random.random(BATCH) < self._leave
        if leaving.any():
            drawn[leaving] = self._beyond(everything, int(leaving.sum()))
        return drawn

    def _beyond(self, everything: Chooser, number: int) -> Places:
        drawn = self._population.indices(everything.choose(self._random, number))
        if self._others is None:
            return drawn
        for _ in range(MAX_TRIES):
            again = np.flatnonzero(self._others.owned(drawn))
            if not len(again):
                break
            drawn[again] = self._population.indices(everything.choose(self._random, len(again)))
        return drawn
