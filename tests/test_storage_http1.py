"""Reading HTTP/1 answers, whatever way they come in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.storage.http1 import CHUNKED, CLOSE, ChunkedBody, MalformedAnswerError, header, parse_head, plain_length
from sai3tui.storage.s3xml import is_listing, parse_error
from tests.fault_server import chunked, error_document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", (200, 12, 0)),
        ("HTTP/1.1 404 Not Found\r\nX: y\r\n", (404, -1, 0)),
        ("HTTP/1.1 200\r\ncontent-LENGTH:7\r\nConnection: Close\r\n", (200, 7, CLOSE)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n", (200, 1, CLOSE)),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n", (200, 1, 0)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nConnection: close\r\n", (200, -1, CHUNKED | CLOSE)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n", (200, 5, 0)),
        ("HTTP/1.1 200 OK\r\nX-Content-Length: 5\r\n", (200, -1, 0)),
    ],
)
def test_head(text: str, expected: tuple[int, int, int]) -> None:
    assert parse_head(text.lower().encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http/1.1 2x0 ok\r\n",
        "http/2 200 ok\r\n",
        "ssh-2.0-openssh\r\n",
        "http/1.1 200 ok\r\ncontent-length: -1\r\n",
        "http/1.1 200 ok\r\ncontent-length: 5x\r\n",
        "http/1.1 200 ok\r\ncontent-length:\r\n",
        "http/1.1 200 ok\r\ncontent-length: 9999999999999999999999\r\n",
        "http/1.1 200 ok\r\ncontent-length: 5\r\ncontent-length: 6\r\n",
    ],
)
def test_malformed_head(text: str) -> None:
    with pytest.raises(MalformedAnswerError):
        parse_head(text.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_malformed(data: bytes) -> None:
    try:
        status, length, _ = parse_head(b"http/1.1 " + data)
    except MalformedAnswerError:
        return
    assert 0 <= status <= 999
    assert length >= -1


def test_header_lookup_keeps_case_of_the_value() -> None:
    head = b"HTTP/1.1 403 x\r\nX-Amz-Request-Id:  AbC \r\nLocation: http://h/\r\n"
    assert header(head, b"x-amz-request-id") == b"AbC"
    assert header(head, b"location") == b"http://h/"
    assert header(head, b"missing") == b""


@given(
    body=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 60), max_size=6),
    cuts=st.lists(st.integers(1, 40), max_size=30),
    extra=st.binary(max_size=10),
)
def test_chunked_body_comes_out_whole_however_it_is_split(
    body: bytes, sizes: list[int], cuts: list[int], extra: bytes
) -> None:
    wire = chunked(body, *sizes)
    decoder, sink = ChunkedBody(), bytearray()
    at = 0
    for cut in cuts:
        if at + cut >= len(wire):
            break
        assert decoder.feed(memoryview(wire)[at : at + cut], sink.extend) == -1
        at += cut
    assert decoder.feed(memoryview(wire[at:] + extra), sink.extend) == len(extra)
    assert bytes(sink) == body
    assert decoder.total == len(body)


@pytest.mark.parametrize("wire", [b"xyz\r\n", b"\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"1" * 5000, b"1" * 20 + b"\r\n"])
def test_malformed_chunks(wire: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        ChunkedBody().feed(memoryview(wire))


def test_error_document() -> None:
    error = parse_error(error_document("NoSuchKey", "no &lt;such&gt; key", "<Region>eu-1</Region>"))
    assert (error.code, error.message, error.request_id, error.region) == (
        "NoSuchKey",
        "no <such> key",
        "req-1",
        "eu-1",
    )


@given(st.binary(max_size=300))
def test_any_bytes_as_error_document(body: bytes) -> None:
    parse_error(body)
    is_listing(body)


@given(
    st.lists(
        st.sampled_from(
            [
                b"content-length: 5",
                b"content-length:\t 123 ",
                b"content-length: 5x",
                b"content-length: -1",
                b"content-length:",
                b"content-length: 99999999999999999999",
                b"transfer-encoding: chunked",
                b"connection: close",
                b"connection: keep-alive",
                b"connection: keep-alive, close",
                b"connection: keep-alives",
                b"connection:keep-alive",
                b"etag: content-length: 7",
                b"x-content-length: 9",
                b"date: now",
            ]
        ),
        max_size=5,
    )
)
def test_what_is_read_in_haste_is_what_is_read_with_care(lines: list[bytes]) -> None:
    head = b"\r\n".join([b"http/1.1 200 ok", *lines])
    length = plain_length(head)
    if length >= 0:
        assert parse_head(head + b"\r\n") == (200, length, 0)


@pytest.mark.parametrize(
    "lines", [[], [b"connection: keep-alive"], [b"server: x", b"connection: keep-alive", b"date: now"]]
)
def test_what_real_servers_say_is_read_in_haste(lines: list[bytes]) -> None:
    """Without this a proxy in front of the storage would cost the client half as much again."""
    for head in ([*lines, b"content-length: 7"], [b"content-length: 7", *lines]):
        assert plain_length(b"\r\n".join([b"http/1.1 200 ok", *head])) == 7
