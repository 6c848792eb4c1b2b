"""`perf_log.tsv`: one row an interval, in the predecessor's 31 columns, with what they promise: the interval's own
latencies, percentiles of merged histograms, real errors and a warm-up flag."""

from __future__ import annotations

from sai3tui.events import Report, Vitals
from sai3tui.results.figures import MIB, GroupInterval, Interval, interval_of, per_second
from sai3tui.results.seconds import SECOND_NS, FleetSecond

FLEET_ID = "controller"
SHORTEST_INTERVAL_S = 1.0
"""Agents report once a second: nothing finer is known."""


def _latency_columns(group: str) -> tuple[str, ...]:
    return tuple(f"{group}_{name}_us" for name in ("mean", "p50", "p90", "p99"))


def _data_columns(group: str) -> tuple[str, ...]:
    return (*(f"{group}_{name}" for name in ("ops", "bytes", "iops", "mbps")), *_latency_columns(group))


COLUMNS = (
    "agent_id",
    "timestamp_epoch_ms",
    "elapsed_s",
    "stage",
    *_data_columns("get"),
    *_data_columns("put"),
    "meta_ops",
    "meta_iops",
    *_latency_columns("meta"),
    "cpu_user_pct",
    "cpu_system_pct",
    "cpu_iowait_pct",
    "errors",
    "is_warmup",
)
HEADER = "\t".join(COLUMNS) + "\n"


class RowBuffer:
    """Makes intervals of `interval_s` seconds out of shorter ones of the same stage."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._pending: FleetSecond | None = None

    def add(self, second: FleetSecond) -> list[FleetSecond]:
        """The intervals that are complete now."""
        done = self.flush() if self._pending and self._pending.stage_index != second.stage_index else []
        if self.interval_s <= SHORTEST_INTERVAL_S:
            return [*done, second]
        if self._pending is None:
            self._pending = FleetSecond(second.stage_index, second.number, second.start_ns)
        self._pending.extend(second)
        if self._pending.seconds >= self.interval_s - SHORTEST_INTERVAL_S / 2:
            done += self.flush()
        return done

    def flush(self) -> list[FleetSecond]:
        """What has begun, however short."""
        pending, self._pending = self._pending, None
        return [pending] if pending is not None else []


def row(second: FleetSecond, stage: str, agent: str = FLEET_ID) -> str:
    """An interval of all agents, or of the one that is named."""
    return _row(
        agent,
        second.end_ns,
        (second.end_ns - second.start_ns) / SECOND_NS + second.number,
        stage,
        interval_of(second.ops.rows()),
        second.seconds,
        second.mean_vitals,
        second.warmup,
    )


def report_row(report: Report, interval: Interval, stage: str, start_ns: int) -> str:
    """One agent's report, which comes to `interval`; its stage began at `start_ns`."""
    return _row(
        report.agent,
        report.end_ns,
        (report.end_ns - start_ns) / SECOND_NS,
        stage,
        interval,
        (report.end_ns - report.start_ns) / SECOND_NS,
        report.vitals,
        report.warmup,
    )


def _row(
    agent: str,
    end_ns: int,
    elapsed_s: float,
    stage: str,
    interval: Interval,
    seconds: float,
    vitals: Vitals,
    warmup: bool,
) -> str:
    fields = [plain(agent), str(end_ns // 1_000_000), f"{elapsed_s:.3f}", plain(stage)]
    for name in ("get", "put"):
        group = interval[name]
        fields += [
            str(group.ops),
            str(group.bytes),
            f"{per_second(group.ops, seconds):.1f}",
            f"{per_second(group.bytes, seconds) / MIB:.2f}",
            *_latencies(group),
        ]
    meta = interval["meta"]
    fields += [str(meta.ops), f"{per_second(meta.ops, seconds):.1f}", *_latencies(meta)]
    fields += [f"{vitals.cpu_user_pct:.1f}", f"{vitals.cpu_system_pct:.1f}", f"{vitals.cpu_iowait_pct:.1f}"]
    fields += [str(sum(group.errors for group in interval.values())), "1" if warmup else "0"]
    return "\t".join(fields) + "\n"


def _latencies(group: GroupInterval) -> list[str]:
    return [str(round(value)) for value in (group.mean_us, group.p50_us, group.p90_us, group.p99_us)]


def plain(text: str) -> str:
    """A name as one field of a table."""
    return " ".join(text.split())
