"""Results directories that sai3-bench wrote, as far as their files tell: totals per stage, and rates over time.

What is not in them stays empty: there are no histograms, so percentiles over several operations cannot be had;
latencies in its perf_log.tsv are cumulative and its error column is always zero, so neither is read. It writes
metadata.json when all is over: a run that died has none, and is told by the rest.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from sai3tui.config.ops import Op
from sai3tui.results.compare import Intervals
from sai3tui.results.details import TableRow
from sai3tui.results.figures import MIB, per_second
from sai3tui.results.metadata import AgentMeta, RunMeta
from sai3tui.results.views import EndpointView, Outcome, Rates, Series, StageInfo, StageStatus, StageView

NOTICE = (
    "written by sai3-bench: bytes are averages times counts, there are no percentiles over several operations, and "
    "errors are those of its summaries"
)
_TITLE = re.compile(r"# Stage \d+ Results: (.*) \((.*)\)")
_AGENTS = re.compile(r"# Agents: (\d+)")
_DURATION = re.compile(r"# Duration: ([\d.]+)s")
LATENCIES = ("mean_us", "p50_us", "p90_us", "p95_us", "p99_us", "max_us")
CHUNK = 1 << 18
PERF_LOGS = ("perf_log.tsv", "perf_log.tsv.zst")
_ALONE = (("prepare_results.tsv", "prepare", "prepare"), ("workload_results.tsv", "workload", "execute"))


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of the fleet's perf_log.tsv. `at_s` counts from `began_ms`, when the first stage began; `seconds` is how
    long it is."""

    stage: str
    at_s: float
    seconds: float
    began_ms: float
    get_ops: float
    get_bytes: float
    put_ops: float
    put_bytes: float
    meta_ops: float


@dataclass(slots=True)
class PredecessorRun:
    """What such a directory says."""

    meta: RunMeta
    outcome: Outcome | None
    ended_ns: int
    stages: tuple[StageView, ...]
    series: Series
    intervals: dict[tuple[int, Op], Intervals]
    tables: tuple[TableRow, ...]
    endpoints: dict[int, tuple[EndpointView, ...]]
    doubts: tuple[str, ...]


@dataclass(slots=True)
class _Table:
    """One of its tables of results: the rows over all sizes, by operation, and the sums of those of the agents."""

    name: str
    kind: str
    seconds: float = 0.0
    rows: dict[str, Mapping[str, str]] = field(default_factory=dict)
    agents: list[Mapping[str, str]] = field(default_factory=list)
    sized: list[Mapping[str, str]] = field(default_factory=list)
    announced: int = 0
    """How many agents its head speaks of."""


def is_predecessors(document: Any) -> bool:
    """Whether a metadata.json is one that sai3-bench wrote."""
    return isinstance(document, dict) and "format" not in document and {"test_name", "duration_secs"} <= document.keys()


def died_early(path: Path) -> bool:
    """Whether this is what sai3-bench leaves if it dies: all but metadata.json. Ours have that from the start."""
    ours = any((path / name).exists() for name in ("metadata.json", "events.jsonl", "metrics.zst", "plan.json"))
    if ours or not (path / "config.yaml").is_file():
        return False
    return (path / "console_log.txt").is_file() or _perf_log_file(path) is not None


def predecessor_meta(document: Mapping[str, Any]) -> tuple[RunMeta, int]:
    """Who ran what when, and when it ended (nanoseconds since the epoch). Raises ValueError."""
    try:
        started_ns = int(datetime.fromisoformat(document["start_time"]).timestamp() * 1e9)
        agents = tuple(_agent(str(text)) for text in document.get("agents") or ())
        meta = RunMeta(
            run_id=f"sai3-bench {started_ns // 10**9}",
            config_name=str(document["test_name"]),
            config_path=str(document.get("config_path", "")),
            layout_hash="",
            started_ns=started_ns,
            version=f"sai3-bench {document.get('version', '?')}",
            hostname=str(document.get("hostname", "")),
            agents=agents,
            stages=(),
            distributed=bool(document.get("distributed", False)),
            command_line=tuple(str(word) for word in document.get("command_line") or ()),
            notices=(NOTICE,),
        )
        return meta, started_ns + int(float(document["duration_secs"]) * 1e9)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a metadata document: {type(error).__name__}: {error}") from error


