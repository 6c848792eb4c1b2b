"""Preflight: what is set on the bucket that would surprise: region, versions, lock, quota, rules that
delete by themselves."""

from __future__ import annotations

from functools import partial

from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.setup import RunSetup
from sai3tui.config.model import StageType
from sai3tui.config.ops import Op
from sai3tui.config.units import format_bytes
from sai3tui.events import Level
from sai3tui.storage.control import ControlPlane
from sai3tui.storage.credentials import region_of
from sai3tui.storage.s3probe import BucketSettings, bucket_settings, region_told, room_told


async def check_bucket(setup: RunSetup, control: ControlPlane, checks: Checks) -> None:
    subject = control.endpoint.uri
    await checks.run("region", subject, partial(_region, setup, control))
    await checks.run("bucket", subject, partial(_settings, setup, control))
    if _writes(setup):
        await checks.run("space", subject, partial(_space, setup, control))


async def _region(setup: RunSetup, control: ControlPlane) -> Told:
    ours, theirs = region_of(setup.environ), await region_told(control)
    if theirs is None:
        return Told(f"requests are signed for {ours}; the storage does not tell its region", "", Level.INFO)
    if theirs not in (ours, ""):
        return Told(
            f"the bucket is in {theirs}, requests are signed for {ours}",
            f"HEAD /{control.endpoint.bucket}",
            Level.WARNING,
            f"set AWS_REGION={theirs}",
        )
    return Told(f"requests are signed for {ours}, where the bucket is", "GetBucketLocation")


async def _settings(setup: RunSetup, control: ControlPlane) -> Told:
    found = await bucket_settings(control)
    odd = surprises(found, control.endpoint.prefix, deletes=_deletes(setup), writes=_writes(setup))
    told = [
        f"versioning {found.versioning or 'off'}" if found.versioning is not None else "versioning not told",
        f"{len(found.expiring)} lifecycle rule(s)" if found.expiring is not None else "no lifecycle rules told",
        f"object lock {found.lock or 'off'}" if found.lock is not None else "object lock not told",
    ]
    if odd:
        messages, advice = zip(*odd, strict=True)
        return Told("; ".join(messages), ", ".join(told), Level.WARNING, "; ".join(advice))
    return Told("nothing is set that would surprise", ", ".join(told))


async def _space(setup: RunSetup, control: ControlPlane) -> Told:
    room = await room_told(control)
    # Where all endpoints show the same objects, those of all agents go into the one bucket.
    whole = sum(each.bytes_expected for each in setup.sets)
    needed = whole if setup.resolved.shared else setup.bytes_expected // len(setup.endpoints)
    asked = f"{format_bytes(needed)} to be written"
    if room is None:
        return Told("the store does not tell its quota or free space", asked, Level.INFO)
    told = f"{format_bytes(room.used)} in the bucket, {asked}"
    if room.limit is None:
        return Told("the bucket has no quota; the store does not tell its free space", told, Level.INFO)
    left = max(0, room.limit - room.used)
    evidence = f"quota {format_bytes(room.limit)}, {told}"
    if left >= needed:
        return Told(f"{format_bytes(left)} are left of the bucket's quota", evidence)
    advice = "raise the bucket's quota, make room, or use fewer or smaller objects"
    # Some of what is there may be this layout's own, which is not written again.
    level = Level.WARNING if setup.cache_dir.exists() else Level.ERROR
    message = f"needs {format_bytes(needed)}, {format_bytes(left)} are left of the bucket's quota"
    return Told(message, evidence, level, advice)


def surprises(found: BucketSettings, prefix: str, *, deletes: bool, writes: bool) -> list[tuple[str, str]]:
    """What a run that `deletes` or `writes` objects below `prefix` would meet: (message, advice) each."""
    odd = []
    if found.versioning == "Enabled" and deletes:
        advice = "use a bucket without versioning, or let a lifecycle rule remove old versions"
        odd.append(("the bucket keeps versions: what is deleted or overwritten still takes up space", advice))
    if found.lock and (deletes or writes):
        advice = "use a bucket without default retention"
        odd.append((f"the bucket locks new objects ({found.lock}): they cannot be deleted", advice))
    expiring = [rule for rule in found.expiring or () if prefix.startswith(rule) or rule.startswith(prefix)]
    if expiring and writes:
        shown = ", ".join(repr(rule) for rule in expiring[:4])
        advice = "use another prefix, or turn the rule off: objects would vanish, or move, in between"
        odd.append((f"lifecycle rules act on what the run creates: below {shown}", advice))
    return odd


def _deletes(setup: RunSetup) -> bool:
    return any(stage.type is StageType.CLEANUP for stage in setup.stages) or any(
        op.op is Op.DELETE and op.weight for op in setup.resolved.ops
    )


def _writes(setup: RunSetup) -> bool:
    return any(stage.type is StageType.PREPARE for stage in setup.stages) or any(
        op.op is Op.PUT and op.weight for op in setup.resolved.ops
    )
