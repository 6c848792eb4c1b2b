"""`sai3tui cache show|verify|drop`: what is on record on this host about the objects of layouts."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json as json_format
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sai3tui.config.model import Namespace
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import NamespaceFrom, Resolved, ResolvedAgent
from sai3tui.config.units import format_count
from sai3tui.controller.cache_places import space_of_agent
from sai3tui.errors import ConfigError, ResourceError
from sai3tui.state.generations import Known
from sai3tui.state.layout import LayoutCache
from sai3tui.state.scratch import is_scratch
from sai3tui.state.states import ObjectState, wanted
from sai3tui.storage.control import open_control
from sai3tui.storage.open import endpoint_from_location
from sai3tui.workload.objects import layout_hash, object_sets
from sai3tui.workload.partition import endpoint_of, index_of

EXIT_OK = 0
EXIT_DIFFERENT = 1
SAMPLE = 64
SETTLED = (Namespace.SHARED, Namespace.INDEPENDENT)


@dataclass(frozen=True, slots=True)
class Place:
    """One state cache: its layout, whose it is (an agent's or the controller's) and where it stands. `space`: of the
    controller's, whose objects these are (`space_of_agent`), where agents have objects of their own."""

    layout: str
    owner: str
    directory: Path
    space: str = ""


def show(root: Path, layout: str, json: bool, out: TextIO) -> int:
    """Every state cache below the data directory `root`, or those of one layout (a hash or a configuration file).
    Raises ResourceError for one that is damaged, ConfigError for a configuration that is invalid."""
    found = [_described(place) for place in places(root, _hashes(layout))]
    if json:
        json_format.dump({"caches": found}, out, indent=2)
        out.write("\n")
        return EXIT_OK
    if not found:
        out.write(f"no state cache below {root}\n")
    for each in found:
        out.write(f"{each['layout']}  {each['owner']}  {each['directory']}\n")
        for generation in each["generations"]:
            states = ", ".join(f"{format_count(n)} {state}" for state, n in generation["states"].items() if n)
            complete = "complete" if generation["complete"] else "unfinished"
            slots = f"{generation['slots']} slots"
            out.write(f"  generation {generation['number']} ({complete}, {slots}): {states}\n")
            for row in generation["failed"][:16]:
                out.write(f"    failed: set {row['set']}, object {row['index']}: {row['message']} ({row['uri']})\n")
            if len(generation["failed"]) > 16:
                out.write(f"    and {len(generation['failed']) - 16} more failed objects\n")
        if each["names"]:
            out.write(f"  {format_count(each['names'])} objects that PUTs of execute stages made\n")
    return EXIT_OK


def verify(root: Path, config: Path, json: bool, out: TextIO) -> int:
    """Compare a sample of what is recorded as created with the storage, by HEAD. 1 if anything is missing or of another
    size. Raises ConfigError, ResourceError, StorageError."""
    found = [
        _compared(place, resolved)
        for resolved in _resolved(config)
        for place in places(root, frozenset({layout_hash(resolved)}))
    ]
    if json:
        json_format.dump({"caches": found}, out, indent=2)
        out.write("\n")
    elif not found:
        out.write(f"no state cache of {config} below {root}\n")
    else:
        for each in found:
            out.write(f"{each['directory']}: {each['there']} of {each['sampled']} sampled objects are there\n")
            for uri in each["missing"]:
                out.write(f"  missing or of another size: {uri}\n")
    return EXIT_DIFFERENT if any(each["missing"] for each in found) else EXIT_OK


def drop(root: Path, layout: str, out: TextIO) -> int:
    """Forget what is on record about a layout (a hash or a configuration file); the objects themselves stay. Raises
    ConfigError if nothing is, ResourceError if a run uses it."""
    found = places(root, _hashes(layout))
    if not layout or not found:
        raise ConfigError(f"no state cache of {layout or 'that layout'} below {root}", hint="see sai3tui cache show")
    with contextlib.ExitStack() as stack:
        for place in found:
            stack.enter_context(_unused(root, place))
        for directory in sorted({_top(place) for place in found}):
            shutil.rmtree(directory)
            out.write(f"dropped {directory}\n")
    return EXIT_OK


def places(root: Path, layouts: frozenset[str] = frozenset()) -> list[Place]:
    """State caches below a data directory, of some layouts or all: `*/cache/LAYOUT` of agents,
    `coordinator/LAYOUT/SPACE` of controllers."""
    found = []
    for data in sorted(root.rglob("data.mdb")):
        parts = data.relative_to(root).parts
        if is_scratch(data):
            continue
        if "cache" in parts[:-2]:
            at = parts.index("cache")
            found.append(Place(parts[at + 1], "/".join(parts[:at]) or "agent", data.parent))
        elif "coordinator" in parts[:-3]:
            at = parts.index("coordinator")
            space = parts[at + 2]
            found.append(Place(parts[at + 1], f"controller, space {space}", data.parent, space))
    return [place for place in found if not layouts or place.layout in layouts]


