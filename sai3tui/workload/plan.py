"""The plan: what a run of a configuration would do, computed without contacting anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sai3tui.config.model import Config, Stage
from sai3tui.config.ops import Op
from sai3tui.config.problems import Level, Problem
from sai3tui.config.resolved import NamespaceFrom, OpSource, Resolved, ResolvedAgent, ResolvedOp
from sai3tui.config.units import format_count
from sai3tui.errors import ConfigError
from sai3tui.workload.objects import ObjectSet, layout_hash, object_sets
from sai3tui.workload.partition import endpoint_count, endpoint_of, index_of, k_of, place_of, slot_count

STATE_BITS = 2
MANY_OBJECTS = 10**11
"""From here on the states of objects need tens of gigabytes, which the plan says."""


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """One object: where it is made first. In a shared namespace any other endpoint shows it too."""

    set_id: int
    index: int
    uri: str
    size: int
    agent: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class PlannedEndpoint:
    """One endpoint of one agent: its connections, how many objects are made there, the first and the last of them."""

    uri: str
    connections: int
    objects: int
    first: PlannedObject | None
    last: PlannedObject | None


@dataclass(frozen=True, slots=True)
class PlannedAgent:
    id: str
    address: str
    concurrency: int
    objects: int
    endpoints: tuple[PlannedEndpoint, ...]


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """One object set; `objects` and `bytes_expected` are those of all index spaces together."""

    set_id: int
    name: str
    directories: int
    objects: int
    bytes_expected: int


@dataclass(frozen=True, slots=True)
class Plan:
    """See `make_plan`. `bytes_expected` is the expected size of an object times their number, `warnings` are those of
    `notices` that are more than that."""

    path: str
    directories: int
    objects: int
    bytes_expected: int
    layout_hash: str
    shared: bool
    namespace_from: NamespaceFrom
    agents: tuple[PlannedAgent, ...]
    stages: tuple[Stage, ...]
    sets: tuple[PlannedSet, ...]
    samples: tuple[PlannedObject, ...]
    deleted: int
    state_bytes: int
    notices: tuple[str, ...]
    warnings: frozenset[str]

    def to_json(self, looked_up: Sequence[PlannedObject] | None = None) -> dict[str, object]:
        """The document of `sai3tui plan --json`; with `object` where objects were looked up."""
        document: dict[str, object] = {
            "directories": self.directories,
            "objects": self.objects,
            "bytes_expected": self.bytes_expected,
            "layout_hash": self.layout_hash,
            "namespace": "shared" if self.shared else "independent",
            "namespace_from": self.namespace_from.value,
            "agents": [_agent_json(agent) for agent in self.agents],
            "stages": [_stage_json(index, stage) for index, stage in enumerate(self.stages, 1)],
            "sets": [
                {
                    "set": each.set_id,
                    "name": each.name,
                    "directories": each.directories,
                    "objects": each.objects,
                    "bytes_expected": each.bytes_expected,
                }
                for each in self.sets
            ],
            "samples": [
                {"set": sample.set_id, "index": sample.index, "uri": sample.uri, "size": sample.size}
                for sample in self.samples
            ],
            "deleted": self.deleted,
            "state_bytes": self.state_bytes,
            "notices": list(self.notices),
        }
        if looked_up is not None:
            document["object"] = [_object_json(found) for found in looked_up]
        return document


def make_plan(config: Config, resolved: Resolved, problems: Sequence[Problem] = ()) -> Plan:
    """The plan of a resolved configuration; warnings and notices among `problems` become its notices."""
    sets = object_sets(resolved)
    spaces = 1 if resolved.shared else len(resolved.agents)
    planned_sets = tuple(
        PlannedSet(each.set_id, each.name, each.directories, each.count * spaces, each.bytes_expected * spaces)
        for each in sets
    )
    objects = sum(each.objects for each in planned_sets)
    agents = tuple(_planned_agent(resolved, agent, sets) for agent in resolved.agents)
    deleted = objects if any(stage.type.value == "cleanup" for stage in config.stages) else 0
    told = {_told(problem): problem.level for problem in problems if problem.level is not Level.ERROR}
    return Plan(
        config.path,
        sum(each.directories for each in sets) * spaces,
        objects,
        sum(each.bytes_expected for each in planned_sets),
        layout_hash(resolved),
        resolved.shared,
        resolved.namespace_from,
        agents,
        config.stages,
        planned_sets,
        tuple(_samples(resolved, sets)),
        deleted,
        objects * STATE_BITS // 8,
        tuple(dict.fromkeys([*told, *_notices(resolved, objects)])),
        frozenset(text for text, level in told.items() if level is Level.WARNING),
    )


def look_up(resolved: Resolved, indices: Sequence[int], set_id: int = 0) -> list[PlannedObject]:
    """Objects of one set by index: URI, size, and who makes them where. Raises ConfigError for what does not exist.

    Where each agent has an index space of its own, every agent's object of that index is listed.
    """
    sets = object_sets(resolved)
    if not 0 <= set_id < len(sets):
        raise ConfigError(f"there is no object set {set_id}", hint="this configuration prepares no objects")
    chosen = sets[set_id]
    found = []
    for index in indices:
        if not 0 <= index < chosen.count:
            last = f"the last one is {chosen.count - 1}" if chosen.count else "the set is empty"
            raise ConfigError(f"there is no object {index} in set {set_id}", hint=last)
        slot, k = place_of(index, resolved.slots)
        owners = [resolved.agents[slot]] if resolved.shared else list(resolved.agents)
        found += [_planned_object(chosen, index, agent, endpoint_of(k, len(agent.endpoints))) for agent in owners]
    return found


def _planned_agent(resolved: Resolved, agent: ResolvedAgent, sets: Sequence[ObjectSet]) -> PlannedAgent:
    slots, slot = resolved.slots, resolved.slot_of(agent.index)
    endpoints = []
    for number, endpoint in enumerate(agent.endpoints):
        counts = [endpoint_count(each.count, slots, slot, len(agent.endpoints), number) for each in sets]
        holding = [place for place, count in enumerate(counts) if count]
        first = last = None
        if holding:
            first = _at_endpoint(resolved, agent, sets[holding[0]], number, 0)
            last = _at_endpoint(resolved, agent, sets[holding[-1]], number, counts[holding[-1]] - 1)
        endpoints.append(PlannedEndpoint(endpoint.location.uri, endpoint.connections, sum(counts), first, last))
    total = sum(slot_count(each.count, slots, slot) for each in sets)
    return PlannedAgent(agent.id, agent.address, agent.concurrency, total, tuple(endpoints))


def _at_endpoint(
    resolved: Resolved, agent: ResolvedAgent, objects: ObjectSet, endpoint: int, number: int
) -> PlannedObject:
    k = k_of(endpoint, number, len(agent.endpoints))
    index = index_of(resolved.slot_of(agent.index), resolved.slots, k)
    return _planned_object(objects, index, agent, endpoint)


def _planned_object(objects: ObjectSet, index: int, agent: ResolvedAgent, endpoint: int) -> PlannedObject:
    location = agent.endpoints[endpoint].location
    uri = location.uri_of(objects.key(index))
    return PlannedObject(objects.set_id, index, uri, objects.size(index), agent.id, location.uri)


def _samples(resolved: Resolved, sets: Sequence[ObjectSet]) -> list[PlannedObject]:
    """First, second and last object of every set."""
    found = []
    for each in sets:
        for index in sorted({0, 1, each.count - 1} & {*range(min(2, each.count)), *range(each.count)[-1:]}):
            slot, k = place_of(index, resolved.slots)
            agent = resolved.agents[slot]
            found.append(_planned_object(each, index, agent, endpoint_of(k, len(agent.endpoints))))
    return found


def _told(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint and problem.level is Level.WARNING else ""
    return f"{problem.message}{hint}"


def _notices(resolved: Resolved, objects: int) -> list[str]:
    notices = list(resolved.blockers)
    if resolved.namespace_from is NamespaceFrom.PREFLIGHT:
        one = "all agents and endpoints show the same files, which agents divide among them"
        many = "agents and endpoints do not all show the same files: each agent has files of its own"
        notices.append(f"preflight found that {one if resolved.shared else many}")
    if objects >= MANY_OBJECTS:
        notices.append(
            f"the states of {format_count(objects)} objects need {objects * STATE_BITS // 8 // 10**9} GB"
            " in the data directories of all agents together: more agents share it,"
            " and enable_metadata_cache: false keeps them in memory only"
        )
    if not resolved.config.enable_metadata_cache and objects:
        notices.append(
            "object states are kept in memory only (enable_metadata_cache: false): what an interrupted prepare has"
            " created is known to the controller that led it, and to no agent; there are no checkpoints"
        )
    if resolved.overwritten:
        notices.append("put overwrites objects that prepare made")
        read = any(op.op is Op.GET and op.weight and resolved.overwritten & set(op.set_ids) for op in resolved.ops)
        if read and resolved.scheme == "file" and not resolved.config.files.atomic:
            notices.append("a get that meets a file while it is overwritten fails: atomic_create: true avoids that")
    notices += [
        f"put {op.pattern!r} writes objects with the sizes and contents that prepare gives them: its own do not act"
        for op in resolved.ops
        if _own_settings_are_idle(op, resolved)
    ]
    return notices


def _own_settings_are_idle(op: ResolvedOp, resolved: Resolved) -> bool:
    """Whether a PUT onto objects of prepare asks for other ones than those are."""
    if op.op is not Op.PUT or not op.weight or op.source is not OpSource.SETS:
        return False
    sets = (each for each in resolved.sets if each.set_id in op.set_ids)
    return any((each.size, each.content) != (op.size, op.content) for each in sets)


def _agent_json(agent: PlannedAgent) -> dict[str, object]:
    return {
        "id": agent.id,
        "address": agent.address,
        "concurrency": agent.concurrency,
        "objects": agent.objects,
        "endpoints": [
            {
                "uri": endpoint.uri,
                "connections": endpoint.connections,
                "objects": endpoint.objects,
                "first": endpoint.first.uri if endpoint.first is not None else None,
                "last": endpoint.last.uri if endpoint.last is not None else None,
            }
            for endpoint in agent.endpoints
        ],
    }


def _stage_json(index: int, stage: Stage) -> dict[str, object]:
    barrier: dict[str, object] = asdict(stage.barrier)
    barrier["type"] = stage.barrier.type.value
    document: dict[str, object] = {
        "index": index,
        "name": stage.name,
        "type": stage.type.value,
        "completion": stage.completion.value,
        "optional": stage.optional,
        "barrier": barrier,
    }
    if stage.duration is not None:
        document["duration"] = stage.duration
    if stage.timeout is not None:
        document["timeout_secs"] = stage.timeout
    if stage.until is not None:
        document["until"] = {"operations": stage.until.operations, "bytes": stage.until.bytes}
    if stage.concurrency is not None:
        document["concurrency"] = stage.concurrency
    if stage.io_rate is not None:
        document["iops"] = stage.io_rate.iops
    if stage.command:
        document["command"] = [stage.command, *stage.args]
    return document


def _object_json(found: PlannedObject) -> dict[str, object]:
    return {
        "set": found.set_id,
        "index": found.index,
        "uri": found.uri,
        "size": found.size,
        "agent": found.agent,
        "endpoint": found.endpoint,
    }
