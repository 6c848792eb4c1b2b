"""A fleet that is broken at a chosen moment: real agents and a real controller before a real S3 server, with proxies
between them that keep requests back until the fault has happened, so that the moment is the same on every machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Self

import psutil

from sai3tui.config.resolve import load_resolved
from sai3tui.processes import end_all
from sai3tui.workload.objects import object_sets
from tests.agents import AgentUnderTest, start_agent
from tests.e2e import Done, started
from tests.fault_proxy import Fault, Seen, fault_proxy
from tests.fault_server import answer, error_document
from tests.servers import ServerUnderTest
from tests.waiting import gone, wait_until_async

OBJECTS = 200
BURST = 24
"""Requests that meet 503, or that a slow storage answers late."""
BURST_ON_ONE = 6
"""Likewise on one object: more than an endpoint is asked for it, fewer than two are."""
LATE_S = 0.25
END_S = 150.0

CONFIG = """\
concurrency: 4
workload:
  - {op: get, path: "data/**/*", weight: 70}
  - {op: put, path: "new/", object_size: 1000, weight: 30}
multi_endpoint: {endpoints: [PLACES]}
prepare:
  force_overwrite: true
  directory_structure: {width: 2, depth: 1, files_per_dir: FILES, distribution: bottom}
  ensure_objects: [{base_uri: data/, count: 0, size_distribution: 1000}]
distributed:
  start_delay: 0
  barrier_sync: {enabled: true, execute: best_effort}
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
    - {name: execute, order: 2, type: execute, completion: duration, duration: EXECUTEs}
    - {name: cleanup, order: 3, type: cleanup, completion: tasks_done}
  agents: [AGENTS]
"""


class Moment(Enum):
    """When the fault happens: in the middle of a stage, or while one agent waits at prepare's barrier for the other."""

    PREPARE = "PUT"
    BARRIER = "barrier"
    EXECUTE = "GET"
    CLEANUP = "DELETE"


@dataclass
class Gate:
    """Lets requests on objects through until `moment` has come, then keeps them back until it is opened."""

    moment: Moment
    key: str
    """The object of the agent that is late, which is kept back for BARRIER."""
    at: int = 20
    count: int = 0
    refused: int = 0
    late: int = 0
    storming: bool = False
    slow: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, seen: Seen) -> None:
        if not self._meant(seen):
            return
        self.count += 1
        if not self.opened.is_set() and (self.moment is Moment.BARRIER or self.count > self.at):
            self.reached.set()
            await self.opened.wait()
        if self.slow and self.late < BURST:
            self.late += 1
            await asyncio.sleep(LATE_S)

    def before(self, seen: Seen) -> bytes | None:
        most = BURST_ON_ONE if self.moment is Moment.BARRIER else BURST
        if not (self.storming and self._meant(seen) and self.refused < most):
            return None
        self.refused += 1
        return answer(error_document("SlowDown"), "503 Service Unavailable")

    def _meant(self, seen: Seen) -> bool:
        if not seen.is_object or ".sai3tui" in seen.path:
            return False
        if self.moment is Moment.BARRIER:
            return seen.method == "PUT" and seen.path.endswith(self.key)
        return seen.method == self.moment.value


