"""Whether the load generator, and not the storage, limited what was measured: rules over what it knows of itself.

A figure that the client limits says nothing about the storage, so a stage in which a limit was reached for a quarter
of its time carries the reason with its result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SHARE = 0.25
"""Share of the measured time that a limit must be reached in to be named for all of it."""

SHORTEST_S = 0.5
"""What was measured for less time says nothing."""
EXACT_BELOW_S = 10.0
"""Of what was measured for less time, tenths of seconds are said."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Percentages: `worker_cpu` and `softirq` of one core, `host_cpu` and `steal` of the whole host, `nic` of the link
    speed. Lag counts from `lag_us` on, if it is also `lag_share` of the median operation or more."""

    worker_cpu_pct: float = 70.0
    host_cpu_pct: float = 95.0
    lag_us: float = 2000.0
    lag_share: float = 0.1
    nic_pct: float = 90.0
    softirq_pct: float = 80.0
    steal_pct: float = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval in which there were operations. None: not known, and so never a reason."""

    seconds: float
    worker_cpu_pct: float = 0.0
    host_cpu_pct: float = 0.0
    service_p50_us: float = 0.0
    lag_p99_us: float | None = None
    nic_pct: float | None = None
    softirq_pct: float | None = None
    steal_pct: float | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    text: Callable[[float], str]
    value: Callable[[Sample], float | None]
    limit: Callable[[Limits, Sample], float]


_RULES = (
    _Rule(
        "worker",
        lambda value: f"a worker process used {value:.0f} % of its core",
        lambda sample: sample.worker_cpu_pct,
        lambda limits, _: limits.worker_cpu_pct,
    ),
    _Rule(
        "lag",
        lambda value: f"answers waited up to {value / 1000:.1f} ms (p99) for a worker process",
        lambda sample: sample.lag_p99_us,
        lambda limits, sample: max(limits.lag_us, limits.lag_share * sample.service_p50_us),
    ),
    _Rule(
        "host cpu",
        lambda value: f"the host's CPUs were {value:.0f} % busy",
        lambda sample: sample.host_cpu_pct,
        lambda limits, _: limits.host_cpu_pct,
    ),
    _Rule(
        "network",
        lambda value: f"a network link was {value:.0f} % full",
        lambda sample: sample.nic_pct,
        lambda limits, _: limits.nic_pct,
    ),
    _Rule(
        "interrupts",
        lambda value: f"a core spent {value:.0f} % on the network's interrupts",
        lambda sample: sample.softirq_pct,
        lambda limits, _: limits.softirq_pct,
    ),
    _Rule(
        "steal",
        lambda value: f"other guests of this machine took {value:.0f} % of its CPUs",
        lambda sample: sample.steal_pct,
        lambda limits, _: limits.steal_pct,
    ),
)


def nearest_limit(sample: Sample, limits: Limits | None = None) -> tuple[float, str]:
    """How much of the nearest limit is used, 1.0 being all of it, and that limit's name; 0 and "" if none is known."""
    limits = limits or Limits()
    used = [
        (value / rule.limit(limits, sample), rule.name)
        for rule in _RULES
        if (value := rule.value(sample)) is not None and value > 0
    ]
    return max(used, default=(0.0, ""))


class SaturationMeter:
    """Collects the intervals of a stage."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._seconds = 0.0
        self._reached = [0.0] * len(_RULES)
        """Seconds in which each rule's limit was reached."""
        self._sums = [0.0] * len(_RULES)
        """The values of those seconds, times seconds."""

    def add(self, sample: Sample) -> str:
        """Why this interval was limited by the client; empty if it was not."""
        self._seconds += sample.seconds
        reasons = []
        for number, rule in enumerate(_RULES):
            value = rule.value(sample)
            if value is None or value < rule.limit(self._limits, sample):
                continue
            self._reached[number] += sample.seconds
            self._sums[number] += value * sample.seconds
            reasons.append(rule.text(value))
        return "; ".join(reasons)

    def reason(self) -> str:
        """Why all of it was limited by the client, with means over the time in which a limit was reached; empty if it
        was not, or was too short to tell."""
        if self._seconds < SHORTEST_S:
            return ""
        reasons = []
        digits = 0 if self._seconds >= EXACT_BELOW_S else 1
        for rule, reached, summed in zip(_RULES, self._reached, self._sums, strict=True):
            if reached > 0 and reached >= SHARE * self._seconds:
                share = f"in {reached:.{digits}f} of {self._seconds:.{digits}f} s"
                reasons.append(f"{rule.text(summed / reached)} ({share})")
        return "; ".join(reasons)
