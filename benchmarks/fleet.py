"""One controller and many agents: `python -m benchmarks.fleet [--agents 16 200 1000]`.

The agents are simulated: they speak the real protocol over real gRPC, hundreds in a process, each on a port of its own,
but do no work. Once a second each sends what a busy agent with 16 endpoints sends: histograms of all three kinds for
GETs and PUTs, coarse ones for every endpoint, vitals. The controller is the real one, `RunSession` with all of its
result files, in a process of its own, as `--batch` leads it; with `--front` a snapshot is read four times a second and
one of every second is kept, as in the control room. Measured are

- its CPU (of one core, and per report) and the most memory that it had, while reports come in,
- how long after an agent sent a report the controller's listeners have it,
- how long it takes from the first agent that has a barrier's release to the last one.

The same machine is twice as fast in one hour as in another. So each row has a yardstick: the CPU that a fixed piece of
work (`yardstick`) takes in the controller's process, once a second while the run goes on, which is not counted as the
controller's, and how many yardsticks a report costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from sai3tui.config.ops import Op
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.event_codec import report_to_proto, summary_to_proto
from sai3tui.events import (
    PROTOCOL_VERSION,
    BarrierReleased,
    EndpointStats,
    Event,
    Objects,
    OpStats,
    Report,
    StageSummary,
    Vitals,
)
from sai3tui.metrics.histogram import COARSE, FINE, Histogram
from sai3tui.processes import collect_seldom
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.proto.sai3tui_pb2_grpc import AgentServicer, add_AgentServicer_to_server

ENDPOINTS = 16
STAGES = 3
OPS = 2000
"""Operations of each kind and second, which decides how many bins of a histogram are filled."""
VARIANTS = 16
PER_PROCESS = 500
LOOK_S = 0.25
CONFIG = """\
target: s3://10.0.0.1/bucket/
workload: [{op: get, path: "data/*", weight: 1}]
distributed:
  start_delay: 1
  stages: [STAGES]
  agents: [AGENTS]
