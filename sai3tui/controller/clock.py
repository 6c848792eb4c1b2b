"""How far an agent's clock is from ours, from echoes on the channel. Pure: times come in as numbers.

An echo says in which interval the offset was: it cannot have been on its way for less than no time. Echoes of different
times bound how fast the offset changes, as each pair of intervals allows for a range of slopes. What is believed is the
middle of what remains possible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 64
MOST_PPM = 500.0
"""So fast is a clock slewed at most by what keeps its time (ntpd; chrony does so less)."""
SPAN_NS = 8_000_000_000
"""Of so many nanoseconds one echo is kept for the drift, at first; twice as many each time that there are `KEPT`."""
KEPT = 32
ROUNDING_NS = 4


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """`offset_ns` is what to add to the agent's clock to get ours, now; it is off by at most `uncertainty_ns`. It grows
    by `drift_ppm` millionths of the time that passes, give or take `drift_uncertainty_ppm`."""

    offset_ns: int = 0
    uncertainty_ns: int = 0
    drift_ppm: float = 0.0
    drift_uncertainty_ppm: float = MOST_PPM


@dataclass(frozen=True, slots=True)
class Echo:
    """At `at_ns` the offset was `offset_ns`, give or take `unsure_ns`."""

    at_ns: int
    offset_ns: int
    unsure_ns: int


def drift_bounds(echoes: Sequence[Echo]) -> tuple[float, float] | None:
    """The least and the greatest change of the offset, in ppm, that all of these echoes allow for; None if there is no
    such change, which is then not constant. In the order of their times."""
    low, high = -MOST_PPM, MOST_PPM
    for number, later in enumerate(echoes):
        for earlier in echoes[:number]:
            passed = later.at_ns - earlier.at_ns
            if passed > 0:
                unsure = later.unsure_ns + earlier.unsure_ns
                change = later.offset_ns - earlier.offset_ns
                low = max(low, 1e6 * (change - unsure) / passed)
                high = min(high, 1e6 * (change + unsure) / passed)
    return (low, high) if low <= high else None


class ClockFilter:
    """Believes the echoes with the shortest way: queueing only ever adds to it. Clocks that are set to another time, or
    change their pace, are measured anew from then on."""

    def __init__(self, window: int = WINDOW) -> None:
        self._samples: deque[Echo] = deque(maxlen=window)
        self._kept: list[Echo] = []
        """The best one of each span of the run."""
        self._span_ns = SPAN_NS
        self._drift = (-MOST_PPM, MOST_PPM)
        self.estimate = ClockEstimate()
        """At the time of the last echo."""

    def add(self, sent_ns: int, agent_ns: int, received_ns: int) -> None:
        """One echo: when we sent it, what the agent's clock said, when it was back. Times in nanoseconds.

        An echo that is back before it was sent (our own clock was set back meanwhile) is left out.
        """
        round_trip = received_ns - sent_ns
        if round_trip < 0:
            return
        middle = sent_ns + round_trip // 2
        # It may have drifted between the middle of the way and the moment at the agent.
        half = (round_trip + 1) // 2
        echo = Echo(middle, middle - agent_ns, half + round(half * MOST_PPM / 1e6))
        if self._samples and not self._agrees(echo):
            self._forget()
        self._keep(echo)
        self._samples.append(echo)
        self.estimate = self._estimate(middle)

    def _keep(self, echo: Echo) -> None:
        kept = self._kept
        if kept and kept[-1].at_ns // self._span_ns == echo.at_ns // self._span_ns:
            if kept[-1].unsure_ns <= echo.unsure_ns:
                return
            kept[-1] = echo
        else:
            kept.append(echo)
            if len(kept) > KEPT:
                self._span_ns *= 2
                self._kept = kept = _best_of(kept, self._span_ns)
        found = drift_bounds(kept)
        if found is None:
            self._forget()
            self._kept.append(echo)
        else:
            self._drift = found

    def _agrees(self, echo: Echo) -> bool:
        expected = self._estimate(echo.at_ns)
        return abs(echo.offset_ns - expected.offset_ns) <= echo.unsure_ns + expected.uncertainty_ns + ROUNDING_NS

    def _forget(self) -> None:
        self._samples.clear()
        self._kept.clear()
        self._span_ns = SPAN_NS
        self._drift = (-MOST_PPM, MOST_PPM)

    def _estimate(self, now_ns: int) -> ClockEstimate:
        low, high = self._drift
        drift, unsure = (low + high) / 2, (high - low) / 2

        def uncertainty(echo: Echo) -> float:
            return echo.unsure_ns + abs(now_ns - echo.at_ns) * unsure / 1e6

        best = min(self._samples, key=uncertainty)
        offset = best.offset_ns + round((now_ns - best.at_ns) * drift / 1e6)
        return ClockEstimate(offset, round(uncertainty(best)), drift, unsure)


def _best_of(echoes: Sequence[Echo], span_ns: int) -> list[Echo]:
    """The one with the shortest way of each span."""
    best: dict[int, Echo] = {}
    for echo in echoes:
        known = best.setdefault(echo.at_ns // span_ns, echo)
        if echo.unsure_ns < known.unsure_ns:
            best[echo.at_ns // span_ns] = echo
    return list(best.values())
