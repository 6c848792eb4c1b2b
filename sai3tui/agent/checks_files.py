"""Preflight: a directory under test: that it is one, what it is mounted from, its room, O_DIRECT."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sai3tui.agent.checks_host import nearest_existing
from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.setup import RunSetup, check_allowed
from sai3tui.config.units import format_bytes
from sai3tui.errors import ErrorContext, ErrorKind, ResourceError, StorageError
from sai3tui.events import Level
from sai3tui.storage.engine import Endpoint

SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
"""Nothing below these is ever a target, but /dev/shm."""
SYSTEM_ALONE = ("/", "/home", "/root", "/var", "/var/lib", "/tmp", "/opt", "/mnt", "/media", "/srv", "/run")
"""Neither are these themselves; directories below them are."""
MOUNT_PLACES = ("/mnt", "/media", "/net", "/nfs", "/lustre", "/gpfs", "/beegfs", "/weka", "/scratch")
"""Where people mount what they test: on the root disk there, a mount is missing."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    place: str
    kind: str
    source: str
    options: str


async def check_directory(setup: RunSetup, endpoint: Endpoint, checks: Checks) -> bool:
    """Whether the directory can be used."""
    subject = endpoint.uri
    if not await checks.run("path", subject, partial(asyncio.to_thread, _path, setup, endpoint)):
        return False
    return await checks.run("mount", subject, partial(asyncio.to_thread, _mount, endpoint))


async def check_room(setup: RunSetup, endpoint: Endpoint, checks: Checks) -> None:
    await checks.run("space", endpoint.uri, partial(asyncio.to_thread, _space, setup, endpoint))
    if endpoint.uri.startswith("direct:"):
        await checks.run("direct", endpoint.uri, partial(asyncio.to_thread, _direct, endpoint))


def forbidden(directory: Path) -> bool:
    """Whether this is a directory of the system, links resolved."""
    place = directory.resolve()
    if str(place) in SYSTEM_ALONE or place == Path.home():
        return True
    return any(place.is_relative_to(system) for system in SYSTEM) and not place.is_relative_to("/dev/shm")


def mount_of(directory: Path, mountinfo: str) -> Mount | None:
    """The mount that `directory` is on, out of /proc/self/mountinfo."""
    best: Mount | None = None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if not separator or len(fields) < 6 or len(rest) < 2:
            continue
        place = fields[4].encode("latin-1", "replace").decode("unicode_escape")
        # Of two on one place the later one counts.
        if directory.is_relative_to(place) and (best is None or len(place) >= len(best.place)):
            best = Mount(place, rest[0], rest[1], fields[5])
    return best


def _path(setup: RunSetup, endpoint: Endpoint) -> Told:
    check_allowed(endpoint.prefix, setup.limits.allow_path, endpoint.uri)
    directory = Path(endpoint.prefix)
    if forbidden(directory):
        raise StorageError(
            f"{directory.resolve()} is a directory of the system, and no place for a test",
            hint="name a directory of its own",
            context=ErrorContext(uri=endpoint.uri),
            kind=ErrorKind.PERMISSION,
        )
    there = nearest_existing(directory)
    if not there.is_dir():
        raise StorageError(f"{there} is not a directory", context=ErrorContext(uri=endpoint.uri))
    return Told("exists" if there == directory else f"can be made below {there}", str(directory))


def _mount(endpoint: Endpoint) -> Told:
    there = nearest_existing(Path(endpoint.prefix)).resolve()
    try:
        mount = mount_of(there, Path("/proc/self/mountinfo").read_text())
    except OSError:
        mount = None
    return mount_told(there, mount, endpoint.uri)


def mount_told(there: Path, mount: Mount | None, uri: str) -> Told:
    """What the mount of the directory means for a test. Raises StorageError for one that is read-only."""
    if mount is None:
        return Told("this host does not tell its mounts", str(there), Level.INFO)
    evidence = f"{mount.source} on {mount.place}, {mount.options}"
    if "ro" in mount.options.split(","):
        raise StorageError(
            f"{mount.place} is mounted read-only",
            hint="mount it for writing",
            context=ErrorContext(uri=uri),
            kind=ErrorKind.PERMISSION,
        )
    if mount.place == "/" and any(there.is_relative_to(place) for place in MOUNT_PLACES):
        return Told(
            f"{there} is on the root disk, not on a mount of its own",
            evidence,
            Level.WARNING,
            "is something not mounted? the root disk would be measured, and filled",
        )
    return Told(f"{mount.kind} on {mount.place}", evidence)


def _space(setup: RunSetup, endpoint: Endpoint) -> Told:
    there = nearest_existing(Path(endpoint.prefix))
    free = shutil.disk_usage(there).free
    needed = setup.bytes_expected // len(setup.endpoints)
    evidence = f"{format_bytes(free)} free, {format_bytes(needed)} to be written here"
    if free >= needed * 1.1:
        return Told("there is room for the objects", evidence)
    advice = "make room, or use fewer or smaller objects"
    if setup.cache_dir.exists():
        # Some of them may have been written by an earlier run.
        return Told("there may not be room for the objects", evidence, Level.WARNING, advice)
    raise ResourceError(
        f"there is no room for the objects: {evidence}", hint=advice, context=ErrorContext(uri=endpoint.uri)
    )


def _direct(endpoint: Endpoint) -> Told:
    there = nearest_existing(Path(endpoint.prefix))
    probe = there / f".sai3tui-probe-{secrets.token_hex(8)}"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise StorageError(
            "the file system does not support O_DIRECT",
            hint="write file:// instead of direct://, or use another file system",
            context=ErrorContext(uri=endpoint.uri),
            kind=ErrorKind.CONFIG,
        ) from error
    finally:
        probe.unlink(missing_ok=True)
    return Told("a file was opened with O_DIRECT", str(there))
