"""What a run with many agents costs its controller: figures and files while it goes, and reading a long one back.

Agents report four operations and 16 endpoints each a second. The share of a core is that of one second of the run, of
CPU time, from the first second on and at an age at which histograms are rolled up. For reading, the run log of a run of
`--hours` is made in bulk: every report, every second of the fleet, and the totals, as a run leaves them; then
`sai3tui results` reads it, as a process of its own, also as if its controller had been killed just before the next
totals.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zstandard

from sai3tui.config.ops import Op
from sai3tui.config.thresholds import Bound, Threshold, Unit
from sai3tui.controller.fleet import Fleet, LiveAgent
from sai3tui.errors import ResourceError
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
from sai3tui.metrics.varints import varint
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.attribution_facts import AgentSums
from sai3tui.results.directory import make_directory
from sai3tui.results.events_log import event_line
from sai3tui.results.metadata import AgentMeta, RunMeta, metadata_json
from sai3tui.results.metrics_log import MAGIC
from sai3tui.results.record_file import sealed
from sai3tui.results.rollup import resolution_s
from sai3tui.results.seconds import SECOND_NS, FleetSecond
from sai3tui.results.stage_tally import AgentStage
from sai3tui.results.tally import Tally
from sai3tui.results.thresholds import Judge
from sai3tui.results.totals import TotalsLog
from sai3tui.results.views import Outcome, StageInfo
from sai3tui.results.writer import CHECKPOINT_S, RunWriter
from sai3tui.stats_codec import put_stats

START = 1_764_000_000 * SECOND_NS
STAGES = (StageInfo(1, "execute", "execute"),)
THRESHOLDS = (
    Threshold("get.p99", maximum=Bound(10.0, Unit.SECONDS), window=10.0),
    Threshold("throughput", minimum=Bound(1.0, Unit.BYTES_PER_SECOND)),
    Threshold("errors.rate", maximum=Bound(0.01, Unit.SHARE)),
)
KINDS = 20
"""Different reports, and different seconds of the fleet."""


def message(rng: np.random.Generator, endpoints: int) -> pb.Report:
    """A report as it comes over the wire, of the first second."""
    ops = []
    for op in (Op.GET, Op.PUT, Op.STAT, Op.DELETE):
        count = int(rng.integers(400, 600))
        service = Histogram()
        service.record((rng.lognormal(0, 0.5, count) * 4e6).astype(np.int64))
        size = count * 65536 if op in (Op.GET, Op.PUT) else 0
        ops.append(OpStats(op, 2, count, size, 0, count, service, service, service))
    stats = []
    for number in range(endpoints):
        service = Histogram(COARSE)
        service.record((rng.lognormal(0, 0.5, 125) * 4e6).astype(np.int64))
        stats.append(EndpointStats(number, f"s3://e{number:02d}/b/", Op.GET, 125, 125 * 65536, 0, 125, service))
    report = Report(
        "", 1, START, START + SECOND_NS, tuple(ops), tuple(stats), Objects(), Vitals(30, 10, 0, 40, nic_pct=10.0)
    )
    return report_to_proto(report)


def arrived(data: bytes, agent: str, second: int) -> Report:
    wire = pb.Report.FromString(data)
    wire.start_ns += second * SECOND_NS
    wire.end_ns += second * SECOND_NS
    return report_from_proto(wire, agent, kept=True)


def simulated(root: Path, agents: int, endpoints: int, seconds: int, age: int) -> tuple[float, float, float]:
    """CPU seconds for decoding, figures and files of a run that is `age` seconds old when it goes on."""
    rng = np.random.default_rng(1)
    messages = [message(rng, endpoints).SerializeToString() for _ in range(KINDS)]
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
    return fleet, RunWriter.create(root, meta(names), fleet.tally, b"", None), names


def meta(names: Sequence[str]) -> RunMeta:
    agents = tuple(AgentMeta(name, "", "", "", 16, 64) for name in names)
    return RunMeta("r", "bench.yaml", "", "", START, "", "", agents, STAGES)


@dataclass(slots=True)
class Made:
    """The directories of a long run that ended and of the same one if it was killed, and its operations."""

    ended: Path
    killed: Path
    ops: int


class LongRun:
    """Every agent repeats `KINDS` reports; which of them in a second of the fleet is one of `KINDS` patterns."""

    def __init__(self, agents: int, endpoints: int, seconds: int) -> None:
        rng = np.random.default_rng(1)
        self.seconds = seconds
        self.names = [f"agent-{number:03d}" for number in range(agents)]
        self.messages = [message(rng, endpoints) for _ in range(KINDS)]
        self.reports = [report_from_proto(each, "") for each in self.messages]
        self.patterns = rng.integers(KINDS, size=(KINDS, agents))
        self.sequence = rng.integers(KINDS, size=seconds)

    def fleet_seconds(self) -> list[FleetSecond]:
        """One of each pattern."""
        made = []
        for pattern in self.patterns:
            made.append(FleetSecond(1, 0, START))
            for name, kind in zip(self.names, pattern, strict=True):
                made[-1].add(replace(self.reports[kind], agent=name))
        return made

    def tally(self, seconds: int) -> Tally:
        """What so many seconds come to."""
        tally = Tally(STAGES, connections=dict.fromkeys(self.names, 64))
        tally.apply(RunStarted(START, "", "r", "bench.yaml", "", tuple(self.names)))
        tally.apply(BarrierReleased(START, "", 0, START, tuple(self.names)))
        stage = tally.stages[1]
        often = np.bincount(self.sequence[:seconds], minlength=KINDS)
        for number, name in enumerate(self.names):
            times = np.bincount(self.patterns[:, number], weights=often, minlength=KINDS).astype(int)
            part, sums = AgentStage(reported_ns=START + seconds * SECOND_NS), AgentSums(seconds=float(seconds))
            for report, count in zip(self.reports, times.tolist(), strict=True):
                part.ops.add(_repeated(stats, count) for stats in report.ops)
                endpoints = [_repeated_endpoint(stats, count) for stats in report.endpoints]
                stage.endpoints.add(endpoints)
                for stats in endpoints:
                    cell = sums.cells.setdefault(stats.uri, [0, 0, 0])
                    cell[0] += stats.ops
                    cell[1] += stats.service.sum_us
                    cell[2] += stats.bytes
            stage.restore_agent(name, part)
            tally.facts.restore(1, name, sums)
        stage.restore_open([], dict.fromkeys(self.names, START + seconds * SECOND_NS), seconds)
        return tally

    def write(self, root: Path) -> Made:
        unkept = min(int(CHECKPOINT_S), self.seconds // 2)
        ended, killed = (make_directory(root, name, START) for name in ("ended.yaml", "killed.yaml"))
        began: list[Event] = [
            RunStarted(START, "", "r", "bench.yaml", "", tuple(self.names)),
            BarrierReleased(START, "", 0, START, tuple(self.names)),
        ]
        end = START + self.seconds * SECOND_NS
        over: list[Event] = [StageFinished(end, "", 1, "execute"), RunFinished(end, "", "success")]
        for directory, events in ((ended, began + over), (killed, began)):
            (directory / "events.jsonl").write_bytes(b"".join(event_line(event) for event in events))
        places = self._reports(ended / "metrics.zst", unkept)
        os.link(ended / "metrics.zst", killed / "metrics.zst")
        kinds, log = self.fleet_seconds(), TotalsLog(ended, _raise, START)
        for number, kind in enumerate(self.sequence):
            second = kinds[kind]
            second.number, second.start_ns = number, START + number * SECOND_NS
            second.end_ns = second.start_ns + SECOND_NS
            log.second(second)
            log.flush()
            if number == self.seconds - unkept - 1:
                before = self.tally(number + 1)
                log.checkpoint(before, places[0])
                shutil.copy(ended / "totals.zst", killed / "totals.zst")
                shutil.copy(ended / "seconds.zst", killed / "seconds.zst")
        tally = self.tally(self.seconds)
        log.checkpoint(tally, places[1])
        log.close()
        document = metadata_json(meta(self.names), tally.views(end), Outcome("success", 0), end)
        (ended / "metadata.json").write_bytes(document)
        document = metadata_json(meta(self.names), before.views(START), None, START)
        (killed / "metadata.json").write_bytes(document)
        return Made(ended, killed, tally.stages[1].ops.ops)

    def _reports(self, path: Path, unkept: int) -> tuple[int, int]:
        """metrics.zst, as it grows in a run; how long it is with all but the last seconds, and with all."""
        places = []
        with path.open("wb") as file:
            compressor = zstandard.ZstdCompressor(level=1).compressobj()
            for number, data in enumerate(self._records()):
                file.write(compressor.compress(sealed([data] if number else [MAGIC, data], 0)))
                if number in (self.seconds - unkept - 1, self.seconds - 1):
                    file.write(compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
                    compressor = zstandard.ZstdCompressor(level=1).compressobj()
                    places.append(file.tell())
        return places[0], places[1]

    def _records(self) -> Iterator[bytes]:
        """All that a second adds to metrics.zst."""
        whole = self._patterned([_without_times(each) for each in self.messages])
        counts = self._patterned([_without_times(_counts(each)) for each in self.messages])
        blocks = self._patterned([_without_times(_histograms(each)) for each in self.reports])
        last = 0
        for number, kind in enumerate(self.sequence):
            times = _times(number, 1)
            resolution = resolution_s(float(number + 1))
            if resolution <= 1.0:
                last = number + 1
                yield times.join(whole[kind])
                continue
            data = times.join(counts[kind])
            if number + 1 - last >= resolution or number + 1 == self.seconds:
                data += _times(number, 0).join(blocks[kind])
                last = number + 1
            yield data

    def _patterned(self, messages: Sequence[bytes]) -> list[list[bytes]]:
        """Per pattern the parts between which the times of each agent's report stand."""
        length = len(_times(0, 1))
        made = []
        for pattern in self.patterns:
            parts = [b""]
            for name, kind in zip(self.names, pattern, strict=True):
                size = length + len(messages[kind])
                parts[-1] += varint(len(name)) + name.encode() + varint(size)
                parts.append(messages[kind])
            made.append(parts)
        return made