def load_predecessor(path: Path) -> PredecessorRun:
    """Raises OSError, or ValueError that names the file that is broken."""
    log = _perf_log_file(path)
    rows = list(_perf_log(log)) if log is not None else []
    whole = (path / "metadata.json").exists()
    if whole:
        meta, ended_ns = predecessor_meta(json.loads((path / "metadata.json").read_bytes()))
    else:
        meta, ended_ns = _told_by_the_rest(path, rows)
    tables = list(enumerate(_tables(path), 1))
    stages = tuple(_view(index, table) for index, table in tables)
    names = {stage.name.lower(): stage.index for stage in stages}
    failed = "TEST STATUS: FAILURE" in _text(path / "STATUS.txt")
    return PredecessorRun(
        meta,
        (Outcome("failed", 1) if failed else Outcome("success", 0)) if whole else None,
        ended_ns,
        stages,
        _series(rows, names),
        _intervals(rows, names),
        tuple(row for index, table in tables for row in _table_rows(index, table, stages[index - 1].elapsed_s)),
        _endpoints(path, stages),
        tuple(doubt for _, table in tables for doubt in _doubts(table)),
    )


def _told_by_the_rest(path: Path, rows: Sequence[Interval]) -> tuple[RunMeta, int]:
    """The name says when it began, to the minute, in an unknown time zone; the rows of perf_log.tsv say it better."""
    name = re.fullmatch(r"sai3-(\d{8})-(\d{4})-(.*)", path.name)
    began = datetime.strptime(name[1] + name[2], "%Y%m%d%H%M").replace(tzinfo=UTC) if name else None
    started_ns = int(rows[0].began_ms * 1e6) if rows else int(began.timestamp() * 1e9) if began else 0
    ended_ns = started_ns + int((rows[-1].at_s if rows else 0) * 1e9)
    agents = sorted(each.name for each in (path / "agents").glob("*") if each.is_dir())
    meta = RunMeta(
        run_id=f"sai3-bench {started_ns // 10**9}",
        config_name=name[3] if name else path.name,
        config_path="",
        layout_hash="",
        started_ns=started_ns,
        version="sai3-bench ?",
        hostname="",
        agents=tuple(AgentMeta(agent, "") for agent in agents),
        stages=(),
        distributed=bool(agents),
        notices=(NOTICE,),
    )
    return meta, ended_ns


def _doubts(table: _Table) -> Iterator[str]:
    """What does not fit in a table of results."""
    name = f"results of {table.name}"
    if table.announced and len(table.agents) != table.announced:
        yield f"{name}: {len(table.agents)} agents of {table.announced} are in it: it breaks off or was edited"
    for op in ("GET", "PUT"):
        counts = [int(row["count"]) for row in table.sized if row["operation"].upper() == op]
        whole = int(table.rows[op]["count"]) if op in table.rows else 0
        if counts and sum(counts) != whole:
            yield f"{name}: {sum(counts)} {op} by size, {whole} over all: it breaks off or was edited"
        by_agent = [int(row.get(f"{op.lower()}_ops") or 0) for row in table.agents]
        if by_agent and sum(by_agent) != whole:
            yield f"{name}: {sum(by_agent)} {op} by agent, {whole} over all: it breaks off or was edited"


