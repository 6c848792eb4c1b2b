"""The whole agent, measured: configuration, gRPC, leases, state cache, payload, pacing, recording, reports.

A batch run against the null server; the worker's CPU is read between two of the run's own interval reports. As on
any host, workers leave a core to all that is not a worker: that is the first one, which is also the server's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.job import KEYS
from benchmarks.null_s3 import CORES, null_s3
from sai3tui.processes import free_port, listens, start_child, wait_ready

CONFIG = """\
target: s3://127.0.0.1:{port}/benchmark/
duration: {seconds}s
concurrency: {connections}
prepare:
  force_overwrite: true
  ensure_objects:
    - {{base_uri: data/, count: 1000, size_spec: {size}}}
workload:
  - {workload}
distributed:
  agents: [{{id: agent, address: "127.0.0.1:{agent}"}}]
  stages:
    - {{name: prepare, type: prepare, order: 1, completion: tasks_done}}
    - {{name: execute, type: execute, order: 2, completion: duration, duration: {seconds}s}}
"""
GET = "{op: get, path: data/*, weight: 1}"
PUT = "{op: put, path: out/, object_size: SIZE, fill: FILL, weight: 1}"
SKIPPED = 1
"""Intervals of the stage before the first that counts: workers start, caches fill."""
START_S = 30.0
WORKER = "sai3tui.agent.worker.process"


@dataclass(frozen=True, slots=True)
class AgentCost:
    """CPU µs per operation of all workers (one, on a host with two cores), and of all other processes of the
    run together. `main_rss_mib` is that of the agent's main process."""

    cpu_us: float
    rest_us: float
    ops_per_s: float
    p50_ms: float
    p99_ms: float
    worker_rss_mib: float
    main_rss_mib: float


def measure(
    op: str, size: int, connections: int, seconds: float, *, delay_s: float = 0.0, fill: str = "random"
) -> AgentCost:
    """Run it. With `fill: zero` a PUT's body takes no making. Raises RuntimeError if the run fails or is too short to
    tell."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES[:1])
    try:
        workload = GET if op == "get" else PUT.replace("SIZE", str(size)).replace("FILL", fill)
        return _measure(workload, size, connections, seconds, delay_s)
    finally:
        os.sched_setaffinity(0, allowed)


def _measure(workload: str, size: int, connections: int, seconds: float, delay_s: float) -> AgentCost:
    with (
        null_s3(delay_s, size) as port,
        tempfile.TemporaryDirectory(prefix="sai3tui-bench-", ignore_cleanup_errors=True) as name,
    ):
        directory = Path(name)
        environ = {**os.environ, **KEYS, "XDG_DATA_HOME": name, "XDG_STATE_HOME": name}
        sai3tui = [sys.executable, "-m", "sai3tui"]
        listen = free_port("127.0.0.1")
        command = [*sai3tui, "agent", "--listen", f"127.0.0.1:{listen}", "--data-dir", name]
        agent = start_child("agent", command, directory / "agent.log", environ=environ)
        try:
            wait_ready(agent, lambda: listens(agent, listen), START_S)
            text = CONFIG.format(
                port=port, agent=listen, seconds=seconds, connections=connections, size=size, workload=workload
            )
            config = directory / "bench.yaml"
            config.write_text(text)
            process = subprocess.Popen(
                [*sai3tui, "--batch", str(config), "--json", "--no-preflight", "--results", name],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                env=environ,
            )
            try:
                return _follow(process, agent.pid)
            finally:
                process.kill()
                process.communicate()
        finally:
            agent.end()


def _follow(process: subprocess.Popen[bytes], agent: int) -> AgentCost:
    assert process.stdout is not None
    looks: list[tuple[float, float, int]] = []
    rss = main = 0.0
    seen = ops = 0
    last: dict[str, float] = {}
    for line in process.stdout:
        document = json.loads(line)
        if document.get("type") == "interval" and document["stage_index"] == 2 and document["ops"]:
            seen += 1
            ops += document["ops"]
            last = document
            if seen == 1:
                _pin(agent)
            worker, rest, now_rss = _cpu(process.pid, agent)
            rss = max(rss, now_rss)
            main = max(main, psutil.Process(agent).memory_info().rss / 2**20)
            if seen > SKIPPED:
                looks.append((worker, rest, ops))
        elif document.get("type") == "result" and document["exit"] != 0:
            raise RuntimeError(f"the run failed: {document.get('failure')}")
    if len(looks) < 2:
        raise RuntimeError(f"{len(looks)} intervals are too few")
    # The last interval may be cut short by the end of the workers, so it is left out where there are others.
    looks = looks[:-1] if len(looks) > 2 else looks
    first, final = looks[0], looks[-1]
    count = final[2] - first[2]
    op = "get" if last["get_ops_per_s"] else "put"
    return AgentCost(
        (final[0] - first[0]) / count * 1e6,
        (final[1] - first[1]) / count * 1e6,
        count / (len(looks) - 1),
        last[f"{op}_p50_us"] / 1e3,
        last[f"{op}_p99_us"] / 1e3,
        rss,
        main,
    )


def _pin(agent: int) -> None:
    """Give workers the cores that they are meant for."""
    if len(CORES) > 1:
        for child in psutil.Process(agent).children(recursive=True):
            if WORKER in child.cmdline():
                child.cpu_affinity(list(CORES[1:]))


def _cpu(*pids: int) -> tuple[float, float, float]:
    """CPU seconds of the workers and of all else, and the workers' resident memory in MiB."""
    worker = rest = rss = 0.0
    mains = [psutil.Process(pid) for pid in pids]
    for each in (*mains, *(child for main in mains for child in main.children(recursive=True))):
        try:
            times = each.cpu_times()
            if WORKER in each.cmdline():
                worker += times.user + times.system
                rss = max(rss, each.memory_info().rss / 2**20)
            else:
                rest += times.user + times.system
        except psutil.Error:
            continue
    return worker, rest, rss
