"""Results directories that sai3-bench wrote, as far as their files tell: totals per stage, and rates over time.

What is not in them stays empty: there are no histograms, so percentiles over several operations cannot be had;
latencies in its perf_log.tsv are cumulative and its error column is always zero, so neither is read.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sai3tui.config.ops import Op
from sai3tui.results.compare import Intervals
from sai3tui.results.details import TableRow
from sai3tui.results.figures import MIB, per_second
from sai3tui.results.metadata import AgentMeta, RunMeta
from sai3tui.results.views import Outcome, Rates, Series, StageInfo, StageStatus, StageView

NOTICE = (
    "written by sai3-bench: bytes are averages times counts, there are no percentiles over several operations, and "
    "errors are those of its summaries"
)
_TITLE = re.compile(r"# Stage \d+ Results: (.*) \((.*)\)")
_DURATION = re.compile(r"# Duration: ([\d.]+)s")
LATENCIES = ("mean_us", "p50_us", "p90_us", "p95_us", "p99_us", "max_us")
_ALONE = (("prepare_results.tsv", "prepare", "prepare"), ("workload_results.tsv", "workload", "execute"))


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of the fleet's perf_log.tsv. `at_s` counts from the first row; `seconds` is how long it is."""

    stage: str
    at_s: float
    seconds: float
    get_ops: float
    get_bytes: float
    put_ops: float
    put_bytes: float
    meta_ops: float


@dataclass(slots=True)
class PredecessorRun:
    """What such a directory says."""

    meta: RunMeta
    outcome: Outcome
    ended_ns: int
    stages: tuple[StageView, ...]
    series: Series
    intervals: dict[tuple[int, Op], Intervals]
    tables: tuple[TableRow, ...]


@dataclass(slots=True)
class _Table:
    """One of its tables of results: the rows over all sizes, by operation, and the sums of those of the agents."""

    name: str
    kind: str
    seconds: float = 0.0
    rows: dict[str, Mapping[str, str]] = field(default_factory=dict)
    agents: list[Mapping[str, str]] = field(default_factory=list)


def is_predecessors(document: Any) -> bool:
    """Whether a metadata.json is one that sai3-bench wrote."""
    return isinstance(document, dict) and "format" not in document and {"test_name", "duration_secs"} <= document.keys()


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
    meta, ended_ns = predecessor_meta(json.loads((path / "metadata.json").read_bytes()))
    tables = list(enumerate(_tables(path), 1))
    stages = tuple(_view(index, table) for index, table in tables)
    names = {stage.name.lower(): stage.index for stage in stages}
    rows = list(_perf_log(path / "perf_log.tsv")) if (path / "perf_log.tsv").exists() else []
    failed = "TEST STATUS: FAILURE" in _text(path / "STATUS.txt")
    return PredecessorRun(
        meta,
        Outcome("failed", 1) if failed else Outcome("success", 0),
        ended_ns,
        stages,
        _series(rows, names),
        _intervals(rows, names),
        tuple(row for index, table in tables for row in _table_rows(index, table, stages[index - 1].elapsed_s)),
    )


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
    sized: list[Mapping[str, str]] = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        if title := _TITLE.match(line):
            made.name, made.kind = title[1], title[2]
        elif duration := _DURATION.match(line):
            made.seconds = float(duration[1])
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
            sized.append(row)
    if not made.rows:
        # Tables of one size each may have no sum.
        made.rows = {row["operation"].upper(): row for row in sized}
        if len(made.rows) != len(sized):
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


def _perf_log(path: Path) -> Iterator[Interval]:
    began_ms: float | None = None
    before: dict[str, float] = {}
    with path.open(newline="", errors="replace") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t"), 2):
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
                yield Interval(stage, (at_ms - began_ms) / 1000, seconds, *figures)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: this is no row of a perf_log.tsv: {error}") from error


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
