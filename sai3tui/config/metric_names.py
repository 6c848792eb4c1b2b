"""Names of measured figures, as thresholds use them: `get.p99`, `put.ttfb.max`, `throughput`, `vs_baseline.ops`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sai3tui.config.ops import GROUPS, OPS, Op
from sai3tui.config.units import UnitError


class Quantity(StrEnum):
    """`ERROR_RATE` is the share of operations that failed, `COVERAGE` that of agents that took part all through."""

    THROUGHPUT = "throughput"
    OPS = "ops"
    ERRORS = "errors"
    ERROR_RATE = "errors.rate"
    LATENCY = "latency"
    COVERAGE = "coverage"


class LatencyKind(StrEnum):
    """From when a latency counts: the sending, when it was due, or the sending up to the first byte."""

    SERVICE = "service"
    SCHEDULED = "scheduled"
    TTFB = "ttfb"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure. `operation` is an operation, one of the groups of columns (`meta`), or empty for all. `quantile`: 1 is
    the maximum, None the mean. `against_baseline`: its difference from another run, as a share of that one's."""

    quantity: Quantity
    operation: str = ""
    kind: LatencyKind = LatencyKind.SERVICE
    quantile: float | None = None
    against_baseline: bool = False

    def covers(self, op: Op) -> bool:
        """Whether the operation is one of those that the figure is about."""
        if self.quantity is Quantity.THROUGHPUT and op.group == "meta":
            return False
        return self.operation in ("", op.word, op.group)


_OPERATIONS = tuple(dict.fromkeys((*(op.word for op in OPS), *GROUPS)))
_NAME = re.compile(
    rf"(?P<baseline>vs_baseline\.)?(?:(?P<operation>{'|'.join(_OPERATIONS)})\.)?"
    rf"(?:(?:(?P<kind>{'|'.join(LatencyKind)})\.)?(?:p(?P<percent>\d{{1,2}}(?:\.\d{{1,4}})?)|(?P<word>max|mean))"
    r"|(?P<quantity>throughput|ops|errors|errors\.rate|coverage))",
    re.ASCII,
)
_HINT = (
    "write throughput, ops, errors, errors.rate, coverage or a latency such as p99; before it an operation (get.p99), "
    "scheduled or ttfb (get.ttfb.p99), and before all vs_baseline"
)


def parse_metric(text: str) -> Metric:
    """The figure that `text` names. Raises UnitError."""
    match = _NAME.fullmatch(text.strip())
    if match is None or (match["quantity"] == Quantity.COVERAGE and (match["operation"] or match["baseline"])):
        raise UnitError(f"{text[:60]!r} is not a metric", hint=_HINT)
    operation, against = match["operation"] or "", bool(match["baseline"])
    if match["quantity"]:
        quantity = Quantity(match["quantity"])
        if quantity is Quantity.THROUGHPUT and operation not in ("", "get", "put"):
            raise UnitError(f"{text[:60]!r} is not a metric: {operation} moves no bodies", hint="write get or put")
        return Metric(quantity, operation, against_baseline=against)
    quantile = {"max": 1.0, "mean": None}[match["word"]] if match["word"] else float(match["percent"]) / 100
    kind = LatencyKind(match["kind"] or LatencyKind.SERVICE)
    return Metric(Quantity.LATENCY, operation, kind, quantile, against)
