"""One worker's figures in memory that the agent's main process reads: counters and histograms since the stage began.

A mapping belongs to one writer and one reader. It starts with a header of eight 64-bit words, of which the first is a
sequence number that is odd while the writer writes (a seqlock: the reader copies, and copies again if the number has
changed). Then come the cells of (op, size bucket), then those of (op, endpoint). A cell is used once its first word
is not 0; unused cells are pages that nobody touches and so cost nothing. Between header and cells stands a coarse
histogram of how long what was ready waited for the writer's loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from mmap import mmap

import numpy as np
import numpy.typing as npt

from sai3tui.config.ops import OPS, Op
from sai3tui.metrics.buckets import BUCKETS
from sai3tui.metrics.histogram import COARSE, FINE, OCTAVES

Words = npt.NDArray[np.uint64]

_SEQUENCE, _STAGE, _FLUSHES, _CPU_NS, _CPU_AT_NS = 0, 1, 2, 3, 4
HEADER_WORDS = 8

USED, COUNT, BYTES, ERRORS, ATTEMPTS = 0, 1, 2, 3, 4
"""The first words of every cell."""
COUNTERS = 8

KINDS = 3
"""Histograms of an (op, bucket) cell: service, scheduled, time to first byte."""
FINE_BINS = OCTAVES * FINE
COARSE_BINS = OCTAVES * COARSE

MAX_US, SUM_NS = 0, 1
"""The words before the bins of every histogram."""
HISTOGRAM_HEAD = 2

OP_CELL = COUNTERS + KINDS * (HISTOGRAM_HEAD + FINE_BINS)
ENDPOINT_CELL = COUNTERS + HISTOGRAM_HEAD + COARSE_BINS
LAG_WORDS = HISTOGRAM_HEAD + COARSE_BINS

READ_TIMEOUT_S = 0.5
"""A writer that died in the middle of writing leaves the sequence number odd for ever."""


def mapping_bytes(endpoints: int) -> int:
    """The size of a mapping for this many endpoints."""
    return 8 * (HEADER_WORDS + LAG_WORDS + len(OPS) * (BUCKETS * OP_CELL + endpoints * ENDPOINT_CELL))


class _Layout:
    __slots__ = ("endpoint_cells", "endpoints", "header", "lag", "op_cells", "words")

    def __init__(self, buffer: mmap | bytearray, endpoints: int) -> None:
        self.endpoints = endpoints
        self.words: Words = np.frombuffer(buffer, dtype=np.uint64, count=mapping_bytes(endpoints) // 8)
        first = HEADER_WORDS + LAG_WORDS
        split = first + len(OPS) * BUCKETS * OP_CELL
        self.header = self.words[:HEADER_WORDS]
        self.lag = self.words[HEADER_WORDS:first]
        self.op_cells = self.words[first:split].reshape(len(OPS) * BUCKETS, OP_CELL)
        self.endpoint_cells = self.words[split:].reshape(len(OPS) * endpoints, ENDPOINT_CELL)

    def used(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Numbers of the cells in use. Reads one word per cell, so at most a page each becomes real."""
        return np.flatnonzero(self.op_cells[:, USED]), np.flatnonzero(self.endpoint_cells[:, USED])


def op_cell(op: int, bucket: int) -> int:
    """The number of a cell."""
    return op * BUCKETS + bucket


class SharedWriter:
    """The worker's side. Between `begin` and `end`, readers wait."""

    def __init__(self, buffer: mmap | bytearray, endpoints: int) -> None:
        self._layout = _Layout(buffer, endpoints)
        self.endpoints = endpoints

    def begin(self) -> None:
        self._layout.header[_SEQUENCE] += np.uint64(1)

    def end(self) -> None:
        self._layout.header[_FLUSHES] += np.uint64(1)
        self._layout.header[_SEQUENCE] += np.uint64(1)

    def beat(self) -> None:
        """Show that the writer is alive though it may have nothing to write."""
        self._layout.header[_FLUSHES] += np.uint64(1)

    def cpu(self, used_ns: int, at_ns: int) -> None:
        """Tell the CPU time that the writer's loop has used, and when (monotonic) that was."""
        self._layout.header[_CPU_NS] = used_ns
        self._layout.header[_CPU_AT_NS] = at_ns

    @property
    def lag(self) -> Words:
        """The histogram of lag, to add to: `MAX_US`, `SUM_NS`, then the bins."""
        return self._layout.lag

    def start_stage(self, stage: int) -> None:
        """Forget everything: what follows belongs to this stage number."""
        layout = self._layout
        self.begin()
        ops, endpoints = layout.used()
        layout.op_cells[ops] = 0
        layout.endpoint_cells[endpoints] = 0
        layout.lag[:] = 0
        layout.header[_STAGE] = stage
        self.end()

    def op(self, number: int) -> Words:
        """The cell of (op, bucket), to add to; it is in use from now on."""
        cell: Words = self._layout.op_cells[number]
        cell[USED] = 1
        return cell

    def endpoint(self, op: int, endpoint: int) -> Words:
        """The cell of (op, endpoint), to add to; it is in use from now on."""
        cell: Words = self._layout.endpoint_cells[op * self.endpoints + endpoint]
        cell[USED] = 1
        return cell


