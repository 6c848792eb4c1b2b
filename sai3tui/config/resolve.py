"""THE resolver: from a configuration to every URI that any stage will touch. Pure; contacts nothing.

validate, plan, preflight, prepare, execute and cleanup all ask here, so none of them can see another place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sai3tui.config.load import load_config, problems_error
from sai3tui.config.locations import RUNNABLE_SCHEMES, Location
from sai3tui.config.model import AgentConfig, Config, EndpointStrategy, EngineName, MultiEndpoint, Namespace
from sai3tui.config.ops import Op
from sai3tui.config.problems import Level, Problem, ProblemList, has_errors
from sai3tui.config.resolve_objects import divided_sets, resolve_ops, resolve_sets
from sai3tui.config.resolved import NamespaceFrom, Resolved, ResolvedAgent, ResolvedEndpoint, deal_by
from sai3tui.config.roots import Roots, find_roots
from sai3tui.config.stage_choice import StageChoice
from sai3tui.config.storage_options import MAX_PUT_BYTES
from sai3tui.config.units import format_bytes
from sai3tui.errors import ConfigError, ResolveError


@dataclass(frozen=True, slots=True)
class Resolution:
    """What came of resolving. `resolved` is None if there is an error among the problems. `read`: the file itself is
    valid."""

    resolved: Resolved | None
    problems: tuple[Problem, ...]
    read: bool = True

    @property
    def ok(self) -> bool:
        return self.resolved is not None

    def require(self) -> Resolved:
        """The resolved configuration. Raises ConfigError, or ResolveError, with all errors where there is none."""
        if self.resolved is None:
            raise problems_error(self.problems, ResolveError if self.read else ConfigError)
        return self.resolved


def load_resolved(
    source: str | bytes,
    path: str,
    *,
    agents_override: Sequence[str] = (),
    only: StageChoice = StageChoice.ALL,
    namespace: Namespace = Namespace.AUTO,
) -> Resolution:
    """Load a file and resolve it, with the problems of both. Never raises for what a file can contain.

    `namespace` is what preflight has found, and settles what the file leaves open.
    """
    loaded = load_config(source, path, agents_override=agents_override, only=only)
    if loaded.config is None:
        return Resolution(None, loaded.problems, read=False)
    resolution = resolve(loaded.config, namespace)
    problems = ProblemList(path)
    problems.extend(loaded.problems)
    problems.extend(resolution.problems)
    return Resolution(resolution.resolved, problems.sorted())


def resolve(config: Config, namespace: Namespace = Namespace.AUTO) -> Resolution:
    """Resolve every URI of `config`. Never raises for what a config can contain. `namespace`: see `load_resolved`."""
    problems = ProblemList(config.path)
    resolved = _resolve(config, namespace, problems)
    found = problems.sorted()
    return Resolution(None if has_errors(found) else resolved, found)


def deal(connections: int, endpoints: int) -> list[int]:
    """`connections` dealt evenly over `endpoints`; the first ones get one more where it does not divide."""
    each, rest = divmod(connections, endpoints)
    return [each + (number < rest) for number in range(endpoints)]


def _resolve(config: Config, found: Namespace, problems: ProblemList) -> Resolved | None:
    roots = find_roots(config, problems)
    if roots is None:
        return None
    shared, known_from = _shared_namespace(config, roots, found, problems)
    agents = _agents(config, roots, shared, problems)
    sets = resolve_sets(config, roots, problems)
    ops = resolve_ops(config, roots, sets, problems)
    blockers = _blockers(config, roots, problems)
    return Resolved(config, agents, sets, ops, shared, known_from, blockers, divided_sets(ops))


def _shared_namespace(
    config: Config, roots: Roots, found: Namespace, problems: ProblemList
) -> tuple[bool, NamespaceFrom]:
    """Whether all endpoints of all agents show the same objects, and how that is known."""
    blocks = [config.multi_endpoint, *(agent.multi_endpoint for agent in config.agents)]
    said = {block.namespace: block for block in blocks if block is not None and block.namespace is not Namespace.AUTO}
    if len(said) > 1:
        at = said[Namespace.INDEPENDENT].at
        problems.error(at, "namespace", "namespace is shared in one place and independent in another", "use one")
    fleet = config.distributed
    if Namespace.SHARED in said and not fleet.shared_filesystem:
        at = said[Namespace.SHARED].at
        message = "namespace: shared contradicts distributed.shared_filesystem: false"
        problems.error(at, "namespace", message, "remove one of them")
    if said:
        return Namespace.SHARED in said, NamespaceFrom.CONFIG
    if not fleet.shared_filesystem:
        return False, NamespaceFrom.CONFIG
    one_place = len({root.namespace for root in roots.all()}) == 1
    unsaid = not fleet.shared_said and len(config.agents) > 1
    if roots.all()[0].is_object_store or (one_place and not unsaid):
        return one_place, NamespaceFrom.CONFIG
    if found is not Namespace.AUTO:
        return found is Namespace.SHARED, NamespaceFrom.PREFLIGHT
    at = next((block.at for block in blocks if block is not None), fleet.at)
    if one_place:
        message = "all agents are taken to show the same files, until preflight has looked"
        problems.notice(at, "assumed", message, "say distributed.shared_filesystem: true, or false")
    else:
        message = "endpoints are different directories: taken as independent storage, until preflight has looked"
        problems.notice(at, "assumed", message, "say multi_endpoint.namespace: shared if all show the same files")
    return one_place, NamespaceFrom.ASSUMED


def _agents(config: Config, roots: Roots, shared: bool, problems: ProblemList) -> tuple[ResolvedAgent, ...]:
    found = []
    prefixed = frozenset[int]() if shared else _need_own_prefix(config, roots)
    if prefixed:
        message = "agents do not share their objects: those of agent number N stand under 'agent-N/'"
        problems.notice(config.distributed.at, "assumed", message)
    for index, (agent, own) in enumerate(zip(config.agents, roots.agents, strict=True)):
        locations = own.locations
        if index in prefixed:
            prefix = f"agent-{index + 1}/"
            locations = tuple(location.under(prefix) for location in locations)
        concurrency = agent.concurrency_override or config.concurrency
        if concurrency < len(locations):
            message = f"agent {agent.id!r} has {concurrency} connections for {len(locations)} endpoints"
            problems.error(agent.at, "concurrency", message, "raise concurrency to at least one for each endpoint")
        for stage in config.stages:
            if stage.concurrency is not None and stage.concurrency < len(locations):
                message = f"stage {stage.name!r} has {stage.concurrency} connections for {len(locations)} endpoints"
                problems.error(stage.at, "concurrency", message, "raise it to at least one for each endpoint")
        endpoints = tuple(
            ResolvedEndpoint(_as_run(location), share)
            for location, share in zip(locations, _deal(config, agent, concurrency, len(locations)), strict=True)
        )
        cache = agent.kv_cache_dir or config.distributed.kv_cache_dir
        block = agent.multi_endpoint or config.multi_endpoint or MultiEndpoint(())
        found.append(
            ResolvedAgent(index, agent.id, agent.address, concurrency, endpoints, block.strategy, cache, block.policy)
        )
    return tuple(found)


def _deal(config: Config, agent: AgentConfig, connections: int, endpoints: int) -> Sequence[int]:
    """An agent's connections to each of its endpoints: alike, or by their weights under strategy `weighted`."""
    block = agent.multi_endpoint or config.multi_endpoint
    weighted = block is not None and block.strategy is EndpointStrategy.WEIGHTED and len(block.weights) == endpoints
    if block is None or not weighted or connections < endpoints:
        return deal(connections, endpoints)
    return deal_by(connections, block.weights)


