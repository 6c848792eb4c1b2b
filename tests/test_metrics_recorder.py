from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.figures import Totals, busiest_pct, interval, totals_of
from sai3tui.config.ops import Op
from sai3tui.metrics.buckets import bucket_of
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.metrics.recorder import Recorder
from sai3tui.metrics.shared import SharedReader, SharedWriter, mapping_bytes, merged

URIS = ["s3://a/", "s3://b/", "s3://c/"]


class Bench:
    """A recorder and a reader over one buffer."""

    def __init__(self) -> None:
        buffer = bytearray(mapping_bytes(len(URIS)))
        self.recorder = Recorder(SharedWriter(buffer, len(URIS)))
        self.reader = SharedReader(buffer, len(URIS))
        self.recorder.start_stage(1)

    def totals(self) -> Totals:
        self.recorder.flush()
        return totals_of(self.reader.read(), URIS, 0, {})


OPERATION = st.tuples(
    st.sampled_from(["ok", "ok", "ok", "failure", "retry"]),
    st.sampled_from(list(Op)),
    st.integers(0, len(URIS) - 1),
    st.sampled_from([0, 1, 8192, 8193, 2**20, 2**33]),
    st.integers(1_000, 10**10),
    st.integers(0, 10**9),
)


@settings(deadline=None)
@given(st.lists(OPERATION, max_size=80), st.integers(1, 5))
def test_totals_are_those_of_the_operations_however_often_it_is_flushed(
    operations: list[tuple[str, Op, int, int, int, int]], every: int
) -> None:
    bench = Bench()
    counts: Counter[tuple[str, Op, int]] = Counter()
    service: dict[tuple[Op, int], list[int]] = {}
    scheduled: dict[tuple[Op, int], list[int]] = {}
    for number, (what, op, endpoint, size, took, late) in enumerate(operations):
        key = (op, bucket_of(size))
        if what == "ok":
            bench.recorder.success(op, endpoint, size, 5_000 - late, 5_000, 5_000 + took // 2, 5_000 + took)
            counts["ops", *key] += 1
            counts["bytes", *key] += size
            service.setdefault(key, []).append(took)
            scheduled.setdefault(key, []).append(took + late)
        elif what == "failure":
            bench.recorder.failure(op, endpoint, size)
            counts["errors", *key] += 1
        else:
            bench.recorder.retry(op, endpoint, size)
        counts["attempts", *key] += 1
        if number % every == 0:
            bench.recorder.flush()
    totals = bench.totals()
    assert {(stats.op, stats.bucket) for stats in totals.ops} == {key[1:] for key in counts}
    for stats in totals.ops:
        key = (stats.op, stats.bucket)
        found = {"ops": stats.ops, "bytes": stats.bytes, "errors": stats.errors, "attempts": stats.attempts}
        assert found == {name: counts[name, *key] for name in found}
        for histogram, samples in ((stats.service, service.get(key, [])), (stats.scheduled, scheduled.get(key, []))):
            expected = Histogram()
            expected.record(samples)
            assert (histogram.counts == expected.counts).all()
            assert histogram.max_us == expected.max_us
    for name in ("ops", "bytes", "errors", "attempts"):
        by_op = sum(getattr(stats, name) for stats in totals.ops)
        assert by_op == sum(getattr(stats, name) for stats in totals.endpoints)
    for each in totals.endpoints:
        assert each.service.bins_per_octave == COARSE
        assert each.service.count == each.ops
        assert each.uri == URIS[each.endpoint]
    assert bench.recorder.errors == sum(count for (name, *_), count in counts.items() if name == "errors")


def test_new_stage_starts_from_nothing() -> None:
    bench = Bench()
    bench.recorder.success(Op.GET, 2, 10, 0, 0, 1, 2)
    assert bench.totals().count == 1
    bench.recorder.success(Op.GET, 2, 10, 0, 0, 1, 2)
    bench.recorder.start_stage(2)
    totals = bench.totals()
    assert totals.stage == 2
    assert not totals.ops
    assert not totals.endpoints


def test_figures_of_several_workers_merge() -> None:
    benches = [Bench(), Bench(), Bench()]
    for number, bench in enumerate(benches):
        bench.recorder.success(Op.PUT, number, 100, 0, 0, 10, 1_000_000 * (number + 1))
        bench.recorder.flush()
    benches[2].recorder.start_stage(2)
    totals = totals_of(merged([bench.reader.read() for bench in benches], 1), URIS, 0, {})
    (stats,) = totals.ops
    assert (stats.ops, stats.bytes, stats.service.max_us) == (2, 200, 2000)
    assert [each.endpoint for each in totals.endpoints] == [0, 1]


def test_reader_never_sees_half_a_flush() -> None:
    bench = Bench()
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.001):
            for endpoint in (0, 1, 2) * 100:
                bench.recorder.success(Op.GET, endpoint, 1000, 0, 0, 1, 5000)
            bench.recorder.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = 0
        # Twenty flushes or more; the suite's time limit bounds it.
        while seen < 20 * 300:
            copy = bench.reader.read(clock=lambda: 0.0)
            totals = totals_of(copy, URIS, 0, {})
            if not totals.ops:
                continue
            (stats,) = totals.ops
            assert stats.ops % 3 == 0
            assert stats.bytes == 1000 * stats.ops
            assert stats.service.count == stats.ops == sum(each.ops for each in totals.endpoints)
            seen = stats.ops
    finally:
        stop.set()
        writer.join()


