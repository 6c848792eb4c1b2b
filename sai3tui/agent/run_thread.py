"""A thread with an event loop of its own for runs. What a run computes, and what blocks it, keeps the service of the
agent neither from answering heartbeats and queries nor from passing on an abort."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

END_S = 5.0
"""So long may the thread take to end. It is a daemon: what hangs in it does not keep the process."""


class RunThread:
    """A context manager; the thread lives as long, which processes that are started on it need."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="runs", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` made on the thread, after what was posted before. From any thread; nothing once it has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the thread and wait for its result on the loop of the caller; cancelled together."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()
