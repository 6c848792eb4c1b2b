"""Who does the work and against what: `distributed`, its agents, and `multi_endpoint`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sai3tui.config.expand import expand
from sai3tui.config.fields import Block
from sai3tui.config.load_stages import read_barrier_sync
from sai3tui.config.model import (
    DEFAULT_AGENT_PORT,
    AgentConfig,
    AgentLossPolicy,
    Distributed,
    EndpointPolicy,
    EndpointStrategy,
    MultiEndpoint,
    Namespace,
    PathSelection,
    Placed,
    Position,
    TreeCreationMode,
)
from sai3tui.config.problems import ProblemList
from sai3tui.errors import ConfigError

LOCAL_AGENT = AgentConfig("local", "")
"""The agent of a file that names none: the front starts it and ends it."""

MAX_ENDPOINTS = 4096
LEAST_KEEPALIVE_S = 10.0
"""gRPC sends no more signs of life than that."""

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]", re.ASCII)
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


_NO_SETTINGS = AgentConfig("", "")


@dataclass(frozen=True, slots=True)
class _AgentEntry:
    """One entry of `agents` before its ranges are expanded."""

    address: str
    id: str | None
    settings: AgentConfig
    at: Position


def read_multi_endpoint(parent: Block) -> MultiEndpoint | None:
    block = parent.block("multi_endpoint")
    if block is None:
        return None
    endpoints: list[Placed] = []
    weights: list[int] = []
    if block.require("endpoints"):
        for item, weight in _endpoint_entries(block):
            try:
                uris = expand(item.text)
            except ConfigError as error:
                block.error(item.at, "range", error.message, error.hint)
                continue
            endpoints += [Placed(uri, item.at) for uri in uris]
            weights += [weight] * len(uris)
        if not block.items("endpoints"):
            message = f"{block.name}.endpoints must contain at least 1 entry"
            block.error(block.position_of("endpoints"), "required", message)
    if len(endpoints) > MAX_ENDPOINTS:
        block.error(block.at, "range", f"{block.name} has {len(endpoints)} endpoints, more than {MAX_ENDPOINTS}")
        endpoints = []
    seen: set[str] = set()
    for endpoint in endpoints:
        if endpoint.text in seen:
            block.error(endpoint.at, "endpoint", f"the endpoint {endpoint.text!r} is listed twice", "remove one")
        seen.add(endpoint.text)
    found = MultiEndpoint(
        tuple(endpoints),
        block.choice("strategy", of=EndpointStrategy, default=EndpointStrategy.ROUND_ROBIN),
        block.choice("namespace", of=Namespace, default=Namespace.AUTO),
        block.at,
        tuple(weights) if len(set(weights)) > 1 else (),
        block.choice("endpoint_policy", of=EndpointPolicy, default=EndpointPolicy.TOLERANT),
    )
    if found.weights and found.strategy is not EndpointStrategy.WEIGHTED:
        message = f"{block.name}: weights of endpoints act under strategy: weighted only"
        block.problems.warning(block.position_of("endpoints"), "weights", message, "add strategy: weighted")
    block.finish()
    return found if endpoints else None


def _endpoint_entries(block: Block) -> Iterator[tuple[Placed, int]]:
    for item in block.texts_or_blocks("endpoints"):
        if isinstance(item, Placed):
            yield item, 1
            continue
        uri = item.placed("uri") if item.require("uri") else None
        weight = item.count("weight", default=1)
        item.finish()
        if uri is not None:
            yield uri, weight


def read_distributed(top: Block, agents_override: Sequence[str]) -> tuple[Distributed, Block | None]:
    """The fleet, and the block it was read from, with the stages still to read and `finish` still to call."""
    block = top.block("distributed")
    if block is None:
        agents = _overridden((), agents_override, top.problems)
        return Distributed(agents or (LOCAL_AGENT,), local=not agents), None
    default = Distributed(())
    fleet = Distributed(
        _overridden(_read_agents(block, overridden=bool(agents_override)), agents_override, top.problems),
        block.boolean("shared_filesystem", default=default.shared_filesystem),
        block.choice("tree_creation_mode", of=TreeCreationMode, default=default.tree_creation_mode),
        block.choice("path_selection", of=PathSelection, default=default.path_selection),
        block.number("partition_overlap", default=default.partition_overlap),
        read_barrier_sync(block),
        block.seconds("start_delay", default=default.start_delay),
        block.seconds("grpc_keepalive_interval", default=default.grpc_keepalive_interval),
        block.seconds("grpc_keepalive_timeout", default=default.grpc_keepalive_timeout),
        block.seconds("agent_ready_timeout", default=default.agent_ready_timeout),
        block.text("kv_cache_dir", default=None),
        block.choice("on_agent_loss", of=AgentLossPolicy, default=default.on_agent_loss),
        block.seconds("controller_timeout", default=default.controller_timeout),
        False,
        block.at,
        block.has("shared_filesystem"),
    )
    if fleet.grpc_keepalive_interval < LEAST_KEEPALIVE_S:
        message = f"grpc_keepalive_interval is {fleet.grpc_keepalive_interval:g} s: taken as {LEAST_KEEPALIVE_S:g} s"
        top.problems.notice(block.position_of("grpc_keepalive_interval"), "assumed", message)
        fleet = replace(fleet, grpc_keepalive_interval=LEAST_KEEPALIVE_S)
    if fleet.agents:
        for name, value in (
            ("shared_filesystem", str(fleet.shared_filesystem).lower()),
            ("tree_creation_mode", fleet.tree_creation_mode.value),
            ("path_selection", fleet.path_selection.value),
        ):
            if not block.has(name):
                top.problems.notice(block.at, "assumed", f"distributed.{name} is not given: taken as {value}")
    else:
        # None are named, or what is wrong with them has been said; the rest of the file is still worth checking.
        fleet = replace(fleet, agents=(LOCAL_AGENT,), local=True)
        if not block.has("agents"):
            top.problems.notice(block.at, "assumed", "distributed.agents is not given: taken as one local agent")
    block.foreign("ssh", "deployment")
    return fleet, block


def _read_agents(block: Block, *, overridden: bool) -> tuple[AgentConfig, ...]:
    if not block.has("agents"):
        return ()
    items = block.items("agents")
    if not items and not overridden:
        block.error(
            block.position_of("agents"),
            "required",
            f"{block.name}.agents is empty",
            "add an agent's address, or give --agents",
        )
    entries: list[_AgentEntry] = []
    for item in block.texts_or_blocks("agents"):
        entry = _read_agent(item) if isinstance(item, Block) else _AgentEntry(item.text, None, _NO_SETTINGS, item.at)
        if entry is not None:
            entries.append(entry)
    return _expanded(entries, block.problems)


def _read_agent(block: Block) -> _AgentEntry | None:
    address = block.text("address", default=None) if block.require("address") else None
    agent_id = block.text("id", default=None)
    port = block.count("listen_port", default=None)
    settings = AgentConfig(
        "",
        "",
        block.count("concurrency_override", default=None),
        read_multi_endpoint(block),
        block.placed("target_override"),
        block.text("kv_cache_dir", default=None),
        block.at,
    )
    at = block.position_of("address")
    block.finish()
    if address is None:
        return None
    if port is not None and ":" not in address:
        address = f"{address}:{port}"
    return _AgentEntry(address, agent_id, settings, at)


def _expanded(entries: Sequence[_AgentEntry], problems: ProblemList) -> tuple[AgentConfig, ...]:
    agents: list[AgentConfig] = []
    for entry in entries:
        try:
            addresses = expand(entry.address)
            ids = expand(entry.id) if entry.id is not None else []
        except ConfigError as error:
            problems.error(entry.at, "range", error.message, error.hint)
            continue
        if entry.id is not None and len(ids) == 1 and len(addresses) > 1:
            ids = [f"{entry.id}-{number}" for number in range(1, len(addresses) + 1)]
        elif entry.id is not None and len(ids) != len(addresses):
            message = f"id expands to {len(ids)} names, address to {len(addresses)}"
            problems.error(entry.at, "range", message, "use the same range in both")
            continue
        for number, address in enumerate(addresses):
            name = ids[number] if ids else f"agent-{len(agents) + 1}"
            full = _checked_address(address, entry.at, problems)
            if not _AGENT_ID.fullmatch(name):
                message = f"the agent id {name[:60]!r} is not usable"
                problems.error(entry.at, "agent", message, "use letters, digits, '.', '-' and '_'")
                continue
            if full is not None:
                agents.append(replace(entry.settings, id=name, address=full, at=entry.at))
    _check_unique(agents, problems)
    return tuple(agents)


def _checked_address(address: str, at: Position, problems: ProblemList) -> str | None:
    """`address` with the default port where it has none; None, and an error, where it is no host:port."""
    host, separator, port = address.rpartition(":")
    if not separator or address.endswith("]"):
        host, port = address, str(DEFAULT_AGENT_PORT)
    good_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if not _HOST.fullmatch(host) or not good_port:
        problems.error(
            at, "agent", f"{address[:80]!r} is no address of an agent", "write HOST:PORT, such as node1:7167"
        )
        return None
    return f"{host}:{port}"


def _check_unique(agents: Sequence[AgentConfig], problems: ProblemList) -> None:
    ids: set[str] = set()
    addresses: set[str] = set()
    for agent in agents:
        if agent.id in ids:
            problems.error(agent.at, "agent", f"two agents have the id {agent.id!r}", "give each its own")
        if agent.address in addresses:
            problems.error(agent.at, "agent", f"two agents have the address {agent.address}", "give each its own port")
        ids.add(agent.id)
        addresses.add(agent.address)


def _overridden(
    agents: tuple[AgentConfig, ...], override: Sequence[str], problems: ProblemList
) -> tuple[AgentConfig, ...]:
    """The agents at the addresses that the command line gives: those of the file keep their settings in order."""
    if not override:
        return agents
    entries = [_AgentEntry(text.strip(), None, _NO_SETTINGS, Position(1, 1)) for text in override]
    given = _expanded(entries, problems)
    merged = []
    for number, agent in enumerate(given):
        merged.append(replace(agents[number], address=agent.address) if number < len(agents) else agent)
    return tuple(merged)
