"""What preflight asks an S3 service beyond the calls that every storage has: parts, ranges, settings of the bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind, StorageError
from sai3tui.storage.control import ControlPlane

MAX_ANSWER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """What the storage tells of the bucket; None: it does not tell, or we may not ask. `expiring` are prefixes below
    which objects are deleted or moved by themselves; `lock` is the mode of a default retention, empty without one."""

    versioning: str | None = None
    expiring: tuple[str, ...] | None = None
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What the storage tells of the bucket's fill: bytes in it, and how many it may hold; None: it tells no limit."""

    used: int
    limit: int | None


async def room_told(control: ControlPlane) -> Room | None:
    """Ceph's gateway tells it in the answer to a HEAD of the bucket (`X-RGW-Bytes-Used`, `X-RGW-Quota-Bucket-Size`,
    the latter to the bucket's owner, not positive without a quota); S3 itself has no way to ask. The user's quota is
    over all buckets, so that nothing can be said of what is left of it. Raises StorageError."""
    answer = await control.ask("head_bucket", Op.STAT, "")
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    used, limit = (_number(headers.get(f"x-rgw-{name}")) for name in ("bytes-used", "quota-bucket-size"))
    if used is None:
        return None
    return Room(used, limit if limit is not None and limit > 0 else None)


def _number(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None


async def get_range(control: ControlPlane, key: str, offset: int, length: int) -> bytes:
    """A part of an object, as it came (at most 1 MiB). Raises StorageError."""
    answer = await control.ask(
        "get_object", Op.GET, key, Key=control.endpoint.prefix + key, Range=f"bytes={offset}-{offset + length - 1}"
    )
    stream = answer["Body"]
    async with stream:
        data: bytes = await stream.read(MAX_ANSWER)
    return data


async def begin_and_abort_upload(control: ControlPlane, key: str, part: bytes) -> None:
    """Begin an upload in parts, send one, and take it back. Raises StorageError for the first that fails."""
    where = control.endpoint.prefix + key
    begun = await control.ask("create_multipart_upload", Op.PUT, key, Key=where)
    upload = begun["UploadId"]
    try:
        await control.ask("upload_part", Op.PUT, key, Key=where, UploadId=upload, PartNumber=1, Body=part)
    finally:
        await control.ask("abort_multipart_upload", Op.DELETE, key, Key=where, UploadId=upload)


async def region_told(control: ControlPlane) -> str | None:
    """The bucket's region, if the storage tells it."""
    answer = await _unless_untold(control, "get_bucket_location")
    # Nothing stands for the first region that there was.
    return None if answer is None else str(answer.get("LocationConstraint") or "us-east-1")


async def bucket_settings(control: ControlPlane) -> BucketSettings:
    """Raises StorageError only where the storage cannot be asked at all."""
    versioning = await _unless_untold(control, "get_bucket_versioning")
    rules = await _unless_untold(control, "get_bucket_lifecycle_configuration")
    lock = await _unless_untold(control, "get_object_lock_configuration")
    expiring = None
    if rules is not None:
        expiring = tuple(_prefix(rule) for rule in rules.get("Rules", ()) if _acts(rule))
    mode = None
    if lock is not None:
        rule = (lock.get("ObjectLockConfiguration") or {}).get("Rule") or {}
        mode = str((rule.get("DefaultRetention") or {}).get("Mode", ""))
    return BucketSettings(None if versioning is None else str(versioning.get("Status", "")), expiring, mode)


async def _unless_untold(control: ControlPlane, name: str) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = await control.ask(name, Op.STAT, "")
    except StorageError as error:
        # Not there (404), not possible here (4xx, 501), not ours to ask (403): nothing of it is a fault.
        if 400 <= error.context.http_status < 500 or error.context.http_status == 501:
            return None
        if error.kind in (ErrorKind.NETWORK, ErrorKind.TIMEOUT):
            raise
        return None
    return answer


def _acts(rule: dict[str, Any]) -> bool:
    if rule.get("Status") != "Enabled":
        return False
    return any(name in rule for name in ("Expiration", "Transitions", "NoncurrentVersionExpiration"))


def _prefix(rule: dict[str, Any]) -> str:
    found = rule.get("Filter") or {}
    if not isinstance(found, dict):
        return ""
    both = found.get("And")
    inner = both if isinstance(both, dict) else found
    return str(inner.get("Prefix") or rule.get("Prefix") or "")
