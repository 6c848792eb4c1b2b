"""Where on a run's time line the picture stands: at its end, which moves, or somewhere in its past. No Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0)


@dataclass(frozen=True, slots=True)
class Playhead:
    """`at_s` seconds after the start of the run; None follows the end. While `playing` it moves `speed` seconds a
    second."""

    at_s: float | None = None
    playing: bool = False
    speed: float = 1.0

    @property
    def follows(self) -> bool:
        return self.at_s is None

    def frozen(self, now_s: float) -> Playhead:
        """Stand where the picture stands."""
        return replace(self, at_s=now_s if self.at_s is None else self.at_s, playing=False)

    def moved(self, by_s: float, span: tuple[float, float]) -> Playhead:
        """Go back or on, within what is known; beyond its end it follows the end again."""
        first, last = span
        at = (last if self.at_s is None else self.at_s) + by_s
        if by_s > 0 and at >= last:
            return replace(self, at_s=None, playing=False)
        return replace(self, at_s=max(first, min(at, last)))

    def played(self, passed_s: float, span: tuple[float, float]) -> Playhead:
        """Time passes; at the end it follows it."""
        return self.moved(passed_s * self.speed, span) if self.playing and self.at_s is not None else self

    def toggled(self, span: tuple[float, float]) -> Playhead:
        """Play or stand still; from the end it plays all from the start."""
        return replace(self, at_s=span[0] if self.at_s is None else self.at_s, playing=not self.playing)

    def faster(self, steps: int) -> Playhead:
        """Another speed, `steps` away from this one."""
        at = SPEEDS.index(self.speed) if self.speed in SPEEDS else SPEEDS.index(1.0)
        return replace(self, speed=SPEEDS[max(0, min(len(SPEEDS) - 1, at + steps))])

    def to_next(self, moments: Sequence[float], step: int, span: tuple[float, float]) -> Playhead:
        """To the nearest moment before (`step` < 0) or after; nowhere if there is none."""
        here = span[1] if self.at_s is None else self.at_s
        found = [m for m in moments if (m > here + 0.5 if step > 0 else m < here - 0.5)]
        if not found:
            return self
        at = min(found) if step > 0 else max(found)
        return replace(self, at_s=max(span[0], min(at, span[1])), playing=False)