"""

# --- the agents ---


def histogram(rng: np.random.Generator, count: int, bins: int = FINE) -> Histogram:
    made = Histogram(bins)
    made.record([int(each) for each in rng.lognormal(15, 0.6, count)])
    return made


def report(seed: int) -> pb.Report:
    """One second of a busy agent."""
    rng = np.random.default_rng(seed)
    ops = tuple(
        OpStats(op, 4, OPS, OPS << 16, 0, OPS, *(histogram(rng, OPS) for _ in range(3))) for op in (Op.GET, Op.PUT)
    )
    share = OPS // ENDPOINTS
    endpoints = tuple(
        EndpointStats(n, f"s3://10.0.0.{n}/bucket/", op, share, share << 16, 0, share, histogram(rng, share, COARSE))
        for n in range(ENDPOINTS)
        for op in (Op.GET, Op.PUT)
    )
    return report_to_proto(Report("", 1, 0, 0, ops, endpoints, Objects(), Vitals(cpu_user_pct=50.0)))


class SimulatedAgents(AgentServicer):
    """Any number of agents; which one is meant stands in the run that it is given."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._variants = [report(seed) for seed in range(VARIANTS)]
        self.released: list[tuple[int, int]] = []
        """Which barrier, and when an agent had its release."""

    async def Hello(self, request, context):
        return pb.HelloReply(
            package_version="0.0.1",
            protocol_version=PROTOCOL_VERSION,
            host=pb.HostFacts(hostname="simulated", cores=2),
            agent_time_ns=time.time_ns(),
            state=pb.IDLE,
        )

    async def Status(self, request, context):
        return pb.StatusReply(state=pb.RUNNING)

    async def Run(self, request_iterator, context) -> AsyncIterator[pb.AgentMessage]:
        out: asyncio.Queue[pb.AgentMessage | None] = asyncio.Queue()
        work = asyncio.create_task(self._run(request_iterator, out))
        try:
            while (message := await out.get()) is not None:
                yield message
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _run(self, requests, out: asyncio.Queue[pb.AgentMessage | None]) -> None:
        self._say(out, seated=pb.Seated(leads=True))
        async with asyncio.TaskGroup() as group:
            async for message in requests:
                now = time.time_ns()
                kind = message.WhichOneof("body")
                if kind == "start":
                    number = message.start.agent_index
                    self._say(out, state=pb.StateChanged(state=pb.AT_BARRIER))
                    self._say(out, arrived=pb.Arrived(stage_index=0))
                elif kind == "ping":
                    pong = pb.Pong(
                        controller_time_ns=message.ping.controller_time_ns, received_ns=now, state=pb.RUNNING
                    )
                    self._say(out, pong=pong)
                elif kind == "release":
                    index = message.release.stage_index
                    self.released.append((index, now))
                    if index == STAGES:
                        self._say(out, state=pb.StateChanged(state=pb.COMPLETED, stage_index=STAGES))
                    else:
                        group.create_task(self._stage(out, number, index + 1, message.release.start_time_ns))
                elif kind == "told":
                    self._say(out, told=message.told)
                elif kind == "goodbye":
                    self._say(out, state=pb.StateChanged(state=pb.IDLE))
                    out.put_nowait(None)

    async def _stage(self, out: asyncio.Queue[pb.AgentMessage | None], number: int, index: int, start_ns: int) -> None:
        await _until(start_ns)
        name = f"load-{index}"
        self._say(out, state=pb.StateChanged(state=pb.RUNNING, stage_index=index))
        self._say(out, stage_started=pb.StageStarted(stage_index=index, stage_name=name, planned_start_ns=start_ns))
        for second in range(self._seconds):
            # Agents do not all report at the same moment.
            await _until(start_ns + second * 10**9 + 10**9 * (number % 97) // 97)
            sent = pb.Report()
            sent.CopyFrom(self._variants[(number + second) % VARIANTS])
            sent.stage_index = index
            sent.start_ns = start_ns + second * 10**9
            sent.end_ns = time.time_ns()
            self._say(out, report=sent)
        summary = StageSummary(index, name, "execute", float(self._seconds), (), (), start_ns=start_ns)
        self._say(out, state=pb.StateChanged(state=pb.AT_BARRIER, stage_index=index))
        self._say(out, arrived=pb.Arrived(stage_index=index, summary=summary_to_proto(summary)))

    def _say(self, out: asyncio.Queue[pb.AgentMessage | None], **body: Any) -> None:
        out.put_nowait(pb.AgentMessage(agent_time_ns=time.time_ns(), **body))


async def _until(time_ns: int) -> None:
    await asyncio.sleep(max(0.0, (time_ns - time.time_ns()) / 1e9))


async def simulate(count: int, seconds: int) -> None:
    """Serve `count` agents until standard input ends; their addresses, then their figures, go to standard output."""
    fleet = SimulatedAgents(seconds)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    add_AgentServicer_to_server(fleet, server)
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(count)]
    await server.start()
    print(json.dumps([f"127.0.0.1:{port}" for port in ports]), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)
    print(json.dumps(fleet.released), flush=True)


# --- the controller ---


def yardstick() -> float:
    """CPU seconds of a fixed piece of work of the controller's kinds: half of it is pure Python (calls, dicts, sums of
    small numbers), half of it small numpy calls."""
    bins = np.arange(0, 2000, 8)
    counts = np.zeros(2048, dtype=np.uint64)
    one = np.ones(len(bins), dtype=np.uint64)
    began = time.thread_time()
    table: dict[int, int] = {}
    for number in range(3000):
        table[number % 1000] = table.get(number % 1000, 0) + min(number, 500)
    for _ in range(150):
        counts[bins] += one
        counts.cumsum().searchsorted(one)
    return time.thread_time() - began


async def _measure(found: list[tuple[float, float]]) -> None:
    """Once a second: when, and what the yardstick took."""
    while True:
        await asyncio.sleep(1.0)
        found.append((time.monotonic(), yardstick()))


