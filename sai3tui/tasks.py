"""Tasks outside a task group have an owner that ends them and hears of what they raise: that is a defect of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Tasks:
    """Tasks that nobody waits for. What one raises goes to the log and to `on_defect`."""

    def __init__(self, on_defect: Callable[[BaseException], None]) -> None:
        self._on_defect = on_defect
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that ends with its owner at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """End them all; returns when they have. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = defect_of(task)
        if error is not None:
            self._on_defect(error)


async def end_task(task: asyncio.Future[Any]) -> None:
    """Cancel it and wait for its end; what it raises goes to the log."""
    task.cancel()
    await asyncio.wait({task})
    defect_of(task)


def defect_of(task: asyncio.Future[Any]) -> BaseException | None:
    """What a task that is over has raised, put into the log; None if it ended in order."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.error("this is a defect of sai3tui", exc_info=error)
    return error
