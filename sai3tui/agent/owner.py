"""Whose the objects below a prefix are: a marker names the layout that owns it.

A run that writes or deletes claims its prefixes before it begins; one of another layout, and one that finds objects
there that nobody has marked, needs somebody's word (`--adopt`) first. Cleanup takes the marker away with the last of
the objects.
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
from sai3tui.config.resolve_objects import DELETING
from sai3tui.config.resolved import OpSource
from sai3tui.errors import ErrorContext, ErrorKind, StorageError
from sai3tui.events import Level
from sai3tui.storage.control import Control

MARKER = f"{PROBE_DIRECTORY}owner.json"
MAX_MARKER_BYTES = 4096
ADVICE = "use another prefix; or, if all below it may be overwritten and deleted, take it over: --adopt"


class ForeignPrefixError(StorageError):
    """What is below a prefix belongs to others, and nobody has given leave to take it over."""

    kind = ErrorKind.PERMISSION


@dataclass(frozen=True, slots=True)
class Owner:
    """What a marker says."""

    layout: str
    host: str = ""
    since: str = ""

    def words(self) -> str:
        return f"layout {self.layout}" + (f" of {self.host}" if self.host else "") + f", since {self.since or 'ever'}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether the run may use a prefix. `taken`: whose it is, if it is not the run's; `marked`: whether the marker is
    this layout's."""

    told: str
    evidence: str
    taken: bool = False
    marked: bool = False


def guards(setup: RunSetup) -> bool:
    """Whether the run can do harm to objects that are there."""
    return bool(needed_operations(setup) & {Op.PUT, *DELETING})


def marked_endpoints(setup: RunSetup) -> range:
    """Endpoints of this agent below which a marker stands: one shows it for all that share their objects."""
    return range(1 if setup.resolved.shared else len(setup.endpoints))


def places(setup: RunSetup) -> list[str]:
    """Below the endpoints: where the run makes objects, or deletes those that it finds."""
    found = {each.prefix for each in setup.resolved.sets}
    for op in setup.resolved.ops:
        harms = op.source is OpSource.NEW or (op.op in DELETING and op.source in (OpSource.LISTED, OpSource.PREFIX))
        if op.weight and harms:
            found.add(list_prefix(op.pattern))
    return sorted(found)


async def check_owners(setup: RunSetup, checks: Checks, controls: Controls, recorded: int | None) -> None:
    """The check `owner` of every namespace that this agent uses. `recorded`: objects of this layout that are on record
    at this agent, None for more than can be added up."""
    if guards(setup):
        for number in marked_endpoints(setup):
            control = await controls.of(number)
            await checks.run("owner", control.endpoint.uri, partial(_told, setup, control, recorded))


async def claim(setup: RunSetup, controls: Controls, recorded: int | None) -> list[str]:
    """Mark what this run will write as its layout's; returns what was taken over from others.

    Raises ForeignPrefixError where somebody's word is missing, and StorageError.
    """
    taken: list[str] = []
    if not guards(setup) or (setup.resolved.shared and setup.agent.index):
        return taken
    for number in marked_endpoints(setup):
        control = await controls.of(number)
        standing = await stand(setup, control, recorded)
        if standing.marked:
            continue
        if standing.taken and not setup.adopt:
            raise _foreign(control, standing)
        if standing.taken:
            taken.append(f"{control.endpoint.uri} is taken over: it {standing.told}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"product": "sai3tui", "layout": setup.layout, "host": socket.gethostname(), "since": now}
        await write_probe(control, MARKER, (json.dumps(document) + "\n").encode())
    return taken


async def release(setup: RunSetup, controls: Controls) -> None:
    """Take the markers of this layout away where no object is left: whichever agent is the last to clean up does.
    Raises StorageError."""
    for number in marked_endpoints(setup):
        control = await controls.of(number)
        owner = await read_owner(control)
        if owner is None or owner.layout != setup.layout:
            continue
        if await _first_object(control, places(setup)) is None:
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


async def stand(setup: RunSetup, control: Control, recorded: int | None) -> Standing:
    """Whose a prefix is, by its marker and by what is there. Raises StorageError."""
    owner = await read_owner(control)
    if owner is not None and owner.layout == setup.layout:
        return Standing("belongs to this layout", owner.words(), marked=True)
    if owner is not None:
        key = await _first_object(control, [""])
        if key is None:
            return Standing(f"belonged to {owner.words()}, of which nothing is left", MARKER)
        return Standing(f"belongs to {owner.words()}", f"{MARKER}, and objects such as {key!r}", taken=True)
    if recorded is None or recorded:
        return Standing("what this layout created is on record here", str(setup.cache_dir))
    key = await _first_object(control, places(setup))
    if key is None:
        return Standing("nothing is there that the run would touch", "no marker, no objects")
    return Standing(f"has objects that no run of this layout is known to have made, such as {key!r}", key, taken=True)


async def _told(setup: RunSetup, control: Control, recorded: int | None) -> Told:
    standing = await stand(setup, control, recorded)
    if not standing.taken:
        return Told(standing.told, standing.evidence)
    if not setup.adopt:
        raise _foreign(control, standing)
    return Told(f"{standing.told}; it is taken over", standing.evidence, Level.INFO)


async def _first_object(control: Control, below: list[str]) -> str | None:
    """An object below one of these places that is not one of our own notes."""
    for place in below:
        async for key, _ in control.list(place):
            if not key.startswith(PROBE_DIRECTORY):
                return key
    return None


def _foreign(control: Control, standing: Standing) -> ForeignPrefixError:
    uri = control.endpoint.uri
    context = ErrorContext(uri=uri, endpoint=uri)
    return ForeignPrefixError(f"this prefix {standing.told}", hint=ADVICE, context=context)
