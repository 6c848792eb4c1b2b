"""One agent as the controller talks to it: one channel, one stream for a run, every call bounded.

What the agent says becomes events on our clock and goes to `on_item`; what ends the stream becomes the result of
`follow`. Nothing here decides what a lost agent means.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from sai3tui.access import NO_ACCESS, Access
from sai3tui.clock import now_ns
from sai3tui.controller.channel import open_channel, open_stub
from sai3tui.controller.clock import ClockEstimate, ClockFilter
from sai3tui.controller.grpc_errors import link_error, refusal
from sai3tui.controller.lead import Lead
from sai3tui.errors import AgentLostError, ConfigError, ErrorContext, ErrorKind, Sai3Error, StateError
from sai3tui.event_codec import agent_event_from_proto
from sai3tui.event_codec import finding_from_proto as read_finding
from sai3tui.events import PROTOCOL_VERSION, AgentState, BarrierReleased, Event, Finding, Report
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.tasks import end_task

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
BUSY_TIMEOUT_S = 8.0
CALL_TIMEOUT_S = 10.0
RECORD_TIMEOUT_S = 60.0
CHECK_TIMEOUT_S = 180.0
GOODBYE_TIMEOUT_S = 5.0
PING_INTERVAL_S = 1.0
ABORT_WAIT_MS = 4000
HELLO_ECHOES = 5

T = TypeVar("T")
OnItem = Callable[[Event | Report], None]
OnHeard = Callable[[str, int, ClockEstimate], None]
OnMessage = Callable[[str, pb.AgentMessage], None]
OnLead = Callable[[str, Lead], None]
_SETTLING = frozenset({AgentState.COMPLETED, AgentState.FAILED, AgentState.ABORTING, AgentState.ABORTED})


class AgentLink:
    """Calls and the stream to one agent. All methods belong to one event loop; `close` ends everything."""

    def __init__(
        self,
        agent_id: str,
        address: str,
        access: Access = NO_ACCESS,
        *,
        keepalive_interval_s: float = 30.0,
        keepalive_timeout_s: float = 10.0,
        version: str = "",
    ) -> None:
        self.id = agent_id
        self.address = address
        self.hello: pb.HelloReply | None = None
        self.state = AgentState.CONNECTING
        self.last_words: Sai3Error | None = None
        self.access_words = access.words()
        self.cursor = 1
        """The next message of the run that we have not seen."""
        self.seated = asyncio.Event()
        """The agent has taken our stream."""
        self._version = version
        self._clock = ClockFilter()
        self._sequence = 0
        self._run_id = ""
        self._leaving = False
        self._write_lock = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()
        self._channel = open_channel(
            address, access, keepalive_interval_s=keepalive_interval_s, keepalive_timeout_s=keepalive_timeout_s
        )
        self._stub = open_stub(self._channel, access)
        self._call: grpc.aio.StreamStreamCall[pb.ControllerMessage, pb.AgentMessage] | None = None

    @property
    def clock(self) -> ClockEstimate:
        return self._clock.estimate

    async def connect(self) -> pb.HelloReply:
        """Say hello, learn the agent's clock, and wait (bounded) until an earlier run there has ended.

        Raises AgentLostError if it cannot be reached, ConfigError if it speaks another protocol, ResourceError-like
        Sai3Error if it is busy with another run.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            reply = await self._hello()
            self._check_protocol(reply)
            state = AgentState(reply.state)
            if state is AgentState.IDLE:
                break
            if state not in _SETTLING or time.monotonic() >= deadline:
                raise busy_error(self.id, self.address, reply)
            await asyncio.sleep(0.1)
        return await self._measure(reply)

    async def reach(self) -> pb.HelloReply:
        """Say hello to an agent that may be at a run, and learn its clock. Raises AgentLostError, or ConfigError if it
        speaks another protocol."""
        reply = await self._hello()
        self._check_protocol(reply)
        return await self._measure(reply)

    async def _measure(self, reply: pb.HelloReply) -> pb.HelloReply:
        for _ in range(HELLO_ECHOES):
            await self._hello()
        self.hello = reply
        self.state = AgentState(reply.state)
        return reply

    def _check_protocol(self, reply: pb.HelloReply) -> None:
        if reply.protocol_version != PROTOCOL_VERSION:
            raise ConfigError(
                f"agent {self.id} at {self.address} speaks protocol {reply.protocol_version} "
                f"(sai3tui {reply.package_version}), this controller {PROTOCOL_VERSION}",
                hint="install the same version of sai3tui on all hosts",
                context=self._context(),
            )

    async def preflight(
        self, spec: pb.RunSpec, step: pb.PreflightStep.ValueType = pb.PREFLIGHT_CHECK
    ) -> AsyncIterator[Finding]:
        """The agent's findings as they are made. Raises AgentLostError or what the agent refused with."""
        call = self._stub.Preflight(pb.PreflightRequest(spec=spec, step=step), timeout=CHECK_TIMEOUT_S)
        try:
            async for message in call:
                yield read_finding(message, self.id, now_ns())
        except grpc.aio.AioRpcError as error:
            raise link_error(error, self.id, self.address, "preflight") from error
        finally:
            call.cancel()

    async def follow(
        self,
        run_id: str,
        first: pb.ControllerMessage,
        on_message: OnMessage,
        on_item: OnItem,
        on_heard: OnHeard,
        on_lead: OnLead,
    ) -> None:
        """Open a stream with `first` (start or subscribe) and pass on what the agent says until the stream ends: each
        message, then the item that it is.

        Returns after a goodbye or an abort; raises AgentLostError (or what the agent refused the run with) if the
        stream ends before that.
        """
        self._run_id = run_id
        self.seated.clear()
        call = self._call = self._stub.Run()
        pinging = asyncio.create_task(self._ping())
        try:
            await self._send(first)
            await self._read(call, on_message, on_item, on_heard, on_lead)
        except grpc.aio.AioRpcError as error:
            if not self._leaving:
                raise link_error(error, self.id, self.address, "the run") from error
        except asyncio.InvalidStateError as error:
            # Writing to a call that has ended in between: its details say why.
            if not self._leaving:
                raise await self._ended(call) from error
        finally:
            await end_task(pinging)
            self._cut(call)
        if not self._leaving:
            raise await self._ended(call)

    async def release(self, opened: BarrierReleased, *, complete: bool = False) -> None:
        """Let the agent past a barrier; the next stage starts at `opened.start_ns` on our clock. `complete`: every
        object of the generation exists."""
        release = pb.Release(
            stage_index=opened.stage_index,
            start_time_ns=opened.start_ns - self.clock.offset_ns,
            arrived=opened.arrived,
            missing=opened.missing,
            reason=opened.reason,
            generation_complete=complete,
        )
        await self._send(pb.ControllerMessage(release=release))

    async def assign(self, assignment: pb.Assignment) -> None:
        """Tell the agent what to do with which objects."""
        await self._send(pb.ControllerMessage(assignment=assignment))

    async def tell(self, told: pb.Told) -> None:
        """Have the agent keep what we say of the run."""
        await self._send(pb.ControllerMessage(told=told))

    async def exclude(self, stage_index: int, reason: str) -> None:
        """The others have gone past barrier `stage_index`: the agent stops, and waits at the next one."""
        await self._send(pb.ControllerMessage(exclude=pb.Exclude(stage_index=stage_index, reason=reason)))

    def leave(self) -> None:
        """Go without a word that would end the run: the agent goes on to its barrier and holds there."""
        self._leaving = True
        if self._call is not None:
            self._cut(self._call)

    def come_back(self) -> None:
        """After `leave`, before another `follow`."""
        self._leaving = False

    async def fetch(self, run_id: str, cursor: int = 1) -> list[pb.AgentMessage]:
        """What the agent has kept of a run, from the message with this number on. Raises AgentLostError."""
        call = self._stub.FetchLog(pb.FetchLogRequest(run_id=run_id, cursor=cursor), timeout=CHECK_TIMEOUT_S)
        try:
            return [message async for message in call]
        except grpc.aio.AioRpcError as error:
            raise link_error(error, self.id, self.address, "fetching its log") from error
        finally:
            call.cancel()

    async def on_record(self, run_id: str) -> pb.OnRecordReply:
        """What the agent has on record of the objects of a run in progress. Raises AgentLostError."""
        try:
            return await self._stub.OnRecord(pb.OnRecordRequest(run_id=run_id), timeout=RECORD_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise link_error(error, self.id, self.address, "asking what it has on record") from error

    async def end_stage(self, stage_index: int) -> None:
        """Have the agent end an execute stage as if its time were up."""
        await self._send(pb.ControllerMessage(end_stage=pb.EndStage(stage_index=stage_index)))

    async def share(self, part: pb.SharedPart) -> None:
        """Pass on what another agent has found out. Harmless if the stream has ended."""
        with saying(self, "what another agent shares"):
            await self._send(pb.ControllerMessage(shared=part))

    async def goodbye(self) -> None:
        """The run is over for this agent, in good order: its stream ends without an error. Harmless if it has."""
        self._leaving = True
        call = self._call
        if call is None or call.done():
            return
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._send(pb.ControllerMessage(goodbye=pb.Goodbye()))
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
            self.last_words = Sai3Error(f"goodbye to agent {self.id} failed: {error}")

    async def abort(self, reason: str, controller: str) -> pb.AbortReply | None:
        """End the agent's run now; returns what it answers, or None if it did not in time. It refuses that to a
        `controller` from whom another one has taken the lead."""
        self._leaving = True
        request = pb.AbortRequest(run_id=self._run_id, reason=reason, wait_ms=ABORT_WAIT_MS, controller=controller)
        try:
            return await self._stub.Abort(request, timeout=ABORT_WAIT_MS / 1000 + 1.5)
        except grpc.aio.AioRpcError as error:
            self.last_words = link_error(error, self.id, self.address, "abort")
            return None

    def lead(self, led: pb.Led) -> Lead:
        """Who leads the run, on our clock."""
        return Lead(led.by, led.since_ns + self.clock.offset_ns)

    async def leader(self) -> Lead:
        """Whom the agent names as the leader, if it can be asked."""
        now = now_ns()
        try:
            by = (await self._hello()).leader
        except Sai3Error as error:
            logger.debug("who leads at agent %s: %s", self.id, error)
            by = ""
        return Lead(by or "another controller", now)

    async def status(self, timeout_s: float, *, with_spec: bool = False) -> pb.StatusReply | None:
        """What the agent answers within `timeout_s`; None if it does not."""
        try:
            return await self._stub.Status(pb.StatusRequest(with_spec=with_spec), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return None

    async def close(self) -> None:
        """Close the channel. Idempotent."""
        if self._call is not None:
            self._call.cancel()
        await self._channel.close()

    async def _hello(self) -> pb.HelloReply:
        sent = now_ns()
        request = pb.HelloRequest(package_version=self._version, protocol_version=PROTOCOL_VERSION)
        try:
            reply = await self._stub.Hello(request, timeout=CONNECT_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise link_error(error, self.id, self.address, "hello") from error
        self._clock.add(sent, reply.agent_time_ns, now_ns())
        return reply

    async def _send(self, message: pb.ControllerMessage) -> None:
        """Whoever is cancelled in it has said it all the same: grpc.aio ends a stream together with a write to it that
        is cancelled. Raises InvalidStateError if the stream ends meanwhile."""
        call = self._call
        if call is None:
            raise StateError(f"no run is open with agent {self.id}")
        writing = asyncio.create_task(self._write(call, message))
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        await asyncio.wait({writing})
        if writing.cancelled():
            raise asyncio.InvalidStateError(f"the stream to agent {self.id} has ended")
        writing.result()

    def _cut(self, call: grpc.aio.StreamStreamCall[pb.ControllerMessage, pb.AgentMessage]) -> None:
        """End a stream, and what is being said in it: a word that waits for a stream which is not open yet would never
        hear that this was cancelled."""
        call.cancel()
        for writing in self._writing:
            writing.cancel()

    def _written(self, writing: asyncio.Task[None]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():
            # Who has said it may not be there any more to hear how that ended.
            writing.exception()

    async def _write(
        self, call: grpc.aio.StreamStreamCall[pb.ControllerMessage, pb.AgentMessage], message: pb.ControllerMessage
    ) -> None:
        async with self._write_lock:
            self._sequence += 1
            message.run_id = self._run_id
            message.sequence = self._sequence
            await call.write(message)

    async def _ping(self) -> None:
        # A write that meets a refusal makes grpc.aio forget why the run was refused.
        await self.seated.wait()
        try:
            while not self._leaving:
                clock = self.clock
                ping = pb.Ping(
                    controller_time_ns=now_ns(),
                    clock_offset_ns=clock.offset_ns,
                    clock_drift_ppm=clock.drift_ppm,
                )
                await self._send(pb.ControllerMessage(ping=ping))
                await asyncio.sleep(PING_INTERVAL_S)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            # The stream has ended, which its reader finds out with the reason.
            logger.debug("pings to agent %s ended: %s", self.id, error)

    async def _read(
        self,
        call: grpc.aio.StreamStreamCall[pb.ControllerMessage, pb.AgentMessage],
        on_message: OnMessage,
        on_item: OnItem,
        on_heard: OnHeard,
        on_lead: OnLead,
    ) -> None:
        async for message in call:
            now = now_ns()
            self.seated.set()
            body = message.WhichOneof("body")
            if body == "pong":
                pong = message.pong
                self._clock.add(pong.controller_time_ns, pong.received_ns, now)
            elif body == "led":
                on_lead(self.id, self.lead(message.led))
            on_heard(self.id, now, self.clock)
            self.take(message, on_message, on_item)

    def take(self, message: pb.AgentMessage, on_message: OnMessage, on_item: OnItem) -> None:
        """Pass on what the agent has said, by its stream or in its log."""
        self.cursor = max(self.cursor, message.sequence + 1)
        on_message(self.id, message)
        item = agent_event_from_proto(message, self.id, self.clock.offset_ns)
        if item is not None:
            on_item(item)

    async def _ended(self, call: grpc.aio.StreamStreamCall[pb.ControllerMessage, pb.AgentMessage]) -> Sai3Error:
        details = await bounded(call.details(), CALL_TIMEOUT_S)
        told = refusal(await bounded(call.trailing_metadata(), CALL_TIMEOUT_S), self.id, self.address, "the run")
        if told is not None:
            return told
        return AgentLostError(
            f"agent {self.id} at {self.address} ended the run's stream: {details or 'no reason given'}",
            hint="look at that agent's log",
            context=self._context(),
        )

    def _context(self) -> ErrorContext:
        return ErrorContext(agent=self.id, endpoint=self.address)


@contextmanager
def saying(link: AgentLink, what: str) -> Iterator[None]:
    """To say something to an agent, as far as it can be said."""
    try:
        yield
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, Sai3Error) as error:
        # Its stream is broken; whoever reads it says why.
        logger.debug("%s to agent %s: %r", what, link.id, error)


async def bounded(what: Awaitable[T], timeout_s: float) -> T | None:
    """The result, or None after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await what
    except TimeoutError:
        return None


def busy_error(agent_id: str, address: str, hello: pb.HelloReply) -> Sai3Error:
    hint = "wait until that run has ended, or use another agent"
    state = AgentState(hello.state).word
    if hello.orphaned:
        hint = (
            f"no controller leads that run: `sai3tui attach {address}` brings it back, "
            f"`sai3tui attach --abort {address}` ends it"
        )
    return Sai3Error(
        f"agent {agent_id} at {address} is busy with run {hello.run_id or 'of another controller'} ({state})",
        hint=hint,
        context=ErrorContext(agent=agent_id, endpoint=address),
        kind=ErrorKind.RESOURCE,
    )