def _times(second: int, length: int) -> bytes:
    """When a report is of, as the beginning of its message."""
    start = START + second * SECOND_NS
    return pb.Report(start_ns=start, end_ns=start + length * SECOND_NS).SerializeToString()


def _without_times(report: pb.Report) -> bytes:
    made = pb.Report()
    made.CopyFrom(report)
    made.ClearField("start_ns")
    made.ClearField("end_ns")
    return made.SerializeToString()


def _counts(report: pb.Report) -> pb.Report:
    made = pb.Report()
    made.CopyFrom(report)
    for op in made.ops:
        for name in ("service", "scheduled", "ttfb"):
            op.ClearField(name)
    for endpoint in made.endpoints:
        endpoint.ClearField("service")
    return made


def _histograms(report: Report) -> pb.Report:
    made = pb.Report(stage_index=1)
    ops = [OpStats(s.op, s.bucket, service=s.service, scheduled=s.scheduled, ttfb=s.ttfb) for s in report.ops]
    put_stats(made, ops, [EndpointStats(e.endpoint, e.uri, e.op, service=e.service) for e in report.endpoints])
    return made


def _repeated(stats: OpStats, times: int) -> OpStats:
    counts = (count * times for count in (stats.ops, stats.bytes, stats.errors, stats.attempts))
    histograms = (_repeated_histogram(each, times) for each in (stats.service, stats.scheduled, stats.ttfb))
    return OpStats(stats.op, stats.bucket, *counts, *histograms)


