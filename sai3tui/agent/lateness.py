"""How well a schedule of operations was kept."""

from __future__ import annotations

from dataclasses import dataclass

BEHIND_SHARE = 0.01
"""From this share of the stage's time on, what was not begun in time means that the rate was not delivered."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of operations that were due: how many were begun, how late all together and the latest of them, and how long the
    first one that was never begun had been due at the end. Times in nanoseconds."""

    begun: int = 0
    late_ns: int = 0
    latest_ns: int = 0
    behind_ns: int = 0

    def __add__(self, other: Lateness) -> Lateness:
        return Lateness(
            self.begun + other.begun,
            self.late_ns + other.late_ns,
            max(self.latest_ns, other.latest_ns),
            max(self.behind_ns, other.behind_ns),
        )

    def delivered(self, seconds: float) -> bool:
        """Whether the rate was delivered over a stage of so many seconds."""
        return self.behind_ns <= BEHIND_SHARE * seconds * 1e9

    def text(self) -> str:
        """For a person."""
        if not self.begun:
            return "no operation of the schedule was begun"
        mean = self.late_ns / self.begun / 1e6
        found = f"operations began {mean:,.2f} ms late on average, {self.latest_ns / 1e6:,.1f} ms at most"
        if self.behind_ns > 0:
            found += f"; at the end they were {self.behind_ns / 1e9:,.2f} s behind"
        return found
