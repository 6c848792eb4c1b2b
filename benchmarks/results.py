"""What a run with many agents costs its controller: figures and files while it goes, and reading a long one back.

Agents report four operations and 16 endpoints each a second. The share of a core is that of one second of the run, of
CPU time, from the first second on and at an age at which histograms are rolled up. For reading, a run of `--hours` is
made without its reports: what is stored of its seconds and totals is what is read.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from sai3tui.compare_command import compare_results
from sai3tui.config.ops import Op
from sai3tui.config.thresholds import Bound, Threshold, Unit
from sai3tui.controller.fleet import Fleet, LiveAgent
from sai3tui.event_codec import report_from_proto, report_to_proto
from sai3tui.events import (
    BarrierReleased,
    EndpointStats,
    Event,
    Objects,
    OpStats,
    Report,
    RunFinished,
    RunStarted,
    StageFinished,
    Vitals,
)
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.html_report import html_report
from sai3tui.results.metadata import AgentMeta, RunMeta
from sai3tui.results.reader import list_runs, load_run
from sai3tui.results.report_data import load_report_data
from sai3tui.results.seconds import SECOND_NS, FleetSecond
from sai3tui.results.thresholds import Judge
from sai3tui.results.views import Outcome, StageInfo
from sai3tui.results.writer import CHECKPOINT_S, RunWriter

START = 1_764_000_000 * SECOND_NS
STAGES = (StageInfo(1, "execute", "execute"),)
THRESHOLDS = (
    Threshold("get.p99", maximum=Bound(10.0, Unit.SECONDS), window=10.0),
    Threshold("throughput", minimum=Bound(1.0, Unit.BYTES_PER_SECOND)),
    Threshold("errors.rate", maximum=Bound(0.01, Unit.SHARE)),
)


def message(rng: np.random.Generator, endpoints: int) -> bytes:
    """A report as it comes over the wire, of the first second."""
    ops = []
    for op in (Op.GET, Op.PUT, Op.STAT, Op.DELETE):
        service = Histogram()
        service.record((rng.lognormal(0, 0.5, 500) * 4e6).astype(np.int64))
        size = 500 * 65536 if op in (Op.GET, Op.PUT) else 0
        ops.append(OpStats(op, 2, 500, size, 0, 500, service, service, service))
    stats = []
    for number in range(endpoints):
        service = Histogram(COARSE)
        service.record((rng.lognormal(0, 0.5, 125) * 4e6).astype(np.int64))
        stats.append(EndpointStats(number, f"s3://e{number:02d}/b/", Op.GET, 125, 125 * 65536, 0, 125, service))
    report = Report(
        "", 1, START, START + SECOND_NS, tuple(ops), tuple(stats), Objects(), Vitals(30, 10, 0, 40, nic_pct=10.0)
    )
    return report_to_proto(report).SerializeToString()


def arrived(data: bytes, agent: str, second: int) -> Report:
    wire = pb.Report.FromString(data)
    wire.start_ns += second * SECOND_NS
    wire.end_ns += second * SECOND_NS
    return replace(report_from_proto(wire, agent), wire=wire)


def simulated(root: Path, agents: int, endpoints: int, seconds: int, age: int) -> tuple[float, float, float]:
    """CPU seconds for decoding, figures and files of a run that is `age` seconds old when it goes on."""
    rng = np.random.default_rng(1)
    messages = [message(rng, endpoints) for _ in range(20)]
    fleet, writer, names = begun(root, agents)
    decoding = figures = files = 0.0

    def take(item: Event | Report) -> None:
        nonlocal figures, files
        at = time.process_time()
        closed = fleet.apply(item)
        then = time.process_time()
        writer.write(item, closed)
        figures += then - at
        files += time.process_time() - then

    take(RunStarted(START, "", "r", "bench.yaml", "", tuple(names)))
    take(BarrierReleased(START, "", 0, START, tuple(names)))
    take(arrived(messages[0], names[0], 0))
    decoding = figures = files = 0.0
    for second in range(age, age + seconds):
        for number, name in enumerate(names):
            at = time.process_time()
            report = arrived(messages[(second + number) % len(messages)], name, second)
            decoding += time.process_time() - at
            take(report)
        at = time.process_time()
        for quarter in range(4):
            fleet.snapshot(START + second * SECOND_NS + quarter * SECOND_NS // 4)
        then = time.process_time()
        writer.flush()
        figures += then - at
        files += time.process_time() - then
    at = time.process_time()
    writer.checkpoint()
    # One is made every so many seconds.
    files += (time.process_time() - at) * seconds / CHECKPOINT_S
    writer.close()
    return decoding, figures, files


def begun(root: Path, agents: int) -> tuple[Fleet, RunWriter, list[str]]:
    names = [f"agent-{number:03d}" for number in range(agents)]
    fleet = Fleet("bench.yaml")
    fleet.plan("r", STAGES, tuple(LiveAgent(name, "", 64) for name in names), Judge(THRESHOLDS, STAGES))
    meta = RunMeta(
        "r", "bench.yaml", "", "", START, "", "", tuple(AgentMeta(name, "", "", "", 16, 64) for name in names), STAGES
    )
    return fleet, RunWriter.create(root, meta, fleet.tally, b"", None), names


def long_run(root: Path, agents: int, endpoints: int, seconds: int) -> Path:
    """A directory with the seconds and totals of a long run, and no reports."""
    rng = np.random.default_rng(1)
    messages = [message(rng, endpoints) for _ in range(20)]
    fleet, writer, names = begun(root, agents)
    items: list[Event | Report] = [
        RunStarted(START, "", "r", "bench.yaml", "", tuple(names)),
        BarrierReleased(START, "", 0, START, tuple(names)),
        *(arrived(messages[n % len(messages)], name, seconds - 1) for n, name in enumerate(names)),
    ]
    kinds: list[FleetSecond] = []
    for shift in range(len(messages)):
        kinds.append(FleetSecond(1, 0, START))
        for n, name in enumerate(names):
            kinds[-1].add(arrived(messages[(n + shift) % len(messages)], name, 0))
    for item in items[:2]:
        writer.write(item, fleet.apply(item))
    for number in range(seconds):
        kind = kinds[int(rng.integers(len(kinds)))]
        kind.number, kind.start_ns = number, START + number * SECOND_NS
        kind.end_ns = kind.start_ns + SECOND_NS
        fleet.tally.restore_second(kind)
        writer.seconds([kind])
    for item in items[2:]:
        fleet.apply(item)
    end = START + seconds * SECOND_NS
    for item in (StageFinished(end, "", 1, "execute"), RunFinished(end, "", "success")):
        writer.write(item, fleet.apply(item))
    writer.finish(Outcome("success", 0), end)
    return writer.directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--endpoints", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=10, help="of the runs that are written")
    parser.add_argument("--hours", type=float, default=24.0, help="of the runs that are read; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        for age in (0, 7200):
            costs = simulated(Path(root) / str(age), options.agents, options.endpoints, options.seconds, age)
            shares = [f"{cost / options.seconds:.1%}" for cost in costs]
            print(
                f"{options.agents} agents, run of {age} s, of a core: decoding {shares[0]}, figures {shares[1]}, "
                f"files {shares[2]}",
                flush=True,
            )
        if options.hours:
            read(Path(root), options.agents, options.endpoints, int(options.hours * 3600))


def read(root: Path, agents: int, endpoints: int, seconds: int) -> None:
    first = long_run(root / "long", agents, endpoints, seconds)
    second = shutil.copytree(first, first.with_name(first.name + "-2"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with open("/dev/null", "w") as out:
        for what, act in (
            ("list", lambda: list_runs(first.parent)),
            ("show", lambda: load_run(first)),
            ("report", lambda: html_report(load_report_data(first))),
            ("compare", lambda: compare_results(first, [second], True, out)),
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            act()
            print(f"{what}: {time.perf_counter() - wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum((first / name).stat().st_size for name in ("seconds.zst", "totals.zst"))
    print(
        f"{seconds} s of {agents} agents: at most {peak:.0f} MiB ({before:.0f} before reading), "
        f"{size / 2**20:.1f} MiB of seconds.zst and totals.zst"
    )


if __name__ == "__main__":
    main()
