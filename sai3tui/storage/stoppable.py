"""Work in a thread that ends soon after nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Stopped = Callable[[], bool]
"""Asked between pieces of work that take no time worth mentioning."""

STOP_GRACE_S = 0.5


async def stoppable(work: Callable[[Stopped], T]) -> T:
    """`work(stopped)` in a thread. If this is cancelled, `stopped` is true from then on, and the end of `work` is
    waited for; where the kernel does not let go of it, it is left behind after `STOP_GRACE_S`."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        # What it says once nobody waits is of no use to anybody.
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait({running}, timeout=STOP_GRACE_S)
        raise
