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
from sai3tui.storage.drain import DRAIN_BYTES, Drain
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
    plain_length,
)
from sai3tui.storage.s3requests import METHOD, check_range, put_head
from sai3tui.storage.s3send import BODY, CHUNKS, DEAD, HEAD, IDLE, UNTIL_CLOSE, SendingLink
from sai3tui.storage.s3xml import is_error, is_listing, parse_error
from sai3tui.storage.sigv4 import encode_query

if TYPE_CHECKING:
    from sai3tui.storage.s3wire import WireConnection

MAX_KEPT_BYTES = 16 * 1024
"""What is kept of the bodies of errors and listings."""
MAX_CALL_BYTES = 16 * 1024 * 1024
"""What is kept of the answers to calls: pages of listings are read whole."""


class _RefusedError(Exception):
    """Whoever looks at the body does not want it. `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Link(SendingLink):
    """The protocol of one connection. `slot` is whose operations it carries; it is told once per operation."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_drain",
        "_flags",
        "_got",
        "_head",
        "_held",
        "_left",
        "_op",
        "_plain",
        "_reader",
        "_seen",
        "_sink",
        "_status",
        "_t_first",
        "_view",
        "_watched",
    )

    def __init__(self, slot: WireConnection, buffer: bytearray, view: memoryview) -> None:
        super().__init__(slot)
        self._buffer = buffer
        self._view = view
        self._op = Op.GET
        self._t_first = 0
        self._status = 0
        self._flags = 0
        self._left = 0
        self._got = 0
        self._head = b""
        self._drain: Drain | None = None
        self._held: bytearray | None = None
        self._sink: bytearray | None = None
        self._chunks: ChunkedBody | None = None
        self._reader: Sink | None = None
        self._seen = 0
        self._watched = False
        """The body's bytes are for more than counting."""
        self._plain = False
        """An answer of the usual kind is the end of it: nobody looks at head or body."""

    # What the slot asks for

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    @property
    def alive(self) -> bool:
        """Whether an operation can be started on this link."""
        return self._mode == IDLE

    def start(self, request: Request) -> int:
        """Send `request`; returns t0. Must only be called while alive. Raises what its body raises: `abandon` then."""
        slot = self._slot
        self._op = op = request.op
        self._request = request
        self._mode = HEAD
        self._t_first = self._offset = self._size = self._got = self._flags = 0
        self._watched = False
        made = request.made
        if made:
            request.made = b""
            self._plain = True
            self._offset = self._size = request.size
            t0 = monotonic_ns()
            self._transport.write(made)
            return t0
        if request.call is not None or request.length >= 0 or (op is Op.PUT and not slot.maker.plain_put):
            self._plain = False
            if request.sink is not None:
                self._watch(request.sink)
            return self._start_made(request)
        self._plain = True
        if op is Op.PUT:
            return self._start_put(request, put_head(slot.signer, request.key, request.size))
        if op is Op.LIST:
            self._plain = False
            prefix = encode_query(slot.key_prefix + request.key)
            head = slot.signer.bucket_head(b"GET", b"list-type=2&max-keys=%d&prefix=%b" % (request.limit, prefix))
        else:
            if request.sink is not None:
                self._watch(request.sink)
            head = slot.signer.object_head(METHOD[op], request.key)
        t0 = monotonic_ns()
        self._transport.write(head)
        return t0

    def drop(self) -> None:
        """End the connection at once; nothing is told to anybody."""
        self._close_drain()
        self._mode = DEAD
        self._request = None
        self._transport.abort()

    def abandon(self) -> None:
        """Take back a request of which nothing was sent."""
        self._request = None
        self._offset = self._size = 0
        self._mode = IDLE
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
        if mode == BODY and not self._watched:
            left = self._left - nbytes
            if left > 0:
                self._left = left
                return
        elif mode == HEAD and self._plain and self._held is None:
            # The common case, a whole head and some or all of a plain body, without any copy of the body.
            self._t_first = now = self._t_first or monotonic_ns()
            buffer = self._buffer
            end = buffer.find(b"\r\n\r\n", 0, nbytes)
            head = buffer[:end].lower() if end > 0 else b""
            if head[:12] == b"http/1.1 200":
                length = plain_length(head)
                rest = nbytes - end - 4
                if self._op is Op.STAT:
                    length = min(length, 0)
                if rest == length and self._offset >= self._size:
                    moved = length if self._op is Op.GET else self._size
                    self._request = None
                    self._mode = IDLE
                    self._slot.finished(OK, moved, now, now)
                    return
                if rest <= length:
                    self._status = 200
                    self._got = length
                    self._left = length - rest
                    self._mode = BODY
                    if not self._left:
                        self._succeed()
                    elif self._left >= DRAIN_BYTES and not self._watched:
                        self._start_drain()
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
        self._close_drain()
        mode, self._mode = self._mode, DEAD
        if mode in (IDLE, DEAD):
            return
        context = self._context()
        if mode == UNTIL_CLOSE and exc is None:
            self._flags |= CLOSE
            self._end_of_answer(0)
        elif mode != HEAD and self._status >= 300:
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
            where = "in the answer's head" if mode == HEAD else f"{self._missing(mode)} of the answer's body"
            self._fail(lost_failure(context, f"was cut off {where}", "truncated", exc))

    # A long body that nobody looks at

    def _start_drain(self) -> None:
        drain = self._drain
        if drain is None:
            drain = self._drain = self._slot.make_drain(self._transport, self._drained)
        if drain is not None and drain.start(self._left):
            self._transport.pause_reading()

    def _drained(self, left: int) -> None:
        self._left = left
        # If the connection has ended, the transport will find that out and tell.
        self._transport.resume_reading()
        if not left:
            self._succeed()

    def _close_drain(self) -> None:
        drain, self._drain = self._drain, None
        if drain is not None:
            if drain.active:
                self._left = drain.left
            drain.close()

    # Reading an answer, every case

    def _feed(self, data: memoryview) -> None:
        while True:
            mode = self._mode
            if mode == HEAD:
                if self._t_first == 0:
                    self._t_first = monotonic_ns()
                rest = self._take_head(data)
                if rest is None:
                    return
                if not rest and (self._mode == HEAD or (self._mode == BODY and self._left > 0)):
                    return
                if not rest and self._mode in (CHUNKS, UNTIL_CLOSE):
                    return
                data = rest
            elif mode == BODY:
                take = min(len(data), self._left)
                self._left -= take
                self._show(data[:take])
                if self._left == 0:
                    self._end_of_answer(len(data) - take)
                return
            elif mode == CHUNKS:
                self._feed_chunks(data)
                return
            elif mode == UNTIL_CLOSE:
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
            check_range(request, length, self._head)
        if flags & CHUNKED:
            self._chunks = ChunkedBody()
            self._mode = CHUNKS
        elif length >= 0:
            self._left = self._got = length
            self._mode = BODY
        else:
            self._mode = UNTIL_CLOSE
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
            self._plain = False
            self._seen = 0
            reader.begin()

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
        elif self._mode != DEAD:
            self._mode = IDLE

    def _answer_failure(self) -> Failure:
        head = self._head
        answer = Answer(
            self._status,
            parse_error(self._sink or b""),
            header(head, b"x-amz-request-id").decode("latin-1"),
            header(head, b"location").decode("latin-1"),
            header(head, b"retry-after").decode("latin-1"),
        )
        return answer_failure(answer, self._context())

    def _context(self) -> ErrorContext:
        return context_of(self._slot.place, self._request or Request())

    def _missing(self, mode: int) -> str:
        return f"{self._left} bytes before the end" if mode == BODY else "before the end"
