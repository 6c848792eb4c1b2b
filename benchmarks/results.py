"""What a run with many agents costs its controller: figures and files while it goes, and reading it back.

Agents report four operations and 16 endpoints each a second. The share of a core is that of one second of the run.
`--seconds` is how long a run is simulated; reading it back is told per report, to be multiplied by what a longer run has.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
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
from sai3tui.results.report_data import load_report_data
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.thresholds import Judge
from sai3tui.results.views import Outcome, StageInfo
from sai3tui.results.writer import RunWriter

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
    return report_from_proto(wire, agent)


def simulated(root: Path, agents: int, endpoints: int, seconds: int) -> tuple[Path, float, float, float]:
    """The directory, and the CPU seconds for decoding, figures and files."""
    rng = np.random.default_rng(1)
    messages = [message(rng, endpoints) for _ in range(20)]
    names = [f"agent-{number:03d}" for number in range(agents)]
    fleet = Fleet("bench.yaml")
    fleet.plan("r", STAGES, tuple(LiveAgent(name, "", 64) for name in names), Judge(THRESHOLDS, STAGES))
    meta = RunMeta(
        "r", "bench.yaml", "", "", START, "", "", tuple(AgentMeta(name, "", "", "", 16, 64) for name in names), STAGES
    )
    writer = RunWriter.create(root, meta, fleet.tally, b"", None)
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
    for second in range(seconds):
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
    end = START + seconds * SECOND_NS
    take(StageFinished(end, "", 1, "execute"))
    take(RunFinished(end, "", "success"))
    writer.finish(Outcome("success", 0), end)
    return writer.directory, decoding, figures, files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--endpoints", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        made = [simulated(Path(root) / name, options.agents, options.endpoints, options.seconds) for name in "ab"]
        (first, *costs), (second, *_) = made
        shares = [f"{cost / options.seconds:.1%}" for cost in costs]
        print(f"{options.agents} agents, of a core: decoding {shares[0]}, figures {shares[1]}, files {shares[2]}")
        reports = options.agents * options.seconds
        began = time.perf_counter()
        html_report(load_report_data(first))
        read_s = time.perf_counter() - began
        began = time.perf_counter()
        with open("/dev/null", "w") as out:
            compare_results(first, [second], True, out)
        compare_s = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = sum(file.stat().st_size for file in first.rglob("*") if file.is_file())
        print(
            f"{reports} reports: summary and report in {read_s:.1f} s ({read_s / reports * 1e6:.0f} us each), "
            f"comparison of two in {compare_s:.1f} s, at most {peak:.0f} MiB; {size / reports:.0f} bytes each on disk"
        )


if __name__ == "__main__":
    main()