async def control(config: str, results: Path, front: bool) -> dict[str, Any]:
    """Run `config` and measure this process meanwhile. `front`: with what a control room asks of it."""
    delays: list[float] = []
    marks: list[tuple[float, float]] = []
    """Wall and CPU seconds at the release of every barrier."""

    def watch(item: Event | Report) -> None:
        if isinstance(item, Report):
            delays.append((time.time_ns() - item.end_ns) / 1e6)
        elif isinstance(item, BarrierReleased):
            used = resource.getrusage(resource.RUSAGE_SELF)
            marks.append((time.monotonic(), used.ru_utime + used.ru_stime))

    yards: list[tuple[float, float]] = []
    collect_seldom()  # as `--batch` does
    session = RunSession(
        RunRequest(Path("fleet.yaml"), config.encode(), results_root=results, preflight=False, keeps_past=front)
    )
    session.listen(watch)
    beside = [asyncio.create_task(_measure(yards))]
    if front:
        beside.append(asyncio.create_task(_look(session)))
    outcome = await session.run()
    for task in beside:
        task.cancel()
    wall, cpu = (marks[-1][place] - marks[0][place] for place in (0, 1))
    measured = [took for at, took in yards if marks[0][0] <= at <= marks[-1][0]]
    cpu -= sum(measured)
    return {
        "status": outcome.status,
        "failure": outcome.failure.sentence() if outcome.failure else "",
        "reports": len(delays),
        "cores": cpu / wall,
        "report_ms": cpu * 1000 / max(1, len(delays)),
        "yard_ms": float(np.median(measured)) * 1000,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "delay_ms": [float(np.percentile(delays, q)) for q in (50, 99, 100)] if delays else [],
    }


async def _look(session: RunSession) -> None:
    while True:
        session.snapshot()
        await asyncio.sleep(LOOK_S)


# --- both ---


def measured(agents: int, seconds: int, front: bool) -> dict[str, Any]:
    each = [PER_PROCESS] * (agents // PER_PROCESS) + [agents % PER_PROCESS] * (agents % PER_PROCESS > 0)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet", "--simulate", str(count), "--seconds", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for count in each
    ]
    directory = Path(tempfile.mkdtemp(prefix="sai3tui-bench-fleet-"))
    try:
        places = [place for process in processes for place in json.loads(_line(process))]
        stages = ", ".join(
            f"{{name: load-{n}, order: {n}, type: execute, completion: duration, duration: {seconds}s}}"
            for n in range(1, STAGES + 1)
        )
        config = directory / "fleet.yaml"
        config.write_text(
            CONFIG.replace("STAGES", stages).replace("AGENTS", ", ".join(f"'{place}'" for place in places))
        )
        command = [sys.executable, "-m", "benchmarks.fleet", "--control", str(config)]
        command += ["--front"] if front else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        times: dict[int, list[int]] = {}
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            for index, time_ns in json.loads(_line(process)):
                times.setdefault(index, []).append(time_ns)
            process.wait()
        found["release_ms"] = max((max(seen) - min(seen)) / 1e6 for seen in times.values())
        found["released"] = min(len(seen) for seen in times.values())
        return found
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(directory)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[16, 200, 1000])
    parser.add_argument("--seconds", type=int, default=10, help="of each of the three stages")
    parser.add_argument("--front", action="store_true", help="with what a control room asks of the controller")
    parser.add_argument("--simulate", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--control", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        asyncio.run(simulate(options.simulate, options.seconds))
        return
    if options.control:
        found = asyncio.run(control(options.control.read_text(), options.control.parent, options.front))
        print(json.dumps(found))
        return
    print(
        "| agents | outcome | reports | controller: cores | CPU ms a report | yardstick CPU ms | yardsticks a report |"
        " MiB | delay ms: p50, p99, most | release spread ms |"
    )
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for agents in options.agents:
        m = measured(agents, options.seconds, options.front)
        delays = ", ".join(f"{each:.0f}" for each in m["delay_ms"])
        whole = f"of {agents * options.seconds * STAGES}"
        print(
            f"| {agents} | {m['status']} {m['failure']} | {m['reports']} {whole} | {m['cores']:.2f} |"
            f" {m['report_ms']:.2f} | {m['yard_ms']:.2f} | {m['report_ms'] / m['yard_ms']:.2f} | {m['mib']:.0f} |"
            f" {delays} | {m['release_ms']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
