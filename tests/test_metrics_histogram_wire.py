"""Histograms of a message are read and written at once, and stand there as fields of packed numbers would."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.events import EndpointStats, OpStats
from sai3tui.metrics.histogram import COARSE, FINE, OCTAVES, Histogram
from sai3tui.metrics.histogram_wire import PackedHistograms, packed, rows_of, unpacked
from sai3tui.metrics.varints import LONGEST, read_varints, varint, varints
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.stats_codec import put_histograms, put_stats, stats_from_proto
from tests.test_metrics_histogram import NANOSECONDS, everything, recorded

NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.integers(0, 127), max_size=30)
HISTOGRAM = st.builds(recorded, st.lists(NANOSECONDS, max_size=30), st.sampled_from((FINE, COARSE)))


def repeated_histogram() -> Any:
    """The message with its numbers as the repeated fields that they once were declared to be."""
    file = descriptor_pb2.FileDescriptorProto(name="repeated.proto", package="repeated", syntax="proto3")
    message = file.message_type.add(name="Histogram")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind, label) in enumerate(
        (
            ("bins_per_octave", kinds.TYPE_UINT32, kinds.LABEL_OPTIONAL),
            ("bin_deltas", kinds.TYPE_UINT32, kinds.LABEL_REPEATED),
            ("counts", kinds.TYPE_UINT64, kinds.LABEL_REPEATED),
            ("max_us", kinds.TYPE_UINT64, kinds.LABEL_OPTIONAL),
            ("sum_us", kinds.TYPE_UINT64, kinds.LABEL_OPTIONAL),
        ),
        1,
    ):
        message.field.add(name=name, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("repeated.Histogram"))


REPEATED = repeated_histogram()


@given(NUMBERS)
def test_numbers_in_base_128_one_by_one_and_together(numbers: list[int]) -> None:
    data, places = varints(np.array(numbers, dtype=np.uint64))
    assert data == b"".join(map(varint, numbers))
    assert [data[begin:end] for begin, end in itertools.pairwise(places)] == list(map(varint, numbers))
    read, known = read_varints(data, places.tolist())
    assert read.tolist() == numbers
    assert known == list(range(len(numbers) + 1))


def test_a_number_that_is_too_long_has_eight_bits_in_its_last_byte() -> None:
    data, _ = varints(np.array([2**64 - 1, 1], dtype=np.uint64), longest=9)
    assert data == b"\xff" * 9 + b"\x01"


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\x80" * LONGEST + b"\x01"])
def test_what_is_no_number_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a number"):
        read_varints(data, [len(data)])


@given(st.lists(HISTOGRAM, max_size=6))
def test_packed_form_keeps_everything(histograms: list[Histogram]) -> None:
    again = unpacked(packed(rows_of(histograms)))
    assert list(map(everything, again)) == list(map(everything, histograms))


@given(HISTOGRAM)
def test_on_the_wire_they_are_packed_repeated_numbers(histogram: Histogram) -> None:
    message = pb.Histogram()
    put_histograms([message], packed(rows_of([histogram])))
    bins, counts = histogram.filled()
    repeated = REPEATED(
        bins_per_octave=histogram.bins_per_octave,
        bin_deltas=np.diff(bins, prepend=0).tolist(),
        counts=counts.tolist(),
        max_us=histogram.max_us,
        sum_us=histogram.sum_us,
    )
    data = message.SerializeToString()
    assert data == repeated.SerializeToString()
    assert REPEATED.FromString(data) == repeated


@pytest.mark.parametrize(
    ("bins", "deltas", "counts"),
    [
        (FINE, b"\x00" + varint(OCTAVES * FINE), b"\x01\x01"),
        (COARSE, varint(OCTAVES * COARSE - 1) + b"\x01", b"\x01\x01"),
        (FINE, varint(2**64 - 1), b"\x01"),
        (FINE, b"\x01", b""),
        (FINE, b"", b"\x01"),
        (FINE, b"\x80", b"\x01\x01"),
        (FINE, b"\x01\x80", b"\x01\x01"),
        (7, b"\x01", b"\x01"),
    ],
)
def test_a_malformed_one_is_refused(bins: int, deltas: bytes, counts: bytes) -> None:
    alone = PackedHistograms([bins], [deltas], [counts], [0], [0])
    layouts = [FINE, bins, FINE]
    among = PackedHistograms(layouts, [b"\x05", deltas, b"\x05"], [b"\x01", counts, b"\x01"], [40] * 3, [40] * 3)
    for messages in (alone, among):
        with pytest.raises(ValueError, match=r"histogram|outside"):
            unpacked(messages)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(list(Op)), *[st.lists(NANOSECONDS, max_size=9)] * 3), max_size=3),
    st.lists(st.tuples(st.sampled_from(list(Op)), st.lists(NANOSECONDS, max_size=9)), max_size=3),
)
def test_figures_of_a_message_are_what_was_put_there(
    ops: list[tuple[Op, list[int], list[int], list[int]]], endpoints: list[tuple[Op, list[int]]]
) -> None:
    message = pb.Report()
    said = [OpStats(op, n, 5, 6, 7, 8, *map(recorded, samples)) for n, (op, *samples) in enumerate(ops)]
    at = [
        EndpointStats(n, f"s3://{n}/", op, 1, 2, 3, 4, recorded(samples, COARSE))
        for n, (op, samples) in enumerate(endpoints)
    ]
    put_stats(message, said, at)
    found = stats_from_proto(message.ops, message.endpoints)
    assert [
        (s.op, s.bucket, s.ops, s.bytes, s.errors, s.attempts, *map(everything, (s.service, s.scheduled, s.ttfb)))
        for s in found[0]
    ] == [
        (s.op, s.bucket, s.ops, s.bytes, s.errors, s.attempts, *map(everything, (s.service, s.scheduled, s.ttfb)))
        for s in said
    ]
    assert [
        (s.endpoint, s.uri, s.op, s.ops, s.bytes, s.errors, s.attempts, everything(s.service)) for s in found[1]
    ] == [(s.endpoint, s.uri, s.op, s.ops, s.bytes, s.errors, s.attempts, everything(s.service)) for s in at]


def test_an_absent_histogram_is_an_empty_one_and_another_layout_is_refused() -> None:
    (op,), (endpoint,) = stats_from_proto([pb.OpStats(ops=1)], [pb.EndpointStats(ops=2)])
    assert everything(op.ttfb) == everything(Histogram())
    assert everything(endpoint.service) == everything(Histogram(COARSE))
    with pytest.raises(ValueError, match="64 bins per octave where 8 are meant"):
        stats_from_proto([], [pb.EndpointStats(service=pb.Histogram(bins_per_octave=FINE))])
    with pytest.raises(ValueError, match="number 99"):
        stats_from_proto([pb.OpStats(op=99)], [])
