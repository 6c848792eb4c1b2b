"""Figures of operations and endpoints to and from the wire, with their histograms: of a whole message at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from sai3tui.config.ops import Op
from sai3tui.events import EndpointStats, OpStats
from sai3tui.metrics.histogram import COARSE, FINE, Histogram
from sai3tui.metrics.histogram_wire import PackedHistograms, packed, rows_of, unpacked
from sai3tui.proto import sai3tui_pb2 as pb

M = TypeVar("M", covariant=True)
_OPS = {int(op): op for op in Op}


class Messages(Protocol[M]):
    """A field that holds any number of them."""

    def add(self, **fields: Any) -> M: ...


def put_histograms(messages: Sequence[pb.Histogram], histograms: PackedHistograms) -> None:
    """Into messages that are empty: those that are part of another are not to be made first and copied then."""
    for message, layout, deltas, counts, max_us, sum_us in zip(messages, *histograms, strict=True):
        message.bins_per_octave = layout
        message.bin_deltas = deltas
        message.counts = counts
        message.max_us = max_us
        message.sum_us = sum_us


def put_stats(message: pb.Report | pb.StageSummary, ops: Iterable[OpStats], endpoints: Iterable[EndpointStats]) -> None:
    """Into a message that has neither yet."""
    _put([*_ops_added(message.ops, ops), *_endpoints_added(message.endpoints, endpoints)])


def put_ops(*tables: tuple[Messages[pb.OpStats], Iterable[OpStats]]) -> None:
    """Each into its field; many small tables at once cost less."""
    _put([pair for into, rows in tables for pair in _ops_added(into, rows)])


def put_endpoints(into: Messages[pb.EndpointStats], rows: Iterable[EndpointStats]) -> None:
    _put(_endpoints_added(into, rows))


def ops_from_proto(messages: Iterable[pb.OpStats]) -> tuple[OpStats, ...]:
    """Raises ValueError for an unknown operation, or a histogram that does not fit its layout."""
    return stats_from_proto(messages, ())[0]


def endpoints_from_proto(messages: Iterable[pb.EndpointStats]) -> tuple[EndpointStats, ...]:
    """As `ops_from_proto`."""
    return stats_from_proto((), messages)[1]


def stats_from_proto(
    ops: Iterable[pb.OpStats], endpoints: Iterable[pb.EndpointStats]
) -> tuple[tuple[OpStats, ...], tuple[EndpointStats, ...]]:
    """As `ops_from_proto` and `endpoints_from_proto`, for less than both."""
    ops, endpoints = list(ops), list(endpoints)
    found = [h for m in ops for h in (m.service, m.scheduled, m.ttfb)]
    layouts = [FINE] * len(found) + [COARSE] * len(endpoints)
    found += [m.service for m in endpoints]
    histograms = iter(_histograms(found, layouts))
    try:
        return (
            tuple(
                OpStats(
                    _OPS[m.op],
                    m.size_bucket,
                    m.ops,
                    m.bytes,
                    m.errors,
                    m.attempts,
                    next(histograms),
                    next(histograms),
                    next(histograms),
                )
                for m in ops
            ),
            tuple(
                EndpointStats(m.endpoint, m.uri, _OPS[m.op], m.ops, m.bytes, m.errors, m.attempts, next(histograms))
                for m in endpoints
            ),
        )
    except KeyError as error:
        raise ValueError(f"no operation has the number {error}") from error


def _ops_added(into: Messages[pb.OpStats], rows: Iterable[OpStats]) -> list[tuple[pb.Histogram, Histogram]]:
    """All but histograms; these, and where they belong, are returned."""
    left: list[tuple[pb.Histogram, Histogram]] = []
    for s in rows:
        m = into.add(op=int(s.op), size_bucket=s.bucket, ops=s.ops, bytes=s.bytes, errors=s.errors, attempts=s.attempts)
        left += ((m.service, s.service), (m.scheduled, s.scheduled), (m.ttfb, s.ttfb))
    return left


def _endpoints_added(
    into: Messages[pb.EndpointStats], rows: Iterable[EndpointStats]
) -> list[tuple[pb.Histogram, Histogram]]:
    """As `_ops_added`."""
    left = []
    for s in rows:
        m = into.add(
            endpoint=s.endpoint,
            uri=s.uri,
            op=int(s.op),
            ops=s.ops,
            bytes=s.bytes,
            errors=s.errors,
            attempts=s.attempts,
        )
        left.append((m.service, s.service))
    return left


def _put(pairs: list[tuple[pb.Histogram, Histogram]]) -> None:
    put_histograms([message for message, _ in pairs], packed(rows_of([histogram for _, histogram in pairs])))


def _histograms(messages: Sequence[pb.Histogram], layouts: Sequence[int]) -> list[Histogram]:
    """An absent histogram is an empty one. Raises ValueError for another layout than is meant."""
    for found, meant in zip([m.bins_per_octave for m in messages], layouts, strict=True):
        if found not in (meant, 0):
            raise ValueError(f"{found} bins per octave where {meant} are meant")
    return unpacked(
        PackedHistograms(
            layouts,
            [m.bin_deltas for m in messages],
            [m.counts for m in messages],
            [m.max_us for m in messages],
            [m.sum_us for m in messages],
        )
    )