def _places(config: Config, roots: Roots, index: int) -> set[tuple[object, ...]]:
    """What agent number `index` works against, so that equal ones are one place.

    The same directory on two hosts that are said not to share files is two places.
    """
    places: set[tuple[object, ...]] = set()
    for location in roots.agents[index].locations:
        apart = not location.is_object_store and not config.distributed.shared_filesystem
        host = config.agents[index].address.rpartition(":")[0] if apart else location.host
        places.add((host, location.port, location.bucket, location.prefix))
    return places


def _need_own_prefix(config: Config, roots: Roots) -> frozenset[int]:
    """The agents that, with an index space of their own, would meet another one's objects under the same keys."""
    isolated = not config.distributed.shared_filesystem and not config.distributed.local
    places = [_places(config, roots, index) for index in range(len(roots.agents))]
    used = Counter(place for each in places for place in each)
    return frozenset(
        index
        for index, each in enumerate(places)
        if (isolated and roots.agents[index].from_target) or any(used[place] > 1 for place in each)
    )


def _as_run(location: Location) -> Location:
    """direct:// is run by the engine for files, which tells it by its URI."""
    return replace(location, scheme="file") if location.scheme == "direct" else location


def _blockers(config: Config, roots: Roots, problems: ProblemList) -> tuple[str, ...]:
    """What this version accepts and cannot run, said once each."""
    found = []
    scheme = roots.all()[0].scheme
    at = config.target.at if config.target is not None else config.distributed.at
    if scheme not in RUNNABLE_SCHEMES:
        found.append(f"{scheme}:// cannot be run yet")
        problems.notice(at, "not-yet", found[-1])
    if scheme != "s3" or config.engine is not EngineName.WIRE:
        _notice_wire_only(config, scheme, problems)
    if scheme not in ("file", "direct"):
        for op in config.entries:
            if op.op in (Op.MKDIR, Op.RMDIR) and op.weight:
                message = f"{op.op.word} has no meaning on {scheme}://, which has no directories"
                problems.error(op.at, "operation", message, "remove the entry")
    if scheme == "s3":
        _warn_of_large_puts(config, problems)
    return tuple(found)


