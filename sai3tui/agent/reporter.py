"""What a stage measured, once a second: exact intervals that add up to the summary of the stage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from sai3tui.agent.clock import now_ns
from sai3tui.agent.figures import Totals, busiest_pct, interval
from sai3tui.agent.vitals import VitalsMeter
from sai3tui.events import (
    AttemptStats,
    EndpointStats,
    Objects,
    OpStats,
    Report,
    StageSummary,
    Vitals,
    merge_attempts,
    merge_endpoints,
    merge_ops,
)
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.metrics.saturation import Sample, SaturationMeter

INTERVAL_S = 1.0
FEWEST_LAGS = 20
"""With fewer samples in an interval, their 99th percentile is chance."""
SLACK_NS = 50_000_000
"""An interval that begins so little before the end of the warm-up is measured."""

Read = Callable[[], Totals]
Emit = Callable[[Report], None]


class StageReporter:
    """Reads the workers' figures and emits a `Report` per interval.

    `start_ns` (Unix epoch) is where the first interval begins. Figures that workers had before this stage are not
    counted. Intervals that begin within the first `warmup_s` seconds are reported as warm-up; the summary, its time
    included, begins after them. If the stage `gets_ready` first, so is what comes before `begin`.
    """

    def __init__(
        self,
        agent: str,
        stage_index: int,
        start_ns: int,
        read: Read,
        objects: Callable[[], Objects],
        emit: Emit,
        vitals: VitalsMeter,
        *,
        warmup_s: float = 0.0,
        gets_ready: bool = False,
    ) -> None:
        self._agent = agent
        self._stage_index = stage_index
        self._from_ns = start_ns
        self._start_ns = start_ns
        self._read = read
        self._objects = objects
        self._emit = emit
        self._vitals = vitals
        self._warmup_ns = int(warmup_s * 1e9)
        self._warmup_until_ns = self._warmed_up_ns(start_ns)
        self._getting_ready = gets_ready
        self._number = 1
        """Of the current interval, from 1."""
        self._last = read()
        self._ops: list[OpStats] = []
        self._endpoints: list[EndpointStats] = []
        self._pending_ops: list[OpStats] = []
        self._attempts: list[AttemptStats] = []
        self._pending_endpoints: list[EndpointStats] = []
        self._pending_attempts: list[AttemptStats] = []
        self._pending_lag = Histogram(COARSE)
        self._cpu = self._last.cpu
        """Of the workers when the interval began."""
        self._saturation = SaturationMeter()
        self._measured_from_ns = 0
        """Where the warm-up ended; 0: there was none."""

    async def run(self) -> None:
        """Report once a second until cancelled."""
        self._number = 1
        while True:
            due_ns = self._start_ns + int(self._number * INTERVAL_S * 1e9)
            wait_s = (due_ns - now_ns()) / 1e9
            if wait_s > 0:
                # The stage may begin meanwhile, and this interval with it.
                await asyncio.sleep(wait_s)
                continue
            if wait_s < -INTERVAL_S:
                # The clock jumped or the host slept: one long interval instead of a burst of empty ones.
                self._number = int((now_ns() - self._start_ns) / 1e9 / INTERVAL_S)
            else:
                self.report()
            self._number += 1

    def begin(self, start_ns: int) -> None:
        """The stage is ready, and what is measured begins at `start_ns` (Unix epoch)."""
        self._getting_ready = False
        self._start_ns = self._from_ns = start_ns
        self._warmup_until_ns = self._warmed_up_ns(start_ns)
        self._number = min(self._number, 1)

    def _warmed_up_ns(self, start_ns: int) -> int:
        return start_ns + self._warmup_ns if self._warmup_ns else 0

    def resume(self) -> None:
        """Go on after a pause in which nothing was measured."""
        self._from_ns = max(self._from_ns, now_ns())

    def fold(self) -> Totals:
        """Take what the workers have measured so far into the current interval. To be called when a job has ended,
        because the next one begins at zero."""
        totals = self._read()
        difference = interval(self._last, totals)
        self._last = totals
        self._pending_ops = merge_ops([self._pending_ops, difference.ops])
        self._pending_endpoints = merge_endpoints([self._pending_endpoints, difference.endpoints])
        self._pending_attempts = merge_attempts([self._pending_attempts, difference.failed_attempts])
        self._pending_lag.merge(difference.lag)
        return totals

    def report(self) -> None:
        """End the current interval now and emit it."""
        before = self._last
        totals = self.fold()
        now = now_ns()
        if now <= self._from_ns:
            return
        lags = self._pending_lag.count
        vitals = self._measure(before, totals)
        ops, self._pending_ops = self._pending_ops, []
        endpoints, self._pending_endpoints = self._pending_endpoints, []
        attempts, self._pending_attempts = self._pending_attempts, []
        warmup = self._getting_ready or self._from_ns + SLACK_NS < self._warmup_until_ns
        limited = ""
        if any(stats.attempts for stats in ops):
            sample = sample_of(vitals, ops, (now - self._from_ns) / 1e9)
            if lags < FEWEST_LAGS:
                sample = replace(sample, lag_p99_us=None)
            # What limits the warm-up is shown, but is no property of what is measured.
            limited = SaturationMeter().add(sample) if warmup else self._saturation.add(sample)
        if warmup:
            self._measured_from_ns = now
        else:
            self._ops = merge_ops([self._ops, ops])
            self._endpoints = merge_endpoints([self._endpoints, endpoints])
            self._attempts = merge_attempts([self._attempts, attempts])
        report = Report(
            self._agent,
            self._stage_index,
            self._from_ns,
            now,
            tuple(ops),
            tuple(endpoints),
            self._objects(),
            vitals,
            warmup,
            tuple(attempts),
            limited,
        )
        self._from_ns = now
        self._emit(report)

    def summary(self, name: str, kind: str, end_ns: int, begin_ns: int = 0) -> StageSummary:
        """The merge of all intervals that were reported, but for the warm-up. `begin_ns` (0: the stage's) and `end_ns`
        bound its time."""
        begin_ns = max(begin_ns or self._start_ns, self._measured_from_ns)
        reason = self._saturation.reason()
        return StageSummary(
            self._stage_index,
            name,
            kind,
            max(0.0, (end_ns - begin_ns) / 1e9),
            tuple(self._ops),
            tuple(self._endpoints),
            self._objects(),
            sum(stats.errors for stats in self._ops),
            sum(stats.attempts for stats in self._ops),
            begin_ns,
            end_ns,
            None,
            bool(reason),
            reason,
            tuple(self._attempts),
        )

    def _measure(self, before: Totals, after: Totals) -> Vitals:
        cpu, self._cpu = self._cpu, after.cpu
        lag, self._pending_lag = self._pending_lag, Histogram(COARSE)
        vitals = self._vitals.read(tuple({*before.cpu, *after.cpu}), time.monotonic())
        return replace(
            vitals,
            # What a worker says of its loop is the better figure; that of its process stands in until it has said so.
            worker_cpu_pct=busiest_pct(cpu, after.cpu) or vitals.worker_cpu_pct,
            worker_lag_p99_us=lag.percentile_us(0.99) if lag.count else None,
            worker_lag_max_us=float(lag.max_us) if lag.count else None,
        )


def sample_of(vitals: Vitals, ops: list[OpStats], seconds: float) -> Sample:
    """An interval as the rules for saturation want it."""
    service = Histogram()
    for stats in ops:
        service.merge(stats.service)
    return Sample(
        seconds,
        vitals.worker_cpu_pct,
        min(100.0, vitals.cpu_user_pct + vitals.cpu_system_pct + (vitals.steal_pct or 0.0)),
        service.percentile_us(0.5),
        vitals.worker_lag_p99_us,
        vitals.nic_pct,
        vitals.softirq_pct,
        vitals.steal_pct,
    )