def histogram_of(cell: Words, kind: int, bins: int) -> Words:
    """The words of one histogram of a cell: `MAX_US`, `SUM_NS`, then the bins."""
    start = COUNTERS + kind * (HISTOGRAM_HEAD + bins)
    return cell[start : start + HISTOGRAM_HEAD + bins]


class Copy:
    """What a reader found: cells by (op, bucket) and by (op, endpoint), since the stage with number `stage` began.

    `lag` is the histogram of that name; `cpu` is the CPU time of the writer's loop and when it was so much, in
    nanoseconds.
    """

    __slots__ = ("cpu", "endpoints", "lag", "ops", "stage")

    def __init__(self, stage: int) -> None:
        self.stage = stage
        self.lag: Words = np.zeros(LAG_WORDS, dtype=np.uint64)
        self.cpu = (0, 0)
        self.ops: dict[tuple[Op, int], Words] = {}
        self.endpoints: dict[tuple[Op, int], Words] = {}

    def add(self, other: Copy) -> None:
        """Add another worker's figures of the same stage; CPU times are not added."""
        maximum = max(self.lag[MAX_US], other.lag[MAX_US])
        self.lag = self.lag + other.lag
        self.lag[MAX_US] = maximum
        _add_cells(self.ops, other.ops, KINDS, FINE_BINS)
        _add_cells(self.endpoints, other.endpoints, 1, COARSE_BINS)


def _add_cells(into: dict[tuple[Op, int], Words], cells: dict[tuple[Op, int], Words], kinds: int, bins: int) -> None:
    for key, cell in cells.items():
        mine = into.get(key)
        if mine is None:
            into[key] = cell.copy()
            continue
        maxima = [max(int(mine[at]), int(cell[at])) for at in _maxima(kinds, bins)]
        mine += cell
        mine[USED] = 1
        mine[_maxima(kinds, bins)] = maxima


def _maxima(kinds: int, bins: int) -> list[int]:
    return [COUNTERS + kind * (HISTOGRAM_HEAD + bins) + MAX_US for kind in range(kinds)]


class SharedReader:
    """The main process's side of one worker's mapping."""

    def __init__(self, buffer: mmap | bytearray, endpoints: int) -> None:
        self._layout = _Layout(buffer, endpoints)

    def read(self, *, settled: bool = False, clock: Callable[[], float] = time.monotonic) -> Copy:
        """A consistent copy. `settled`: the writer is dead, so do not wait for it.

        A writer that does not come to an end of writing within half a second (it was stopped) yields a copy in which
        some figures are of before and some of after.
        """
        layout = self._layout
        deadline = clock() + READ_TIMEOUT_S
        while True:
            before = int(layout.header[_SEQUENCE])
            late = settled or clock() > deadline
            if before % 2 and not late:
                # A flush takes about a millisecond, on what may be the only core.
                time.sleep(0.0002)
                continue
            made = self._copy()
            if late or before == int(layout.header[_SEQUENCE]):
                return made

    @property
    def beats(self) -> int:
        """A number that changes several times a second while the writer is alive."""
        return int(self._layout.header[_FLUSHES])

    def _copy(self) -> Copy:
        layout = self._layout
        made = Copy(int(layout.header[_STAGE]))
        made.lag = layout.lag.copy()
        made.cpu = int(layout.header[_CPU_NS]), int(layout.header[_CPU_AT_NS])
        ops, endpoints = layout.used()
        for number in ops.tolist():
            made.ops[Op(number // BUCKETS), number % BUCKETS] = layout.op_cells[number].copy()
        for number in endpoints.tolist():
            made.endpoints[Op(number // layout.endpoints), number % layout.endpoints] = layout.endpoint_cells[
                number
            ].copy()
        return made


def merged(copies: Sequence[Copy], stage: int) -> Copy:
    """The sum of those copies that belong to the stage."""
    total = Copy(stage)
    for copy in copies:
        if copy.stage == stage:
            total.add(copy)
    return total
