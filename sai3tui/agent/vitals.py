"""How busy this host and this generator are."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from sai3tui.events import Vitals


class VitalsMeter:
    """Percentages since the last look. CPU is that of the whole host; a worker's is of one core."""

    def __init__(self) -> None:
        self._times = psutil.cpu_times()
        self._workers: dict[int, tuple[float, float]] = {}
        self._main = psutil.Process()

    def read(self, worker_pids: Sequence[int], now_s: float) -> Vitals:
        """The figures since the last call. `now_s` is a monotonic time in seconds."""
        before, after = self._times, psutil.cpu_times()
        self._times = after
        total = sum(after) - sum(before)

        def share(*names: str) -> float:
            if total <= 0:
                return 0.0
            used = sum(getattr(after, name, 0.0) - getattr(before, name, 0.0) for name in names)
            return max(0.0, min(100.0, 100.0 * used / total))

        busiest = 0.0
        rss = int(self._main.memory_info().rss)
        seen: dict[int, tuple[float, float]] = {}
        for pid in worker_pids:
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                rss += int(process.memory_info().rss)
            except psutil.Error:
                continue
            cpu = times.user + times.system
            seen[pid] = (now_s, cpu)
            known = self._workers.get(pid)
            if known is not None and now_s > known[0]:
                busiest = max(busiest, 100.0 * (cpu - known[1]) / (now_s - known[0]))
        self._workers = seen
        return Vitals(
            cpu_user_pct=share("user", "nice"),
            cpu_system_pct=share("system", "irq", "softirq"),
            cpu_iowait_pct=share("iowait"),
            worker_cpu_pct=max(0.0, busiest),
            rss_bytes=rss,
            workers=len(seen),
        )