def _repeated_endpoint(stats: EndpointStats, times: int) -> EndpointStats:
    counts = (count * times for count in (stats.ops, stats.bytes, stats.errors, stats.attempts))
    return EndpointStats(stats.endpoint, stats.uri, stats.op, *counts, _repeated_histogram(stats.service, times))


def _repeated_histogram(histogram: Histogram, times: int) -> Histogram:
    counts = histogram.counts * np.uint64(times)
    return Histogram(histogram.bins_per_octave, counts, histogram.max_us, histogram.sum_us * times)


def _raise(error: ResourceError) -> None:
    raise error


def read(made: Made) -> None:
    """Each command as a process of its own: wall and CPU seconds, and the most memory that it took."""
    root = made.ended.parent
    again = shutil.copytree(made.ended, root / (made.ended.name + "-again"), copy_function=os.link)
    page = root / "page.html"
    commands: tuple[tuple[str, Sequence[str | Path], int | None], ...] = (
        ("list", ("list", root), None),
        ("show", ("show", made.ended, "--json"), made.ops),
        ("show, killed", ("show", made.killed, "--json"), made.ops),
        ("report", ("report", made.ended, "-o", page), None),
        ("export, per second", ("export", made.ended, "--format", "csv", "--table", "intervals"), None),
        ("export, workbook", ("export", made.ended, "--format", "xlsx", "-o", root / "book.xlsx"), None),
        ("compare", ("compare", made.ended, again), None),
    )
    print("| command | CPU, s | wall, s | memory, MiB |\n|---|---:|---:|---:|")
    for name, arguments, ops in commands:
        wall, cpu, peak, out = measured(arguments)
        if ops is not None:
            found = sum(stage["ops"] for stage in json.loads(out)["stages"])
            if found != ops:
                raise SystemExit(f"{name}: {found} operations, not {ops}")
        print(f"| {name} | {cpu:.1f} | {wall:.1f} | {peak:.0f} |", flush=True)
    print(f"report.html: {page.stat().st_size / 2**10:,.0f} KiB")


