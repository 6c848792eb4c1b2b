"""An agent that speaks the real protocol over real gRPC, but whose work is a script: for tests of the controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from sai3tui.clock import now_ns
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.event_codec import failure_to_proto, report_to_proto, summary_to_proto
from sai3tui.events import (
    PROTOCOL_VERSION,
    AgentState,
    EndpointStats,
    Objects,
    OpStats,
    Report,
    StageSummary,
    Vitals,
    merge_endpoints,
    merge_ops,
)
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.proto.sai3tui_pb2_grpc import AgentServicer, add_AgentServicer_to_server
from tests.waiting import wait_until_async

ENDPOINT = "s3://10.0.0.1/bucket/"


@dataclass
class Script:
    """What the agent does. Stage numbers count from 1. `intervals`: reports per stage, `interval_s` apart."""

    stages: tuple[tuple[str, str, Op], ...] = (("prepare", "prepare", Op.PUT), ("execute", "execute", Op.GET))
    intervals: int = 2
    interval_s: float = 0.1
    ops_per_interval: int = 50
    skew_ns: int = 0
    late_ns: int = 0
    """So long after the moment that it was told does it let each stage begin, as it says."""
    findings: tuple[pb.Finding, ...] = (pb.Finding(check="connect", subject=ENDPOINT, message="answers"),)
    fail_stage: int = 0
    optional_failure: int = 0
    hang_stage: int = 0
    die_stage: int = 0
    mute_stage: int = 0
    """From when that stage works it does not answer pings and queries, but lives."""
    deaf: bool = False
    """It takes no notice of being left behind."""
    lose_reports: bool = False
    protocol: int = PROTOCOL_VERSION
    busy_run: str = ""
    insecure: bool = False
    orphan: bool = False
    failure: Failure = field(
        default_factory=lambda: Failure(
            ErrorKind.NOT_FOUND,
            "the bucket does not exist",
            ("HTTP 404 NoSuchBucket",),
            ErrorContext(uri=ENDPOINT + "data/x", endpoint=ENDPOINT, op="put", http_status=404, object_index=7),
            "make the bucket",
        )
    )


class ScriptedAgent(AgentServicer):
    def __init__(self, script: Script) -> None:
        self.script = script
        self.state = AgentState.IDLE
        self.stage_index = 0
        self.run_id = ""
        self.spec: pb.RunSpec | None = None
        self.starts: list[tuple[int, int]] = []
        self.goodbyes = 0
        self.aborts: list[str] = []
        self.epochs: dict[int, int] = {}
        self.added: list[pb.Assignment] = []
        self.stream_ended_well = 0
        self.pings = 0
        self.ended_early: set[int] = set()
        self.excluded: set[int] = set()
        """Stages that it is to stop, as the others have gone on without it."""
        self._stopped = asyncio.Event()
        self.preflights = 0
        self.working = asyncio.Event()
        self.dying = asyncio.Event()
        self._abort = asyncio.Event()
        self.address = ""

    def now(self) -> int:
        return now_ns() + self.script.skew_ns

    async def Hello(self, request, context):
        return pb.HelloReply(
            package_version="0.0.1",
            protocol_version=self.script.protocol,
            host=pb.HostFacts(hostname="scripted", cores=2),
            agent_time_ns=self.now(),
            state=wire(AgentState.RUNNING if self.script.busy_run else self.state),
            run_id=self.script.busy_run or self.run_id,
            insecure=self.script.insecure,
            orphaned=self.script.orphan,
        )

    async def Preflight(self, request, context):
        if request.step != pb.PREFLIGHT_CHECK:
            return
        self.preflights += 1
        for finding in self.script.findings:
            yield finding

    async def Abort(self, request, context):
        self.aborts.append(request.reason)
        if request.run_id == self.script.busy_run:
            self.script.busy_run = ""
            return pb.AbortReply(state=wire(AgentState.IDLE), was_running=True)
        was = self.state is not AgentState.IDLE
        self._abort.set()
        await wait_until_async(lambda: self.state is AgentState.IDLE, request.wait_ms / 1000)
        return pb.AbortReply(state=wire(self.state), was_running=was)

    @property
    def mute(self) -> bool:
        return bool(self.script.mute_stage) and self.working.is_set()

    async def Status(self, request, context):
        if self.mute:
            await asyncio.Event().wait()
        return pb.StatusReply(state=wire(self.state), run_id=self.run_id)

    async def FetchLog(self, request, context):
        return
        yield

    async def OnRecord(self, request, context):
        return pb.OnRecordReply()

    async def Run(self, request_iterator, context):
        out: asyncio.Queue[pb.AgentMessage | None] = asyncio.Queue()
        out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), seated=pb.Seated(leads=True)))
        releases: asyncio.Queue[pb.Release | None] = asyncio.Queue()
        reader = asyncio.create_task(self._read(request_iterator, out, releases))
        worker = asyncio.create_task(self._work(out, releases))
        try:
            while (message := await out.get()) is not None:
                yield message
            self.stream_ended_well += 1
        finally:
            for task in (reader, worker):
                task.cancel()
            await asyncio.wait({reader, worker})
            self.state = AgentState.IDLE

    async def _read(self, requests, out, releases):
        async for message in requests:
            kind = message.WhichOneof("body")
            if kind == "start":
                self.spec = message.start
                self.run_id = message.start.run_id
            elif kind == "release":
                self.starts.append((message.release.stage_index, message.release.start_time_ns))
                await releases.put(message.release)
            elif kind == "exclude" and not self.script.deaf:
                self.excluded.add(message.exclude.stage_index)
                self._stopped.set()
                await releases.put(None)
            elif kind == "end_stage":
                self.ended_early.add(message.end_stage.stage_index)
            elif kind == "told":
                await out.put(pb.AgentMessage(agent_time_ns=self.now(), told=message.told))
            elif kind == "assignment":
                self.assigned(out, message.assignment)
            elif kind == "ping":
                self.pings += 1
                if self.mute:
                    continue
                pong = pb.Pong(
                    controller_time_ns=message.ping.controller_time_ns, received_ns=self.now(), state=wire(self.state)
                )
                await out.put(pb.AgentMessage(agent_time_ns=self.now(), pong=pong))
            elif kind == "goodbye":
                self.goodbyes += 1
                self._set(out, AgentState.IDLE)
                await out.put(None)

    def assigned(self, out, assignment: pb.Assignment) -> None:
        """It does nothing with objects, and says at the barrier that it is through."""
        self.epochs[assignment.stage_index] = assignment.epoch
        if assignment.survey:
            surveyed = pb.Surveyed(stage_index=assignment.stage_index, epoch=assignment.epoch, begin=True)
            out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), surveyed=surveyed))
        if assignment.added:
            self.added.append(assignment)
        if self.state is AgentState.AT_BARRIER and self.stage_index == assignment.stage_index and not assignment.survey:
            # It does not wait for its work, and may be here before it has got any.
            arrived = pb.Arrived(stage_index=assignment.stage_index, epoch=assignment.epoch)
            out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), arrived=arrived))

    def _set(self, out, state: AgentState, stage: int = 0, failure: Failure | None = None) -> None:
        self.state, self.stage_index = state, stage
        changed = pb.StateChanged(state=wire(state), stage_index=stage)
        if failure is not None:
            changed.failure.CopyFrom(failure_to_proto(failure))
        out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), state=changed))

    async def _work(self, out, releases) -> None:
        aborted = asyncio.create_task(self._abort.wait())
        stages = asyncio.create_task(self._stages(out, releases))
        try:
            await asyncio.wait({aborted, stages}, return_when=asyncio.FIRST_COMPLETED)
            if aborted.done():
                self._set(out, AgentState.ABORTING)
                self._set(out, AgentState.ABORTED)
                self._set(out, AgentState.IDLE)
                await out.put(None)
            else:
                stages.result()
        finally:
            for task in (aborted, stages):
                task.cancel()
            await asyncio.wait({aborted, stages})

    async def _stages(self, out, releases) -> None:
        self._set(out, AgentState.VALIDATING)
        self._set(out, AgentState.AT_BARRIER)
        out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), arrived=pb.Arrived(stage_index=0)))
        for number, (name, kind, op) in enumerate(self.script.stages, 1):
            release = await self._released(releases, number - 1)
            if release is None:
                # It sits this stage out, and takes part again from its barrier on.
                self._set(out, AgentState.EXCLUDED, number - 1)
                self._set(out, AgentState.AT_BARRIER, number)
                out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), arrived=pb.Arrived(stage_index=number)))
                continue
            start = release.start_time_ns
            await asyncio.sleep(max(0.0, (start - self.now()) / 1e9))
            self._set(out, AgentState.RUNNING, number)
            started = pb.StageStarted(stage_index=number, stage_name=name, planned_start_ns=start)
            out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), stage_started=started))
            if self.script.late_ns:
                late = pb.StageBegan(stage_index=number, planned_start_ns=start, began_ns=start + self.script.late_ns)
                out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), began=late))
            self.working.set()
            summary = await self._stage(out, number, name, kind, op, start)
            if summary is None:
                return
            epoch = self.epochs.get(number, 0)
            arrived = pb.Arrived(stage_index=number, summary=summary_to_proto(summary), epoch=epoch)
            self._set(out, AgentState.AT_BARRIER, number)
            out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), arrived=arrived))
        await self._released(releases, len(self.script.stages))
        self._set(out, AgentState.COMPLETED, len(self.script.stages))

    async def _released(self, releases: asyncio.Queue[pb.Release | None], index: int) -> pb.Release | None:
        """The release of barrier `index`; None once it is left behind there."""
        while index not in self.excluded:
            release = await releases.get()
            if release is not None:
                return release
        return None

    async def _stage(self, out, number, name, kind, op, start) -> StageSummary | None:
        script = self.script
        reports = []
        for i in range(script.intervals):
            if number in self.ended_early:
                break
            await asyncio.sleep(script.interval_s)
            begin = start + int(i * script.interval_s * 1e9)
            done = script.ops_per_interval * (i + 1)
            objects = Objects(planned=script.ops_per_interval * script.intervals, done=done, bytes=done * 1000)
            report = Report(
                "",
                number,
                begin,
                begin + int(script.interval_s * 1e9),
                (op_stats(op, script.ops_per_interval, 1_000_000 * (i + 1)),),
                (endpoint_stats(op, script.ops_per_interval),),
                objects,
                Vitals(cpu_user_pct=10.0),
            )
            reports.append(report)
            if not (script.lose_reports and i == 0):
                out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), report=report_to_proto(report)))
            if number == script.die_stage:
                self.dying.set()
                await asyncio.Event().wait()
            if number in (script.hang_stage, script.mute_stage):
                while number not in self.excluded:
                    await self._stopped.wait()
                    self._stopped.clear()
                break
            if number == script.fail_stage:
                seen = pb.FailureSeen(stage_index=number, count=3, sample=failure_to_proto(script.failure))
                out.put_nowait(pb.AgentMessage(agent_time_ns=self.now(), failure=seen))
                self._set(out, AgentState.FAILED, number, script.failure)
                return None
        return StageSummary(
            number,
            name,
            kind,
            len(reports) * script.interval_s,
            tuple(merge_ops([r.ops for r in reports])),
            tuple(merge_endpoints([r.endpoints for r in reports])),
            reports[-1].objects,
            start_ns=start,
            end_ns=reports[-1].end_ns,
            failure=script.failure if number == script.optional_failure else None,
        )


def wire(state: AgentState) -> pb.AgentState.ValueType:
    return pb.AgentState.ValueType(int(state))


def op_stats(op: Op, count: int, latency_ns: int, errors: int = 0) -> OpStats:
    service = Histogram()
    service.record([latency_ns] * count)
    size = 1000 if op in (Op.GET, Op.PUT) else 0
    return OpStats(op, 1, count, count * size, errors, count + errors, service, Histogram(), Histogram())


def endpoint_stats(op: Op, count: int) -> EndpointStats:
    service = Histogram(COARSE)
    service.record([1_000_000] * count)
    return EndpointStats(0, ENDPOINT, op, count, count * 1000, 0, count, service)


@asynccontextmanager
async def scripted_agent(script: Script | ScriptedAgent | None = None) -> AsyncIterator[ScriptedAgent]:
    agent = script if isinstance(script, ScriptedAgent) else ScriptedAgent(script or Script())
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    add_AgentServicer_to_server(agent, server)
    agent.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    async def die() -> None:
        # Not from within a call: stopping ends the calls.
        await agent.dying.wait()
        await server.stop(0)

    death = asyncio.create_task(die())
    try:
        yield agent
    finally:
        agent.dying.set()
        await death
