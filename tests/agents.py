"""Real agent processes for tests, and the least controller that can drive one."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from sai3tui.access import NO_ACCESS
from sai3tui.agent.listen import add_port, make_server
from sai3tui.agent.run_thread import RunThread
from sai3tui.agent.service import AgentService
from sai3tui.agent.setup import AgentLimits
from sai3tui.config.resolve import load_resolved
from sai3tui.controller.coordinator import Coordinator, Order
from sai3tui.processes import Child, start_child
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.proto.sai3tui_pb2_grpc import AgentStub, add_AgentServicer_to_server
from tests.waiting import wait_until

if TYPE_CHECKING:
    from sai3tui.proto.sai3tui_pb2_grpc import AgentAsyncStub

LISTENS = re.compile(r"listens on (\S+),")


class AgentUnderTest:
    """One `sai3tui agent` process."""

    def __init__(self, child: Child, address: str, data_dir: Path) -> None:
        self.child = child
        self.address = address
        self.data_dir = data_dir

    @property
    def log(self) -> str:
        return self.child.log.read_text()

    def lines(self, *levels: str) -> list[str]:
        """The log lines of these levels."""
        return [line for line in self.log.splitlines() if any(f" {level} " in line for level in levels)]


def start_agent(
    tmp_path: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    name: str = "agent",
    cwd: Path | None = None,
) -> AgentUnderTest:
    """An agent with data and log below `tmp_path`, listening. `environ` is added to ours."""
    data_dir = tmp_path / f"{name}-data"
    log = tmp_path / f"{name}-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "sai3tui", "agent", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
    place = ["env", "-C", str(cwd)] if cwd is not None else []
    child = start_child(name, [*place, *command, *arguments], log, environ={**os.environ, **(environ or {})})
    ready = wait_until(lambda: LISTENS.search(log.read_text()) is not None or not child.running, 30)
    found = LISTENS.search(log.read_text())
    if not ready or found is None:
        child.end()
        raise AssertionError(f"the agent did not start:\n{log.read_text()}")
    return AgentUnderTest(child, found[1], data_dir)


@contextmanager
def running_agent(
    tmp_path: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    name: str = "agent",
    cwd: Path | None = None,
) -> Iterator[AgentUnderTest]:
    agent = start_agent(tmp_path, *arguments, environ=environ, name=name, cwd=cwd)
    try:
        yield agent
    finally:
        agent.child.end()


@asynccontextmanager
async def agent_in_process(tmp_path: Path, *allowed: Path, port: int = 0) -> AsyncIterator[tuple[str, RunThread]]:
    """The address of an agent in this process, on this loop, and the thread of its runs. `port` 0: a free one."""
    server = make_server(NO_ACCESS)
    port = add_port(server, "127.0.0.1", port, NO_ACCESS)
    with RunThread() as thread:
        async with asyncio.TaskGroup() as runs:
            limits = AgentLimits(tmp_path / "data", allowed, allow_custom=True)
            service = AgentService(limits, os.environ, runs, thread)
            add_AgentServicer_to_server(service, server)
            await server.start()
            try:
                yield f"127.0.0.1:{port}", thread
            finally:
                await service.shut_down("the test is over")
                await server.stop(1.0)


@asynccontextmanager
async def stub_of(agent: AgentUnderTest | str) -> AsyncIterator[AgentAsyncStub]:
    address = agent if isinstance(agent, str) else agent.address
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: AgentAsyncStub = AgentStub(channel)
        yield stub


class Driver:
    """Runs one configuration on one agent, as if there were no others, and keeps all that it says. Barriers are
    released at once, except those that `hold` names; `on_message` sees every message as it comes."""

    def __init__(
        self,
        stub: AgentAsyncStub,
        config: str,
        run_id: str = "run-1",
        *,
        agent_index: int = 0,
        fresh: bool = False,
        hold: Sequence[int] = (),
        on_message: Callable[[pb.AgentMessage], None] | None = None,
        controller_timeout_s: float = 60.0,
        clock_skew_s: float = 0.0,
    ) -> None:
        self.stub = stub
        self.spec = pb.RunSpec(
            run_id=run_id,
            config_name="test.yaml",
            config_yaml=config.encode(),
            agent_index=agent_index,
            fresh=fresh,
            controller_timeout_s=controller_timeout_s,
        )
        self.messages: list[pb.AgentMessage] = []
        self.pongs: list[pb.Pong] = []
        self._ready = False
        self.told: list[str] = []
        """What a controller says beside what the agent does."""
        self._resolved = load_resolved(config, "test.yaml").resolved
        self._coordinator = (
            Coordinator(
                self._resolved,
                run_id="r",
                fresh=fresh,
                directory=None,
                note=lambda level, text, code: self.told.append(text),
            )
            if self._resolved is not None
            else None
        )
        self._hold = frozenset(hold)
        self._on_message = on_message
        self._skew_ns = int(clock_skew_s * 1e9)
        self.call: grpc.aio.StreamStreamCall[pb.ControllerMessage, pb.AgentMessage] | None = None

    async def run(self, timeout_s: float = 60.0) -> None:
        """Until the agent ends the stream."""
        async with asyncio.timeout(timeout_s):
            call = self.call = self.stub.Run()
            await call.write(pb.ControllerMessage(run_id=self.spec.run_id, start=self.spec))
            pinged = False
            async for message in call:
                if not pinged:
                    # Not before: a write that meets a refusal makes grpc.aio forget why the run was refused.
                    pinged = True
                    await call.write(pb.ControllerMessage(ping=pb.Ping(controller_time_ns=time.time_ns())))
                await self.take(message)

    async def take(self, message: pb.AgentMessage) -> None:
        body = message.WhichOneof("body")
        if self._coordinator is not None:
            await self._send(self._coordinator.take(self._agent, message))
        if body == "pong":
            self.pongs.append(message.pong)
            return
        if body == "seated":
            return
        self.messages.append(message)
        if self._on_message is not None:
            self._on_message(message)
        if body == "arrived" and message.arrived.stage_index not in self._hold:
            await self.release(message.arrived.stage_index)
        if body == "state" and message.state.state in (pb.COMPLETED, pb.FAILED):
            await self.goodbye()

    @property
    def _agent(self) -> str:
        assert self._resolved is not None
        return self._resolved.agents[self.spec.agent_index].id

    async def _send(self, orders: Sequence[Order]) -> None:
        assert self.call is not None
        for agent, order in orders:
            if agent == self._agent:
                await self.call.write(pb.ControllerMessage(assignment=order))

    async def release(self, index: int) -> None:
        assert self.call is not None
        coordinator, resolved = self._coordinator, self._resolved
        assert coordinator is not None
        assert resolved is not None
        if not self._ready:
            self._ready = True
            orders = coordinator.ready()
            # Who comes later only learns what others have united.
            await self._send(orders if index == 0 else [])
        complete = coordinator.finish(index)
        if index < len(resolved.stages):
            await self._send(coordinator.begin(index + 1, resolved.stages[index].type, [self._agent]))
        start_ns = time.time_ns() + self._skew_ns + 50_000_000
        release = pb.Release(stage_index=index, start_time_ns=start_ns, generation_complete=complete)
        await self.call.write(pb.ControllerMessage(release=release))

    async def goodbye(self) -> None:
        assert self.call is not None
        # Who leads may have said it first: then the stream is over.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(pb.ControllerMessage(goodbye=pb.Goodbye()))
            await self.call.done_writing()

    # --- what was said ---

    @property
    def states(self) -> list[str]:
        """States in order, with the stage or barrier where there is one: `running 1`."""
        numbered = (pb.RUNNING, pb.AT_BARRIER)
        return [
            pb.AgentState.Name(s.state).lower() + (f" {s.stage_index}" if s.state in numbered else "")
            for s in (m.state for m in self.messages if m.HasField("state"))
        ]

    @property
    def failure(self) -> pb.Failure | None:
        found = [m.state.failure for m in self.messages if m.HasField("state") and m.state.HasField("failure")]
        return found[-1] if found else None

    def summary(self, name: str) -> pb.StageSummary:
        (found,) = [
            m.arrived.summary for m in self.messages if m.HasField("arrived") and m.arrived.summary.stage_name == name
        ]
        return found

    def reports(self, stage_index: int) -> list[pb.Report]:
        return [m.report for m in self.messages if m.HasField("report") and m.report.stage_index == stage_index]

    @property
    def notes(self) -> list[str]:
        return self.told + [m.note.text for m in self.messages if m.HasField("note")]

    @property
    def findings(self) -> list[pb.Finding]:
        return [m.finding for m in self.messages if m.HasField("finding")]
