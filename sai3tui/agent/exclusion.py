"""Stages that this agent is to stop, because the others have gone on without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from sai3tui.errors import ErrorKind, Sai3Error


class Excluded(Sai3Error):
    """The agent was too late, and the others have gone on: no fault of its stage."""


class Exclusions:
    """Reasons by the number of the stage."""

    def __init__(self) -> None:
        self._reasons: dict[int, str] = {}
        self._news = asyncio.Event()

    def __contains__(self, index: object) -> bool:
        return index in self._reasons

    def __getitem__(self, index: int) -> str:
        return self._reasons[index]

    def add(self, index: int, reason: str) -> None:
        """The first reason counts."""
        self._reasons.setdefault(index, reason)
        self._news.set()

    async def guard(self, index: int, work: Awaitable[None]) -> None:
        """Do `work`, the stage `index`. Raises Excluded, with the work cancelled, once the agent is excluded."""
        doing = asyncio.ensure_future(work)
        waiting = asyncio.ensure_future(self._excluded(index))
        try:
            await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                await doing
                return
        finally:
            for task in (doing, waiting):
                task.cancel()
            await asyncio.wait({doing, waiting})
            failed = None if doing.cancelled() else doing.exception()
        raise Excluded(
            f"left behind by the others: {self._reasons[index]}",
            kind=ErrorKind.TIMEOUT,
            hint="it takes part again from the next barrier on; raise agent_barrier_timeout if it is only slower",
        ) from failed

    async def _excluded(self, index: int) -> None:
        while index not in self._reasons:
            self._news.clear()
            await self._news.wait()
