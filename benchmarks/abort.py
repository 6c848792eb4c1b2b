"""How long an abort takes: from the request to all agents idle, with large objects in flight on many connections.

Two agents of 256 connections PUT objects of 8 MiB to the server that stores nothing; the budget is 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.null_s3 import null_s3
from sai3tui.controller.channel import open_channel, open_stub
from sai3tui.controller.request import RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.local_agents import LocalAgents
from sai3tui.proto import sai3tui_pb2 as pb

BUDGET_S = 5.0
LOADED_S = 60.0
CONFIG = """\
target: s3://127.0.0.1:{port}/benchmark/
concurrency: {connections}
workload: [{{op: put, path: out/, object_size: 8MiB, weight: 1}}]
distributed:
  agents: [{agents}]
  stages: [{{name: execute, type: execute, order: 1, completion: duration, duration: 300s}}]
"""
ENVIRON = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}


async def one(agents: LocalAgents, port: int, connections: int, directory: Path) -> tuple[float, float]:
    """Seconds until all agents are idle, and until the results are written."""
    named = ", ".join(f'{{id: a{n}, address: "{address}"}}' for n, address in enumerate(agents.addresses))
    text = CONFIG.format(port=port, connections=connections, agents=named)
    request = RunRequest(
        directory / "abort.yaml", text.encode(), results_root=directory, preflight=False, access=agents.access
    )
    session = RunSession(request)
    running = asyncio.create_task(session.run())
    deadline = time.monotonic() + LOADED_S
    while sum(agent.rates.put_bytes > 0 for agent in session.snapshot().agents) < len(agents.addresses):
        if running.done() or time.monotonic() > deadline:
            raise SystemExit(f"there was no load: {session.snapshot().outcome}")
        await asyncio.sleep(0.05)
    began = time.monotonic()
    session.request_abort("benchmark")
    idle = await asyncio.gather(*(_idle(address, agents) for address in agents.addresses))
    await running
    return max(idle) - began, time.monotonic() - began


async def _idle(address: str, agents: LocalAgents) -> float:
    """When the agent says that it is idle."""
    async with open_channel(address, agents.access) as channel:
        stub = open_stub(channel, agents.access)
        while (await stub.Status(pb.StatusRequest(), timeout=LOADED_S)).state != pb.IDLE:  # noqa: ASYNC110 - a call
            await asyncio.sleep(0.02)
        return time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--connections", type=int, default=256, help="of each agent")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with null_s3() as port, tempfile.TemporaryDirectory(prefix="sai3tui-abort-") as made:
        directory = Path(made)
        with LocalAgents.start(options.agents, directory, environ=ENVIRON) as agents:
            rounds = [asyncio.run(one(agents, port, options.connections, directory)) for _ in range(options.rounds)]
    idle, written = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"{options.agents} agents of {options.connections} connections, objects of 8 MiB, {options.rounds} rounds")
    print(f"all agents idle after {idle:.2f} s, at most {max(r[0] for r in rounds):.2f} s (budget {BUDGET_S:.0f} s)")
    print(f"results written after {written:.2f} s")


if __name__ == "__main__":
    main()
