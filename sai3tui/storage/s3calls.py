"""Rare requests to S3 over the wire engine: pages of listings, uploads in parts, deletes in batches.

The builders make a `Request` for `WireConnection.issue`, so that a driver can spread parts over connections; `S3Calls`
awaits them one by one on one connection.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sai3tui.config.ops import Op
from sai3tui.config.storage_options import MAX_PUT_BYTES
from sai3tui.errors import ConfigError, ErrorKind, StorageError
from sai3tui.storage.engine import Body, Call, CallAnswer, Request
from sai3tui.storage.http1 import header
from sai3tui.storage.s3wire import WireConnection
from sai3tui.storage.sigv4 import encode_query

PAGE = 1000
MAX_BATCH = 1000
MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * 1024 * 1024
MAX_OBJECT_BYTES = 5 * 1024**4


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: (key relative to the endpoint's prefix, size in bytes), and how to ask for the next."""

    objects: tuple[tuple[str, int], ...]
    prefixes: tuple[str, ...]
    token: str


class _Bytes:
    """A small body that is there."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._view = memoryview(data)

    def piece(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]


def part_sizes(size: int, part_bytes: int) -> list[int]:
    """How an object of `size` bytes is cut. Raises ConfigError where S3's limits leave no way: parts of 5 MiB to
    5 GiB (the last one may be smaller), 10,000 of them, 5 TiB in all."""
    if not MIN_PART_BYTES <= part_bytes <= MAX_PUT_BYTES:
        raise ConfigError(f"a part of {part_bytes} bytes is outside 5 MiB to 5 GiB")
    if size > MAX_OBJECT_BYTES:
        raise ConfigError(f"an object of {size} bytes is larger than the 5 TiB that S3 takes")
    count = max(1, -(-size // part_bytes))
    if count > MAX_PARTS:
        least = -(-size // MAX_PARTS)
        raise ConfigError(
            f"{count} parts are more than the {MAX_PARTS} that S3 takes", hint=f"parts of {least} bytes or more"
        )
    return [min(part_bytes, size - number * part_bytes) for number in range(count)]


def list_request(prefix: bytes, token: str = "", *, page: int = PAGE, delimiter: str = "") -> Request:
    """One page of what begins with `prefix`, the whole key's beginning in canonical encoding."""
    fields = []
    if token:
        fields.append(b"continuation-token=" + encode_query(token))
    if delimiter:
        fields.append(b"delimiter=" + encode_query(delimiter))
    # Keys may have characters that XML cannot carry.
    fields += [b"encoding-type=url", b"list-type=2", b"max-keys=%d" % page, b"prefix=" + prefix]
    return Request(op=Op.LIST, call=Call(b"GET", b"&".join(fields), of_bucket=True))


def create_request(key: str) -> Request:
    """Begin an upload in parts."""
    return Request(op=Op.PUT, key=key, call=Call(b"POST", b"uploads="))


def part_request(key: str, upload: str, number: int, body: Body) -> Request:
    """Send part `number`, from 1."""
    query = b"partNumber=%d&uploadId=%b" % (number, encode_query(upload))
    return Request(op=Op.PUT, key=key, size=body.size, body=body, call=Call(b"PUT", query, moves_bytes=True))


