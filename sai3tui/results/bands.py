"""The band of a baseline: where most of its seconds were around each moment of a stage; and the file that keeps it."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sai3tui.results.views import Series

FILE = "baseline.json"


@dataclass(frozen=True, slots=True)
class Band:
    """Where most seconds of the baseline were, around each moment: the 5th and 95th percentile."""

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class StageBand:
    """The baseline under one stage of the live run. `at_s` is seconds since the stage began; bytes and operations per
    second, service latency in µs."""

    stage_index: int
    at_s: tuple[float, ...]
    get_bytes: Band
    put_bytes: Band
    ops: Band
    p99_us: Band


BAND_NAMES = ("get_bytes", "put_bytes", "ops", "p99_us")


def band_under(bands: Sequence[StageBand], series: Series, name: str) -> Band:
    """The band of `name` (one of `BAND_NAMES`) at each moment of a series; zeros where the baseline says nothing."""
    if not bands:
        return Band()
    known = {band.stage_index: band for band in bands}
    low, high = [0.0] * len(series.at_s), [0.0] * len(series.at_s)
    began: dict[int, float] = {}
    for n, (at_s, index) in enumerate(zip(series.at_s, series.stage_index, strict=True)):
        start = began.setdefault(index, at_s - 1.0)
        band = known.get(index)
        if band is None or not band.at_s or at_s - start > band.at_s[-1] + 1.0:
            continue
        column: Band = getattr(band, name)
        nearest = min(bisect_right(band.at_s, at_s - start), len(band.at_s) - 1)
        low[n], high[n] = column.low[nearest], column.high[nearest]
    return Band(tuple(low), tuple(high))


def bands_document(bands: Sequence[StageBand]) -> bytes:
    """`baseline.json`; figures to three decimals."""

    def rounded(values: Sequence[float]) -> list[float]:
        return [round(value, 3) for value in values]

    made = []
    for band in bands:
        columns = {name: asdict(getattr(band, name)) for name in BAND_NAMES}
        made.append(
            {"stage_index": band.stage_index, "at_s": rounded(band.at_s)}
            | {name: {side: rounded(values) for side, values in column.items()} for name, column in columns.items()}
        )
    return (json.dumps({"bands": made}) + "\n").encode()


def read_bands(directory: Path) -> tuple[StageBand, ...]:
    """Of the run in a directory; none if it had no baseline, or if the file is not what was written."""
    try:
        document = json.loads((directory / FILE).read_bytes())
        return tuple(_band(each) for each in document["bands"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


def _band(document: dict[str, object]) -> StageBand:
    """Raises KeyError, TypeError or ValueError for another document."""

    def numbers(values: object, count: int | None = None) -> tuple[float, ...]:
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise ValueError("not a column")
        return tuple(float(value) for value in values)

    def column(name: str) -> Band:
        found = document[name]
        if not isinstance(found, dict):
            raise ValueError(f"{name} is not a band")
        return Band(numbers(found["low"], len(at_s)), numbers(found["high"], len(at_s)))

    index = document["stage_index"]
    if not isinstance(index, int):
        raise ValueError("not the number of a stage")
    at_s = numbers(document["at_s"])
    return StageBand(index, at_s, *(column(name) for name in BAND_NAMES))
