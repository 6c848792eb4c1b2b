"""The wire engine's state machine, fed with answers cut at every place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind
from sai3tui.storage.engine import Endpoint, Request
from sai3tui.storage.s3link import Link
from sai3tui.storage.s3wire import WireConnection, WireEngine
from tests.engine_harness import Harness, noise, put
from tests.fault_server import CREDENTIALS, OK_EMPTY, answer, chunked, error_document

PLACE = Endpoint("s3://h:1/bucket/", "s3", "h", 1, "bucket")
LISTING = b"<?xml?><ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Pipe:
    """The transport of a link in these tests: keeps what was written, pauses when told to."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.writes = 0
        self.aborted = False
        self.link: Link | None = None
        self.pause_after = 0

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert (high, low) == (1, 0)

    def write(self, data: bytes | memoryview) -> None:
        assert not self.aborted
        self.written += data
        self.writes += 1
        if self.pause_after and self.link is not None:
            self.link.pause_writing()

    def writelines(self, parts: tuple[bytes | memoryview, ...]) -> None:
        for part in parts:
            self.write(part)

    def abort(self) -> None:
        self.aborted = True


class Rig:
    """A wire engine with one connection, whose link's other end is the test."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.engine = cast(WireEngine, harness.engine)
        self.connection = cast(WireConnection, self.engine.connections[0])
        self.pipe = Pipe()
        self.link = self.plug()

    def plug(self) -> Link:
        link = Link(self.connection, self.engine.buffer, self.engine.view)
        link.connection_made(cast(asyncio.Transport, self.pipe))
        self.pipe.link = link
        self.connection._link = link
        return link

    def receive(self, data: bytes) -> None:
        view = self.link.get_buffer(-1)
        view[: len(data)] = data
        self.link.buffer_updated(len(data))

    def exchange(self, request: Request, *parts: bytes) -> Any:
        before = len(self.harness.outcomes)
        if self.connection._link is None:
            self.pipe = Pipe()
            self.link = self.plug()
        self.connection.issue(request)
        for part in parts:
            assert len(self.harness.outcomes) == before, "ended before the answer did"
            self.receive(part)
        assert len(self.harness.outcomes) == before + 1, "the answer is over and nobody was told"
        return self.harness.outcomes[-1]

    @property
    def kept(self) -> bool:
        return self.connection._link is self.link and not self.pipe.aborted


@pytest.fixture
def rig() -> Iterator[Rig]:
    with asyncio.Runner() as runner:
        harness = runner.run(Harness.open([PLACE], CREDENTIALS))
        yield Rig(harness)
        runner.run(harness.engine.close())


ANSWERS = [
    (Op.GET, answer(noise(40)), 40),
    (Op.GET, OK_EMPTY, 0),
    (Op.GET, CHUNKED_HEAD + chunked(noise(30), 7, 11), 30),
    (Op.GET, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + answer(noise(20)), 20),
    (Op.GET, answer(noise(9), "206 Partial Content"), 9),
    (Op.STAT, b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\nETag: x\r\n\r\n", 0),
    (Op.STAT, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0),
    (Op.DELETE, b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", 0),
    (Op.LIST, answer(LISTING), 0),
    (Op.LIST, CHUNKED_HEAD + chunked(LISTING, 3, 10), 0),
]


@pytest.mark.parametrize(("op", "wire", "moved"), ANSWERS)
def test_answer_cut_at_every_byte(rig: Rig, op: Op, wire: bytes, moved: int) -> None:
    for cut in range(len(wire)):
        parts = (wire[:cut], wire[cut:]) if cut else (wire,)
        outcome = rig.exchange(Request(op=op, key="k"), *parts)
        assert outcome.ok, outcome.failure
        assert outcome.moved == moved
        assert 0 < outcome.t0 <= outcome.t_first <= outcome.t_last
        assert rig.kept


@settings(max_examples=60)
@given(which=st.integers(0, len(ANSWERS) - 1), cuts=st.lists(st.integers(1, 60), max_size=20))
def test_answer_in_any_pieces(which: int, cuts: list[int]) -> None:
    op, wire, moved = ANSWERS[which]
    with asyncio.Runner() as runner:
        rig = Rig(runner.run(Harness.open([PLACE], CREDENTIALS)))
        parts, at = [], 0
        for cut in cuts:
            if at + cut < len(wire):
                parts.append(wire[at : at + cut])
                at += cut
        outcome = rig.exchange(Request(op=op, key="k"), *parts, wire[at:])
        assert outcome.ok
        assert outcome.moved == moved
        runner.run(rig.harness.engine.close())


@pytest.mark.parametrize(
    ("wire", "kind", "subclass"),
    [
        (answer(error_document("NoSuchKey"), "404 Not Found"), ErrorKind.NOT_FOUND, "http_4xx"),
        (answer(error_document("SlowDown"), "503 Slow Down"), ErrorKind.THROTTLED, "http_5xx"),
        (answer(error_document("InternalError"), "500 Oops"), ErrorKind.STORAGE, "http_5xx"),
        (answer(b"", "304 Not Modified").replace(b"Length: 0", b"Length: 99"), ErrorKind.CONFIG, "http_3xx"),
    ],
)
def test_error_answers_keep_the_connection(rig: Rig, wire: bytes, kind: ErrorKind, subclass: str) -> None:
    for cut in range(1, len(wire)):
        outcome = rig.exchange(Request(op=Op.GET, key="k", index=7), wire[:cut], wire[cut:])
        assert (outcome.kind, outcome.subclass) == (kind, subclass)
        assert outcome.failure.context.object_index == 7
        assert rig.kept
    assert rig.exchange(Request(op=Op.GET, key="k"), answer(b"abc")).ok


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        CHUNKED_HEAD + b"zz\r\n",
    ],
)
def test_garbage_is_a_storage_failure_and_ends_the_connection(rig: Rig, wire: bytes) -> None:
    outcome = rig.exchange(Request(op=Op.GET, key="k"), wire)
    assert (outcome.kind, outcome.subclass) == (ErrorKind.STORAGE, "malformed")
    assert rig.pipe.aborted
    assert rig.connection._link is None


def test_a_head_without_end_is_not_kept_for_ever(rig: Rig) -> None:
    line = b"X-Filler: " + b"y" * 1000 + b"\r\n"
    outcome = rig.exchange(Request(op=Op.GET, key="k"), b"HTTP/1.1 200 OK\r\n", *[line] * 65)
    assert outcome.subclass == "malformed"


def test_a_listing_that_is_none(rig: Rig) -> None:
    outcome = rig.exchange(Request(op=Op.LIST, key="k"), answer(b"<html>hello</html>"))
    assert (outcome.kind, outcome.subclass) == (ErrorKind.STORAGE, "malformed")


def test_more_bytes_than_promised_end_the_connection_but_not_the_operation(rig: Rig) -> None:
    assert rig.exchange(Request(op=Op.GET, key="k"), answer(b"abc") + b"more").ok
    assert not rig.kept
    assert rig.pipe.aborted


def test_bytes_that_nobody_asked_for_end_the_connection(rig: Rig) -> None:
    assert rig.exchange(Request(op=Op.GET, key="k"), answer(b"abc")).ok
    rig.receive(answer(b"", "408 Request Timeout"))
    assert not rig.kept
    assert len(rig.harness.outcomes) == 1


def test_connection_close_is_obeyed(rig: Rig) -> None:
    assert rig.exchange(Request(op=Op.GET, key="k"), answer(b"abc", "200 OK", "Connection: close")).ok
    assert not rig.kept


@pytest.mark.parametrize("lost", [None, ConnectionResetError(104, "reset")])
def test_end_of_the_connection_in_an_answer(rig: Rig, lost: Exception | None) -> None:
    cases = [(b"", "reset"), (b"HTTP/1.1 200 OK\r\nCont", "truncated"), (answer(b"abcdef")[:-2], "truncated")]
    for wire, subclass in cases:
        rig.pipe = Pipe()
        rig.link = rig.plug()
        rig.connection.issue(Request(op=Op.GET, key="k"))
        if wire:
            rig.receive(wire)
        rig.link.connection_lost(lost)
        outcome = rig.harness.outcomes[-1]
        assert (outcome.kind, outcome.subclass) == (ErrorKind.NETWORK, subclass)
        assert rig.connection._link is None
    assert len(rig.harness.outcomes) == len(cases)


def test_body_until_the_end_of_the_connection(rig: Rig) -> None:
    rig.connection.issue(Request(op=Op.GET, key="k"))
    rig.receive(b"HTTP/1.0 200 OK\r\n\r\nabc")
    rig.receive(b"defg")
    rig.link.connection_lost(None)
    assert rig.harness.outcomes[-1].ok
    assert rig.harness.outcomes[-1].moved == 7


def test_large_put_stops_while_the_transport_is_paused(rig: Rig) -> None:
    data = noise(1_000_000)
    request = put("k", data)
    rig.pipe.pause_after = 1
    rig.connection.issue(request)
    for round_ in range(1, 20):
        body = request.body
        assert body is not None
        assert body.pieces <= round_  # type: ignore[attr-defined]
        if len(rig.pipe.written) > len(data):
            break
        rig.link.resume_writing()
    assert rig.pipe.written.endswith(data)
    rig.receive(OK_EMPTY)
    assert rig.harness.outcomes[-1].ok
    assert rig.harness.outcomes[-1].moved == len(data)


def test_refusal_during_a_put_stops_the_body_and_the_connection(rig: Rig) -> None:
    data = noise(4_000_000)
    rig.pipe.pause_after = 1
    rig.connection.issue(put("k", data))
    rig.receive(answer(error_document("AccessDenied"), "403 Forbidden"))
    assert rig.harness.outcomes[-1].kind is ErrorKind.PERMISSION
    assert rig.pipe.aborted
    assert len(rig.pipe.written) < len(data)
    rig.link.resume_writing()
    assert len(rig.harness.outcomes) == 1


def test_success_before_the_whole_body_is_no_success(rig: Rig) -> None:
    rig.pipe.pause_after = 1
    rig.connection.issue(put("k", noise(1_000_000)))
    rig.receive(OK_EMPTY)
    assert rig.harness.outcomes[-1].subclass == "malformed"
    assert rig.pipe.aborted