def complete_request(key: str, upload: str, etags: Sequence[str]) -> Request:
    """Make an object of the parts 1 to n, whose ETags these are."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    body = _Bytes(f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
    call = Call(b"POST", b"uploadId=" + encode_query(upload), (("content-type", "application/xml"),))
    return Request(op=Op.PUT, key=key, size=body.size, body=body, call=call)


def abort_request(key: str, upload: str) -> Request:
    """Forget an upload and its parts."""
    return Request(op=Op.DELETE, key=key, call=Call(b"DELETE", b"uploadId=" + encode_query(upload)))


def batch_request(keys: Sequence[str]) -> Request:
    """Delete up to 1,000 whole keys at once. Raises ConfigError for more, or for a key that XML cannot carry."""
    if not 1 <= len(keys) <= MAX_BATCH:
        raise ConfigError(f"a batch has 1 to {MAX_BATCH} keys, not {len(keys)}")
    for key in keys:
        if any(ord(c) < 0x20 and c not in "\t\n" for c in key) or any(0xD800 <= ord(c) < 0xE000 for c in key):
            raise ConfigError(f"the key {key!r} cannot be deleted in a batch: XML has no such character")
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    data = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    headers = (("content-md5", md5), ("content-type", "application/xml"))
    call = Call(b"POST", b"delete=", headers, of_bucket=True)
    return Request(op=Op.DELETE, size=len(data), body=_Bytes(data), call=call)


def parse_page(answer: CallAnswer, prefix: str) -> Page:
    """Raises StorageError for a listing that is none, or that says there is more but not where."""
    root = _parse(answer.body)
    encoded = _text(root, "EncodingType") == "url"

    def name(text: str) -> str:
        plain = unquote_plus(text, errors="surrogateescape") if encoded else text
        return plain.removeprefix(prefix)

    token = _text(root, "NextContinuationToken")
    if _text(root, "IsTruncated") == "true" and not token:
        raise StorageError("a page of a listing says that there is more, but not where")
    return Page(
        tuple((name(_text(each, "Key")), int(_text(each, "Size") or 0)) for each in _all(root, "Contents")),
        tuple(name(_text(each, "Prefix")) for each in _all(root, "CommonPrefixes")),
        token,
    )


def parse_upload(answer: CallAnswer) -> str:
    """The upload's id. Raises StorageError if there is none."""
    upload = _text(_parse(answer.body), "UploadId")
    if not upload:
        raise StorageError("the storage began an upload without an UploadId")
    return upload


def etag_of(answer: CallAnswer) -> str:
    return header(answer.head, b"etag").decode("latin-1")


def parse_batch(answer: CallAnswer) -> dict[str, tuple[str, str]]:
    """Whole keys that were not deleted, with code and message."""
    root = _parse(answer.body)
    return {_text(each, "Key"): (_text(each, "Code"), _text(each, "Message")) for each in _all(root, "Error")}


class S3Calls:
    """The same, awaited on one connection. Everything raises StorageError."""

    def __init__(self, connection: WireConnection) -> None:
        self._connection = connection

    async def pages(self, prefix: str, *, page: int = PAGE, delimiter: str = "") -> AsyncIterator[Page]:
        """What begins with `prefix` (relative to the endpoint's), page by page."""
        base = self._connection.place.prefix
        token = ""
        while True:
            request = list_request(encode_query(base + prefix), token, page=page, delimiter=delimiter)
            found = parse_page(await self._answer(request), base)
            yield found
            if not found.token:
                return
            if found.token == token:
                raise StorageError("a listing goes in circles: the storage repeats its continuation token")
            token = found.token

    async def create_upload(self, key: str) -> str:
        """Returns the upload's id."""
        return parse_upload(await self._answer(create_request(key)))

    async def upload_part(self, key: str, upload: str, number: int, body: Body) -> str:
        """Returns the part's ETag."""
        return etag_of(await self._answer(part_request(key, upload, number, body)))

    async def complete_upload(self, key: str, upload: str, etags: Sequence[str]) -> None:
        await self._answer(complete_request(key, upload, etags))

    async def abort_upload(self, key: str, upload: str) -> None:
        await self._answer(abort_request(key, upload))

    async def delete_batch(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Delete keys relative to the endpoint's prefix; returns those that were not, with code and message."""
        base = self._connection.place.prefix
        failed = parse_batch(await self._answer(batch_request([base + key for key in keys])))
        return {key.removeprefix(base): why for key, why in failed.items()}

    async def _answer(self, request: Request) -> CallAnswer:
        await self._connection.run(request)
        answer = self._connection.answer
        assert answer is not None
        return answer


def _parse(body: bytes) -> ElementTree.Element:
    # Expat of every Python that we run on bounds the expansion of entities, and fetches nothing.
    try:
        return ElementTree.fromstring(body) if body.strip() else ElementTree.Element("Empty")
    except ElementTree.ParseError as error:
        raise StorageError("the answer is no XML that can be read", kind=ErrorKind.STORAGE) from error


def _all(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [each for each in root if each.tag.rpartition("}")[2] == name]


def _text(root: ElementTree.Element, name: str) -> str:
    for each in root:
        if each.tag.rpartition("}")[2] == name:
            return each.text or ""
    return ""
