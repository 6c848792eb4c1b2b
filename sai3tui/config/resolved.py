"""What a configuration means: every place, object set and operation with its URI settled. Made by `resolve.py` only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sai3tui.config.locations import Location
from sai3tui.config.model import (
    DEFAULT_ZIPF_EXPONENT,
    NOWHERE,
    Config,
    Content,
    DirectoryStructure,
    Distribution,
    EndpointPolicy,
    EndpointStrategy,
    IoRate,
    Popularity,
    Position,
    ReadRange,
    SizeSpec,
    Stage,
)
from sai3tui.config.ops import Op
from sai3tui.config.patterns import HEX, NUMBER
from sai3tui.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ResolvedEndpoint:
    """One endpoint of one agent and how many of the agent's connections are bound to it."""

    location: Location
    connections: int


@dataclass(frozen=True, slots=True)
class ResolvedAgent:
    """`index` counts agents from 0; at the start of a generation it is also the agent's slot. `address` is empty for
    the local agent that the front starts."""

    index: int
    id: str
    address: str
    concurrency: int
    endpoints: tuple[ResolvedEndpoint, ...]
    strategy: EndpointStrategy = EndpointStrategy.ROUND_ROBIN
    kv_cache_dir: str | None = None
    policy: EndpointPolicy = EndpointPolicy.TOLERANT

    def dealt(self, total: int) -> tuple[int, ...]:
        """`total` connections dealt over the endpoints in the proportion of the agent's own, at least one each."""
        return deal_by(total, [endpoint.connections for endpoint in self.endpoints])


