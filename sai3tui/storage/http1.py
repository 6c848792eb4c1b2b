"""Reading HTTP/1 answers: the head, and bodies in chunked coding. Pure: bytes in, facts out."""

from __future__ import annotations

from collections.abc import Callable

CLOSE = 1
"""Flag of a head: the connection ends after this answer."""
CHUNKED = 2
"""Flag of a head: the body is in chunked coding."""

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096
_HEX = frozenset(b"0123456789abcdefABCDEF")
_MAX_SIZE_DIGITS = 15
_CONNECTION = b"\r\nconnection:"
_KEPT = b" keep-alive"
_ENDS = (b"\r", b"")


class MalformedAnswerError(ValueError):
    """What came is not HTTP."""


def parse_head(head: bytes | bytearray) -> tuple[int, int, int]:
    """Status, Content-Length (-1 if there is none) and flags of an answer's head.

    `head` is in lower case and ends after the CRLF of its last line. Raises MalformedAnswerError.
    """
    if head[:7] != b"http/1." or head[8:9] != b" " or not head[9:12].isdigit():
        raise MalformedAnswerError(f"not an HTTP answer: {bytes(head[:40])!r}")
    flags = 0
    length = -1
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        end = head.find(b"\r", at + 17)
        digits = head[at + 17 : end].strip()
        if not digits.isdigit() or len(digits) > 18:
            raise MalformedAnswerError(f"impossible Content-Length: {bytes(digits[:40])!r}")
        length = int(digits)
        again = head.find(b"\r\ncontent-length:", end)
        if again >= 0 and head[again + 17 : head.find(b"\r", again + 17)].strip() != digits:
            raise MalformedAnswerError("two Content-Length headers that differ")
    if head.find(b"\r\ntransfer-encoding:") >= 0 and b"chunked" in header(head, b"transfer-encoding"):
        flags = CHUNKED
    if head.find(b"\r\nconnection:") >= 0:
        connection = header(head, b"connection")
        if b"close" in connection or (head[7] == 0x30 and b"keep-alive" not in connection):
            flags |= CLOSE
    elif head[7] == 0x30:
        flags |= CLOSE
    return int(head[9:12]), length, flags


def plain_length(head: bytes | bytearray) -> int:
    """The Content-Length of an answer whose head is in lower case and says nothing else about its body or the end of
    the connection, unless that it is kept; -1 if `parse_head` has to look at it. A third of what that costs, and nearly
    all heads are so.

    `head` begins with its status line and need not end with a CRLF.
    """
    parts = head.split(b"\r\ncontent-length:")
    if len(parts) != 2 or b"\r\ntransfer-encoding:" in head:
        return -1
    at = head.find(_CONNECTION)
    if at >= 0:
        value = at + len(_CONNECTION)
        if head[value : value + len(_KEPT)] != _KEPT or head[value + len(_KEPT) : value + len(_KEPT) + 1] not in _ENDS:
            return -1
        if head.find(_CONNECTION, value) >= 0:
            return -1
    digits = parts[1].partition(b"\r")[0].strip()
    return int(digits) if digits.isdigit() and len(digits) <= 18 else -1


def header(head: bytes | bytearray, name: bytes) -> bytes:
    """The value of header `name` (lower case) in `head`, which may be in any case; empty if it is not there."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    start = at + len(name) + 3
    end = head.find(b"\r", start)
    return bytes(head[start : end if end >= 0 else len(head)].strip())


class ChunkedBody:
    """Decoder of a body in chunked coding, fed with whatever came. `total` counts the body's own bytes."""

    __slots__ = ("_left", "_line", "_state", "total")

    _SIZE, _DATA, _AFTER, _TRAILER = range(4)

    def __init__(self) -> None:
        self.total = 0
        self._state = self._SIZE
        self._left = 0
        self._line = bytearray()

    def feed(self, data: memoryview, sink: Callable[[memoryview], object] | None = None) -> int:
        """Take `data`; body bytes are given to `sink` if there is one.

        Returns how many bytes stand in `data` after the body's end, or -1 while it has not ended. Raises
        MalformedAnswerError.
        """
        at, size = 0, len(data)
        while at < size:
            if self._state == self._DATA:
                take = min(self._left, size - at)
                if sink is not None:
                    sink(data[at : at + take])
                at += take
                self.total += take
                self._left -= take
                if self._left == 0:
                    self._state = self._AFTER
                continue
            # Lines are short and rare, so byte by byte is good enough and right for any split.
            byte = data[at]
            at += 1
            if byte != 0x0A:
                self._line.append(byte)
                if len(self._line) > MAX_LINE_BYTES:
                    raise MalformedAnswerError("a chunk's size line without end")
                continue
            line = bytes(self._line.rstrip(b"\r"))
            self._line.clear()
            if self._end_of_line(line):
                return size - at
        return -1

    def _end_of_line(self, line: bytes) -> bool:
        if self._state == self._SIZE:
            digits = line.partition(b";")[0].strip()
            if not digits or len(digits) > _MAX_SIZE_DIGITS or not _HEX.issuperset(digits):
                raise MalformedAnswerError(f"impossible chunk size: {line[:40]!r}")
            self._left = int(digits, 16)
            self._state = self._DATA if self._left else self._TRAILER
        elif self._state == self._AFTER:
            if line:
                raise MalformedAnswerError("a chunk is longer than its size says")
            self._state = self._SIZE
        elif not line:
            return True
        return False
