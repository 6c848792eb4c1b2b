"""The streams of one run to its agents: opening them, opening them again, and asking who is silent whether it lives.

What agents say goes to one `Hearer`, who leads the run or watches it; it may be another one in the middle of a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping
from typing import Any, Protocol

from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.grpc_errors import TakenError
from sai3tui.controller.journal import Journal
from sai3tui.controller.lead import Claim, Lead
from sai3tui.controller.refusals import forgotten, not_seated
from sai3tui.controller.request import RunStopped, failed
from sai3tui.errors import ErrorKind, Failure, Sai3Error
from sai3tui.events import Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.tally import Item

STREAM_END_TIMEOUT_S = 5.0


class Hearer(Protocol):
    """Who hears what agents say. All is called on the session's loop."""

    def hear(self, agent: str, message: pb.AgentMessage) -> None:
        """Every message, before it becomes an item."""

    def take(self, item: Item) -> None:
        """What was measured or happened, on our clock."""

    def told_lead(self, agent: str, lead: Lead) -> None:
        """Another controller, or none, leads the run at this agent."""

    def give_up(self, agent: str, failure: Failure) -> None:
        """It is not to be had any more."""


class Streams:
    """Belongs to the session's loop; all it starts runs in `group`, the session's. `changed` is set whenever something
    has happened. `left` are agents whose streams have ended."""

    def __init__(
        self,
        run_id: str,
        links: Iterable[AgentLink],
        machine: Barriers,
        journal: Journal,
        group: asyncio.TaskGroup,
        controller: str,
        claim: Claim,
    ) -> None:
        self.run_id = run_id
        self.controller = controller
        self._claim = claim
        self.links = {link.id: link for link in links}
        self.machine = machine
        self.changed = asyncio.Event()
        self.left: set[str] = set()
        self.leads = True
        """Whether streams that are opened again are to lead the run."""
        self._journal = journal
        self._group = group
        self._hearer: Hearer | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._known: frozenset[tuple[str, int]] = frozenset()
        """Messages, by agent and number, that have come by another way."""
        self._held: tuple[list[tuple[str, pb.AgentMessage]], list[Item]] | None = None

    def __contains__(self, agent: object) -> bool:
        """Whether a stream to this agent was opened."""
        return agent in self._tasks

    # --- opening

    def open(self, first: Mapping[str, pb.ControllerMessage], hearer: Hearer) -> None:
        """Start or join the run on every agent that is named; from now on `hearer` has what they say."""
        self._hearer = hearer
        for agent, message in first.items():
            link = self.links[agent]
            # A stream may break before anything was said on it.
            link.cursor = max(link.cursor, message.subscribe.cursor)
            self.machine.heard(agent, time.monotonic())
            self._open(link, message)

    async def seated(self, timeout_s: float) -> None:
        """Until every agent has taken our stream. Raises RunStopped with what one refused it with, or if one does not
        answer."""
        async with asyncio.TaskGroup() as group:
            seats = {agent: group.create_task(self.links[agent].seated.wait()) for agent in self._tasks}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    for agent, seat in seats.items():
                        await asyncio.wait({seat, self._tasks[agent]}, return_when=asyncio.FIRST_COMPLETED)
                        if not seat.done():
                            break
            absent = next((agent for agent, seat in seats.items() if not seat.done()), None)
            for seat in seats.values():
                seat.cancel()
        if absent is not None:
            lost = self.machine.lost.get(absent)
            raise RunStopped(failed(lost or not_seated(self.links[absent], self.machine.broken(absent))))

    def rejoin(self, agent: str) -> None:
        """Open another stream in the place of one that broke."""
        self._journal.note(Level.WARNING, "its stream broke off; opening another one", agent=agent, code="rejoin")
        self._subscribe(agent)

    def heard_by(self, hearer: Hearer) -> None:
        """From now on `hearer` has what agents say."""
        self._hearer = hearer

    async def open_again(self) -> None:
        """End the streams to all that live, and open others in their place; nothing is missed. Bounded."""
        lost = self.machine.lost
        again = [agent for agent in self._tasks if agent not in lost]
        await self._end_all()
        for agent in again:
            self.links[agent].come_back()
            self._subscribe(agent)

    def _subscribe(self, agent: str) -> None:
        link = self.links[agent]
        self._open(link, self.subscription(link.cursor), again=True)

    def subscription(self, cursor: int) -> pb.ControllerMessage:
        """Come to the run, to lead or to watch it, and hear what agents say from the message with this number on."""
        wanted = pb.Subscribe(
            cursor=cursor,
            lead=self.leads,
            take_over=self._claim.take_over,
            controller=self.controller,
            term=self._claim.term,
        )
        return pb.ControllerMessage(run_id=self.run_id, subscribe=wanted)

    def _open(self, link: AgentLink, first: pb.ControllerMessage, *, again: bool = False) -> None:
        self.left.discard(link.id)
        self._tasks[link.id] = self._group.create_task(self._follow(link, first, again=again))

    # --- hearing

    def hold(self) -> None:
        """Keep what agents say until `flow`."""
        self._held = [], []

    def flow(self, known: Collection[tuple[str, int]]) -> None:
        """Pass on what was held and what is still to come, but not what is `known`, by agent and number."""
        messages, items = self._held or ([], [])
        self._held = None
        self._known = frozenset(known)
        for agent, message in messages:
            self._hear(agent, message)
        for item in items:
            self._take(item)
        # Of these some may be on their way yet.
        self._known = frozenset((agent, number) for agent, number in known if number >= self.links[agent].cursor)

    def _hear(self, agent: str, message: pb.AgentMessage) -> None:
        if self._held is not None:
            self._held[0].append((agent, message))
        elif self._hearer is not None and (agent, message.sequence) not in self._known:
            self._hearer.hear(agent, message)

    def _take(self, item: Item) -> None:
        if self._held is not None:
            self._held[1].append(item)
        elif self._hearer is not None and (item.agent, item.sequence) not in self._known:
            self._hearer.take(item)

    async def _follow(self, link: AgentLink, first: pb.ControllerMessage, *, again: bool) -> None:
        try:
            await link.follow(self.run_id, first, self._hear, self._take, self._heard, self._led)
        except Sai3Error as error:
            failure = error.failure()
            if again and isinstance(error, TakenError):
                # While the stream was broken another controller has come.
                self._led(link.id, await link.leader())
            elif link.id in self.machine.completed:
                pass
            elif failure.kind is ErrorKind.AGENT_LOST:
                self.machine.broke(link.id, failure, time.monotonic())
            elif self._hearer is not None:
                self._hearer.give_up(link.id, failure)
        finally:
            self.left.add(link.id)
            self.changed.set()

    def _heard(self, agent: str, now_ns: int, clock: object) -> None:
        self.machine.heard(agent, time.monotonic())
        self._journal.heard(agent, now_ns, self.links[agent].clock)

    def _led(self, agent: str, lead: Lead) -> None:
        if self._hearer is not None:
            self._hearer.told_lead(agent, lead)
        self.changed.set()

    # --- asking

    def ask(self, agent: str, timeout_s: float) -> None:
        """Query an agent that says nothing; the machine has the answer."""
        self.spawn(self._query(self.links[agent], timeout_s))

    async def _query(self, link: AgentLink, timeout_s: float) -> None:
        status = await link.status(timeout_s)
        now = time.monotonic()
        if status is None:
            self.machine.unheard(link.id, now)
        elif status.run_id == self.run_id and status.state != pb.IDLE:
            self.machine.answered(link.id, now)
        elif self._hearer is not None:
            try:
                if status.run_id == self.run_id:
                    await self._catch_up(link)
            except Sai3Error as error:
                self._hearer.give_up(link.id, error.failure())
            else:
                self.not_there(link, status)
        self.changed.set()

    def not_there(self, link: AgentLink, status: pb.StatusReply) -> None:
        """An agent lives, but is not at our run any more. All that it has said there was heard."""
        machine = self.machine
        if self._hearer is not None and link.id not in machine.completed and link.id not in machine.lost:
            self._hearer.give_up(link.id, forgotten(link, status, self.run_id))

    async def _catch_up(self, link: AgentLink) -> None:
        """The run was over there while we had no stream: its log has what we have missed. Raises Sai3Error."""
        for message in await link.fetch(self.run_id, link.cursor):
            link.take(message, self._hear, self._take)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something to say or to ask that nobody waits for; it ends when we leave."""
        task = self._group.create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def stop_asking(self) -> None:
        for task in tuple(self._asking):
            task.cancel()

    async def change(self, timeout_s: float | None) -> None:
        """Until something happens, or the time is up. Not `wait_for`, which takes no notice of being cancelled when
        something happens at the same moment: a session that is cancelled would go on without streams."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.changed.wait()

    # --- ending

    async def leave(self) -> None:
        """Go, and leave the run to the agents: they go on to the next barrier and hold there. Bounded."""
        self.stop_asking()
        await self._end_all()

    async def _end_all(self) -> None:
        for link in self.links.values():
            link.leave()
        await self.ended()

    async def ended(self) -> None:
        """Until the streams have ended, by themselves or because their time is up."""
        waiting = [task for task in self._tasks.values() if not task.done()]
        if waiting:
            _, waiting_yet = await asyncio.wait(waiting, timeout=STREAM_END_TIMEOUT_S)
            for task in waiting_yet:
                task.cancel()
            if waiting_yet:
                # Not to be taken for streams that are opened in their place.
                await asyncio.wait(waiting_yet)

    def present(self, agents: Iterable[str]) -> list[AgentLink]:
        """Links of those that have a stream and are not lost."""
        lost = self.machine.lost
        return [self.links[agent] for agent in agents if agent in self._tasks and agent not in lost]
