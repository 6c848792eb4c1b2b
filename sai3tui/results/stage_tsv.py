"""Tables of one stage: results per operation and size bucket, agents, endpoints, and the ledger of what was created."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sai3tui.config.ops import Op
from sai3tui.events import Objects, OpStats
from sai3tui.metrics.buckets import LABELS
from sai3tui.results.figures import MIB, Figures, by_group, merged, per_second
from sai3tui.results.files import safe_name, utc_text
from sai3tui.results.perf_log import plain
from sai3tui.results.stage_tally import StageTally

RESULT_COLUMNS = (
    "operation",
    "size_bucket",
    "bucket_idx",
    "mean_us",
    "p50_us",
    "p90_us",
    "p95_us",
    "p99_us",
    "max_us",
    "avg_bytes",
    "ops_per_sec",
    "throughput_mibps",
    "count",
)
AGENT_COLUMNS = ("agent_id", "get_ops", "get_bytes", "put_ops", "put_bytes", "meta_ops", "duration_s", "errors")
ENDPOINT_COLUMNS = (
    "endpoint_idx",
    "endpoint_uri",
    "total_requests",
    "bytes_read",
    "bytes_written",
    "error_count",
    "active_requests",
    "request_pct",
    "read_pct",
    "write_pct",
)
ATTEMPT_COLUMNS = (
    "kind",
    "subclass",
    "operation",
    "endpoint_uri",
    "failed_attempts",
    "made_again",
    "first",
    "last",
    "request_id",
    "message",
)
LEDGER_COLUMNS = (
    "timestamp",
    "test_name",
    "agent_id",
    "stage",
    "objects_created",
    "objects_existed",
    "total_objects",
    "total_bytes",
    "avg_bytes",
    "wall_seconds",
    "ops_per_sec",
)
LEDGER_HEADER = "\t".join(LEDGER_COLUMNS) + "\n"
ALL_ROWS = (("meta", "META", 97), ("get", "GET", 98), ("put", "PUT", 99))


def results_name(stage: StageTally) -> str:
    return f"{stage.info.index:02d}_{safe_name(stage.info.name)}_results.tsv"


def endpoints_name(stage: StageTally) -> str:
    return f"{stage.info.index:02d}_{safe_name(stage.info.name)}_endpoint_stats.tsv"


def attempts_name(stage: StageTally) -> str:
    return f"{stage.info.index:02d}_{safe_name(stage.info.name)}_attempts.tsv"


def results_table(stage: StageTally) -> str:
    """`NN_<stage>_results.tsv`."""
    seconds = stage.seconds
    lines = [
        f"# Stage {stage.info.index:02d} Results: {plain(stage.info.name)} ({stage.info.type})",
        f"# Agents: {len(stage.agents)}",
        f"# Duration: {seconds:.2f}s",
        *([f"# Warm-up left out: {stage.warmup_s:.2f}s"] if stage.warmup_s else []),
        *([f"# Limited by the load generator: {plain(stage.client_limited)}"] if stage.client_limited else []),
        "",
        "\t".join(RESULT_COLUMNS),
    ]
    rows = sorted(stage.ops.rows(), key=lambda stats: (stats.bucket, stats.op))
    lines += [_row(s.op.name, LABELS[s.bucket], s.bucket, merged([s]), seconds) for s in rows if s.ops or s.errors]
    groups = by_group(rows)
    lines += [
        _row(label, "ALL", number, groups[name], seconds)
        for name, label, number in ALL_ROWS
        if groups[name].ops or groups[name].errors
    ]
    lines += ["", "# Per-Agent Details", "\t".join(AGENT_COLUMNS)]
    for agent, part in sorted(stage.agents.items()):
        lines.append(_agent_row(agent, part.ops.rows(), stage.agent_seconds(agent)))
    return "\n".join(lines) + "\n"


def endpoints_table(stage: StageTally) -> str:
    """`NN_<stage>_endpoint_stats.tsv`; all agents together, endpoints in alphabetical order."""
    lines = ["\t".join(ENDPOINT_COLUMNS)]
    totals = []
    for uri, per_op in stage.endpoints.by_uri().items():
        requests = sum(stats.ops + stats.errors for stats in per_op.values())
        read = per_op[Op.GET].bytes if Op.GET in per_op else 0
        written = per_op[Op.PUT].bytes if Op.PUT in per_op else 0
        totals.append((uri, requests, read, written, sum(stats.errors for stats in per_op.values())))
    whole = [sum(row[column] for row in totals) for column in (1, 2, 3)]  # type: ignore[misc]
    for number, (uri, requests, read, written, errors) in enumerate(totals):
        shares = [
            f"{100 * part / total:.1f}" if total else "0.0"
            for part, total in zip((requests, read, written), whole, strict=True)
        ]
        fields = [str(number), plain(uri), str(requests), str(read), str(written), str(errors), "0", *shares]
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def attempts_table(stage: StageTally) -> str:
    """`NN_<stage>_attempts.tsv`: attempts that failed, whether their operations succeeded later or not, by cause,
    operation and endpoint of all agents; the most frequent first. Times are UTC."""
    lines = ["\t".join(ATTEMPT_COLUMNS)]
    for stats in stage.failed_attempts:
        fields = [
            stats.kind.word,
            plain(stats.subclass),
            stats.op.name,
            plain(stats.uri),
            str(stats.count),
            str(stats.retried),
            utc_text(stats.first_ns),
            utc_text(stats.last_ns),
            plain(stats.request_id),
            plain(stats.message),
        ]
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def ledger_rows(stage: StageTally, test_name: str, time_ns: int) -> str:
    """What a prepare stage created: a row per agent and one of all."""
    rows: list[tuple[str, Objects, float]] = [
        (agent, part.objects, stage.agent_seconds(agent)) for agent, part in sorted(stage.agents.items())
    ]
    rows.append(("AGGREGATE", stage.objects, stage.seconds))
    lines = []
    for agent, objects, seconds in rows:
        created = objects.done
        fields = [
            utc_text(time_ns),
            plain(test_name),
            plain(agent),
            plain(stage.info.name),
            str(created),
            str(objects.existed),
            str(created + objects.existed),
            str(objects.bytes),
            f"{objects.bytes / created if created else 0.0:.1f}",
            f"{seconds:.3f}",
            f"{per_second(created, seconds):.1f}",
        ]
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def _row(operation: str, label: str, number: int, figures: Figures, seconds: float) -> str:
    service = figures.service
    latencies = [service.mean_us, *(service.percentile_us(q) for q in (0.5, 0.9, 0.95, 0.99)), float(service.max_us)]
    fields = [
        operation,
        label,
        str(number),
        *(f"{value:.2f}" for value in latencies),
        f"{figures.bytes / figures.ops if figures.ops else 0.0:.0f}",
        f"{per_second(figures.ops, seconds):.2f}",
        f"{per_second(figures.bytes, seconds) / MIB:.2f}",
        str(figures.ops),
    ]
    return "\t".join(fields)


def _agent_row(agent: str, ops: Sequence[OpStats] | Iterable[OpStats], seconds: float) -> str:
    groups = by_group(ops)
    get, put, meta = groups["get"], groups["put"], groups["meta"]
    counts = (get.ops, get.bytes, put.ops, put.bytes, meta.ops)
    errors = get.errors + put.errors + meta.errors
    return "\t".join([plain(agent), *(str(count) for count in counts), f"{seconds:.2f}", str(errors)])
