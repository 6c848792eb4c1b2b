"""AWS Signature Version 4 in the Authorization header, made for tens of thousands of requests a second.

All that is constant for a second (date, scope, headers, the keyed hash of the string to sign up to its last line) is
computed by `refresh`; a request then costs one SHA-256 over its canonical form and two copies of a hash state.
Requests with headers of their own, or a signed body, go through `head`, which costs about three times as much.
"""

from __future__ import annotations

import hmac
import re
import time
from binascii import hexlify
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote

from sai3tui.config.storage_options import Addressing, PayloadSigning, S3Options
from sai3tui.storage.credentials import Credentials
from sai3tui.storage.engine import Endpoint

UNSIGNED = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = sha256(b"").hexdigest()

_BLOCK_BYTES = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9\-._~/]").search
_IPAD = bytes(b ^ 0x36 for b in range(256))
_OPAD = bytes(b ^ 0x5C for b in range(256))


def encode_key(key: str) -> bytes:
    """`key` as it stands in a request line and in the canonical request: UTF-8, percent-encoded except `/`."""
    if _UNSAFE(key) is None:
        return key.encode("ascii")
    # Lone surrogates stand for bytes that are not UTF-8 (os.fsdecode): S3 gets those bytes.
    return quote(key.encode("utf-8", "surrogateescape"), safe="/-._~").encode("ascii")


def encode_query(value: str) -> bytes:
    """`value` as a canonical query string wants it: percent-encoded, `/` too."""
    return quote(value.encode("utf-8", "surrogateescape"), safe="-._~").encode("ascii")


def host_header(host: str, port: int, *, tls: bool) -> str:
    """The Host header: brackets around IPv6, and no port where it is the scheme's own."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port in (0, 443 if tls else 80) else f"{shown}:{port}"


class RequestSigner:
    """Makes complete, signed request heads for one endpoint. Call `refresh` about once a second."""

    __slots__ = (
        "_access_key",
        "_base",
        "_bucket",
        "_canonical_tail",
        "_day",
        "_headers",
        "_host",
        "_inner",
        "_key",
        "_outer",
        "_payload",
        "_region",
        "_scope",
        "_secret",
        "_stamp",
        "_token",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        region: str,
        now: float | None = None,
        options: S3Options | None = None,
    ) -> None:
        options = options or S3Options()
        host = host_header(endpoint.host, endpoint.port, tls=endpoint.tls)
        if options.addressing is Addressing.VIRTUAL:
            self._bucket = b"/"
            self._base = b"/" + encode_key(endpoint.prefix)
            self._host = f"{endpoint.bucket}.{host}"
        else:
            self._bucket = b"/" + encode_key(endpoint.bucket)
            self._base = self._bucket + b"/" + encode_key(endpoint.prefix)
            self._host = host
        self._payload = UNSIGNED if options.payload_signing is PayloadSigning.UNSIGNED else EMPTY_SHA256
        self._stamp = self._scope = ""
        self._access_key = credentials.access_key
        self._secret = credentials.secret_key
        self._token = credentials.token
        self._region = region
        self._day = ""
        self._key = b""
        self.refresh(time.time() if now is None else now)

    def refresh(self, now: float) -> None:
        """Sign for the UTC second `now` (seconds since the epoch) from here on."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = stamp[:8]
        if day != self._day:
            self._key = _signing_key(self._secret, day, self._region)
            self._day = day
        scope = f"{day}/{self._region}/s3/aws4_request"
        signed = "host;x-amz-content-sha256;x-amz-date"
        self._stamp, self._scope = stamp, scope
        payload = self._payload
        canonical = f"host:{self._host}\nx-amz-content-sha256:{payload}\nx-amz-date:{stamp}\n"
        sent = f"Host: {self._host}\r\nx-amz-content-sha256: {payload}\r\nx-amz-date: {stamp}\r\n"
        if self._token:
            signed += ";x-amz-security-token"
            canonical += f"x-amz-security-token:{self._token}\n"
            sent += f"x-amz-security-token: {self._token}\r\n"
        self._canonical_tail = f"\n{canonical}\n{signed}\n{payload}".encode("ascii")
        authorization = f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={signed}, Signature="
        self._headers = f"{sent}User-Agent: sai3tui\r\nAuthorization: {authorization}".encode("ascii")
        padded = self._key.ljust(_BLOCK_BYTES, b"\0")
        # hmac.new costs more than the rest of a request: its two hash states are kept and copied instead.
        self._inner = sha256(padded.translate(_IPAD) + f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n".encode("ascii"))
        self._outer = sha256(padded.translate(_OPAD))

    def object_head(self, method: bytes, key: str, extra: bytes = b"") -> bytes:
        """The whole request head for `key` under the endpoint's prefix; `extra` are unsigned header lines."""
        path = self._base + encode_key(key)
        signature = self._sign(method, path, b"")
        return b"".join((method, b" ", path, b" HTTP/1.1\r\n", extra, self._headers, signature, b"\r\n\r\n"))

    def bucket_head(self, method: bytes, query: bytes) -> bytes:
        """The whole request head for the bucket itself; `query` is in canonical form (sorted and encoded)."""
        path = self._bucket
        signature = self._sign(method, path, query)
        mark = b"?" if query else b""
        return b"%b %b%b%b HTTP/1.1\r\n%b%b\r\n\r\n" % (method, path, mark, query, self._headers, signature)

    def head(
        self,
        method: bytes,
        key: str | None,
        *,
        query: bytes = b"",
        signed: Sequence[tuple[str, str]] = (),
        payload: str = "",
        extra: bytes = b"",
    ) -> bytes:
        """Any request head: for `key`, or for the bucket if it is None.

        `signed` are header lines to send and sign (names in lower case), `extra` lines to send only. `payload` is
        what the signature says about the body: its SHA-256 in hex, or one of the `UNSIGNED...`; empty: as `refresh`
        had it for requests without a body.
        """
        path = self._bucket if key is None else self._base + encode_key(key)
        payload = payload or self._payload
        headers = {"host": self._host, "x-amz-content-sha256": payload, "x-amz-date": self._stamp}
        if self._token:
            headers["x-amz-security-token"] = self._token
        headers.update(signed)
        names = sorted(headers)
        listed = ";".join(names)
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        tail = f"\n{lines}\n{listed}\n{payload}".encode()
        request = sha256(b"%b\n%b\n%b%b" % (method, path, query, tail))
        inner = self._inner.copy()
        inner.update(hexlify(request.digest()))
        outer = self._outer.copy()
        outer.update(inner.digest())
        credential = f"{self._access_key}/{self._scope}"
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={listed}, Signature={outer.hexdigest()}"
        )
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        mark = b"?" if query else b""
        return b"%b %b%b%b HTTP/1.1\r\n%b%bUser-Agent: sai3tui\r\n\r\n" % (method, path, mark, query, extra, text)

    def _sign(self, method: bytes, path: bytes, query: bytes) -> bytes:
        request = sha256(b"".join((method, b"\n", path, b"\n", query, self._canonical_tail)))
        inner = self._inner.copy()
        inner.update(request.hexdigest().encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()


def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = b"AWS4" + secret.encode("utf-8")
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return key
