"""How far an agent's clock is from ours, from echoes on the channel. Pure: times come in as numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 64


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """`offset_ns` is what to add to the agent's clock to get ours; it is off by at most `uncertainty_ns` as long as
    clocks do not drift within the window."""

    offset_ns: int = 0
    uncertainty_ns: int = 0


class ClockFilter:
    """Keeps the last `window` echoes and believes the one with the shortest way: queueing only ever adds to it."""

    def __init__(self, window: int = WINDOW) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=window)

    def add(self, sent_ns: int, agent_ns: int, received_ns: int) -> None:
        """One echo: when we sent it, what the agent's clock said, when it was back. Times in nanoseconds.

        An echo that is back before it was sent (our own clock was set back meanwhile) is left out.
        """
        round_trip = received_ns - sent_ns
        if round_trip >= 0:
            self._samples.append((round_trip, sent_ns + round_trip // 2 - agent_ns))

    @property
    def estimate(self) -> ClockEstimate:
        if not self._samples:
            return ClockEstimate()
        round_trip, offset = min(self._samples)
        return ClockEstimate(offset, (round_trip + 1) // 2)
