"""Requests made ahead, several in a row: PUTs of small objects as their lease has them, heads of what is drawn. What
the first of them brings into the processor's caches, code above all, serves the others as well
(benchmarks/profile_worker)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from sai3tui.agent.lease import Lease
from sai3tui.config.ops import Op
from sai3tui.storage.s3wire import WireConnection
from sai3tui.workload.content import Payload

if TYPE_CHECKING:
    from sai3tui.agent.worker.lane import SetRuntime

AT_ONCE = 8
"""More would save little more, and whatever arrives meanwhile waits for all of them."""
MAX_BYTES = 16 * 1024
"""Of a body; larger ones take longer to copy than to begin anew."""
KEPT_NS = 10_000_000_000
"""A signature is good for minutes, but where operations are rare they need not go out with an old date."""


class MadePut(NamedTuple):
    """One request as it goes out, head and body; `size` is the body's."""

    key: str
    size: int
    data: bytes


class PutsAhead:
    """Of the objects of one lease, which are asked for in its order. `payload` is there to make bodies with."""

    __slots__ = ("_indices", "_made", "_payload", "_until")

    def __init__(self, lease: Lease, payload: Payload) -> None:
        indices = lease.indices()
        # Objects that are listed one by one are what others left undone: too few to gain by it.
        self._indices = indices if isinstance(indices, range) else range(0)
        self._payload = payload
        self._made: dict[int, MadePut] = {}
        self._until = 0

    def take(self, connection: WireConnection, runtime: SetRuntime, generation: int, index: int) -> MadePut | None:
        """The request for an object; None if it is not for being made ahead."""
        now = monotonic_ns()
        made = self._made.pop(index, None) if now < self._until else None
        if made is None:
            self._until = now + KEPT_NS
            self._made = self._make(connection, runtime, generation, index)
            made = self._made.pop(index, None)
        return made

    def _make(self, connection: WireConnection, runtime: SetRuntime, generation: int, index: int) -> dict[int, MadePut]:
        made: dict[int, MadePut] = {}
        if index not in self._indices:
            return made
        place = self._indices.index(index)
        payload = self._payload
        for each in self._indices[place : place + AT_ONCE]:
            size = runtime.size(each)
            if size > MAX_BYTES:
                break
            key = runtime.key(each)
            payload.become(runtime.maker, generation, each, 0, size)
            made[each] = MadePut(key, size, connection.made_put(key, payload, size))
        return made


class MadeHead(NamedTuple):
    """One request without a body as it goes out."""

    object_index: int
    key: str
    data: bytes


class HeadsAhead:
    """Of the objects that are drawn for one endpoint; `draw` gives the index of the next one, None if there is none."""

    __slots__ = ("_draw", "_made", "_op", "_runtime", "_until")

    def __init__(self, op: Op, runtime: SetRuntime, draw: Callable[[], int | None]) -> None:
        self._op = op
        self._runtime = runtime
        self._draw = draw
        self._made: deque[MadeHead] = deque()
        self._until = 0

    def take(self, connection: WireConnection) -> MadeHead | None:
        """The next request, None if nothing is drawn. `connection`: any one to the endpoint."""
        if not self._made or monotonic_ns() >= self._until:
            self._make(connection)
        return self._made.popleft() if self._made else None

    def _make(self, connection: WireConnection) -> None:
        made, key_of = self._made, self._runtime.key
        self._until = monotonic_ns() + KEPT_NS
        # What was drawn is kept where only its date is too old.
        indices = [each.object_index for each in made]
        made.clear()
        while len(indices) < AT_ONCE and (index := self._draw()) is not None:
            indices.append(index)
        for index in indices:
            key = key_of(index)
            made.append(MadeHead(index, key, connection.made_head(self._op, key)))