def _warn_of_large_puts(config: Config, problems: ProblemList) -> None:
    """Some storage takes more in one PUT than S3 itself does, so this is no error."""
    prepared = config.prepare.ensure_objects if config.prepare is not None else ()
    parts = "set part_size, to upload them in parts"
    in_one = config.prepare is not None and not config.prepare.part_size
    puts = [(entry.at, entry.size, parts) for entry in prepared if in_one]
    puts += [
        (op.at, op.size, parts) for op in config.entries if op.op is Op.PUT and op.size is not None and not op.part_size
    ]
    for at, size, hint in puts:
        largest = max(size.minimum, size.maximum, size.mean, *(each for each, _ in size.weighted))
        if largest > MAX_PUT_BYTES:
            message = f"objects of {format_bytes(largest)} are more than the 5 GiB that S3 takes in one PUT"
            problems.warning(at, "size", message, hint)


def _notice_wire_only(config: Config, scheme: str, problems: ProblemList) -> None:
    """What only requests of our own to S3 can do."""
    where = f"on {scheme}://" if scheme != "s3" else f"with engine: {config.engine.value}"
    if config.prepare is not None and config.prepare.part_size:
        at = config.prepare.at
        problems.notice(at, "no-effect", f"part_size has no effect {where}: objects are written at once")
    for op in config.entries:
        if op.part_size:
            problems.notice(op.at, "no-effect", f"part_size has no effect {where}: objects are written at once")
        if op.delete_many > 1:
            problems.notice(op.at, "no-effect", f"delete_many has no effect {where}: objects are deleted one by one")


def strictly(found: Resolution) -> Resolution:
    """The same with every warning as an error, for `--strict`."""
    problems = tuple(
        replace(problem, level=Level.ERROR) if problem.level is Level.WARNING else problem for problem in found.problems
    )
    return Resolution(None if has_errors(problems) else found.resolved, problems)