class Relay:
    """A cable between the controller and an agent, that can be cut."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._cut = False
        self.swallows = False
        """What the controller says does not arrive, and nobody is told."""
        self.flows = asyncio.Event()
        """What the agent says arrives; else it does so later."""
        self.flows.set()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.interrupt()

    async def interrupt(self) -> None:
        """Every connection breaks; new ones can be made."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self) -> None:
        """Every connection breaks, for good."""
        self._cut = True
        await self.interrupt()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._cut:
                up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(reader, up_writer, lambda: self.swallows))
                    group.create_task(_pump(up_reader, writer, flows=self.flows))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    swallows: Callable[[], bool] = lambda: False,
    flows: asyncio.Event | None = None,
) -> None:
    try:
        while data := await reader.read(65536):
            if swallows():
                continue
            if flows is not None:
                await flows.wait()
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@dataclass
class Broken:
    """A fleet at work. `agents[0]` is the one that faults happen to."""

    server: ServerUnderTest
    bucket: str
    directory: Path
    agents: list[AgentUnderTest]
    gate: Gate
    relay: Relay
    endpoints: list[AsyncExitStack]
    faults: list[Fault]
    config: Path
    stack: ExitStack
    controller: subprocess.Popen[str]

    # --- what can be done to it ---

    def kill_worker(self) -> None:
        os.kill(_workers(self.agents[0].child.pid)[0], signal.SIGKILL)

    def kill_agent(self) -> None:
        os.kill(self.agents[0].child.pid, signal.SIGKILL)
        self.agents[0].child.process.wait()

    async def end_endpoint(self) -> None:
        """The first endpoint refuses connections from now on."""
        await self.endpoints[0].aclose()

    def limit_agents(self, size: int) -> None:
        """Agents write no file longer than `size` bytes. Workers have no such limit: it is the agent's own state that
        finds no room."""
        for agent in self.agents:
            resource.prlimit(agent.child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def limit_controller(self) -> None:
        resource.prlimit(self.controller.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def terminate_everything(self) -> None:
        for agent in self.agents:
            agent.child.process.terminate()
        self.controller.terminate()

    def kill_controller(self) -> None:
        self.controller.kill()
        self.controller.wait()

    # --- what became of it ---

    async def end(self) -> Done:
        """The controller's own end."""
        out, err = await asyncio.wait_for(asyncio.to_thread(self.controller.communicate), END_S)
        return Done(self.controller.returncode, tuple(json.loads(line) for line in out.splitlines()), err)

    async def command(self, *arguments: str) -> Done:
        """`sai3tui ARGUMENTS` to its end."""
        self.controller = self.stack.enter_context(started(arguments))
        return await self.end()

    def start_agents_again(self) -> None:
        """At the same addresses, with the same data."""
        for number, agent in enumerate(self.agents):
            agent.child.end()
            self.agents[number] = start_agent(
                self.directory, "--listen", agent.address, environ=self.server.environ(), name=f"a{number + 1}"
            )

    @property
    def results(self) -> Path:
        (found,) = self.directory.glob("results/sai3-*")
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        with contextlib.suppress(ValueError):
            lines = (self.results / "events.jsonl").read_text().splitlines()
            return [event for line in lines if (event := json.loads(line))["type"] == kind]
        return []

    def intervals(self) -> list[str]:
        """The reports of each agent, as they stand in the results."""
        found = []
        for number, _ in enumerate(self.agents, 1):
            path = self.results / "agents" / f"agent-{number}" / "perf_log.tsv"
            found.append(path.read_text() if path.exists() else "")
        return found

    def keys(self) -> dict[str, int]:
        """What the bucket holds beside checkpoints."""
        return {k: v for k, v in self.server.keys(self.bucket).items() if not k.startswith(".sai3tui/")}

    def requests(self) -> int:
        return sum(len(fault.seen) for fault in self.faults)

    async def quiet(self) -> bool:
        """Whether all agents that live are idle: no worker is left."""
        living = [agent for agent in self.agents if agent.child.running]
        return await wait_until_async(lambda: not any(_workers(agent.child.pid) for agent in living), 60)


def _workers(pid: int) -> list[int]:
    found = []
    try:
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "resource_tracker" not in " ".join(child.cmdline()):
                    found.append(child.pid)
    except psutil.NoSuchProcess:
        return []
    return [each for each in found if not gone(each)]


@asynccontextmanager
async def broken(
    server: ServerUnderTest, bucket: str, tmp_path: Path, moment: Moment, *, late: int = 1
) -> AsyncIterator[Broken]:
    """A fleet of two, frozen at `moment`: nothing goes on before its gate is opened. `late`: which agent the other one
    waits for at the barrier."""
    server.bucket(bucket)
    agents: list[AgentUnderTest] = []
    async with AsyncExitStack() as stack:
        stack.callback(lambda: end_all([agent.child for agent in agents]))
        processes = stack.enter_context(ExitStack())
        for number in (1, 2):
            agents.append(start_agent(tmp_path, environ=server.environ(), name=f"a{number}"))  # noqa: PERF401 - the first one is to be ended if the second does not start
        relay = await stack.enter_async_context(Relay(agents[0].address))
        gate = Gate(moment, "")
        faults = [Fault(wait=gate.wait, before=gate.before) for _ in server.host_ports]
        endpoints, places = [], []
        for fault, address in zip(faults, server.host_ports, strict=True):
            own = await stack.enter_async_context(AsyncExitStack())
            places.append(await own.enter_async_context(fault_proxy(address, fault)))
            endpoints.append(own)
        text = (
            CONFIG.replace("PLACES", ", ".join(f"'s3+http://{place}/{bucket}/'" for place in places))
            .replace("EXECUTE", "5" if moment is Moment.EXECUTE else "1")
            .replace("FILES", str(OBJECTS // 2))
            .replace("AGENTS", f"'{relay.address}', '{agents[1].address}'")
        )
        server.make_directories(bucket, text)
        gate.key = object_sets(load_resolved(text, "test.yaml").require())[0].key(late)
        config = tmp_path / "broken.yaml"
        config.write_text(text)
        arguments = ("--batch", str(config), "--json", "--no-preflight", "--results", str(tmp_path / "results"))
        controller = processes.enter_context(started(arguments))
        fleet = Broken(server, bucket, tmp_path, agents, gate, relay, endpoints, faults, config, processes, controller)
        await _frozen(fleet)
        try:
            yield fleet
        finally:
            gate.opened.set()


async def _frozen(fleet: Broken) -> None:
    def there() -> bool:
        if not fleet.gate.reached.is_set():
            return False
        if fleet.gate.moment is Moment.EXECUTE:
            # What an agent writes is known elsewhere once it has been reported.
            return all("execute" in text for text in fleet.intervals())
        if fleet.gate.moment is not Moment.BARRIER:
            return True
        return any(event["stage_index"] == 1 for event in fleet.events("BarrierArrived"))

    assert await wait_until_async(lambda: there() or fleet.controller.poll() is not None, 60), "the moment did not come"
    if not there():
        out, err = fleet.controller.communicate()
        raise AssertionError(f"the run was over before it could be broken: {out[-2000:]}{err}")