def _endpoints(path: Path, stages: Sequence[StageView]) -> dict[int, tuple[EndpointView, ...]]:
    """Of runs on one host, which count them."""
    found = {}
    for stage in stages:
        file = path / f"{stage.name}_endpoint_stats.tsv"
        if not file.is_file():
            continue
        with file.open(newline="", errors="replace") as lines:
            try:
                found[stage.index] = tuple(
                    EndpointView(
                        row["endpoint_uri"],
                        get_bytes=per_second(int(row["bytes_read"]), stage.elapsed_s),
                        put_bytes=per_second(int(row["bytes_written"]), stage.elapsed_s),
                        ops=per_second(int(row["total_requests"]), stage.elapsed_s),
                        total_ops=int(row["total_requests"]),
                        errors=int(row["error_count"]),
                    )
                    for row in csv.DictReader(lines, delimiter="\t")
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{file}: this is no row of endpoint statistics: {error}") from error
    return found


def _agent(text: str) -> AgentMeta:
    """`agent-1 (host:port)`."""
    name, _, address = text.partition(" (")
    return AgentMeta(name, address.rstrip(")"))


def _tables(path: Path) -> Iterator[_Table]:
    staged = sorted(path.glob("[0-9][0-9]_*_results.tsv"))
    for file in staged:
        yield _table(file, re.sub(r"^\d\d_|_results\.tsv$", "", file.name), "")
    for name, stage, kind in _ALONE if not staged else ():
        if (path / name).exists():
            yield _table(path / name, stage, kind)


def _table(file: Path, name: str, kind: str) -> _Table:
    made = _Table(name, kind)
    header: list[str] = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        if title := _TITLE.match(line):
            made.name, made.kind = title[1], title[2]
        elif duration := _DURATION.match(line):
            made.seconds = float(duration[1])
        elif agents := _AGENTS.match(line):
            made.announced = int(agents[1])
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        if cells[0] in ("operation", "agent_id"):
            header = cells
            continue
        if len(cells) != len(header):
            raise ValueError(f"{file}:{number}: {len(cells)} columns where there are {len(header)}")
        row = dict(zip(header, cells, strict=True))
        if header[0] == "agent_id":
            made.agents.append(row)
        elif row.get("size_bucket") == "ALL":
            made.rows[row["operation"].upper()] = row
        else:
            made.sized.append(row)
    if not made.rows:
        # Tables of one size each may have no sum.
        made.rows = {row["operation"].upper(): row for row in made.sized}
        if len(made.rows) != len(made.sized):
            raise ValueError(f"{file}: there are several sizes, and no row over all of them")
    return made


def _view(index: int, table: _Table) -> StageView:
    """A stage's totals; percentiles only where there is one group of operations."""
    try:
        rows = {name: {key: _number(value) for key, value in row.items()} for name, row in table.rows.items()}
        errors = sum(int(row.get("errors") or 0) for row in table.agents)
    except ValueError as error:
        raise ValueError(f"stage {table.name}: {error}") from error
    counts = {name: int(row["count"]) for name, row in rows.items()}
    size = sum(round(row["avg_bytes"] * counts[name]) for name, row in rows.items() if name in ("GET", "PUT"))
    seconds = table.seconds or max(
        (counts[name] / row["ops_per_sec"] for name, row in rows.items() if row["ops_per_sec"]), default=0.0
    )
    only = next(iter(rows.values())) if len(rows) == 1 else {}

    def of(name: str, column: str) -> float:
        return rows.get(name, {}).get(column, 0.0)

    rates = Rates(
        get_ops=of("GET", "ops_per_sec"),
        get_bytes=of("GET", "throughput_mibps") * MIB,
        put_ops=of("PUT", "ops_per_sec"),
        put_bytes=of("PUT", "throughput_mibps") * MIB,
        meta_ops=of("META", "ops_per_sec"),
        get_p50_us=of("GET", "p50_us"),
        get_p99_us=of("GET", "p99_us"),
        put_p50_us=of("PUT", "p50_us"),
        put_p99_us=of("PUT", "p99_us"),
        meta_p50_us=of("META", "p50_us"),
        meta_p99_us=of("META", "p99_us"),
    )
    return StageView(
        index,
        table.name,
        table.kind,
        "",
        StageStatus.DONE,
        elapsed_s=seconds,
        rates=rates,
        total_ops=sum(counts.values()),
        total_bytes=size,
        errors=errors,
        p50_us=only.get("p50_us", 0.0),
        p99_us=only.get("p99_us", 0.0),
    )


def _table_rows(index: int, table: _Table, seconds: float) -> Iterator[TableRow]:
    """Of a table that `_view` could read. Errors stand there per agent, and not per operation."""
    for name, row in table.rows.items():
        count = int(row["count"])
        figures: dict[str, int | float] = {
            "seconds": seconds,
            "count": count,
            "ops_per_s": float(row["ops_per_sec"]),
            "mib_per_s": float(row["throughput_mibps"]),
            **{column: float(row[column]) for column in LATENCIES if column in row},
        }
        if name in ("GET", "PUT"):
            figures["bytes"] = round(float(row["avg_bytes"]) * count)
        yield TableRow(index, "", name.lower(), figures)
    for agent in table.agents:
        took = float(agent.get("duration_s") or seconds)
        for op in ("get", "put", "meta"):
            count = int(agent.get(f"{op}_ops") or 0)
            if not count:
                continue
            own: dict[str, int | float] = {"seconds": took, "count": count, "ops_per_s": per_second(count, took)}
            if f"{op}_bytes" in agent:
                size = int(agent[f"{op}_bytes"])
                own |= {"bytes": size, "mib_per_s": per_second(size, took) / MIB}
            yield TableRow(index, agent["agent_id"], op, own)


def _number(text: str) -> float:
    """A column's number; words (operation, bucket) are none."""
    try:
        found = float(text)
    except ValueError:
        return math.nan
    return found


def _perf_log_file(path: Path) -> Path | None:
    return next((path / name for name in PERF_LOGS if (path / name).is_file()), None)


def _perf_log_lines(path: Path) -> Iterator[str]:
    """Whole lines: it writes them every ten seconds, so that a run that died leaves half of one."""
    with path.open("rb") as file:
        packed = path.suffix == ".zst"
        read = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read if packed else file.read
        rest = b""
        while chunk := read(CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") + "\n" for line in whole)


def _perf_log(path: Path) -> Iterator[Interval]:
    began_ms: float | None = None
    before: dict[str, float] = {}
    try:
        for number, row in enumerate(csv.DictReader(_perf_log_lines(path), delimiter="\t"), 2):
            try:
                at_ms, elapsed, stage = float(row["timestamp_epoch_ms"]), float(row["elapsed_s"]), row["stage"]
                began_ms = at_ms - 1000 * elapsed if began_ms is None else began_ms
                # Rows of another stage, or of a stage that began anew, count from its start.
                last = before.get(stage, 0.0)
                seconds = elapsed - last if elapsed > last else elapsed
                before[stage] = elapsed
                if row.get("is_warmup") == "1" or seconds <= 0:
                    continue
                figures = [float(row[name]) for name in ("get_ops", "get_bytes", "put_ops", "put_bytes", "meta_ops")]
                yield Interval(stage, (at_ms - began_ms) / 1000, seconds, began_ms, *figures)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: this is no row of a perf_log.tsv: {error}") from error
    except zstandard.ZstdError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _series(rows: Sequence[Interval], names: Mapping[str, int]) -> Series:
    nothing = (0.0,) * len(rows)
    return Series(
        tuple(row.at_s for row in rows),
        tuple(row.get_bytes / row.seconds for row in rows),
        tuple(row.put_bytes / row.seconds for row in rows),
        tuple((row.get_ops + row.put_ops + row.meta_ops) / row.seconds for row in rows),
        nothing,
        nothing,
        tuple(names.get(row.stage.lower(), 0) for row in rows),
    )


def _intervals(rows: Sequence[Interval], names: Mapping[str, int]) -> dict[tuple[int, Op], Intervals]:
    """Rates of GET and PUT, without histograms."""
    made = {}
    empty = np.array([], dtype=np.intp)
    for name, index in names.items():
        own = [row for row in rows if row.stage.lower() == name]
        seconds = np.array([row.seconds for row in own])
        for op, ops, size in (
            (Op.GET, [row.get_ops for row in own], [row.get_bytes for row in own]),
            (Op.PUT, [row.put_ops for row in own], [row.put_bytes for row in own]),
        ):
            if sum(ops):
                made[index, op] = Intervals(np.array(ops), np.array(size), seconds, empty, empty, np.array([]))
    return made


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def stage_infos(stages: Sequence[StageView]) -> tuple[StageInfo, ...]:
    return tuple(StageInfo(stage.index, stage.name, stage.type) for stage in stages)
