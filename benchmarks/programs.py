"""Clients that are programs of their own: built where that is needed, run, and read.

`c` is `cclient.c`, the least that moving the bytes costs; `minio-go` is `minio_go/`, the client library of warp; `wrk`
is what the host has installed. The first and the last do not sign.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.job import BUCKET, KEYS, Job, Measured, cpu_s

HERE = Path(__file__).parent
BUILT = HERE.parent / "build" / "benchmarks"
PROGRAMS = ("minio-go", "wrk", "c")
BUILD_S = 600
RUN_S = 60

_WRK_LATENCY = re.compile(r"(50|99)%\s+([\d.]+)(us|ms|s)")
_WRK_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def build(name: str) -> str:
    """Make `name` ready to run; why it cannot be, empty if it is."""
    if name == "wrk":
        return "" if shutil.which("wrk") else "wrk is not installed"
    tool = "cc" if name == "c" else "go"
    if shutil.which(tool) is None:
        return f"there is no {tool} to build it with"
    BUILT.mkdir(parents=True, exist_ok=True)
    if name == "c":
        command, directory = ["cc", "-O2", "-o", str(BUILT / name), "cclient.c"], HERE
    else:
        command, directory = ["go", "build", "-o", str(BUILT / name), "."], HERE / "minio_go"
    try:
        ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=BUILD_S)
    except subprocess.TimeoutExpired:
        return f"{tool} took longer than {BUILD_S} s"
    return (ended.stderr.strip().splitlines() or [f"{tool} failed"])[-1] if ended.returncode else ""


def run_program(name: str, job: Job) -> Measured:
    """Raises RuntimeError if it cannot do that, CalledProcessError if it fails."""
    if name == "wrk":
        return _run_wrk(job)
    path = BUILT / name
    if not path.exists():
        raise RuntimeError(f"{name} is not built")
    numbers = [str(job.size), str(job.connections), str(job.seconds), str(job.port)]
    where = [f"/{BUCKET}/{job.key}"] if name == "c" else [BUCKET, job.key]
    ended = subprocess.run(
        [str(path), job.op, *numbers, *where],
        capture_output=True,
        text=True,
        timeout=RUN_S + job.seconds,
        env={**os.environ, **KEYS},
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr.strip() or f"{name} ended with {ended.returncode}")
    count, cpu, wall, p50, p99, rss = map(float, ended.stdout.split())
    return Measured(cpu / count * 1e6, count / wall, p50 / 1e6, p99 / 1e6, rss / 1024, int(count))


def _run_wrk(job: Job) -> Measured:
    seconds = max(1, round(job.seconds))
    script = []
    if job.op == "put":
        path = BUILT / f"put-{job.size}.lua"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'wrk.method = "PUT"\nwrk.body = string.rep("x", {job.size})\n')
        script = ["-s", str(path)]
    before, start = cpu_s(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        "wrk",
        "-t1",
        f"-c{job.connections}",
        f"-d{seconds}s",
        "--latency",
        *script,
        f"{job.url}/{BUCKET}/{job.key}",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=RUN_S).stdout
    cpu, wall = cpu_s(resource.RUSAGE_CHILDREN) - before, time.perf_counter() - start
    count = int(re.search(r"(\d+) requests in", said).group(1))  # type: ignore[union-attr]
    found = {percent: float(value) * _WRK_UNITS[unit] for percent, value, unit in _WRK_LATENCY.findall(said)}
    return Measured(cpu / max(1, count) * 1e6, count / wall, found.get("50", 0.0), found.get("99", 0.0), 0.0, count)
