"""Whose the objects below a prefix are: a marker names the layout that owns it.

A run that writes or deletes claims its prefixes; one of another layout, and one that finds objects there that nobody
has marked, needs somebody's word (`--adopt`) first. Cleanup takes the marker away with the last of the objects.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from sai3tui.agent.checks_storage import PROBE_DIRECTORY, needed_operations, write_probe
from sai3tui.agent.controls import Controls
from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.setup import RunSetup
from sai3tui.config.ops import Op
from sai3tui.config.patterns import list_prefix
from sai3tui.config.resolved import OpSource
from sai3tui.errors import ErrorContext, ErrorKind, StorageError
from sai3tui.events import Level
from sai3tui.storage.control import Control

MARKER = f"{PROBE_DIRECTORY}owner.json"
MAX_MARKER_BYTES = 4096
ADVICE = "use another prefix; or, if all below it may be overwritten and deleted, take it over: --adopt"


@dataclass(frozen=True, slots=True)
class Owner:
    """What a marker says."""

    layout: str
    host: str = ""
    since: str = ""

    def words(self) -> str:
        return f"layout {self.layout}" + (f" of {self.host}" if self.host else "") + f", since {self.since or 'ever'}"


def guards(setup: RunSetup) -> bool:
    """Whether the run can do harm to objects that are there."""
    return bool(needed_operations(setup) & {Op.PUT, Op.DELETE})


def marked_endpoints(setup: RunSetup) -> range:
    """Endpoints of this agent below which a marker stands: one shows it for all that share their objects."""
    return range(1 if setup.resolved.shared else len(setup.endpoints))


def places(setup: RunSetup) -> list[str]:
    """Below the endpoints: where the run makes objects."""
    found = {each.prefix for each in setup.resolved.sets}
    found |= {list_prefix(op.pattern) for op in setup.resolved.ops if op.source is OpSource.NEW and op.weight}
    return sorted(found)


async def check_owners(setup: RunSetup, checks: Checks, controls: Controls) -> None:
    """The check `owner` of every namespace that this agent uses."""
    if guards(setup):
        for number in marked_endpoints(setup):
            control = await controls.of(number)
            await checks.run("owner", control.endpoint.uri, partial(_told, setup, control))


async def claim(setup: RunSetup, controls: Controls) -> str:
    """Mark what this run will write as its layout's, unless another one owns it; returns what kept it from that.

    Raises StorageError.
    """
    if not guards(setup) or (setup.resolved.shared and setup.agent.index):
        return ""
    for number in marked_endpoints(setup):
        control = await controls.of(number)
        owner = await read_owner(control)
        if owner is not None and owner.layout == setup.layout:
            continue
        if owner is not None and not setup.adopt:
            return f"{control.endpoint.uri} belongs to {owner.words()}, and is used without having been adopted"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"product": "sai3tui", "layout": setup.layout, "host": socket.gethostname(), "since": now}
        await write_probe(control, MARKER, (json.dumps(document) + "\n").encode())
    return ""


async def release(setup: RunSetup, controls: Controls) -> None:
    """Take the markers of this layout away. Raises StorageError."""
    if setup.resolved.shared and setup.agent.index:
        return
    for number in marked_endpoints(setup):
        control = await controls.of(number)
        owner = await read_owner(control)
        if owner is not None and owner.layout == setup.layout:
            await control.delete(MARKER)


async def read_owner(control: Control) -> Owner | None:
    """What the marker says; one that cannot be understood belongs to somebody unknown. Raises StorageError."""
    size = await control.head(MARKER)
    if size is None:
        return None
    data = await control.get(MARKER) if size <= MAX_MARKER_BYTES else b""
    try:
        document = json.loads(data or b"")
        return Owner(
            str(document["layout"])[:64], str(document.get("host", ""))[:64], str(document.get("since", ""))[:32]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Owner("unknown")


async def _told(setup: RunSetup, control: Control) -> Told:
    owner = await read_owner(control)
    if owner is not None and owner.layout == setup.layout:
        return Told("belongs to this layout", owner.words())
    if owner is not None:
        if setup.adopt:
            return Told(f"is taken over from {owner.words()}", MARKER, Level.INFO)
        raise _foreign(control, f"belongs to {owner.words()}")
    if setup.cache_dir.exists():
        return Told("what this layout created is on record here", str(setup.cache_dir))
    key = await _first_foreign(setup, control)
    if key is None:
        return Told("nothing is there that the run would touch", "no marker, no objects")
    if setup.adopt:
        return Told("has objects that nobody has marked, which are taken over", key, Level.INFO)
    raise _foreign(control, f"has objects that no run of this layout is known to have made, such as {key!r}")


async def _first_foreign(setup: RunSetup, control: Control) -> str | None:
    """An object below one of the places that the run writes to."""
    for place in places(setup):
        async for key, _ in control.list(place):
            if not key.startswith(PROBE_DIRECTORY):
                return key
    return None


def _foreign(control: Control, what: str) -> StorageError:
    uri = control.endpoint.uri
    return StorageError(
        f"this prefix {what}", hint=ADVICE, context=ErrorContext(uri=uri, endpoint=uri), kind=ErrorKind.PERMISSION
    )
