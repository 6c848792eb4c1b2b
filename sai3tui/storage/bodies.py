"""Asking a request's body for its bytes, and not believing it blindly."""

from __future__ import annotations

from sai3tui.storage.engine import PIECE_BYTES, Body, Request


def take_piece(request: Request, offset: int) -> memoryview:
    """The piece of the request's body that begins at `offset` (below its size), as long as a piece may be.

    Raises ValueError if there is no body or it gives another number of bytes, and whatever the body raises.
    """
    body = request.body
    if body is None:
        raise ValueError(f"a PUT of {request.size} bytes has no body")
    return checked_piece(body, offset, min(PIECE_BYTES, request.size - offset))


def checked_piece(body: Body, offset: int, length: int) -> memoryview:
    """`length` bytes of the body. Raises ValueError if it gives another number of them, and whatever it raises."""
    piece = body.piece(offset, length)
    if len(piece) != length:
        raise ValueError(f"the body gave {len(piece)} bytes at {offset} where {length} were asked for")
    return piece
