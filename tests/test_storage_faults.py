"""The S3 engines against a server that misbehaves, over real sockets and on both kinds of loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind
from sai3tui.storage.engine import Endpoint, Request
from tests.engine_harness import Harness, Outcome, against, noise, put, run_on
from tests.fault_server import CREDENTIALS, OK_EMPTY, Step, answer, chunked, error_document
from tests.waiting import wait_until_async

WIRES = [("asyncio", "wire"), ("uvloop", "wire")]
ALL = [*WIRES, ("asyncio", "boto")]
GET = Request(op=Op.GET, key="k", index=3)

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def outcomes(loop: str, name: str, steps: Sequence[Step], requests: Sequence[Request], **options: Any) -> list[Outcome]:
    async def work() -> list[Outcome]:
        async with against(steps, name, **options) as (harness, _):
            return [await harness(request) for request in requests]

    return run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), ALL)
@pytest.mark.parametrize(
    ("status", "code", "kind", "subclass"),
    [
        ("403 Forbidden", "AccessDenied", ErrorKind.PERMISSION, "http_4xx"),
        ("403 Forbidden", "SignatureDoesNotMatch", ErrorKind.AUTH, "http_4xx"),
        ("403 Forbidden", "InvalidAccessKeyId", ErrorKind.AUTH, "http_4xx"),
        ("404 Not Found", "NoSuchBucket", ErrorKind.NOT_FOUND, "http_4xx"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", ErrorKind.CONFIG, "http_4xx"),
        ("401 Unauthorized", "", ErrorKind.AUTH, "http_4xx"),
        ("405 Method Not Allowed", "MethodNotAllowed", ErrorKind.CONFIG, "http_4xx"),
        ("408 Request Timeout", "", ErrorKind.TIMEOUT, "http_4xx"),
        ("409 Conflict", "OperationAborted", ErrorKind.STORAGE, "http_4xx"),
        ("412 Precondition Failed", "PreconditionFailed", ErrorKind.CONFIG, "http_4xx"),
        ("416 Range Not Satisfiable", "InvalidRange", ErrorKind.CONFIG, "http_4xx"),
        ("429 Too Many Requests", "", ErrorKind.THROTTLED, "http_4xx"),
        ("503 Slow Down", "SlowDown", ErrorKind.THROTTLED, "http_5xx"),
        ("500 Internal Server Error", "InternalError", ErrorKind.STORAGE, "http_5xx"),
        ("502 Bad Gateway", "", ErrorKind.STORAGE, "http_5xx"),
        ("504 Gateway Timeout", "", ErrorKind.STORAGE, "http_5xx"),
        ("507 Insufficient Storage", "", ErrorKind.STORAGE, "http_5xx"),
        ("307 Temporary Redirect", "TemporaryRedirect", ErrorKind.CONFIG, "http_3xx"),
        ("301 Moved Permanently", "PermanentRedirect", ErrorKind.CONFIG, "http_3xx"),
    ],
)
def test_error_answer_by_kind(loop: str, name: str, status: str, code: str, kind: ErrorKind, subclass: str) -> None:
    document = error_document(code, "because of it", "<Region>eu-9</Region>") if code else b""
    (outcome,) = outcomes(loop, name, [Step(answer(document, status, "x-amz-request-id: rid-7"))] * 2, [GET])
    failure = outcome.failure
    assert failure is not None
    assert (failure.kind, failure.context.subclass) == (kind, subclass)
    assert failure.context.http_status == int(status[:3])
    assert failure.context.uri.endswith("/bucket/pre/k")
    assert failure.context.endpoint.endswith("/bucket/pre/")
    assert failure.context.op == "get"
    assert failure.context.object_index == 3
    assert failure.hint
    if code:
        assert code in failure.message
        assert "because of it" in failure.sentence()
        assert failure.context.request_id in ("rid-7", "req-1")
    if kind is ErrorKind.CONFIG and code:
        assert "eu-9" in failure.hint


@pytest.mark.parametrize(("loop", "name"), ALL)
def test_a_storage_that_says_when_to_come_again_is_quoted(loop: str, name: str) -> None:
    step = Step(answer(error_document("SlowDown"), "503 Slow Down", "Retry-After: 17"))
    outcome, after = outcomes(loop, name, [step, Step(answer(b"abc"))], [GET, GET])
    assert outcome.kind is ErrorKind.THROTTLED
    assert outcome.failure is not None
    assert "17" in outcome.failure.hint
    assert after.ok, "nothing waits behind our back"


@pytest.mark.parametrize(("loop", "name"), WIRES)
@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_not_followed_and_says_where_it_leads(loop: str, name: str, status: str) -> None:
    step = Step(answer(b"", status, "Location: http://elsewhere.invalid/bucket/k"))
    outcome, after = outcomes(loop, name, [step, Step(answer(b"abc"))], [GET, GET])
    assert outcome.kind is ErrorKind.CONFIG
    assert outcome.failure is not None
    assert "elsewhere.invalid" in outcome.failure.hint
    assert after.ok


@pytest.mark.parametrize(("loop", "name"), ALL)
@pytest.mark.parametrize("cut_at", [1, 12, 17, 30, -1])
def test_a_head_that_comes_slowly(loop: str, name: str, cut_at: int) -> None:
    whole = answer(noise(2000), "200 OK", "Date: Thu, 01 Jan 1970 00:00:00 GMT")
    cut = cut_at if cut_at > 0 else whole.find(b"\r\n\r\n") + 2
    (outcome,) = outcomes(loop, name, [Step(whole, cut_at=cut)], [GET])
    assert (outcome.ok, outcome.moved) == (True, 2000), outcome.failure


@pytest.mark.parametrize(("loop", "name"), ALL)
@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("sent", [10, 40])
def test_a_connection_that_ends_in_the_head(loop: str, name: str, then: str, sent: int) -> None:
    begun = answer(noise(100), "200 OK", "Date: Thu, 01 Jan 1970 00:00:00 GMT")[:sent]
    # aiohttp asks once more by itself when a GET gets no whole head.
    steps = [Step(begun, then), *[Step(begun, then)] * (name == "boto"), Step(answer(b"abc"))]
    first, second = outcomes(loop, name, steps, [GET, GET])
    assert first.kind is ErrorKind.NETWORK, first.failure
    assert first.subclass in ("truncated", "reset")
    assert second.ok, second.failure


@pytest.mark.parametrize(("loop", "name"), WIRES)
@pytest.mark.parametrize("said", [b"90", b"0"])
def test_a_content_length_below_the_body_does_not_reach_the_next_operation(loop: str, name: str, said: bytes) -> None:
    lying = b"HTTP/1.1 200 OK\r\nContent-Length: " + said + b"\r\n\r\n" + noise(100)
    first, second = outcomes(loop, name, [Step(lying), Step(answer(b"abc"))], [GET, GET])
    assert (first.ok, first.moved) == (True, int(said)), first.failure
    assert (second.ok, second.moved) == (True, 3), second.failure


@pytest.mark.parametrize(("loop", "name"), ALL)
@pytest.mark.parametrize(
    ("step", "kind", "subclass"),
    [
        (Step(b"", "close"), ErrorKind.NETWORK, "reset"),
        (Step(b"", "reset"), ErrorKind.NETWORK, "reset"),
        (Step(answer(noise(1000))[:-1], "close"), ErrorKind.NETWORK, "truncated"),
        (Step(answer(noise(600_000))[:-1], "close"), ErrorKind.NETWORK, "truncated"),
        (
            Step(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "close"),
            ErrorKind.NETWORK,
            "truncated",
        ),
    ],
)
def test_connection_cut(loop: str, name: str, step: Step, kind: ErrorKind, subclass: str) -> None:
    # aiohttp asks once more by itself when a GET gets no answer at all.
    times = 2 if name == "boto" and subclass == "reset" else 1
    first, second = outcomes(loop, name, [*[step] * times, Step(answer(b"abc"))], [GET, GET])
    assert (first.kind, first.subclass) == (kind, subclass), first.failure
    assert second.ok, "the connection is made anew for the next operation"
    assert second.moved == 3


@pytest.mark.parametrize(("loop", "name"), ALL)
def test_chunked_closing_and_old_answers(loop: str, name: str) -> None:
    steps = [
        Step(CHUNKED_HEAD + chunked(noise(300_000), 100_000, 7)),
        Step(answer(noise(5000), "200 OK", "Connection: close"), "close"),
        Step(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "close"),
        Step(answer(b"abcd"), cut_at=9),
    ]
    results = outcomes(loop, name, steps, [GET] * 4)
    assert [(r.ok, r.moved) for r in results] == [(True, 300_000), (True, 5000), (True, 3), (True, 4)]


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_one_socket_serves_all_operations(loop: str, name: str) -> None:
    async def work() -> None:
        async with against([Step(answer(b"x"))] * 20, name) as (harness, server):
            for _ in range(20):
                assert (await harness(GET)).ok
            assert server.connections == 1
            assert all(head.startswith(b"GET /bucket/pre/k HTTP/1.1\r\nHost: 127.0.0.1:") for head in server.heads)

    run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), ALL)
@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_put_sends_exactly_the_body(loop: str, name: str, size: int) -> None:
    async def work() -> None:
        async with against([Step(OK_EMPTY)], name) as (harness, server):
            outcome = await harness(put("k", noise(size)))
            assert outcome.ok, outcome.failure
            assert outcome.moved == size
            assert server.bodies == [noise(size)]

    run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_refusal_before_the_body_is_read(loop: str, name: str) -> None:
    refusal = Step(answer(error_document("AccessDenied"), "403 Forbidden"), "hang", read_body=False)
    first, second = outcomes(loop, name, [refusal, Step()], [put("k", noise(20_000_000)), put("k", b"x")])
    assert first.kind is ErrorKind.PERMISSION
    assert second.ok


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_garbage(loop: str, name: str) -> None:
    steps = [Step(b"220 mail.example ESMTP\r\n", "hang"), Step(answer(b"abc"))]
    first, second = outcomes(loop, name, steps, [GET, GET])
    assert (first.kind, first.subclass) == (ErrorKind.STORAGE, "malformed")
    assert first.failure is not None
    assert "220 mail" in first.failure.sentence()
    assert second.ok


@pytest.mark.parametrize(("loop", "name"), ALL)
def test_silence_ends_with_a_timeout(loop: str, name: str) -> None:
    steps = [Step(b"", "hang"), Step(answer(b"abc"))]
    first, second = outcomes(loop, name, steps, [GET, GET], op_timeout=0.4)
    assert (first.kind, first.subclass) == (ErrorKind.TIMEOUT, "op")
    assert second.ok


@pytest.mark.parametrize(("loop", "name"), ALL)
def test_cancel_frees_the_connection_at_once(loop: str, name: str) -> None:
    async def work() -> None:
        async with against([Step(b"", "hang"), Step(answer(b"abc"))], name) as (harness, server):
            future = harness.start(GET)
            with pytest.raises(RuntimeError):
                harness.engine.connections[0].issue(GET)
            assert await wait_until_async(lambda: len(server.heads) == 1)
            harness.engine.connections[0].cancel()
            assert future.done()
            assert (future.result().kind, future.result().subclass) == (ErrorKind.TIMEOUT, "cancelled")
            harness.engine.connections[0].cancel()
            assert (await harness(GET)).ok
            assert len(harness.outcomes) == 2

    run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), ALL)
def test_cancel_while_connecting_and_close_in_flight(loop: str, name: str) -> None:
    async def work() -> None:
        async with against([Step(b"", "hang")] * 3, name, connections=[3]) as (harness, server):
            first = harness.start(GET, 0)
            harness.engine.connections[0].cancel()
            assert first.result().subclass == "cancelled"
            others = [harness.start(GET, 1), harness.start(GET, 2)]
            assert await wait_until_async(lambda: len(server.heads) >= 2)
            await harness.engine.close()
            await harness.engine.close()
            assert [future.result().subclass for future in others] == ["cancelled"] * 2
            with pytest.raises(RuntimeError):
                harness.engine.connections[0].issue(GET)

    run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), ALL)
def test_nothing_listens(loop: str, name: str) -> None:
    with socket.socket() as taken:
        # Bound and not listening: refused, and nobody else can take the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        place = Endpoint(f"s3://127.0.0.1:{port}/b/", "s3", "127.0.0.1", port, "b")

        async def work() -> None:
            async with await Harness.open([place], CREDENTIALS, name=name) as harness:
                for _ in range(2):
                    outcome = await harness(GET)
                    assert (outcome.kind, outcome.subclass) == (ErrorKind.NETWORK, "connect"), outcome.failure
                    assert outcome.failure is not None
                    assert "refused" in outcome.failure.sentence().lower()
                    assert str(port) in outcome.failure.sentence()

        run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_unknown_host(loop: str, name: str) -> None:
    place = Endpoint("s3://no-such-host.invalid:9/b/", "s3", "no-such-host.invalid", 9, "b")

    async def work() -> Outcome:
        async with await Harness.open([place], CREDENTIALS, name=name) as harness:
            return await harness(GET)

    outcome = run_on(loop, work())
    assert (outcome.kind, outcome.subclass) == (ErrorKind.NETWORK, "dns")


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_a_kept_connection_that_died_unseen_is_replaced_once(loop: str, name: str) -> None:
    async def work() -> None:
        steps = [Step(answer(b"a")), Step(b"", "close"), Step(answer(b"abc")), Step(b"", "close"), Step(answer(b"b"))]
        async with against(steps, name) as (harness, server):
            assert (await harness(GET)).ok
            # As if the last operation had been two seconds ago.
            harness.engine.connections[0]._last_done -= 2_000_000_000  # type: ignore[attr-defined]
            outcome = await harness(GET)
            assert (outcome.ok, outcome.moved) == (True, 3)
            assert server.connections == 2
            assert (await harness(GET)).subclass == "reset", "a connection in use is not replaced unseen"

    run_on(loop, work())


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_a_body_that_raises_fails_its_operation_only(loop: str, name: str) -> None:
    class Broken:
        size = 1_000_000

        def __init__(self, good_pieces: int) -> None:
            self.good_pieces = good_pieces

        def piece(self, offset: int, length: int) -> memoryview:
            self.good_pieces -= 1
            if self.good_pieces < 0:
                raise ArithmeticError("no content")
            return memoryview(bytes(length))

    broken = [Request(op=Op.PUT, key="k", size=1_000_000, body=Broken(good)) for good in (0, 0, 2)]
    short = Request(op=Op.PUT, key="k", size=100, body=Broken(9))
    short.body.piece = lambda offset, length: memoryview(b"x")  # type: ignore[union-attr,method-assign]
    # A body cut in the middle leaves a request that no server can answer, so the last step serves the next connection.
    results = outcomes(loop, name, [Step(read_body=True)] * 9, [GET, *broken, short, GET])
    assert [result.ok for result in results] == [True, False, False, False, False, True]
    assert results[1].kind is ErrorKind.INTERNAL
    assert "no content" in results[1].failure.sentence()  # type: ignore[union-attr]
    assert results[4].kind is ErrorKind.INTERNAL


@pytest.mark.parametrize(("loop", "name"), WIRES)
def test_an_endpoint_that_ends_every_connection_is_not_hammered(loop: str, name: str) -> None:
    async def work() -> None:
        async with against([Step(b"", "close")] * 1000, name) as (harness, server):
            deadline = asyncio.get_running_loop().time() + 0.3
            while asyncio.get_running_loop().time() < deadline:
                outcome = await harness(GET)
                assert outcome.subclass == "reset"
            # Waits of 0, 50, 100, 200 ms: a slower machine makes fewer.
            assert server.connections <= 5
            server.steps.clear()
            server.steps.extend([Step(answer(b"abc"))] * 3)
            assert all([(await harness(GET)).ok for _ in range(3)])

    run_on(loop, work())
