"""The agent as the controller sees it: the calls of `sai3tui.proto`, and which run they are about."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from typing import NoReturn

import grpc

from sai3tui.agent.clock import agent_clock, now_ns
from sai3tui.agent.controls import Controls
from sai3tui.agent.leadership import Seat
from sai3tui.agent.preflight import preflight_step
from sai3tui.agent.run import AgentRun
from sai3tui.agent.run_thread import RunThread
from sai3tui.agent.setup import AgentLimits, RunSetup, make_setup
from sai3tui.agent.spool import Spool
from sai3tui.agent.state import StateMachine, Transition
from sai3tui.agent.work import read_work
from sai3tui.errors import ErrorKind, Failure, Sai3Error
from sai3tui.event_codec import REFUSAL, failure_to_proto, finding_to_proto, objects_to_proto, refusal_of
from sai3tui.events import (
    PROTOCOL_VERSION,
    AgentState,
    Finding,
    Level,
)
from sai3tui.host import host_facts
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.proto.sai3tui_pb2_grpc import AgentServicer
from sai3tui.tasks import end_task

logger = logging.getLogger(__name__)

CAPABILITIES = ("s3", "file", "validation", "prepare", "execute", "cleanup", "subscribe", "fetch-log", "on-record")
FIRST_MESSAGE_S = 10.0
MAX_DETAILS = 1000
"""Bytes of a refusal in words, of which some become three: gRPC takes 8 KiB of metadata in all."""
MAX_ABORT_WAIT_S = 30.0
SHUTDOWN_S = 5.0

Stream = grpc.aio.ServicerContext[pb.ControllerMessage, pb.AgentMessage]

_REFUSED = {
    ErrorKind.CONFIG: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.RESOLVE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.PERMISSION: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.AUTH: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.RESOURCE: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class AgentService(AgentServicer):
    """One per agent process. Runs live on `thread`, so that whatever they do, heartbeats and queries are answered; each
    is looked after in `runs`, a task group of whoever serves this."""

    def __init__(
        self,
        limits: AgentLimits,
        environ: Mapping[str, str],
        runs: asyncio.TaskGroup,
        thread: RunThread,
        *,
        insecure: bool = False,
        encrypted: bool = False,
    ) -> None:
        self._limits = limits
        self._environ = environ
        self._runs = runs
        self._thread = thread
        self._insecure = insecure
        self._encrypted = encrypted
        self._machine = StateMachine(self._on_change)
        self._run: AgentRun | None = None
        self._ended = asyncio.Event()
        """The current run, or the last one, is over and gone."""
        self._spool: Spool | None = None
        self._starting = ""
        self._last_ended_ns = 0
        self._spec: pb.RunSpec | None = None
        """Of the current or last run."""

    # --- calls ---

    async def Hello(
        self, request: pb.HelloRequest, context: grpc.aio.ServicerContext[pb.HelloRequest, pb.HelloReply]
    ) -> pb.HelloReply:
        del context
        logger.debug("hello from a controller with sai3tui %s", request.package_version)
        run = self._run
        return pb.HelloReply(
            package_version=version("sai3tui"),
            protocol_version=PROTOCOL_VERSION,
            capabilities=CAPABILITIES,
            host=host_facts(),
            state=_wire_state(self._machine.state),
            run_id=run.setup.run_id if run is not None else "",
            insecure=self._insecure,
            orphaned=run is not None and run.seats.alone,
            leader=run.seats.leader if run is not None else "",
            term=run.seats.term if run is not None else 0,
            agent_time_ns=now_ns(),
        )

    async def Preflight(
        self, request: pb.PreflightRequest, context: grpc.aio.ServicerContext[pb.PreflightRequest, pb.Finding]
    ) -> AsyncIterator[pb.Finding]:
        await self._let_go()
        if self._busy:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self._busy_text())
        try:
            setup = await self._setup(request.spec)
        except Sai3Error as error:
            yield finding_to_proto(_refusal(error.failure()))
            return
        found: asyncio.Queue[Finding | None] = asyncio.Queue()

        async def check() -> None:
            try:
                async with Controls(setup.endpoints, setup.environ, setup.config.s3) as controls:
                    await preflight_step(request.step, setup, found.put_nowait, controls, self._last_ended_ns)
            except Sai3Error as error:
                logger.warning("a probe of preflight may be left behind: %s", error.failure().sentence())
            finally:
                found.put_nowait(None)

        # Not in a task group: this is a generator, which may be left in the middle.
        checking = asyncio.create_task(check())
        try:
            while (finding := await found.get()) is not None:
                yield finding_to_proto(finding)
            await checking
        finally:
            await end_task(checking)

    # A coroutine that writes, which gRPC takes as well as a generator: two tasks have something to say.
    async def Run(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.ControllerMessage], context: Stream
    ) -> None:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                first = await anext(aiter(request_iterator), None)
        except TimeoutError:
            await _refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, "no first message arrived")
        body = first.WhichOneof("body") if first is not None else None
        if first is None or body not in ("start", "subscribe"):
            text = "the first message of a run must be start or subscribe"
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{text}, not {body or 'nothing'}")
        if body == "start":
            run = await self._start(first.start, context)
            wanted = pb.Subscribe(cursor=1, lead=True, controller=first.start.controller)
        else:
            run, wanted = await self._find(first.run_id, context), first.subscribe
        try:
            seat = run.seats.join(wanted.controller, lead=wanted.lead, take_over=wanted.take_over, term=wanted.term)
        except Sai3Error as error:
            await _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, error.message)
        await self._serve(run, seat, wanted.cursor, request_iterator, context)

    async def Abort(
        self, request: pb.AbortRequest, context: grpc.aio.ServicerContext[pb.AbortRequest, pb.AbortReply]
    ) -> pb.AbortReply:
        del context
        run = self._run
        if run is None or (request.run_id and request.run_id != run.setup.run_id):
            return pb.AbortReply(state=_wire_state(self._machine.state), was_running=False)
        taken = run.seats.taken_from(request.controller)
        if taken is not None:
            logger.warning("%s does not lead this run: its abort is not done", request.controller)
            refused = pb.Led(by=taken.by, since_ns=taken.since_ns)
            return pb.AbortReply(state=_wire_state(self._machine.state), refused=refused)
        was_running = run.abort(request.reason or "asked by the controller")
        try:
            async with asyncio.timeout(min(request.wait_ms / 1000.0, MAX_ABORT_WAIT_S)):
                await self._ended.wait()
        except TimeoutError:
            logger.info("an abort is still going on when its caller stops waiting")
        return pb.AbortReply(state=_wire_state(self._machine.state), was_running=was_running)

    async def Status(
        self, request: pb.StatusRequest, context: grpc.aio.ServicerContext[pb.StatusRequest, pb.StatusReply]
    ) -> pb.StatusReply:
        del context
        run, spool = self._run, self._spool
        return pb.StatusReply(
            state=_wire_state(self._machine.state),
            run_id=spool.run_id if spool is not None else "",
            stage_index=self._machine.stage_index,
            stage_name=run.stage_name if run is not None else "",
            last_sequence=spool.last_sequence if spool is not None else 0,
            objects=objects_to_proto(run.objects()) if run is not None else None,
            spec=self._spec if request.with_spec else None,
            dropped=spool.dropped if spool is not None else 0,
        )

    async def FetchLog(
        self, request: pb.FetchLogRequest, context: grpc.aio.ServicerContext[pb.FetchLogRequest, pb.AgentMessage]
    ) -> AsyncIterator[pb.AgentMessage]:
        spool = self._spool
        if spool is None or (request.run_id and request.run_id != spool.run_id):
            known = f"the last one was {spool.run_id}" if spool is not None else "there has been none"
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no run {request.run_id!r} is known here: {known}")
        for message in spool.since(request.cursor):
            yield message

    async def OnRecord(
        self, request: pb.OnRecordRequest, context: grpc.aio.ServicerContext[pb.OnRecordRequest, pb.OnRecordReply]
    ) -> pb.OnRecordReply:
        del context
        run = self._run
        if run is None or run.setup.run_id != request.run_id:
            return pb.OnRecordReply()
        return await self._thread.run(run.on_record())

    # --- ending ---

    async def shut_down(self, reason: str) -> None:
        """Abort the run, if there is one, and wait for its end (bounded)."""
        run = self._run
        if run is None:
            return
        run.abort(reason)
        run.goodbye()
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                await self._ended.wait()
        except TimeoutError:
            logger.error("the run did not end within %g s", SHUTDOWN_S)

    # --- runs ---

    @property
    def _busy(self) -> bool:
        return bool(self._starting) or self._run is not None

    def _busy_text(self) -> str:
        run_id = self._run.setup.run_id if self._run is not None else self._starting
        return f"this agent is busy with run {run_id} ({self._machine.state.word})"

    async def _let_go(self) -> None:
        """A run that has told its end is given the moment that it needs to be gone."""
        run = self._run
        if run is not None and run.over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_S):
                    await self._ended.wait()

    async def _start(self, spec: pb.RunSpec, context: Stream) -> AgentRun:
        await self._let_go()
        if self._busy:
            await _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, self._busy_text())
        if not spec.run_id:
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "the run has no id")
        self._starting = spec.run_id
        try:
            setup = await self._setup(spec)
        except Sai3Error as error:
            failure = error.failure()
            logger.warning("run %s was refused: %s", spec.run_id, failure.sentence())
            text = f"{failure.sentence()} ({failure.hint})" if failure.hint else failure.sentence()
            await _refuse(context, _REFUSED.get(failure.kind, grpc.StatusCode.INTERNAL), text, failure)
        finally:
            self._starting = ""
        self._spec = spec
        return self._begin(setup)

    async def _setup(self, spec: pb.RunSpec) -> RunSetup:
        """Raises Sai3Error. The credentials are in the setup then, and nowhere else: a spec may be asked for."""
        try:
            return await asyncio.to_thread(make_setup, spec, self._limits, self._environ, encrypted=self._encrypted)
        finally:
            spec.ClearField("credentials")

    def _begin(self, setup: RunSetup) -> AgentRun:
        logger.info("run %s: %s as agent %s", setup.run_id, setup.config.path, setup.agent.id)
        self._spool = Spool(setup.run_id)
        run = self._run = AgentRun(setup, self._machine, self._spool, self._thread.post)
        self._ended = asyncio.Event()
        self._runs.create_task(self._keep(run, self._ended))
        return run

    async def _keep(self, run: AgentRun, ended: asyncio.Event) -> None:
        try:
            await self._thread.run(run.run())
        except Exception:
            # One run's defect must not end the agent; whatever state it left the table in is gone with it.
            logger.exception("this is a defect of sai3tui")
            self._machine = StateMachine(self._on_change)
        finally:
            self._run = None
            self._last_ended_ns = now_ns()
            ended.set()
        logger.info("run %s is over", run.setup.run_id)

    async def _find(self, run_id: str, context: Stream) -> AgentRun:
        run = self._run
        if run is None or (run_id and run_id != run.setup.run_id):
            text = f"run {run_id or '(any)'} is not in progress here"
            await _refuse(context, grpc.StatusCode.NOT_FOUND, f"{text}; FetchLog has what the last run said")
        return run

    async def _serve(
        self,
        run: AgentRun,
        seat: Seat,
        cursor: int,
        requests: AsyncIterator[pb.ControllerMessage],
        context: Stream,
    ) -> None:
        """Pass messages both ways until the run is over or the controller leaves."""
        writing = asyncio.Lock()
        try:
            seated = pb.Seated(leads=seat.leads)
            await context.write(pb.AgentMessage(run_id=run.setup.run_id, agent_time_ns=now_ns(), seated=seated))
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._listen(run, seat, requests, context, writing))
                speaker = group.create_task(_speak(run.spool, cursor, context, writing))
                leading = group.create_task(_tell_lead(run.setup.run_id, seat, context, writing))
                # A goodbye is followed by the last words of the run; leaving without one ends the stream.
                await asyncio.wait({reader, speaker}, return_when=asyncio.FIRST_COMPLETED)
                if not speaker.done() and reader.done() and not reader.cancelled() and reader.result():
                    await asyncio.wait({speaker})
                for task in (reader, speaker, leading):
                    task.cancel()
        except* grpc.aio.BaseError as errors:
            # The controller left, or lost its network, in the middle of what was said to it: no defect of ours.
            logger.debug("the stream of %s broke: %s", seat.controller, errors.exceptions)
        finally:
            run.seats.leave(seat)

    async def _listen(
        self,
        run: AgentRun,
        seat: Seat,
        requests: AsyncIterator[pb.ControllerMessage],
        context: Stream,
        writing: asyncio.Lock,
    ) -> bool:
        """Do what the controller says, as long as it leads; whether it said goodbye."""
        async for message in requests:
            body = message.WhichOneof("body")
            if body == "ping":
                received, mono = agent_clock().both_ns()
                pong = pb.Pong(
                    controller_time_ns=message.ping.controller_time_ns,
                    received_ns=received,
                    state=_wire_state(self._machine.state),
                    stage_index=self._machine.stage_index,
                )
                async with writing:
                    await context.write(pb.AgentMessage(run_id=run.setup.run_id, agent_time_ns=received, pong=pong))
                if seat.leads and message.ping.HasField("clock_offset_ns"):
                    run.clock(message.ping, mono, received)
            elif body == "goodbye":
                if seat.leads:
                    run.goodbye()
                return True
            elif not seat.leads:
                logger.info("%s does not lead this run: its %s is not done", seat.controller, body)
            elif body == "release":
                run.release(message.release)
            elif body == "end_stage":
                run.end_stage(message.end_stage.stage_index)
            elif body == "assignment":
                run.assign(message.assignment, read_work(message.assignment))
            elif body == "shared":
                run.shared(message.shared)
            elif body == "told":
                run.told(message.told)
            elif body == "exclude":
                run.exclude(message.exclude.stage_index, message.exclude.reason)
            else:
                logger.warning("a message of the controller makes no sense here: %s", body)
        return False

    def _on_change(self, change: Transition) -> None:
        logger.log(
            logging.DEBUG if change.after is AgentState.IDLE else logging.INFO,
            "%s%s%s",
            change.after.word,
            f" {change.stage_index}" if change.after in (AgentState.RUNNING, AgentState.AT_BARRIER) else "",
            f": {change.reason}" if change.reason else "",
        )
        if self._spool is not None:
            state = pb.StateChanged(
                state=_wire_state(change.after),
                stage_index=change.stage_index,
                reason=change.reason,
                failure=failure_to_proto(change.failure) if change.failure is not None else None,
            )
            self._spool.append(pb.AgentMessage(agent_time_ns=now_ns(), state=state))


async def _speak(spool: Spool, cursor: int, context: Stream, writing: asyncio.Lock) -> None:
    async for message in spool.follow(cursor):
        async with writing:
            await context.write(message)


async def _tell_lead(run_id: str, seat: Seat, context: Stream, writing: asyncio.Lock) -> None:
    while True:
        lead = await seat.news.get()
        led = pb.Led(by=lead.by, since_ns=lead.since_ns)
        async with writing:
            await context.write(pb.AgentMessage(run_id=run_id, agent_time_ns=now_ns(), led=led))


async def _refuse(context: Stream, code: grpc.StatusCode, text: str, failure: Failure | None = None) -> NoReturn:
    """`failure`: what is to be known beside the text."""
    told = refusal_of(failure) if failure is not None else b""
    await context.abort(code, text.encode()[:MAX_DETAILS].decode(errors="ignore"), ((REFUSAL, told),) if told else ())
    raise AssertionError("abort raises")


def _refusal(failure: Failure) -> Finding:
    what = "plan" if failure.kind in (ErrorKind.CONFIG, ErrorKind.RESOLVE) else "path"
    return Finding(
        now_ns(),
        failure.context.agent,
        what,
        failure.context.endpoint,
        Level.ERROR,
        failure.message,
        "; ".join(failure.causes),
        failure.hint,
        0.0,
        failure,
    )


def _wire_state(state: AgentState) -> pb.AgentState.ValueType:
    return pb.AgentState.ValueType(int(state))
