"""When a stage became steady, and how well its mean is known. Pure.

The beginning is cut where that makes the mean of the rest surest (MSER, White 1997: the cut d that minimises the sum of
squared deviations of what follows, over its number squared). It counts only in the first half: a series whose best cut
is later has not settled. The interval of the mean allows for neighbours that resemble each other: n intervals tell as
much as n / autocorrelation time of them would if they did not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sai3tui.config.model import LEAST_STEADY_S
from sai3tui.results.compare import Floats, autocorrelation_time, t_quantile
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.views import SteadyView

CONFIDENCE = 0.95
FEWEST = LEAST_STEADY_S // 2
"""Intervals, of a second mostly, that must remain after the cut for anything to be said."""
FEWEST_INDEPENDENT = 4.0
ROUNDING = 1e-9
MOST = 600
"""Longer series are added up to as many intervals."""
GROWTH = 1.02
"""A new look is worth its cost once the series is longer by this factor."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A series from interval `cut` on: its mean, and half the width of its confidence interval as a share of it."""

    cut: int
    mean: float
    half_width: float


def settle(series: Sequence[float] | Floats) -> Settled | None:
    """The part of a series from which on it is steady; None if it has not settled or is too short to tell."""
    values = np.asarray(series, dtype=float)
    count = len(values)
    if count < 2 * FEWEST:
        return None
    scale = float(values.mean())
    if scale <= 0:
        return None
    # Sums of what follows each cut, from the end, of values around 0, as rounding would drown small differences else.
    left = np.arange(count, 0, -1, dtype=float)
    around = (values / scale - 1.0)[::-1]
    sums = np.cumsum(around)[::-1]
    squares = np.cumsum(around * around)[::-1]
    deviations = np.where((found := squares - sums * sums / left) > ROUNDING, found, 0.0)
    candidates = deviations[: count - FEWEST + 1] / left[: count - FEWEST + 1] ** 2
    cut = int(np.argmin(candidates))
    if cut > count // 2:
        return None
    kept = values[cut:]
    mean = float(kept.mean())
    if mean <= 0:
        return None
    if float(kept.std()) <= ROUNDING * mean:
        return Settled(cut, mean, 0.0)
    independent = len(kept) / autocorrelation_time(kept)
    if independent < FEWEST_INDEPENDENT:
        return None
    reach = t_quantile(0.5 + CONFIDENCE / 2, independent - 1)
    return Settled(cut, mean, reach * float(kept.std(ddof=1)) / math.sqrt(independent) / mean)


def known_to(view: SteadyView | None, half_width: float) -> bool:
    """Whether the mean of the steady part is known to plus and minus this share of it."""
    return view is not None and view.half_width <= half_width


class SteadyMeter:
    """Takes the seconds of one stage, without its warm-up."""

    def __init__(self) -> None:
        self._ops: list[float] = []
        self._bytes: list[float] = []
        self._seconds: list[float] = []
        self._total_s = 0.0
        self._next = 2 * FEWEST
        self._history: list[tuple[float, float]] = []
        self._view: SteadyView | None = None

    @property
    def view(self) -> SteadyView | None:
        """As of the last look; None while the stage is not steady."""
        return self._view

    def add(self, second: FleetSecond) -> None:
        self._ops.append(float(second.ops.ops))
        self._bytes.append(float(second.ops.bytes))
        self._seconds.append(second.seconds)
        self._total_s += second.seconds
        if len(self._seconds) >= self._next:
            self.look()

    def look(self) -> None:
        """Judge all of it anew."""
        self._next = max(len(self._seconds) + 1, int(len(self._seconds) * GROWTH))
        if len(self._seconds) < 2 * FEWEST:
            return
        seconds = np.array(self._seconds)
        step = -(-len(seconds) // MOST)
        starts = np.arange(0, len(seconds), step)
        spans = np.add.reduceat(seconds, starts)
        series = [np.add.reduceat(np.array(values), starts) / spans for values in (self._ops, self._bytes)]
        found = [settle(each) if each.any() else None for each in series]
        told = [each for each in found if each is not None]
        if found[0] is None or (series[1].any() and found[1] is None):
            self._view = None
            return
        cut = max(each.cut for each in told)
        rest = float(spans[cut:].sum())
        half_width = max(each.half_width for each in told)
        self._history.append((self._total_s, half_width))
        self._view = SteadyView(
            self._total_s - rest,
            rest,
            float((series[0] * spans)[cut:].sum()) / rest,
            float((series[1] * spans)[cut:].sum()) / rest,
            half_width,
            tuple(self._history),
        )
