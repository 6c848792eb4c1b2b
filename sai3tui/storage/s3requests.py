"""Request heads that the fast path does not know: ranges, calls, signed bodies, checksums, asking before a body."""

from __future__ import annotations

from dataclasses import dataclass

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import Checksum, PayloadSigning, S3Options
from sai3tui.storage.checksums import Trailer, Update, digest_of, encoded, header_name, updater
from sai3tui.storage.engine import Request
from sai3tui.storage.http1 import MalformedAnswerError, header
from sai3tui.storage.sigv4 import UNSIGNED_TRAILER, RequestSigner

METHOD = {Op.GET: b"GET", Op.PUT: b"PUT", Op.STAT: b"HEAD", Op.DELETE: b"DELETE", Op.LIST: b"GET"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request ready to go. `expect`: its body waits for leave."""

    head: bytes
    size: int = 0
    trailer: Trailer | None = None
    expect: bool = False


class RequestMaker:
    """Makes the heads of one endpoint. `plain_put`: PUTs need nothing of this. Raises ConfigError (see `updater`)."""

    __slots__ = ("_options", "_signer", "_update", "plain_put")

    def __init__(self, signer: RequestSigner, options: S3Options) -> None:
        self._signer = signer
        self._options = options
        self._update: Update | None = None
        if options.checksum is not Checksum.NONE:
            self._update = updater(options.checksum)
        self.plain_put = (
            self._update is None and options.payload_signing is PayloadSigning.UNSIGNED and options.expect_above < 0
        )

    def make(self, request: Request) -> Outgoing:
        """Raises what the request's body raises."""
        call = request.call
        if call is not None:
            return self._with_body(
                request, call.method, None if call.of_bucket else request.key, call.query, call.headers, checked=False
            )
        if request.op is Op.PUT:
            return self._with_body(request, b"PUT", request.key, b"", (), checked=True)
        last = request.offset + request.length - 1
        signed = (("range", f"bytes={request.offset}-{last}"),)
        return Outgoing(self._signer.head(METHOD[request.op], request.key, signed=signed))

    def _with_body(
        self,
        request: Request,
        method: bytes,
        key: str | None,
        query: bytes,
        headers: tuple[tuple[str, str], ...],
        *,
        checked: bool,
    ) -> Outgoing:
        options, size = self._options, request.size
        update = self._update if checked else None
        payload, trailer, sent = "", None, size
        if options.payload_signing is PayloadSigning.SHA256 and (size or update is not None):
            payload, value = digest_of(request, update)
            if update is not None:
                headers = (*headers, (header_name(options.checksum), encoded(options.checksum, value)))
        elif update is not None:
            trailer = Trailer(options.checksum, update)
            payload, sent = UNSIGNED_TRAILER, trailer.encoded_size(size)
            headers = (
                *headers,
                ("content-encoding", "aws-chunked"),
                ("x-amz-decoded-content-length", str(size)),
                ("x-amz-trailer", header_name(options.checksum)),
            )
        expect = 0 <= options.expect_above < size
        has_body = size or trailer is not None or method in (b"PUT", b"POST")
        extra = b"Content-Length: %d\r\n" % sent if has_body else b""
        if expect:
            extra += b"Expect: 100-continue\r\n"
        head = self._signer.head(method, key, query=query, signed=headers, payload=payload, extra=extra)
        return Outgoing(head, size, trailer, expect)


def put_head(signer: RequestSigner, key: str, size: int) -> bytes:
    """The head of a PUT of `size` bytes that needs nothing more (`RequestMaker.plain_put`)."""
    return signer.object_head(b"PUT", key, b"Content-Length: %d\r\n" % size)


def check_range(request: Request, length: int, head: bytes) -> None:
    """Raises MalformedAnswerError if the answer with this head, of `length` bytes, is not the range asked for.

    The header decides, not the status: there are servers that send a part with 200.
    """
    said = header(head, b"content-range")
    if said:
        if not said.lower().startswith(b"bytes %d-" % request.offset):
            raise MalformedAnswerError(f"another range than was asked for: {said[:60]!r}")
    elif request.offset or length > request.length:
        raise MalformedAnswerError("the range that was asked for was ignored")
