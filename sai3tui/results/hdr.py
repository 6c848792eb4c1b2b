"""Histograms in HdrHistogram's own form: the V2 compressed encoding and the text log that its tools read.

Values are nanoseconds (as its tools expect), three significant digits. A sample stands as the upper edge of its bin
here, so percentiles read from the log are at most 0.1 % above those of our own files.
"""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sai3tui.config.ops import Op
from sai3tui.events import OpStats
from sai3tui.metrics.histogram import EDGES_US, FINE, Histogram
from sai3tui.metrics.varints import varints
from sai3tui.results.files import OnError, RowFile, safe_name, utc_text
from sai3tui.results.perf_log import RowBuffer
from sai3tui.results.rollup import resolution_s
from sai3tui.results.seconds import SECOND_NS, FleetSecond

DIGITS = 3
HALF_MAGNITUDE = 10
"""2 to this power sub-buckets in the upper half of a bucket: what three digits need."""
HIGHEST_NS = (1 << 32) * 1000
V2_COOKIE = 0x1C849313
V2_COMPRESSED_COOKIE = 0x1C849314
KINDS = ("service", "scheduled", "ttfb")
LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
NS_PER_MS = 1e6


def hdr_index(value_ns: int) -> int:
    """The place of a value in HdrHistogram's array of counts."""
    bucket = (value_ns | ((2 << HALF_MAGNITUDE) - 1)).bit_length() - HALF_MAGNITUDE - 1
    return ((bucket + 1) << HALF_MAGNITUDE) + (value_ns >> bucket) - (1 << HALF_MAGNITUDE)


_EDGES_NS = [min(HIGHEST_NS, int(edge_us * 1000)) for edge_us in EDGES_US[FINE]]
_PLACES: npt.NDArray[np.int64] = np.array([hdr_index(edge_ns) for edge_ns in _EDGES_NS])
"""Where the upper edge of each of our bins is in their array."""


def highest_ns(histogram: Histogram) -> int:
    """The largest value in what `hdr_encode` makes of one that is not empty: an edge, or the maximum."""
    bins, _ = histogram.filled()
    return max(1, min(_EDGES_NS[int(bins[-1])], histogram.max_us * 1000))


def hdr_encode(histogram: Histogram) -> str:
    """The V2 compressed encoding, base64."""
    bins, counts = histogram.filled()
    places = _PLACES[bins]
    if places.size:
        places[-1] = hdr_index(highest_ns(histogram))
    found, where = np.unique(places, return_inverse=True)
    sums = np.bincount(where, weights=counts, minlength=len(found)).astype(np.int64)
    # A run of empty places is its negative length, one alone a zero; then comes the count.
    gaps = np.diff(found, prepend=-1) - 1
    numbers = np.column_stack((np.where(gaps > 1, -gaps, 0), sums)).ravel()
    kept = np.column_stack((gaps > 0, np.ones(len(found), dtype=bool))).ravel()
    payload = _zigzags(numbers[kept])
    packed = zlib.compress(struct.pack(">iiiiqqd", V2_COOKIE, len(payload), 0, DIGITS, 1, HIGHEST_NS, 1.0) + payload)
    return base64.b64encode(struct.pack(">ii", V2_COMPRESSED_COOKIE, len(packed)) + packed).decode()


def _zigzags(numbers: npt.NDArray[np.int64]) -> bytes:
    """Each as zigzag LEB128, of nine bytes at most, the ninth of which holds eight bits."""
    return varints(((numbers << 1) ^ (numbers >> 63)).astype(np.uint64), longest=9)[0]


class HistogramLog:
    """`histograms.hlog`: the fleet's intervals, tagged `<stage number>_<stage>.<op>.<kind>`; warm-up is left out.

    Intervals grow with the age of the run, as in metrics.zst.
    """

    def __init__(self, path: Path, on_error: OnError, started_ns: int) -> None:
        start = started_ns / SECOND_NS
        header = (
            "#[Logged by sai3tui: fleet intervals, values in nanoseconds]\n"
            "#[Histogram log format version 1.3]\n"
            f"#[StartTime: {start:.3f} (seconds since epoch), {utc_text(started_ns)}]\n"
            f"#[BaseTime: {start:.3f} (seconds since epoch)]\n" + LEGEND
        )
        self.file = RowFile(path, on_error, header)
        self._started_ns = started_ns
        self._buffer = RowBuffer(1.0)

    def add(self, second: FleetSecond, stage: str) -> None:
        """One second of the stage that is named."""
        if second.warmup:
            self.flush(stage)
            return
        self._buffer.interval_s = resolution_s((second.end_ns - self._started_ns) / SECOND_NS)
        for interval in self._buffer.add(second):
            self._write(interval, stage)

    def flush(self, stage: str) -> None:
        """The stage is over: what has begun is an interval, however short."""
        for interval in self._buffer.flush():
            self._write(interval, stage)

    def _write(self, interval: FleetSecond, stage: str) -> None:
        at_s = (interval.start_ns - self._started_ns) / SECOND_NS
        length_s = (interval.end_ns - interval.start_ns) / SECOND_NS
        prefix = safe_name(f"{interval.stage_index:02d}_{stage}")
        for op, per_kind in by_op(interval.ops.rows()).items():
            for kind, histogram in zip(KINDS, per_kind, strict=True):
                if histogram.count:
                    tag = f"Tag={prefix}.{op.word}.{kind}"
                    highest = highest_ns(histogram) / NS_PER_MS
                    line = f"{tag},{at_s:.3f},{length_s:.3f},{highest:.3f},{hdr_encode(histogram)}\n"
                    self.file.row(line)


def by_op(rows: list[OpStats]) -> dict[Op, tuple[Histogram, Histogram, Histogram]]:
    """Histograms of service time, time from schedule and time to first byte of each operation."""
    found: dict[Op, tuple[Histogram, Histogram, Histogram]] = {}
    for stats in rows:
        mine = found.setdefault(stats.op, (Histogram(), Histogram(), Histogram()))
        for into, part in zip(mine, (stats.service, stats.scheduled, stats.ttfb), strict=True):
            into.merge(part)
    return found
