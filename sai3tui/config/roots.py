"""Which locations the agents work against, and how a URI or path of the file becomes a key below them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sai3tui.config.locations import Location, is_absolute, parse_location
from sai3tui.config.model import Config, Placed, Position
from sai3tui.config.problems import ProblemList
from sai3tui.errors import ConfigError

DIRECTORY = "/"


@dataclass(frozen=True, slots=True)
class AgentRoots:
    """The roots of one agent. `from_target`: there are no endpoints, the root is a target."""

    locations: tuple[Location, ...]
    from_target: bool


@dataclass(frozen=True, slots=True)
class Roots:
    """The roots of all agents. Relative paths stand under `base` below each of them; `base` is empty or ends in `/`;
    None means that there is nothing a relative path could stand under."""

    agents: tuple[AgentRoots, ...]
    base: str | None

    def all(self) -> list[Location]:
        return [location for agent in self.agents for location in agent.locations]

    def key_of(self, text: str) -> str:
        """The key, or key pattern, that a path or URI of the file names under every root. Raises ConfigError."""
        if not is_absolute(text):
            if self.base is None:
                raise ConfigError(
                    f"{text!r} is relative, but there is no target and no endpoint it could stand under",
                    hint="add target:, or write a whole URI",
                )
            return self.base + _checked_key(text.lstrip("/"), text)
        place, tail = _split(text)
        below = [root for root in self.all() if _is_below(place, root)]
        if not below:
            known = ", ".join(dict.fromkeys(root.uri for root in self.all()))
            raise ConfigError(
                f"{text!r} is not below any place that the agents work against ({known[:200]})",
                hint="write it relative, as in 'data/', or correct target and endpoints",
            )
        root = max(below, key=lambda candidate: len(candidate.prefix))
        return place.prefix[len(root.prefix) :] + _checked_key(tail, text)


def find_roots(config: Config, problems: ProblemList) -> Roots | None:
    """The roots of every agent; None, with errors in `problems`, where they cannot be told."""
    agents: list[AgentRoots] = []
    base: str | None = ""
    common = _common_endpoints(config)
    target = _parsed(config.target, problems) if config.target is not None else None
    fallback: Location | None = None
    for agent in config.agents:
        own = agent.multi_endpoint.endpoints if agent.multi_endpoint is not None else None
        if own is not None:
            placed, from_target = own, False
        elif agent.target_override is not None:
            placed, from_target = (agent.target_override,), True
        elif common is not None:
            placed, from_target = common, False
        else:
            if fallback is None:
                alone = all(a.multi_endpoint is None and a.target_override is None for a in config.agents)
                fallback, base = _target_root(config, target, problems, widen=alone)
            if fallback is None:
                return None
            agents.append(AgentRoots((fallback,), True))
            continue
        locations = [_parsed(item, problems) for item in placed]
        agents.append(AgentRoots(tuple(found for found in locations if found is not None), from_target))
    if any(not agent.locations for agent in agents) or problems.has_errors:
        return None
    roots = Roots(tuple(agents), base)
    _check_schemes(roots, config, problems)
    _compare_target(roots, target, config, problems)
    return None if problems.has_errors else roots


def _common_endpoints(config: Config) -> tuple[Placed, ...] | None:
    return config.multi_endpoint.endpoints if config.multi_endpoint is not None else None


def _parsed(item: Placed, problems: ProblemList) -> Location | None:
    try:
        location = parse_location(item.text)
    except ConfigError as error:
        problems.error(item.at, "uri", error.message, error.hint)
        return None
    if "*" in location.uri:
        problems.error(item.at, "uri", f"{item.text!r} has a '*' in it", "only paths of the workload are patterns")
        return None
    return location


def _target_root(
    config: Config, target: Location | None, problems: ProblemList, *, widen: bool
) -> tuple[Location | None, str | None]:
    """The one root of agents without endpoints, and the base of relative paths below it.

    That is the target; where absolute URIs of the file lie beside it, or there is no target, their nearest common
    ancestor.
    """
    if config.target is not None and target is None:
        return None, None
    absolute = _absolute_places(config) if widen else []
    places = [place for place, _ in absolute]
    if target is not None and all(_is_below(place, target) for place in places):
        return target, ""
    everything = places if target is None else [target, *places]
    if not everything:
        at = config.distributed.at
        message = "there is no target, no endpoint and no absolute URI: nothing says what to work against"
        problems.error(at, "required", message, "add target: s3://BUCKET/PREFIX/ or file:///ABSOLUTE/DIR/")
        return None, None
    first = everything[0]
    for place, at in absolute:
        if _identity(place) != _identity(first):
            message = f"{place.uri!r} is on other storage than {first.uri!r}"
            problems.error(at, "uri", message, "one file works against one bucket or file system")
            return None, None
    root = _ancestor(everything)
    return root, None if target is None else target.prefix[len(root.prefix) :]


def _absolute_places(config: Config) -> list[tuple[Location, Position]]:
    """The directories of all absolute URIs in object sets and workload that can be parsed."""
    texts = [(op.path, op.at) for op in config.entries]
    if config.prepare is not None:
        bases = [entry.base_uri for entry in config.prepare.ensure_objects if entry.base_uri is not None]
        texts += [(base.text if base.text.endswith("/") else base.text + "/", base.at) for base in bases]
    found = []
    for text, at in texts:
        if is_absolute(text):
            try:
                found.append((_split(text)[0], at))
            except ConfigError:  # reported where the set or the operation is resolved
                continue
    return found


def _split(text: str) -> tuple[Location, str]:
    """An absolute URI or pattern as the directory of its literal part, and the rest."""
    literal = text.partition("*")[0]
    cut = literal.rfind("/") + 1
    if literal[:cut].endswith("://"):
        if "*" in text:
            raise ConfigError(f"{text!r} has a '*' in its host or bucket", hint="name them in full")
        return parse_location(text), ""
    directory, tail = text[:cut], text[cut:]
    try:
        return parse_location(directory), tail
    except ConfigError:
        # s3://HOST/BUCKET without a closing slash
        if "*" in text:
            raise
        return parse_location(text), ""


def _ancestor(places: Iterable[Location]) -> Location:
    """The bucket of places in one bucket; the nearest common directory of files."""
    places = list(places)
    first = places[0]
    if first.is_object_store:
        scheme, _, rest = first.uri.partition("://")
        parts = rest.split("/")
        kept = 2 if first.host else 1
        return replace(first, uri=f"{scheme}://{'/'.join(parts[:kept])}/", prefix="")
    shared = first.prefix.split("/")[1:-1]
    for place in places[1:]:
        other = place.prefix.split("/")[1:-1]
        same = 0
        while same < min(len(shared), len(other)) and shared[same] == other[same]:
            same += 1
        shared = shared[:same]
    prefix = "/" + "".join(f"{part}/" for part in shared)
    return replace(first, uri=f"{first.scheme}://{prefix}", prefix=prefix)


def _identity(place: Location) -> tuple[str, str, int, bool, str]:
    return (place.scheme, place.host, place.port, place.tls, place.bucket)


def _is_below(place: Location, root: Location) -> bool:
    if place.scheme != root.scheme or place.bucket != root.bucket:
        return False
    if place.host and root.host and (place.host, place.port) != (root.host, root.port):
        return False
    return place.prefix.startswith(root.prefix)


def _checked_key(key: str, text: str) -> str:
    if any(part in (".", "..") for part in key.split("/")):
        raise ConfigError(f"{text!r} has '.' or '..' in it", hint="write the path without them")
    return key


def _check_schemes(roots: Roots, config: Config, problems: ProblemList) -> None:
    schemes = sorted({root.scheme for root in roots.all()})
    if len(schemes) > 1:
        at = config.multi_endpoint.at if config.multi_endpoint is not None else config.distributed.at
        problems.error(at, "uri", f"endpoints of several schemes: {', '.join(schemes)}", "all must share one scheme")


def _compare_target(roots: Roots, target: Location | None, config: Config, problems: ProblemList) -> None:
    """Say so where endpoints stand beside a target that is another place: paths are resolved under the endpoints."""
    if target is None or config.target is None:
        return
    endpoints = [root for agent in roots.agents if not agent.from_target for root in agent.locations]
    if endpoints and all(root.namespace != target.namespace for root in endpoints):
        message = f"target {target.uri!r} is another place than the endpoints: paths stand under the endpoints"
        problems.warning(config.target.at, "uri", message, "give both the same bucket and prefix")