def _hashes(layout: str) -> frozenset[str]:
    if not layout:
        return frozenset()
    path = Path(layout)
    return frozenset(map(layout_hash, _resolved(path))) if path.is_file() else frozenset({layout})


def _resolved(config: Path) -> list[Resolved]:
    """A configuration, in both ways that preflight may have settled it."""
    try:
        text = config.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {config}: {error.strerror}") from error
    assumed = load_resolved(text, str(config)).require()
    if assumed.namespace_from is not NamespaceFrom.ASSUMED:
        return [assumed]
    return [load_resolved(text, str(config), namespace=found).require() for found in SETTLED]


def _known(place: Place) -> tuple[list[Known], dict[int, list[dict[str, object]]], int]:
    async def read() -> tuple[list[Known], dict[int, list[dict[str, object]]], int]:
        cache = LayoutCache.open(place.directory, 0)
        try:
            known = cache.known()
            failed = {each.record.number: list(cache.failed_rows(each.record)) for each in known}
            return known, failed, sum(taken.total for taken in cache.reserved().values())
        finally:
            await cache.close()

    return asyncio.run(read())


def _described(place: Place) -> dict[str, Any]:
    known, failed, names = _known(place)
    return {
        "layout": place.layout,
        "owner": place.owner,
        "directory": str(place.directory),
        "generations": [
            {
                "number": each.record.number,
                "complete": each.record.complete,
                "slots": each.record.slots,
                "sets": dict(each.record.sets),
                "states": {state.name.lower(): each.held(state) for state in ObjectState},
                "failed": failed[each.record.number],
            }
            for each in known
        ],
        "names": names,
    }


def _compared(place: Place, resolved: Resolved) -> dict[str, Any]:
    known = _known(place)[0]
    picks = _sample(known[-1]) if known else []
    missing = asyncio.run(_look(picks, resolved, _agent_of(place, resolved))) if picks else []
    return {
        "directory": str(place.directory),
        "sampled": len(picks),
        "there": len(picks) - len(missing),
        "missing": missing,
    }


def _agent_of(place: Place, resolved: Resolved) -> ResolvedAgent:
    """Whose endpoints have the objects. Raises ConfigError where that cannot be told."""
    agents = resolved.agents
    roots = {tuple(each.location for each in agent.endpoints) for agent in agents}
    if resolved.shared or len(roots) == 1:
        return agents[0]
    if place.space:
        named = [agent for agent in agents if space_of_agent(resolved, agent.id) == place.space]
    else:
        named = [agent for agent in agents if place.owner == f"agent-{agent.address.rpartition(':')[2]}"]
    if len(named) != 1:
        hint = "verify on the controller's host, whose caches go by agent"
        raise ConfigError(f"{place.directory} does not say which agent of the configuration it is of", hint=hint)
    return named[0]


def _sample(known: Known) -> list[tuple[int, int, int]]:
    """(set, index, k in its slot) of objects recorded as created, spread evenly."""
    created = wanted(ObjectState.CREATED)
    total = known.held(ObjectState.CREATED)
    step = max(1, total // SAMPLE)
    picks: list[tuple[int, int, int]] = []
    seen = 0
    for held in known.record.holdings:
        for ks in known.states(held.set_id, held.slot).where(created):
            mine = ks[(ks >= held.first_k) & (ks < held.end_k)]
            picks += [
                (held.set_id, index_of(held.slot, known.record.slots, int(k)), int(k))
                for k in mine[(-seen) % step :: step]
            ]
            seen += int(mine.size)
    return picks


async def _look(picks: Sequence[tuple[int, int, int]], resolved: Resolved, agent: ResolvedAgent) -> list[str]:
    """Where all endpoints show the same objects the first is asked, else the one that has the object."""
    sets = object_sets(resolved)
    locations = [each.location for each in agent.endpoints][: 1 if resolved.shared else None]
    missing = []
    for number, location in enumerate(locations):
        async with open_control(endpoint_from_location(location, os.environ), os.environ) as control:
            for set_id, index, k in picks:
                objects = sets[set_id]
                here = endpoint_of(k, len(locations)) == number
                if here and await control.head(objects.key(index)) != objects.size(index):
                    missing.append(location.uri_of(objects.key(index)))
    return missing


def _top(place: Place) -> Path:
    """The directory of the whole layout."""
    return place.directory if place.directory.name == place.layout else place.directory.parent


@contextlib.contextmanager
def _unused(root: Path, place: Place) -> Iterator[None]:
    """Hold the lock that a run holds: an agent's on its data directory, a controller's on the layout."""
    top = _top(place)
    lock = top / "lock" if "coordinator" in top.relative_to(root).parts else top.parent.parent / "lock"
    try:
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        hint = "end the agent or the run that uses it first"
        raise ResourceError(f"{place.directory} is in use", hint=hint) from error
