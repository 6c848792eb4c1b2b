"""The little XML that the wire engine reads: error documents, and whether an answer is a listing.

Not parsed as XML on purpose: what a broken or hostile server sends must not cost more than looking for a few tags.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

_ERROR_ROOT = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?:<\?xml[^>]{0,200}>\s*)?<Error[\s>]")
_FIELD = re.compile(rb"<(Code|Message|RequestId|Region|Endpoint|Bucket)>([^<]{0,2000})</\1>")


@dataclass(frozen=True, slots=True)
class S3Error:
    """The fields of an S3 error document; empty where it has none."""

    code: str = ""
    message: str = ""
    request_id: str = ""
    region: str = ""
    endpoint: str = ""


def parse_error(body: bytes | bytearray) -> S3Error:
    """What an error answer's body says. A body that is not an S3 error document gives empty fields."""
    found: dict[bytes, str] = {}
    for name, value in _FIELD.findall(bytes(body)):
        found.setdefault(name, html.unescape(value.decode("utf-8", "replace")).strip())
    return S3Error(
        found.get(b"Code", ""),
        found.get(b"Message", ""),
        found.get(b"RequestId", ""),
        found.get(b"Region", ""),
        found.get(b"Endpoint", ""),
    )


def is_listing(body: bytes | bytearray) -> bool:
    """Whether `body`, or its beginning, is the answer to a LIST."""
    return b"<ListBucketResult" in body[:1024]


def is_error(body: bytes | bytearray) -> bool:
    """Whether `body` is an error document: the answer to a batch has errors too, but not at its root."""
    return _ERROR_ROOT.match(body) is not None
