"""How busy this host and this generator are. What the host does not tell is None, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil

from sai3tui.agent.network import NetworkMeter
from sai3tui.events import Vitals


class VitalsMeter:
    """Percentages since the last look. CPU is that of the whole host; a worker's is of one core."""

    def __init__(self, network: NetworkMeter | None = None) -> None:
        self._times = psutil.cpu_times()
        self._cores = psutil.cpu_times(percpu=True)
        self._workers: dict[int, tuple[float, float]] = {}
        self._main = psutil.Process()
        self._network = network or NetworkMeter()

    def read(self, worker_pids: Sequence[int], now_s: float) -> Vitals:
        """The figures since the last call; what only workers know of themselves is not among them. `now_s` is a
        monotonic time in seconds."""
        before, after = self._times, psutil.cpu_times()
        self._times = after
        cores, self._cores = self._cores, psutil.cpu_times(percpu=True)
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
        network = self._network.read(now_s)
        return Vitals(
            cpu_user_pct=share(before, after, "user", "nice"),
            cpu_system_pct=share(before, after, "system", "irq", "softirq"),
            cpu_iowait_pct=share(before, after, "iowait"),
            worker_cpu_pct=max(0.0, busiest),
            rss_bytes=rss,
            workers=len(seen),
            nic_bytes_per_s=network.bytes_per_s,
            nic_pct=network.pct,
            tcp_retransmits=network.retransmits,
            softirq_pct=_busiest_softirq(cores, self._cores),
            steal_pct=share(before, after, "steal") if hasattr(after, "steal") else None,
        )


def share(before: Any, after: Any, *names: str) -> float:
    """Percentage of the time between two readings of CPU times that was spent on what is named."""
    # Guests' time is part of user time already.
    total = _sum(after) - _sum(before)
    if total <= 0:
        return 0.0
    used = sum(getattr(after, name, 0.0) - getattr(before, name, 0.0) for name in names)
    return max(0.0, min(100.0, 100.0 * used / total))


def _sum(times: Any) -> float:
    return float(sum(times)) - float(getattr(times, "guest", 0.0)) - float(getattr(times, "guest_nice", 0.0))


def _busiest_softirq(before: Sequence[Any], after: Sequence[Any]) -> float | None:
    if len(before) != len(after) or not after or not hasattr(after[0], "softirq"):
        return None
    return max(share(old, new, "softirq") for old, new in zip(before, after, strict=True))
