"""The controller's clock by this host's monotonic one, for what a run writes down here. Pure: times come in as numbers.

The controller measures the offset of this agent's clock all through a run and says it with each ping. What is kept of
it is a reading by CLOCK_MONOTONIC, which all processes of a host share and which nobody sets.
"""

from __future__ import annotations

from dataclasses import dataclass

SET_NS = 1_000_000
"""How far ahead of CLOCK_MONOTONIC this agent's clock is changes by so much from one ping to the next only if the host
slept: both are slewed alike."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """At `mono_ns` (CLOCK_MONOTONIC) the controller's clock said `controller_ns` (Unix epoch); from then on it gains
    `drift_ppm` millionths on the monotonic one."""

    mono_ns: int
    controller_ns: int
    drift_ppm: float = 0.0

    def offset_ns(self, mono_ns: int) -> int:
        """What to add to monotonic times about `mono_ns` to get the controller's."""
        return self.controller_ns - self.mono_ns + round((mono_ns - self.mono_ns) * self.drift_ppm / 1e6)


class ClockReadings:
    """Makes readings of what the controller that leads says."""

    def __init__(self) -> None:
        self._ahead_ns: int | None = None
        """How far this agent's clock was ahead of the monotonic one at the last ping."""

    def told(self, mono_ns: int, agent_ns: int, offset_ns: int, drift_ppm: float) -> ClockReading | None:
        """At `mono_ns`, when this agent's clock said `agent_ns`, a ping came: `offset_ns` is what to add to that clock.
        None: the host slept since the last ping, and what is said of its clock may be of before."""
        before, self._ahead_ns = self._ahead_ns, agent_ns - mono_ns
        if before is not None and abs(self._ahead_ns - before) > SET_NS:
            return None
        return ClockReading(mono_ns, agent_ns + offset_ns, drift_ppm)