MEASURED = """
import sys
from pathlib import Path
from sai3tui.cli import main
code = main(sys.argv[1:])
print(Path("/proc/self/status").read_text(), file=sys.stderr)
sys.exit(code)
"""


def measured(arguments: Sequence[str | Path]) -> tuple[float, float, float, bytes]:
    """Wall and CPU seconds, MiB at most, and the output of `sai3tui results`."""
    wall = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as status:
        command = [sys.executable, "-c", MEASURED, "results", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=out, stderr=status)
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        wall = time.perf_counter() - wall
        out.seek(0)
        status.seek(0)
        printed, told = out.read(), status.read().decode()
    found = re.search(r"VmHWM:\s+(\d+) kB", told)
    if process.returncode or found is None:
        raise SystemExit(f"results {arguments[0]} ended with {process.returncode}: {told}")
    # What the kernel counts of a process would include what this one had when it was forked.
    return wall, usage.ru_utime + usage.ru_stime, int(found[1]) / 1024, printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--endpoints", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=60, help="of the runs that are written; 0: none")
    parser.add_argument("--hours", type=float, default=24.0, help="of the runs that are read; 0: none")
    parser.add_argument("--root", type=Path, help="where the runs are made, instead of a directory that goes again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.root) as root:
        for age in (0, 600, 7200) if options.seconds else ():
            costs = simulated(Path(root) / str(age), options.agents, options.endpoints, options.seconds, age)
            shares = [f"{cost / options.seconds:.1%}" for cost in costs]
            print(
                f"{options.agents} agents, run of {age} s, of a core: decoding {shares[0]}, figures {shares[1]}, "
                f"files {shares[2]}",
                flush=True,
            )
        if options.hours:
            long(Path(root), options.agents, options.endpoints, int(options.hours * 3600))


def long(root: Path, agents: int, endpoints: int, seconds: int) -> None:
    began = time.process_time()
    (root / "runs").mkdir()
    made = LongRun(agents, endpoints, seconds).write(root / "runs")
    names = ("metrics.zst", "seconds.zst", "totals.zst")
    sizes = ", ".join(f"{name} {(made.ended / name).stat().st_size / 2**20:,.1f} MiB" for name in names)
    print(f"{seconds} s of {agents} agents: {sizes}; made in {time.process_time() - began:.0f} s of CPU", flush=True)
    read(made)


if __name__ == "__main__":
    main()
