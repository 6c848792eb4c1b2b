"""What can be said about a body so that the storage can compare: SHA-256 before it, or a checksum after it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Protocol, cast

from sai3tui.config.storage_options import Checksum
from sai3tui.errors import ConfigError
from sai3tui.storage.bodies import take_piece
from sai3tui.storage.engine import PIECE_BYTES, Request

Update = Callable[[memoryview, int], int]
"""The checksum of what came before and these bytes, given that of what came before."""

_WIDTH = {Checksum.CRC32C: 4, Checksum.CRC64NVME: 8}


class _Algorithms(Protocol):
    """The part of `awscrt.checksums` that is used."""

    def crc32c(self, data: memoryview, previous: int) -> int: ...

    def crc64nvme(self, data: memoryview, previous: int) -> int: ...


def updater(algorithm: Checksum) -> Update:
    """Raises ConfigError where the library that computes them is not installed."""
    try:
        from awscrt import checksums
    except ImportError as error:
        raise ConfigError(
            f"checksum: {algorithm.value} needs the package awscrt", hint="pip install 'sai3tui[checksums]'"
        ) from error
    found = cast(_Algorithms, checksums)
    return found.crc32c if algorithm is Checksum.CRC32C else found.crc64nvme


def header_name(algorithm: Checksum) -> str:
    return f"x-amz-checksum-{algorithm.value}"


def encoded(algorithm: Checksum, value: int) -> str:
    """As it stands in a header: base64 of its bytes."""
    return base64.b64encode(value.to_bytes(_WIDTH[algorithm], "big")).decode("ascii")


def digest_of(request: Request, checksum: Update | None) -> tuple[str, int]:
    """SHA-256 (hex) of the request's body, and its checksum if there is an `updater`. Makes the whole body once.

    Raises what the body raises.
    """
    hashed, value, offset = hashlib.sha256(), 0, 0
    while offset < request.size:
        piece = take_piece(request, offset)
        hashed.update(piece)
        if checksum is not None:
            value = checksum(piece, value)
        offset += len(piece)
    return hashed.hexdigest(), value


class Trailer:
    """Frames the pieces of one body in aws-chunked coding, with their checksum behind the last."""

    __slots__ = ("_algorithm", "_update", "_value")

    def __init__(self, algorithm: Checksum, update: Update) -> None:
        self._algorithm = algorithm
        self._update = update
        self._value = 0

    def encoded_size(self, size: int) -> int:
        """Bytes on the wire for a body of `size` bytes, sent in pieces of `PIECE_BYTES`."""
        whole, rest = divmod(size, PIECE_BYTES)
        frames = whole * _frame_size(PIECE_BYTES) + (_frame_size(rest) if rest else 0)
        return frames + len(self._end())

    def frame(self, piece: memoryview, *, last: bool) -> list[bytes | memoryview]:
        """One piece as it is sent; `last` adds the trailer."""
        parts: list[bytes | memoryview] = []
        if piece:
            self._value = self._update(piece, self._value)
            parts = [b"%x\r\n" % len(piece), piece, b"\r\n"]
        if last:
            parts.append(self._end())
        return parts

    def _end(self) -> bytes:
        return f"0\r\n{header_name(self._algorithm)}:{encoded(self._algorithm, self._value)}\r\n\r\n".encode("ascii")


def _frame_size(length: int) -> int:
    return len(b"%x" % length) + 2 + length + 2
