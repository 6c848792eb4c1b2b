"""How large object i is: a function of the object set's seed and i alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from sai3tui.config.model import SizeKind, SizeSpec
from sai3tui.workload.exact import exp, exp_array, log, normal_quantile, normal_quantile_array
from sai3tui.workload.rng import (
    MASK,
    U64,
    below,
    below_array,
    combine,
    extend_array,
    splitmix64,
    splitmix64_array,
    uniform,
    uniform_array,
)

I64 = NDArray[np.int64]

MAX_TRIES = 100
"""So often a lognormal size outside its bounds is drawn again before it is clamped."""
FEW = 16
"""For fewer sizes, one by one is faster than all at once."""
LARGEST = 2**62
BLOCK = 256
"""So many sizes are drawn together where neighbours are asked for."""
_BLOCK_BITS = BLOCK.bit_length() - 1
_BLOCKS_KEPT = 32
_MAX_EXPONENT = 60.0


class Sizes:
    """The sizes of one object set, in bytes. Needs no memory per object.

    `size(i)` for one index, `sizes(array)` for many (the same numbers), `mean` is expected over all indices. Two
    indices asked for in a row that are neighbours bring their whole block, of which some are kept: the same numbers
    for a tenth of the time.
    """

    __slots__ = ("_blocks", "_edges", "_last", "_mu", "_one", "_same", "_sigma", "_sizes", "_state", "mean", "spec")

    def __init__(self, spec: SizeSpec, seed: int) -> None:
        self.spec = spec
        self._state = combine(seed)
        """What the hash of every index begins with."""
        self._mu = self._sigma = 0.0
        self._one: Callable[[int], int]
        self._same = -1
        """The size of all objects, if they have one."""
        self._blocks: dict[int, list[int]] = {}
        self._last = -1
        """The block of the last index that was in none of them."""
        self._sizes = np.empty(0, dtype=np.int64)
        self._edges = np.empty(0, dtype=np.uint64)
        match spec.kind:
            case SizeKind.FIXED:
                self._one = self._fixed
                self._same = spec.minimum
                self.mean = float(spec.minimum)
            case SizeKind.UNIFORM:
                self._one = self._uniform
                self.mean = (spec.minimum + spec.maximum) / 2
            case SizeKind.LOGNORMAL:
                variation = spec.std_dev / spec.mean
                variance = log(1.0 + variation * variation)
                self._sigma = math.sqrt(variance)
                self._mu = log(float(spec.mean)) - variance / 2.0
                self._one = self._lognormal
                self.mean = self._truncated_mean()
            case SizeKind.WEIGHTED:
                self._one = self._weighted
                self._sizes = np.array([size for size, _ in spec.weighted], dtype=np.int64)
                edges = list(accumulate(weight for _, weight in spec.weighted))
                self._edges = np.array(edges, dtype=np.uint64)
                self.mean = sum(size * weight for size, weight in spec.weighted) / edges[-1]

    def size(self, index: int) -> int:
        if self._same >= 0:
            return self._same
        block = self._blocks.get(index >> _BLOCK_BITS)
        return block[index & BLOCK - 1] if block is not None else self._alone(index)

    def _alone(self, index: int) -> int:
        number = index >> _BLOCK_BITS
        if number != self._last:
            self._last = number
            return self._one(index)
        blocks = dict(self._blocks)
        if len(blocks) >= _BLOCKS_KEPT:
            del blocks[next(iter(blocks))]
        first = number << _BLOCK_BITS
        blocks[number] = self.sizes(np.arange(first, first + BLOCK, dtype=np.uint64)).tolist()
        # Threads share this.
        self._blocks = blocks
        return blocks[number][index - first]

    def sizes(self, indices: U64) -> I64:
        """The sizes of many objects at once."""
        match self.spec.kind:
            case SizeKind.FIXED:
                return np.full(len(indices), self.spec.minimum, dtype=np.int64)
            case SizeKind.UNIFORM:
                bits = extend_array(self._state, indices)
                drawn = below_array(bits, self.spec.maximum - self.spec.minimum + 1)
                return drawn.astype(np.int64) + self.spec.minimum
            case SizeKind.LOGNORMAL:
                return self._lognormal_array(indices)
            case SizeKind.WEIGHTED:
                drawn = below_array(extend_array(self._state, indices), int(self._edges[-1]))
                sizes: I64 = self._sizes[np.searchsorted(self._edges, drawn, side="right")]
                return sizes

    @property
    def maximum(self) -> int:
        """No object is larger."""
        return self.spec.maximum or LARGEST

    def _fixed(self, index: int) -> int:
        return self.spec.minimum

    def _uniform(self, index: int) -> int:
        low = self.spec.minimum
        return low + below(splitmix64(self._state ^ (index & MASK)), self.spec.maximum - low + 1)

    def _weighted(self, index: int) -> int:
        point = below(splitmix64(self._state ^ (index & MASK)), int(self._edges[-1]))
        return int(self._sizes[int(np.searchsorted(self._edges, np.uint64(point), side="right"))])

    def _lognormal(self, index: int) -> int:
        low, high = self.spec.minimum, self.maximum
        state = splitmix64(self._state ^ (index & MASK))
        size = 0
        for attempt in range(MAX_TRIES):
            normal = normal_quantile(uniform(splitmix64(state ^ attempt)))
            size = math.floor(exp(min(self._mu + self._sigma * normal, _MAX_EXPONENT)) + 0.5)
            size = min(size, LARGEST)
            if low <= size <= high:
                return size
        return min(max(size, low), high)

    def _lognormal_array(self, indices: U64) -> I64:
        low, high = self.spec.minimum, self.maximum
        states = extend_array(self._state, indices)
        result = np.empty(len(indices), dtype=np.int64)
        open_places = np.arange(len(indices))
        for attempt in range(MAX_TRIES):
            normal = normal_quantile_array(uniform_array(splitmix64_array(states[open_places] ^ np.uint64(attempt))))
            exponent = np.minimum(self._mu + self._sigma * normal, _MAX_EXPONENT)
            drawn = np.minimum(np.floor(exp_array(exponent) + 0.5).astype(np.int64), LARGEST)
            result[open_places] = drawn
            open_places = open_places[(drawn < low) | (drawn > high)]
            if len(open_places) < FEW:
                for place in open_places.tolist():
                    result[place] = self._lognormal(int(indices[place]))
                return result
        result[open_places] = np.clip(result[open_places], low, high)
        return result

    def _truncated_mean(self) -> float:
        """The mean of the lognormal between its bounds, with the little that ends clamped after all tries.

        A size is kept if it rounds to one within the bounds, so those are half a byte further out.
        """
        low, high = self.spec.minimum, self.spec.maximum
        mu, sigma = self._mu, self._sigma
        a = (math.log(max(low - 0.5, 0.5)) - mu) / sigma
        b = (math.log(high + 0.5) - mu) / sigma if high else math.inf
        under, over = _phi(a), _phi(-b)
        kept = _mass(a, b)
        missed = (1.0 - kept) ** MAX_TRIES
        clamped = (under * low + over * self.maximum) / (under + over) if missed and under + over > 0.0 else 0.0
        if kept <= 0.0:
            return clamped
        within = math.exp(mu + sigma * sigma / 2.0) * _mass(a - sigma, b - sigma) / kept
        within = min(max(within, float(low)), float(self.maximum))
        return (1.0 - missed) * within + missed * clamped


class SizesAhead:
    """Sizes that are dear one by one (all but fixed ones) of objects that are drawn, and so are no neighbours: computed
    for a batch of them at once before they are asked for."""

    MOST = 16384
    """So many are kept; then those that were computed before are forgotten."""

    __slots__ = ("_known", "_sizes")

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._known: dict[int, int] = {}

    def expect(self, indices: NDArray[np.int64]) -> None:
        """These objects are what comes next."""
        if len(self._known) + len(indices) > self.MOST:
            self._known.clear()
        self._known.update(zip(indices.tolist(), self._sizes.sizes(indices.astype(np.uint64)).tolist(), strict=True))

    def size(self, index: int) -> int:
        """As `Sizes.size`."""
        known = self._known.get(index)
        return self._sizes.size(index) if known is None else known


def _phi(x: float) -> float:
    """The share of a standard normal below `x`."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _mass(a: float, b: float) -> float:
    """The share of a standard normal between `a` and `b`, exact in both tails."""
    return _phi(b) - _phi(a) if a < 0.0 else _phi(-a) - _phi(-b)