def deal_by(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """`total` connections, at least as many as there are weights, dealt in their proportion, at least one each."""
    found = [max(1, total * weight // sum(weights)) for weight in weights]
    while sum(found) != total:
        step = 1 if sum(found) < total else -1
        # The one that is furthest from its share.
        places = [place for place, count in enumerate(found) if step > 0 or count > 1]
        place = max(places, key=lambda place: (step * (total * weights[place] / sum(weights) - found[place]), -place))
        found[place] += step
    return tuple(found)


class NamespaceFrom(StrEnum):
    """How it is known whether all endpoints show the same objects. ASSUMED: of files, until preflight has looked."""

    CONFIG = "config"
    ASSUMED = "assumed"
    PREFLIGHT = "preflight"


class SetKind(StrEnum):
    TREE = "tree"
    PREPARED = "prepared"
    DELETABLE = "deletable"


@dataclass(frozen=True, slots=True)
class ResolvedSet:
    """One object set. Its keys begin with `prefix` (empty or ending in `/`) under every endpoint's root.

    `count` is per index space: in a shared namespace there is one, otherwise one for every agent.
    """

    set_id: int
    kind: SetKind
    prefix: str
    count: int
    size: SizeSpec
    content: Content
    shards: int = 0
    tree: DirectoryStructure | None = None
    at: Position = field(default=NOWHERE, compare=False)

    @property
    def name(self) -> str:
        return f"{self.prefix}({self.kind.value})"

    @property
    def directories(self) -> int:
        return self.tree.directories if self.tree is not None else 0

    def templates(self) -> tuple[str, ...]:
        """What the keys look like, for `patterns`; none for an empty set."""
        if self.count == 0:
            return ()
        if self.tree is None:
            shard = f"{HEX}/" if self.shards else ""
            return (f"{self.prefix}{shard}{self.kind.value}-{NUMBER}.dat",)
        mask, depth = self.tree.dir_mask, self.tree.depth
        names = [mask.replace("%d", str(level), 1).replace("%d", NUMBER, 1) for level in range(1, depth + 1)]
        first = depth if self.tree.distribution is Distribution.BOTTOM else 1
        return tuple(f"{self.prefix}{'/'.join(names[:levels])}/file_{NUMBER}.dat" for levels in range(first, depth + 1))


class OpSource(StrEnum):
    """Where the keys of an operation come from."""

    SETS = "sets"
    """Objects of prepare: those of `set_ids` that match `pattern`. A PUT overwrites them."""
    LISTED = "listed"
    """Objects that must exist already and are found by LIST."""
    NEW = "new"
    """A PUT or MKDIR makes objects or directories of its own below `pattern`."""
    PREFIX = "prefix"
    """LIST, and RMDIR of what no MKDIR makes: `pattern` is the directory itself."""
    MADE = "made"
    """RMDIR: directories that a MKDIR of the same workload has made below `pattern`, each once."""


@dataclass(frozen=True, slots=True)
class ResolvedOp:
    """One entry of the workload. `number` is its place there, from 0, those of stages behind those of the file;
    `pattern` is relative to every endpoint root. `fresh` are the numbers of the PUTs whose new objects it reads too.
    `stage` is the one whose own workload it is in, empty for the file's."""

    number: int
    op: Op
    weight: int
    pattern: str
    source: OpSource
    set_ids: tuple[int, ...] = ()
    size: SizeSpec | None = None
    content: Content = field(default_factory=Content)
    concurrency: int | None = None
    recursive: bool = False
    at: Position = field(default=NOWHERE, compare=False)
    io_rate: IoRate | None = None
    popularity: Popularity = Popularity.UNIFORM
    zipf_exponent: float = DEFAULT_ZIPF_EXPONENT
    fresh: tuple[int, ...] = ()
    stage: str = ""
    verify: bool = False
    read_range: ReadRange | None = None
    part_size: int = 0
    delete_many: int = 1


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration with nothing left to guess.

    `shared`: all endpoints of all agents show the same objects, which the agents divide among them. Otherwise every
    agent has an index space of its own, in which object i is at home at endpoint i mod E. `divided` are the sets that
    both deletes and other operations use: where they mean the same objects, one half of the set is for deletes.
    `blockers` say what this version cannot run yet.
    """

    config: Config
    agents: tuple[ResolvedAgent, ...]
    sets: tuple[ResolvedSet, ...]
    ops: tuple[ResolvedOp, ...]
    shared: bool
    namespace_from: NamespaceFrom = NamespaceFrom.CONFIG
    blockers: tuple[str, ...] = ()
    divided: frozenset[int] = frozenset()

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.config.stages

    @property
    def scheme(self) -> str:
        return self.agents[0].endpoints[0].location.scheme

    @property
    def slots(self) -> int:
        """Into how many parts an index space is divided: the agents, or 1 where each has its own."""
        return len(self.agents) if self.shared else 1

    @property
    def shards(self) -> int:
        """Shards that new objects of PUT are spread over; 0 for none."""
        return self.config.prepare.key_prefix_shards if self.config.prepare is not None else 0

    def ops_of(self, stage: Stage) -> tuple[ResolvedOp, ...]:
        """The entries that an execute or hybrid stage draws from."""
        name = "" if stage.workload is None else stage.name
        return tuple(op for op in self.ops if op.stage == name)

    @property
    def overwritten(self) -> frozenset[int]:
        """The sets that PUTs of some workload write onto."""
        puts = (op for op in self.ops if op.op is Op.PUT and op.source is OpSource.SETS and op.weight)
        return frozenset(set_id for op in puts for set_id in op.set_ids)

    def slot_of(self, agent: int) -> int:
        """The slot that agent number `agent` begins with."""
        return agent if self.shared else 0

    def connections_in(self, stage: Stage, agent: int) -> int:
        """How many connections agent number `agent` uses in a stage."""
        return stage.concurrency or self.agents[agent].concurrency

    def connections_before(self, stage: Stage, agent: int) -> int:
        """How many those before agent number `agent` use in a stage; for one more than there are, the whole fleet."""
        return sum(self.connections_in(stage, number) for number in range(agent))

    def share_of(self, total: int, stage: Stage, agent: int) -> int:
        """The part of the fleet's `total` (operations, bytes) that agent number `agent` does in a stage, by its
        connections. The parts of all agents add up to it."""
        whole = self.connections_before(stage, len(self.agents))
        before, after = self.connections_before(stage, agent), self.connections_before(stage, agent + 1)
        return total * after // whole - total * before // whole

    def rate_share(self, agent: int) -> float:
        """The part of the fleet's `io_rate` that agent number `agent` delivers: that of its connections."""
        return self.agents[agent].concurrency / sum(each.concurrency for each in self.agents)

    def require_runnable(self) -> None:
        """Raises ConfigError where the file asks for what this version cannot run yet."""
        if self.blockers:
            hint = "remove it from the file; validate and plan still work with it"
            raise ConfigError("; ".join(self.blockers), hint=hint)