def test_reader_does_not_wait_for_ever_for_a_writer_that_died() -> None:
    buffer = bytearray(mapping_bytes(1))
    writer = SharedWriter(buffer, 1)
    writer.start_stage(1)
    writer.begin()
    writer.op(3)[1] = np.uint64(7)
    ticks = iter(range(100))
    copy = SharedReader(buffer, 1).read(clock=lambda: float(next(ticks)))
    assert copy.stage == 1
    assert len(copy.ops) == 1


def test_interval_leaves_out_what_did_not_happen() -> None:
    bench = Bench()
    bench.recorder.success(Op.GET, 0, 10, 0, 0, 1, 2_000)
    first = bench.totals()
    bench.recorder.success(Op.PUT, 1, 10, 0, 0, 1, 3_000)
    second = bench.totals()
    found = interval(first, second)
    assert [(stats.op, stats.ops) for stats in found.ops] == [(Op.PUT, 1)]
    assert [(stats.op, stats.endpoint) for stats in found.endpoints] == [(Op.PUT, 1)]


def test_busiest_worker_is_by_its_own_clock() -> None:
    second = 1_000_000_000
    before = {10: (second, second), 11: (2 * second, second), 13: (0, 0)}
    after = {
        10: (3 * second // 2, 3 * second),
        11: (38 * second // 10, 3 * second),
        12: (9 * second, 3 * second),
        13: (5 * second, 3 * second),
    }
    assert busiest_pct(before, after) == pytest.approx(90.0)
    assert busiest_pct(after, after) == 0.0


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**10), max_size=30), min_size=1, max_size=4))
def test_lag_of_workers_and_intervals_adds_up(parts: list[list[int]]) -> None:
    benches = [Bench() for _ in parts]
    whole = Histogram(COARSE)
    whole.record([sample for part in parts for sample in part])
    before = None
    seen = Histogram(COARSE)
    for bench, part in zip(benches, parts, strict=True):
        for sample in part:
            bench.recorder.lag(sample)
        bench.recorder.flush()
        totals = totals_of(merged([each.reader.read() for each in benches], 1), URIS, 0, {})
        seen.merge(interval(before, totals).lag)
        before = totals
    assert (seen.counts == whole.counts).all()
    assert seen.max_us == whole.max_us
    benches[0].recorder.start_stage(2)
    assert not benches[0].reader.read().lag.any()
