"""What a run must meet, and the grammar of the bounds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

from sai3tui.config.places import NOWHERE, Position
from sai3tui.config.units import UnitError, parse_duration, parse_size


class ThresholdScope(StrEnum):
    """Whose figure a threshold is about."""

    FLEET = "fleet"
    AGENT = "agent"
    ENDPOINT = "endpoint"


class Unit(StrEnum):
    """What the bound of a threshold counts."""

    NONE = ""
    SECONDS = "s"
    BYTES_PER_SECOND = "B/s"
    SHARE = "%"


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound: seconds, bytes per second, a share (1 is 100 %), or a plain number."""

    value: float
    unit: Unit = Unit.NONE


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a run must meet. `window` and `grace` in seconds; `stage` empty: every stage."""

    metric: str
    minimum: Bound | None = None
    maximum: Bound | None = None
    stage: str = ""
    window: float | None = None
    scope: ThresholdScope = ThresholdScope.FLEET
    abort: bool = False
    grace: float = 0.0
    at: Position = field(default=NOWHERE, compare=False)


_SHARE = re.compile(r"([-+]?\d{1,9}(?:\.\d{1,9})?)\s*%", re.ASCII)
_RATE = re.compile(r"(.{1,30}?)\s*/\s*s(?:ec)?", re.ASCII)
_HINT = "write a number, or one with a unit: 50ms, 2GiB/s, 0.1%"


def parse_bound(value: int | float | str) -> Bound:
    """A bound: 5000, "50ms", "2GiB/s", "0.1%", "-5%". Raises UnitError."""
    if isinstance(value, bool) or (not isinstance(value, str) and not math.isfinite(value)):
        raise UnitError(f"{value!r} is not a bound", hint=_HINT)
    if not isinstance(value, str):
        return Bound(float(value))
    text = value.strip()
    if share := _SHARE.fullmatch(text):
        return Bound(float(share[1]) / 100, Unit.SHARE)
    if rate := _RATE.fullmatch(text):
        return Bound(float(parse_size(rate[1])), Unit.BYTES_PER_SECOND)
    try:
        return Bound(parse_duration(text), Unit.SECONDS)
    except UnitError as error:
        raise UnitError(f"{text[:60]!r} is not a bound", hint=_HINT) from error
