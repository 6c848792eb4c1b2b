"""The half of a link that sends: heads and bodies, in pieces, no faster than the kernel takes them."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING

from sai3tui.errors import Failure, failure_of
from sai3tui.storage.bodies import take_piece
from sai3tui.storage.checksums import Trailer
from sai3tui.storage.engine import Request

if TYPE_CHECKING:
    from sai3tui.storage.s3wire import WireConnection

IDLE, HEAD, BODY, CHUNKS, UNTIL_CLOSE, DEAD = range(6)
"""What a link waits for: nothing, an answer's head, a body of known length, one in chunks, one that ends with the
connection; or it is over."""

SMALL_PUT_BYTES = 16 * 1024
"""Bodies up to this size go out in one write with the head."""
PIECES_PER_TURN = 16
"""Pieces of a body sent before the loop may serve other connections, even if the socket would take more."""
CONTINUE_S = 1.0
"""So long a body waits for leave before it is sent without."""


class SendingLink(asyncio.BufferedProtocol):
    """See `s3link.Link`, which reads the answers."""

    __slots__ = (
        "_expecting",
        "_mode",
        "_offset",
        "_paused",
        "_request",
        "_size",
        "_slot",
        "_trailer",
        "_transport",
    )

    _transport: asyncio.Transport

    def __init__(self, slot: WireConnection) -> None:
        self._slot = slot
        self._mode = IDLE
        self._request: Request | None = None
        self._size = 0
        self._offset = 0
        self._paused = False
        self._trailer: Trailer | None = None
        self._expecting: asyncio.TimerHandle | None = None

    def _fail(self, failure: Failure) -> None:
        """End the operation."""

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._offset < self._size:
            self._send_pieces()

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
        if self._request is request and self._mode == HEAD and not self._paused:
            self._send_pieces()

    def _send_pieces(self) -> None:
        request, transport, trailer = self._request, self._transport, self._trailer
        if request is None or self._mode != HEAD or self._expecting is not None:
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
