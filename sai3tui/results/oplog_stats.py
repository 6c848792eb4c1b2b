"""Figures of an op-log, per operation: counts, bytes, rates and percentiles, with the same histograms as elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sai3tui.metrics.histogram import Histogram
from sai3tui.results.oplog import OpRow

BATCH = 4096
MOST_GROUPS = 10_000
REST = "(others)"


@dataclass(slots=True)
class OplogFigures:
    """One group of operations. Latencies are of those that succeeded; times in nanoseconds since the epoch."""

    ops: int = 0
    errors: int = 0
    objects: int = 0
    bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    service: Histogram = field(default_factory=Histogram)
    ttfb: Histogram = field(default_factory=Histogram)
    _durations: list[int] = field(default_factory=list)
    _firsts: list[int] = field(default_factory=list)

    def add(self, row: OpRow) -> None:
        self.first_ns = min(self.first_ns or row.start_ns, row.start_ns)
        self.last_ns = max(self.last_ns, row.end_ns)
        if row.error:
            self.errors += 1
            return
        self.ops += 1
        self.objects += row.n_objects
        self.bytes += row.bytes
        self._durations.append(row.duration_ns)
        if row.first_byte_ns:
            self._firsts.append(max(0, row.first_byte_ns - row.start_ns))
        if len(self._durations) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """What was added is in the histograms."""
        self.service.record(self._durations)
        self.ttfb.record(self._firsts)
        self._durations.clear()
        self._firsts.clear()

    @property
    def seconds(self) -> float:
        return (self.last_ns - self.first_ns) / 1e9


def oplog_figures(rows: Iterable[OpRow], by: str = "") -> dict[tuple[str, str], OplogFigures]:
    """Figures per operation, and per `endpoint` or `client_id` where `by` names one of them."""
    groups: dict[tuple[str, str], OplogFigures] = {}
    for row in rows:
        key = (row.op, getattr(row, by) if by else "")
        figures = groups.get(key)
        if figures is None:
            if len(groups) >= MOST_GROUPS:
                key = (REST, REST)
            figures = groups.setdefault(key, OplogFigures())
        figures.add(row)
    for figures in groups.values():
        figures.settle()
    return dict(sorted(groups.items()))
