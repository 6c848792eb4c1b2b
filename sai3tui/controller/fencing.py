"""Agents that were taken for lost are told to stop, as they may live: nobody opens a barrier for them any more."""

from __future__ import annotations

import asyncio
import contextlib

from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.journal import Journal
from sai3tui.controller.streams import Streams
from sai3tui.events import AgentState, Level

RETRY_S = 2.0
"""So long after a lost agent could not be told to stop is it tried again."""
LAST_WORD_S = 2.0
_STOPPED = frozenset({AgentState.ABORTING, AgentState.ABORTED, AgentState.FAILED})
"""States that an agent says itself in which there is nothing to stop."""


class Fence:
    """`untold` are agents that are lost, and have not been told so."""

    def __init__(self, streams: Streams, journal: Journal) -> None:
        self.untold: set[str] = set()
        self._streams = streams
        self._journal = journal

    def stop(self, link: AgentLink) -> None:
        """Tell it as soon as it can be reached."""
        if link.state not in _STOPPED:
            self.untold.add(link.id)
            self._streams.spawn(self._keep_telling(link))

    async def last_word(self, link: AgentLink) -> None:
        """Try once more before we go. Bounded."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                await self._tell(link)

    async def _keep_telling(self, link: AgentLink) -> None:
        while not await self._tell(link):  # noqa: ASYNC110 - the condition is a call
            await asyncio.sleep(RETRY_S)

    async def _tell(self, link: AgentLink) -> bool:
        """Whether a lost agent has taken it."""
        reply = await link.abort("it was taken for lost", self._streams.controller)
        if reply is None:
            return False
        self.untold.discard(link.id)
        if reply.was_running:
            self._journal.note(Level.WARNING, "lives after all, and was told to stop", agent=link.id, code="fenced")
        return True
