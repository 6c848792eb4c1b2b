"""Tells agents what we say of the run while we lead it: those who watch see it, and who leads later knows it."""

from __future__ import annotations

import asyncio
import contextlib

from sai3tui.controller.agent_link import AgentLink, saying
from sai3tui.controller.journal import Journal
from sai3tui.controller.streams import Streams
from sai3tui.controller.told import worth_telling
from sai3tui.events import Event, Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.events_log import event_line
from sai3tui.results.tally import Item

KEEPERS = 3
"""So many agents are told: whoever comes asks all of them."""
FINDINGS = 100
"""What preflight has warned of is told up to this number."""
LAST_WORD_S = 0.5


class Teller:
    """Belongs to the session's loop. Says nothing any more after `stop`."""

    def __init__(self, streams: Streams, journal: Journal) -> None:
        self._streams = streams
        self._journal = journal
        self._unheard: dict[str, list[pb.Told]] = {}
        """What agents were told and have not said that they heard: a stream that breaks may have swallowed it."""
        self._heard = asyncio.Event()
        self._stopped = False
        journal.listen(self._item)

    def _item(self, item: Item) -> None:
        if worth_telling(item):
            self.tell(item)

    def tell_findings(self) -> None:
        """What preflight has warned of before the run began."""
        for finding in [f for f in self._journal.fleet.findings if f.level >= Level.WARNING][:FINDINGS]:
            self.tell(finding)

    def tell(self, event: Event) -> None:
        """A few agents, each at the moment on its own clock."""
        if self._stopped:
            return
        line = event_line(event)
        for link in self._streams.present(self._streams.links)[:KEEPERS]:
            at_ns = event.time_ns - link.clock.offset_ns
            told = pb.Told(by=self._streams.controller, said_ns=event.time_ns, at_ns=at_ns, event=line)
            self._unheard.setdefault(link.id, []).append(told)
            self._streams.spawn(self._send(link, told))

    def heard(self, agent: str, told: pb.Told) -> None:
        """The agent has kept it."""
        left = self._unheard.get(agent)
        if left is not None and told in left:
            left.remove(told)
            self._heard.set()

    async def say_again(self, link: AgentLink) -> None:
        """Its stream broke off and there is another one. Who hears something twice takes it once."""
        for told in list(self._unheard.get(link.id, ())):
            await self._send(link, told)

    async def last_word(self, event: Event) -> None:
        """Tell this before the run is ended, and wait for a moment until one agent has kept it and all before it."""
        self.tell(event)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                while waiting := self._waiting():
                    if not all(waiting):
                        break
                    self._heard.clear()
                    await self._heard.wait()

    def stop(self) -> None:
        self._stopped = True

    def _waiting(self) -> list[int]:
        """How much each of those who can still hear has not heard."""
        here = self._streams.present(self._streams.links)[:KEEPERS]
        return [len(self._unheard.get(link.id, ())) for link in here if link.id not in self._streams.left]

    @staticmethod
    async def _send(link: AgentLink, told: pb.Told) -> None:
        # Not before: a write that meets a refusal makes grpc.aio forget why the run was refused.
        await link.seated.wait()
        with saying(link, "what others are to know"):
            await link.tell(told)
