"""What belongs to one connection of a worker, and what drivers know about object sets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from sai3tui.agent.lease import RetryPolicy, SetSpec
from sai3tui.agent.worker.supply import Held
from sai3tui.config.model import SizeKind
from sai3tui.storage.engine import Connection, Request
from sai3tui.workload.content import ContentMaker, Payload, Words
from sai3tui.workload.popularity import Places
from sai3tui.workload.sizes import Sizes, SizesAhead
from sai3tui.workload.verify import Verifier


class SetRuntime:
    """One object set in a worker."""

    __slots__ = ("expect", "key", "maker", "set_id", "size")

    def __init__(self, spec: SetSpec, pools: dict[int, Words]) -> None:
        self.set_id = spec.set_id
        self.key = spec.objects.key
        self.size = spec.objects.size
        self.expect: Callable[[Places], None] | None = None
        """To be told which objects are drawn next, where that saves time."""
        sizes = getattr(spec.objects, "sizes", None)
        if isinstance(sizes, Sizes) and sizes.spec.kind is not SizeKind.FIXED:
            ahead = SizesAhead(sizes)
            self.size, self.expect = ahead.size, ahead.expect
        self.maker = ContentMaker(spec.content, spec.seed, pools)


class Lane:
    """A connection with all that its operations need, made once per worker and reused."""

    __slots__ = (
        "attempt",
        "backoff",
        "busy",
        "connection",
        "due",
        "endpoint",
        "entry",
        "held",
        "index",
        "moved",
        "payload",
        "plain",
        "request",
        "verifier",
    )

    def __init__(self, number: int, connection: Connection) -> None:
        self.connection = connection
        self.endpoint = connection.endpoint
        self.request = self.plain = Request(tag=number)
        """What is in flight or was last; `plain` is the one that is reused for operations of one request."""
        self.payload = Payload()
        self.verifier: Verifier | None = None
        self.busy = False
        """In flight, or waiting to be tried again."""
        self.backoff: asyncio.TimerHandle | None = None
        self.attempt = 0
        self.due = 0
        """When the operation should have begun, 0: when its first attempt did."""
        self.held: Held | None = None
        self.moved = False
        """The operation was given up at another endpoint before."""
        self.index = -1
        self.entry = 0

    def verify(self, runtime: SetRuntime, generation: int, index: int, begin: int = 0, length: int = -1) -> None:
        """Have what the next GET reads compared with the object, or the part of it, that it should be."""
        verifier = self.verifier
        if verifier is None:
            verifier = self.verifier = Verifier()
        verifier.become(runtime.maker, generation, index, runtime.size(index), begin, length)
        self.request.sink = verifier


def backoff_s(policy: RetryPolicy, attempt: int) -> float:
    """Seconds to wait after attempt number `attempt` (from 1) failed."""
    delay = min(policy.max_delay, policy.initial_delay * policy.multiplier ** (attempt - 1))
    return max(0.0, delay * (1.0 + policy.jitter * random.uniform(-1.0, 1.0)))
