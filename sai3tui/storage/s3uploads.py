"""Uploads in parts that are open: begun, and neither completed nor aborted. No listing of objects shows them, and their
parts take room until somebody ends them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sai3tui.config.ops import Op
from sai3tui.errors import StorageError
from sai3tui.storage.control import ControlPlane

PAGE = 1000
ROUNDED_S = 1.0
"""Both the times of uploads and that of an answer may have been rounded down to whole seconds."""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """`key` is relative to the endpoint's prefix; it is at least `age_s` seconds old, by the storage's own clock."""

    key: str
    upload: str
    age_s: float


async def open_uploads(control: ControlPlane, prefix: str, *, page: int = PAGE) -> AsyncIterator[OpenUpload]:
    """Those whose key begins with `prefix`, by pages of so many. Raises StorageError, also if the storage cannot
    tell."""
    base = control.endpoint.prefix
    first: dict[str, Any] = {"Prefix": base + prefix, "MaxUploads": page}
    wanted = first
    while True:
        answer = await control.ask("list_multipart_uploads", Op.LIST, prefix, **wanted)
        now = _date_of(answer, control.endpoint.uri)
        for entry in answer.get("Uploads", ()):
            age = (now - entry["Initiated"]).total_seconds() - ROUNDED_S
            yield OpenUpload(entry["Key"][len(base) :], entry["UploadId"], age)
        if not answer.get("IsTruncated"):
            return
        markers = {"KeyMarker": answer.get("NextKeyMarker"), "UploadIdMarker": answer.get("NextUploadIdMarker")}
        following = first | {name: marker for name, marker in markers.items() if marker}
        if following in (first, wanted):
            raise StorageError(f"{control.endpoint.uri} says that there are more uploads in parts, but not where")
        wanted = following


async def abort_upload(control: ControlPlane, found: OpenUpload) -> bool:
    """Whether it was there to be ended. Raises StorageError."""
    where = control.endpoint.prefix + found.key
    try:
        await control.ask("abort_multipart_upload", Op.DELETE, found.key, Key=where, UploadId=found.upload)
    except StorageError as error:
        if error.context.http_status == 404:
            return False
        raise
    return True


def _date_of(answer: Any, uri: str) -> datetime:
    text = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(text)
    except ValueError as error:
        raise StorageError(f"the answer of {uri} says {text!r} for its date") from error
