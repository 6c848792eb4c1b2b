"""One TCP or TLS connection to an S3 endpoint: one request at a time, its answer read by a state machine.

Answers are received into the one buffer that all links of an engine share; bytes are copied only where an answer's
head is split over several reads, or where its body has to be read (errors, listings).
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorContext, Failure, failure_of
from sai3tui.storage.bodies import take_piece
from sai3tui.storage.checksums import Trailer
from sai3tui.storage.engine import OK, CallAnswer, Request, Sink
from sai3tui.storage.failures import (
    Answer,
    answer_failure,
    context_of,
    lost_failure,
    malformed_failure,
    os_failure,
    placed,
)
from sai3tui.storage.http1 import (
    CHUNKED,
    CLOSE,
    MAX_HEAD_BYTES,
    ChunkedBody,
    MalformedAnswerError,
    header,
    parse_head,
)
from sai3tui.storage.s3requests import METHOD
from sai3tui.storage.s3xml import is_error, is_listing, parse_error
from sai3tui.storage.sigv4 import encode_query

if TYPE_CHECKING:
    from sai3tui.storage.s3wire import WireConnection

_IDLE, _HEAD, _BODY, _CHUNKS, _UNTIL_CLOSE, _DEAD = range(6)

SMALL_PUT_BYTES = 16 * 1024
"""Bodies up to this size go out in one write with the head."""
MAX_KEPT_BYTES = 16 * 1024
"""What is kept of the bodies of errors and listings."""
MAX_CALL_BYTES = 16 * 1024 * 1024
"""What is kept of the answers to calls: pages of listings are read whole."""
CONTINUE_S = 1.0
"""So long a body waits for leave before it is sent without."""
PIECES_PER_TURN = 16
"""Pieces of a body sent before the loop may serve other connections, even if the socket would take more."""


class _RefusedError(Exception):
    """Whoever looks at the body does not want it. `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Link(asyncio.BufferedProtocol):
    """The protocol of one connection. `slot` is whose operations it carries; it is told once per operation."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_expecting",
        "_flags",
        "_got",
        "_head",
        "_held",
        "_left",
        "_mode",
        "_offset",
        "_op",
        "_paused",
        "_reader",
        "_request",
        "_seen",
        "_sink",
        "_size",
        "_slot",
        "_status",
        "_t_first",
        "_trailer",
        "_transport",
        "_view",
        "_watched",
    )

    _transport: asyncio.Transport

    def __init__(self, slot: WireConnection, buffer: bytearray, view: memoryview) -> None:
        self._slot = slot
        self._buffer = buffer
        self._view = view
        self._mode = _IDLE
        self._request: Request | None = None
        self._op = Op.GET
        self._size = 0
        self._offset = 0
        self._paused = False
        self._t_first = 0
        self._status = 0
        self._flags = 0
        self._left = 0
        self._got = 0
        self._head = b""
        self._held: bytearray | None = None
        self._sink: bytearray | None = None
        self._chunks: ChunkedBody | None = None
        self._reader: Sink | None = None
        self._seen = 0
        self._watched = False
        """The body's bytes are for more than counting."""
        self._trailer: Trailer | None = None
        self._expecting: asyncio.TimerHandle | None = None

    # What the slot asks for

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    @property
    def alive(self) -> bool:
        """Whether an operation can be started on this link."""
        return self._mode == _IDLE

    def start(self, request: Request) -> int:
        """Send `request`; returns t0. Must only be called while alive. Raises what its body raises: `abandon` then."""
        signer = self._slot.signer
        op = request.op
        self._request = request
        self._op = op
        self._mode = _HEAD
        self._t_first = 0
        self._offset = self._size = 0
        self._got = 0
        self._flags = 0
        self._watched = False
        transport = self._transport
        if request.sink is not None:
            self._watch(request.sink)
        if request.call is not None or request.length >= 0 or (op is Op.PUT and not self._slot.maker.plain_put):
            return self._start_made(request)
        if op is Op.PUT:
            head = signer.object_head(b"PUT", request.key, b"Content-Length: %d\r\n" % request.size)
            return self._start_put(request, head)
        if op is Op.LIST:
            prefix = encode_query(self._slot.key_prefix + request.key)
            query = b"list-type=2&max-keys=%d&prefix=%b" % (request.limit, prefix)
            head = signer.bucket_head(b"GET", query)
        else:
            head = signer.object_head(METHOD[op], request.key)
        t0 = monotonic_ns()
        transport.write(head)
        return t0

    def drop(self) -> None:
        """End the connection at once; nothing is told to anybody."""
        self._mode = _DEAD
        self._request = None
        self._transport.abort()

    def abandon(self) -> None:
        """Take back a request of which nothing was sent."""
        self._request = None
        self._offset = self._size = 0
        self._mode = _IDLE
        self._reader = None
        self._trailer = None

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # With so low a mark a request is given to the kernel inside write(), so t0 is when it left. (TLS transports
        # take a mark of 0 to mean that writing is never possible.)
        self._transport.set_write_buffer_limits(high=1, low=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        mode = self._mode
        if mode == _BODY and not self._watched:
            left = self._left - nbytes
            if left > 0:
                self._left = left
                return
        elif mode == _HEAD and self._held is None:
            self._t_first = self._t_first or monotonic_ns()
            buffer = self._buffer
            end = buffer.find(b"\r\n\r\n", 0, nbytes)
            if end > 0 and buffer.startswith(b"HTTP/1.1 200"):
                # The common case, a whole head and some or all of a plain body, without any copy of the body.
                try:
                    _, length, flags = parse_head(buffer[: end + 2].lower())
                except MalformedAnswerError as error:
                    self._fail(malformed_failure(self._context(), error))
                    return
                op = self._op
                if op is Op.STAT:
                    length = 0
                rest = nbytes - end - 4
                if rest <= length and not (self._watched or op is Op.LIST or flags & CHUNKED or self._strange()):
                    self._status = 200
                    self._flags = flags
                    self._got = length
                    if rest == length:
                        self._succeed()
                    else:
                        self._left = length - rest
                        self._mode = _BODY
                    return
        try:
            self._feed(self._view[:nbytes])
        except MalformedAnswerError as error:
            self._fail(malformed_failure(self._context(), error))
        except _RefusedError as error:
            self._fail(error.failure)

    def eof_received(self) -> bool:
        self._slot.forget(self)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._slot.forget(self)
        mode, self._mode = self._mode, _DEAD
        if mode in (_IDLE, _DEAD):
            return
        context = self._context()
        if mode == _UNTIL_CLOSE and exc is None:
            self._flags |= CLOSE
            self._end_of_answer(0)
        elif mode != _HEAD and self._status >= 300:
            self._fail(self._answer_failure())
        elif self._t_first == 0 and self._held is None:
            if self._slot.may_resend():
                self._slot.resend()
                return
            self._slot.refused()
            if isinstance(exc, OSError):
                self._fail(os_failure(exc, context, during="transfer"))
            else:
                self._fail(lost_failure(context, "was cut off before an answer", "reset", exc))
        else:
            where = "in the answer's head" if mode == _HEAD else f"{self._missing()} of the answer's body"
            self._fail(lost_failure(context, f"was cut off {where}", "truncated", exc))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._offset < self._size:
            self._send_pieces()

    # Sending a body

    def _start_made(self, request: Request) -> int:
        made = self._slot.maker.make(request)
        self._trailer = made.trailer
        if made.expect:
            self._size = made.size
            self._expecting = self._slot.loop.call_later(CONTINUE_S, self._proceed)
            t0 = monotonic_ns()
            self._transport.write(made.head)
            return t0
        return self._start_put(request, made.head)

    def _proceed(self) -> None:
        """Send the body that waited for leave."""
        expecting, self._expecting = self._expecting, None
        if expecting is not None:
            expecting.cancel()
            if not self._paused:
                self._send_pieces()

    def _start_put(self, request: Request, head: bytes) -> int:
        transport, trailer = self._transport, self._trailer
        size = request.size
        if size <= SMALL_PUT_BYTES:
            piece = take_piece(request, 0) if size else memoryview(b"")
            if trailer is not None:
                data = b"".join((head, *trailer.frame(piece, last=True)))
            else:
                data = b"".join((head, piece)) if size else head
            self._offset = self._size = size
            t0 = monotonic_ns()
            transport.write(data)
            return t0
        first = take_piece(request, 0)
        self._size = size
        self._offset = len(first)
        t0 = monotonic_ns()
        if trailer is not None:
            transport.writelines((head, *trailer.frame(first, last=self._offset >= size)))
        else:
            transport.writelines((head, first))
        if self._offset < size and not self._paused:
            # Whatever the rest of the body brings must not reach the caller before issue() has returned.
            self._slot.loop.call_soon(self._send_more, request)
        return t0

    def _send_more(self, request: Request) -> None:
        # A turn later the request may be over, or another one under way.
        if self._request is request and self._mode == _HEAD and not self._paused:
            self._send_pieces()

    def _send_pieces(self) -> None:
        request, transport, trailer = self._request, self._transport, self._trailer
        if request is None or self._mode != _HEAD or self._expecting is not None:
            return
        for _ in range(PIECES_PER_TURN):
            offset = self._offset
            if self._paused or offset >= self._size:
                return
            try:
                piece = take_piece(request, offset)
            except Exception as error:
                # The body is the caller's code: whatever it raises ends this operation, not the loop's callback.
                self._fail(failure_of(error))
                return
            self._offset = offset + len(piece)
            if trailer is None:
                transport.write(piece)
            else:
                transport.writelines(trailer.frame(piece, last=self._offset >= self._size))
        self._slot.loop.call_soon(self._send_more, request)

    # Reading an answer, every case

    def _feed(self, data: memoryview) -> None:
        while True:
            mode = self._mode
            if mode == _HEAD:
                if self._t_first == 0:
                    self._t_first = monotonic_ns()
                rest = self._take_head(data)
                if rest is None:
                    return
                if not rest and (self._mode == _HEAD or (self._mode == _BODY and self._left > 0)):
                    return
                if not rest and self._mode in (_CHUNKS, _UNTIL_CLOSE):
                    return
                data = rest
            elif mode == _BODY:
                take = min(len(data), self._left)
                self._left -= take
                self._show(data[:take])
                if self._left == 0:
                    self._end_of_answer(len(data) - take)
                return
            elif mode == _CHUNKS:
                self._feed_chunks(data)
                return
            elif mode == _UNTIL_CLOSE:
                self._got += len(data)
                self._show(data)
                return
            else:
                # Bytes that nobody asked for, a 408 on an idle connection for one.
                self._slot.forget(self)
                self.drop()
                return

    def _take_head(self, data: memoryview) -> memoryview | None:
        """What follows the head in `data`, or None while the head is not whole."""
        held = self._held
        if held is None:
            held = self._held = bytearray()
        held += data
        if not b"HTTP/1.".startswith(held[:7]):
            raise MalformedAnswerError(f"not an HTTP answer: {bytes(held[:40])!r}")
        end = held.find(b"\r\n\r\n")
        if end < 0:
            if len(held) > MAX_HEAD_BYTES:
                raise MalformedAnswerError("a head without end")
            return None
        self._held = None
        self._head = bytes(held[: end + 2])
        status, length, flags = parse_head(self._head.lower())
        rest = memoryview(held)[end + 4 :]
        if 100 <= status < 200:
            if status == 101:
                raise MalformedAnswerError("an answer that switches protocols")
            if self._expecting is not None and status == 100:
                self._proceed()
            return rest
        self._status = status
        self._flags = flags
        self._got = 0
        if self._op is Op.STAT or status in (204, 304):
            length = 0
            flags &= ~CHUNKED
        request = self._request
        called = request is not None and request.call is not None
        self._sink = bytearray() if status >= 300 or self._op is Op.LIST or called else None
        self._watched = self._sink is not None or self._reader is not None
        if request is not None and request.length >= 0 and status < 300:
            _check_range(request, status, length, self._head)
        if flags & CHUNKED:
            self._chunks = ChunkedBody()
            self._mode = _CHUNKS
        elif length >= 0:
            self._left = self._got = length
            self._mode = _BODY
        else:
            self._mode = _UNTIL_CLOSE
            self._flags |= CLOSE
        if self._offset < self._size:
            self._flags |= CLOSE
        return rest

    def _feed_chunks(self, data: memoryview) -> None:
        chunks = cast(ChunkedBody, self._chunks)
        before = chunks.total
        extra = chunks.feed(data, self._show if self._watched else None)
        self._got += chunks.total - before
        if extra >= 0:
            self._chunks = None
            self._end_of_answer(extra)

    # Bodies that are for more than counting

    def _watch(self, reader: Sink) -> None:
        if self._op is Op.GET:
            self._reader = reader
            self._watched = True
            self._seen = 0
            reader.begin()

    def _strange(self) -> bool:
        """Whether the answer is to a request that the fast path does not know."""
        request = self._request
        return request is None or request.call is not None or request.length >= 0

    def _show(self, data: memoryview) -> None:
        sink = self._sink
        if sink is not None:
            request = self._request
            limit = MAX_CALL_BYTES if request is not None and request.call is not None else MAX_KEPT_BYTES
            if len(sink) < limit:
                sink += data[: limit - len(sink)]
        elif self._reader is not None:
            seen = self._seen
            self._seen = seen + len(data)
            try:
                self._reader.take(seen, data)
            except Exception as error:
                # The reader is the caller's code, and its verdict is this operation's failure.
                raise _RefusedError(placed(failure_of(error), self._context())) from error

    def _end_of_answer(self, extra: int) -> None:
        if extra:
            self._flags |= CLOSE
        if self._status >= 300:
            self._fail(self._answer_failure())
        elif self._op is Op.LIST and not is_listing(self._sink or b""):
            self._fail(malformed_failure(self._context(), f"not a listing: {bytes((self._sink or b'')[:60])!r}"))
        elif self._sink is not None and self._op is not Op.LIST and is_error(self._sink):
            # S3 may find out that it failed after it has answered 200.
            self._fail(self._answer_failure())
        else:
            self._succeed()

    def _succeed(self) -> None:
        if self._offset < self._size:
            self._flags |= CLOSE
            self._fail(malformed_failure(self._context(), "success was answered before the whole body was sent"))
            return
        now = monotonic_ns()
        op = self._op
        moved = self._got if op is Op.GET else self._size if op is Op.PUT else 0
        if self._watched:
            reader, request = self._reader, self._request
            if reader is not None:
                try:
                    reader.end(self._got)
                except Exception as error:
                    self._fail(placed(failure_of(error), self._context()))
                    return
            if request is not None and request.call is not None:
                self._slot.answer = CallAnswer(self._status, self._head, bytes(self._sink or b""))
                moved = moved if request.call.moves_bytes else 0
        self._finish_link()
        self._slot.finished(OK, moved, self._t_first, now)

    def _fail(self, failure: Failure) -> None:
        now = monotonic_ns()
        if failure.context.http_status == 0:
            self._flags |= CLOSE
        self._finish_link()
        self._slot.failed(failure, self._t_first, now)

    def _finish_link(self) -> None:
        self._request = None
        self._sink = None
        self._held = None
        self._chunks = None
        self._reader = None
        self._trailer = None
        if self._expecting is not None:
            self._expecting.cancel()
            self._expecting = None
        if self._flags & CLOSE:
            self._slot.forget(self)
            self.drop()
        elif self._mode != _DEAD:
            self._mode = _IDLE

    def _answer_failure(self) -> Failure:
        head = self._head
        answer = Answer(
            self._status,
            parse_error(self._sink or b""),
            header(head, b"x-amz-request-id").decode("latin-1"),
            header(head, b"location").decode("latin-1"),
        )
        return answer_failure(answer, self._context())

    def _context(self) -> ErrorContext:
        return context_of(self._slot.place, self._request or Request())

    def _missing(self) -> str:
        return f"{self._left} bytes before the end" if self._mode == _BODY else "before the end"


def _check_range(request: Request, status: int, length: int, head: bytes) -> None:
    """Raises MalformedAnswerError if the answer is not the range that was asked for."""
    if status == 206:
        said = header(head, b"content-range")
        if said.startswith(b"bytes %d-" % request.offset):
            return
        raise MalformedAnswerError(f"another range than was asked for: {said[:60]!r}")
    if request.offset or length != request.length:
        raise MalformedAnswerError("the range that was asked for was ignored")
