"""Rates and totals out of measured figures: the one place where a number that anybody reads is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter

from sai3tui.config.ops import GROUPS, Op
from sai3tui.events import AttemptStats, EndpointStats, OpStats
from sai3tui.metrics.attribution import Attribution
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.metrics.histogram_sums import merged_percentile_us
from sai3tui.results.views import EndpointCell, Rates, StageView, SteadyView

MIB = 1024 * 1024
MOST_WAITING = 512
"""Figures of endpoints that are held to be added up together."""


@dataclass(slots=True)
class Figures:
    """Merged figures of any operations: counts, body bytes, latencies of service and from schedule."""

    ops: int = 0
    bytes: int = 0
    errors: int = 0
    attempts: int = 0
    service: Histogram = field(default_factory=Histogram)
    scheduled: Histogram = field(default_factory=Histogram)

    def add(self, stats: OpStats) -> None:
        self.ops += stats.ops
        self.bytes += stats.bytes
        self.errors += stats.errors
        self.attempts += stats.attempts
        self.service.merge(stats.service)
        self.scheduled.merge(stats.scheduled)

    def percentile_us(self, q: float) -> float:
        return self.service.percentile_us(q)


class OpTable:
    """A growing merge of `OpStats`, per operation and size bucket. What is added is never changed."""

    __slots__ = ("_rows", "bytes", "errors", "ops")

    def __init__(self) -> None:
        self._rows: dict[tuple[Op, int], OpStats] = {}
        self.ops = 0
        self.bytes = 0
        self.errors = 0

    def add(self, ops: Iterable[OpStats]) -> None:
        for stats in ops:
            self.ops += stats.ops
            self.bytes += stats.bytes
            self.errors += stats.errors
            known = self._rows.get((stats.op, stats.bucket))
            if known is None:
                self._rows[stats.op, stats.bucket] = stats.copy()
            else:
                known.merge(stats)

    def rows(self) -> list[OpStats]:
        """Per operation and bucket, in a stable order; not copies."""
        return [self._rows[key] for key in sorted(self._rows)]

    def counts(self) -> dict[tuple[Op, int], tuple[int, int, int]]:
        """Operations, bytes and errors per operation and bucket: what two tables of the same thing agree in."""
        return {key: (s.ops, s.bytes, s.errors) for key, s in self._rows.items() if s.ops or s.errors}


class EndpointTable:
    """A growing merge of `EndpointStats`, per endpoint URI and operation. What is added is never changed.

    It is added up when somebody asks or `most_waiting` are there: many small histograms together cost less.
    """

    __slots__ = ("_most_waiting", "_rows", "_waiting")

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._rows: dict[tuple[str, Op], EndpointStats] = {}
        self._waiting: list[EndpointStats] = []

    def add(self, endpoints: Iterable[EndpointStats]) -> None:
        self._waiting += endpoints
        if len(self._waiting) >= self._most_waiting:
            self._sum_up()

    def by_uri(self) -> dict[str, dict[Op, EndpointStats]]:
        """Per URI and operation, in alphabetical order; not copies."""
        self._sum_up()
        table: dict[str, dict[Op, EndpointStats]] = {}
        for (uri, op), stats in sorted(self._rows.items(), key=lambda entry: entry[0]):
            table.setdefault(uri, {})[op] = stats
        return table

    def _sum_up(self) -> None:
        parts: dict[tuple[str, Op], list[EndpointStats]] = {}
        for stats in self._waiting:
            parts.setdefault((stats.uri, stats.op), []).append(stats)
        self._waiting = []
        for key, (first, *others) in parts.items():
            known = self._rows.get(key)
            if known is None:
                known = self._rows[key] = first.copy()
                known.merge(*others)
            else:
                known.merge(first, *others)


def merged(ops: Iterable[OpStats]) -> Figures:
    """All operations as one."""
    figures = Figures()
    for stats in ops:
        figures.add(stats)
    return figures


def by_group(ops: Iterable[OpStats]) -> dict[str, Figures]:
    """Figures of `get`, `put` and `meta`; all three are always there."""
    groups = {name: Figures() for name in GROUPS}
    for stats in ops:
        groups[stats.op.group].add(stats)
    return groups


def per_second(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class GroupInterval:
    """One of the groups of operations in an interval: counts, and latencies in µs."""

    ops: int = 0
    bytes: int = 0
    errors: int = 0
    mean_us: float = 0.0
    p50_us: float = 0.0
    p90_us: float = 0.0
    p99_us: float = 0.0
    scheduled_p99_us: float = 0.0


Interval = Mapping[str, GroupInterval]
"""What an interval comes to, of `get`, `put` and `meta`; all three are always there."""


def interval_of(ops: Iterable[OpStats]) -> Interval:
    parts: dict[str, list[OpStats]] = {name: [] for name in GROUPS}
    for stats in ops:
        parts[stats.op.group].append(stats)
    return {name: _group_interval(rows) for name, rows in parts.items()}


def _group_interval(rows: Sequence[OpStats]) -> GroupInterval:
    if not rows:
        return GroupInterval()
    service, scheduled = rows[0].service, rows[0].scheduled
    if len(rows) > 1:
        whole = merged(rows)
        service, scheduled = whole.service, whole.scheduled
    p50_us, p90_us, p99_us = service.percentiles_us((0.5, 0.9, 0.99))
    return GroupInterval(
        sum(stats.ops for stats in rows),
        sum(stats.bytes for stats in rows),
        sum(stats.errors for stats in rows),
        service.mean_us,
        p50_us,
        p90_us,
        p99_us,
        scheduled.percentile_us(0.99),
    )


def rates_of(ops: Iterable[OpStats], seconds: float) -> Rates:
    """Averages over `seconds`; no time, no rates."""
    return interval_rates(interval_of(ops), seconds)


def interval_rates(interval: Interval, seconds: float) -> Rates:
    """As `rates_of`."""
    get, put, meta = interval["get"], interval["put"], interval["meta"]
    return Rates(
        get_ops=per_second(get.ops, seconds),
        get_bytes=per_second(get.bytes, seconds),
        put_ops=per_second(put.ops, seconds),
        put_bytes=per_second(put.bytes, seconds),
        meta_ops=per_second(meta.ops, seconds),
        get_p50_us=get.p50_us,
        get_p99_us=get.p99_us,
        put_p50_us=put.p50_us,
        put_p99_us=put.p99_us,
        meta_p50_us=meta.p50_us,
        meta_p99_us=meta.p99_us,
        errors=per_second(get.errors + put.errors + meta.errors, seconds),
        scheduled_p99_us=max(group.scheduled_p99_us for group in interval.values()),
    )


def endpoint_cells(
    reported: Sequence[tuple[Iterable[EndpointStats], float]],
) -> list[tuple[EndpointCell, ...]]:
    """What agents got from each endpoint, per second, in the order in which the endpoints are numbered. Of each agent:
    its figures, and of how many seconds they are."""
    tables: list[dict[str, list[EndpointStats]]] = []
    for endpoints, _ in reported:
        by_uri: dict[str, list[EndpointStats]] = {}
        for stats in sorted(endpoints, key=attrgetter("endpoint")):
            by_uri.setdefault(stats.uri, []).append(stats)
        tables.append(by_uri)
    groups = [[stats.service for stats in parts] for by_uri in tables for parts in by_uri.values()]
    p99s = iter(merged_percentile_us(groups, COARSE, 0.99))
    return [
        tuple(
            EndpointCell(
                uri,
                per_second(sum([stats.bytes for stats in parts]), seconds),
                per_second(sum([stats.ops for stats in parts]), seconds),
                next(p99s),
                sum([stats.errors for stats in parts]),
            )
            for uri, parts in by_uri.items()
        )
        for by_uri, (_, seconds) in zip(tables, reported, strict=True)
    ]


def stage_json(stage: StageView) -> dict[str, object]:
    """A stage's totals as the machine-readable result shows them. `objects` are those of the layout that it
    dealt with, `existed` of them without touching them."""
    return {
        "index": stage.index,
        "name": stage.name,
        "type": stage.type,
        "status": stage.status.value,
        "seconds": round(stage.elapsed_s, 3),
        "objects": stage.done,
        "start_skew_ms": round(stage.start_skew_ms, 3),
        "existed": stage.existed,
        "repeated_puts": stage.repeated_puts,
        "bytes": stage.total_bytes,
        "ops": stage.total_ops,
        "ops_per_s": round(per_second(stage.total_ops, stage.elapsed_s), 3),
        "mib_per_s": round(per_second(stage.total_bytes, stage.elapsed_s) / MIB, 3),
        "p50_us": round(stage.p50_us, 1),
        "p99_us": round(stage.p99_us, 1),
        "errors": stage.errors,
        "client_limited": stage.client_limited,
        "warmup_seconds": round(stage.warmup_s, 3),
        "lateness": asdict(stage.lateness) if stage.lateness is not None else None,
        "steady": steady_json(stage.steady) if stage.steady is not None else None,
        "attribution": attribution_json(stage.attribution),
        "retries": stage.retries,
        "unreported": list(stage.unreported),
        "failed_attempts": [attempts_json(stats) for stats in stage.failed_attempts],
    }


def steady_json(steady: SteadyView) -> dict[str, object]:
    """The steady part of a stage; the half-width is a fraction of the mean."""
    return {
        "from_seconds": round(steady.from_s, 3),
        "seconds": round(steady.seconds, 3),
        "ops_per_s": round(steady.ops, 3),
        "mib_per_s": round(steady.bytes / MIB, 3),
        "half_width": round(steady.half_width, 6),
    }


def attribution_json(attribution: Attribution) -> dict[str, object]:
    """Who limited a stage: the verdict, its confidence (0 to 1), and the facts with their weights."""
    return {
        "limited_by": attribution.cause.value,
        "confidence": round(attribution.confidence, 3),
        "facts": [
            {"for": fact.cause.value, "weight": round(fact.weight, 3), "text": fact.text} for fact in attribution.facts
        ],
    }


def attempts_json(stats: AttemptStats) -> dict[str, object]:
    """Failed attempts of one cause; times in nanoseconds since the epoch."""
    return {
        "kind": stats.kind.word,
        "subclass": stats.subclass,
        "endpoint": stats.uri,
        "op": stats.op.word,
        "count": stats.count,
        "retried": stats.retried,
        "first_ns": stats.first_ns,
        "last_ns": stats.last_ns,
        "request_id": stats.request_id,
        "message": stats.message,
    }
