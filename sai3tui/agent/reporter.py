"""What a stage measured, once a second: exact intervals that add up to the summary of the stage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from sai3tui.agent.figures import Totals, interval
from sai3tui.agent.vitals import VitalsMeter
from sai3tui.events import EndpointStats, Objects, OpStats, Report, StageSummary, Vitals, merge_endpoints, merge_ops

INTERVAL_S = 1.0
BUSY_PCT = 90.0
BUSY_SHARE = 0.5

Read = Callable[[], Totals]
Emit = Callable[[Report], None]


class StageReporter:
    """Reads the workers' figures and emits a `Report` per interval.

    `start_ns` (Unix epoch) is where the first interval begins. Figures that workers had before this stage are not
    counted.
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
    ) -> None:
        self._agent = agent
        self._stage_index = stage_index
        self._from_ns = start_ns
        self._start_ns = start_ns
        self._read = read
        self._objects = objects
        self._emit = emit
        self._vitals = vitals
        self._warmup_until_ns = start_ns + int(warmup_s * 1e9) if warmup_s else 0
        self._last = read()
        self._ops: list[OpStats] = []
        self._endpoints: list[EndpointStats] = []
        self._pending_ops: list[OpStats] = []
        self._pending_endpoints: list[EndpointStats] = []
        self._intervals = 0
        self._busy = 0

    async def run(self) -> None:
        """Report once a second until cancelled."""
        number = 0
        while True:
            number += 1
            due_ns = self._start_ns + int(number * INTERVAL_S * 1e9)
            wait_s = (due_ns - time.time_ns()) / 1e9
            if wait_s < -INTERVAL_S:
                # The clock jumped or the host slept: one long interval instead of a burst of empty ones.
                number = int((time.time_ns() - self._start_ns) / 1e9 / INTERVAL_S)
                continue
            await asyncio.sleep(max(0.0, wait_s))
            self.report()

    def fold(self) -> Totals:
        """Take what the workers have measured so far into the current interval. To be called when a job has ended,
        because the next one begins at zero."""
        totals = self._read()
        difference = interval(self._last, totals)
        self._last = totals
        self._pending_ops = merge_ops([self._pending_ops, difference.ops])
        self._pending_endpoints = merge_endpoints([self._pending_endpoints, difference.endpoints])
        return totals

    def report(self) -> None:
        """End the current interval now and emit it."""
        before = self._last
        totals = self.fold()
        now = time.time_ns()
        if now <= self._from_ns:
            return
        vitals = self._measure(before, totals)
        ops, self._pending_ops = self._pending_ops, []
        endpoints, self._pending_endpoints = self._pending_endpoints, []
        self._ops = merge_ops([self._ops, ops])
        self._endpoints = merge_endpoints([self._endpoints, endpoints])
        self._intervals += 1
        self._busy += vitals.worker_cpu_pct >= BUSY_PCT
        warmup = now <= self._warmup_until_ns
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
        )
        self._from_ns = now
        self._emit(report)

    def summary(self, name: str, kind: str, end_ns: int, begin_ns: int = 0) -> StageSummary:
        """The merge of all intervals that were reported. `begin_ns` (0: the stage's) and `end_ns` bound its time."""
        begin_ns = begin_ns or self._start_ns
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
            self._intervals > 0 and self._busy / self._intervals >= BUSY_SHARE,
        )

    def _measure(self, before: Totals, after: Totals) -> Vitals:
        return self._vitals.read(_pids(before, after), time.monotonic())


def _pids(*totals: Totals) -> Sequence[int]:
    return tuple({pid for each in totals for pid in each.cpu_s or {}})
