"""What one agent knows of one run before anything is touched: the configuration resolved, and its own part of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from sai3tui.config.model import Config, Namespace, Stage, StageType
from sai3tui.config.patterns import list_prefix, literal_prefix
from sai3tui.config.preflight import OVERRIDABLE
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import Resolved, ResolvedAgent
from sai3tui.config.stage_choice import StageChoice
from sai3tui.errors import ConfigError, ErrorContext, ErrorKind, Sai3Error
from sai3tui.forwarding import received
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.layout import layout_directory
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.open import endpoint_from_location
from sai3tui.workload.objects import ObjectSet, layout_hash, object_sets
from sai3tui.workload.partition import slot_count

DEFAULT_CONTROLLER_TIMEOUT_S = 600.0

W = TypeVar("W", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """What whoever started the agent allows. `data_dir` exists. `allow_custom`: stages that run commands."""

    data_dir: Path
    allow_path: tuple[Path, ...] = ()
    allow_custom: bool = False


@dataclass(frozen=True, slots=True)
class RunSetup:
    """One run as one agent sees it."""

    run_id: str
    resolved: Resolved
    agent: ResolvedAgent
    sets: tuple[ObjectSet, ...]
    endpoints: tuple[Endpoint, ...]
    layout: str
    fresh: bool
    controller_timeout_s: float
    cache_dir: Path
    limits: AgentLimits
    environ: Mapping[str, str] = field(repr=False)
    forwarded: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What of `environ` the controller has sent: for workers, which inherit the rest."""
    accepted_checks: frozenset[str] = frozenset()
    adopt: bool = False
    """Whether prefixes of others may be taken over."""
    clock_offset_ns: int = 0
    """What to add to this agent's clock to get the controller's."""

    @property
    def oplog(self) -> Path | None:
        """What the names of op-logs begin with; None if there are none. Raises Sai3Error if it is not allowed."""
        path = self.config.op_log_path
        return oplog_stem(path, self.agent.id, self.limits) if path else None

    @property
    def config(self) -> Config:
        return self.resolved.config

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.resolved.stages

    @property
    def slots(self) -> int:
        return self.resolved.slots

    @property
    def slot(self) -> int:
        return self.resolved.slot_of(self.agent.index)

    @property
    def counts(self) -> dict[int, int]:
        """Objects of every set in this agent's slot."""
        return {each.set_id: slot_count(each.count, self.slots, self.slot) for each in self.sets}

    @property
    def bytes_expected(self) -> int:
        """Expected bytes of this agent's objects."""
        counts = self.counts
        return sum(each.bytes_expected * counts[each.set_id] // each.count for each in self.sets if each.count)

    @property
    def connections(self) -> tuple[int, ...]:
        """Connections to each endpoint."""
        return tuple(endpoint.connections for endpoint in self.agent.endpoints)

    @property
    def workers(self) -> int:
        """Worker processes: as the configuration says, else one less than there are cores."""
        wanted = self.config.processes or (os.cpu_count() or 2) - 1
        return max(1, min(wanted, sum(self.opened)))

    @property
    def opened(self) -> tuple[int, ...]:
        """Connections that are opened to each endpoint: as many as the stage with the most has."""
        return self.agent.dealt(max(self.resolved.connections_in(stage, self.agent.index) for stage in self.stages))

    def connections_in(self, stage: Stage) -> tuple[int, ...]:
        """Connections to each endpoint that take part in a stage."""
        return self.agent.dealt(self.resolved.connections_in(stage, self.agent.index))

    @property
    def is_files(self) -> bool:
        return self.endpoints[0].scheme == "file"


def make_setup(
    spec: pb.RunSpec, limits: AgentLimits, environ: Mapping[str, str], *, encrypted: bool = False
) -> RunSetup:
    """Read the configuration that a controller sent. Raises ConfigError, or Sai3Error of kind PERMISSION for files
    that this agent may not touch."""
    resolution = load_resolved(
        spec.config_yaml,
        spec.config_name or "config.yaml",
        agents_override=tuple(spec.agents_override),
        only=_one_of(StageChoice, spec.only),
        namespace=_one_of(Namespace, spec.namespace or Namespace.AUTO),
    )
    resolved = resolution.require()
    resolved.require_runnable()
    if spec.agent_index >= len(resolved.agents):
        raise ConfigError(
            f"the configuration has {len(resolved.agents)} agents, there is none with number {spec.agent_index}"
        )
    layout = layout_hash(resolved)
    if spec.layout_hash and spec.layout_hash != layout:
        raise ConfigError(
            f"controller and agent understand this configuration differently "
            f"(layout {spec.layout_hash} there, {layout} here)",
            hint="install the same version of sai3tui on all hosts",
        )
    agent = resolved.agents[spec.agent_index]
    _check_leave(resolved, agent, limits)
    forwarded = received(environ, spec.credentials, encrypted=encrypted)
    environ = {**environ, **forwarded}
    # Agents of one host may be told the same directory.
    root = Path(agent.kv_cache_dir) / agent.id if agent.kv_cache_dir else limits.data_dir
    return RunSetup(
        run_id=spec.run_id,
        resolved=resolved,
        agent=agent,
        sets=object_sets(resolved),
        endpoints=tuple(endpoint_from_location(each.location, environ) for each in agent.endpoints),
        layout=layout,
        fresh=spec.fresh,
        controller_timeout_s=spec.controller_timeout_s or DEFAULT_CONTROLLER_TIMEOUT_S,
        cache_dir=layout_directory(root, layout),
        limits=limits,
        environ=environ,
        forwarded=forwarded,
        adopt=spec.adopt,
        accepted_checks=frozenset(spec.accepted_checks) & OVERRIDABLE,
        clock_offset_ns=spec.clock_offset_ns,
    )


def _check_leave(resolved: Resolved, agent: ResolvedAgent, limits: AgentLimits) -> None:
    """Everything that the run would touch on this host, against what whoever started the agent allows.

    Raises Sai3Error of kind PERMISSION.
    """
    below = {each.prefix for each in resolved.sets}
    for op in resolved.ops:
        # What is listed, and what is named outright, which may be a link itself.
        below |= {list_prefix(op.pattern), literal_prefix(op.pattern)}
    for endpoint in agent.endpoints:
        location = endpoint.location
        if not location.is_object_store:
            # A link may stand below the endpoint just as well as above it.
            for prefix in sorted({"", *below}):
                check_allowed(location.prefix + prefix, limits.allow_path, location.uri)
    if agent.kv_cache_dir:
        place = str(Path(agent.kv_cache_dir) / agent.id)
        check_allowed(place, (limits.data_dir, *limits.allow_path), agent.kv_cache_dir)
    if resolved.config.op_log_path:
        oplog_stem(resolved.config.op_log_path, agent.id, limits)
    for stage in resolved.stages:
        check_custom(stage, limits)


def oplog_stem(path: str, agent: str, limits: AgentLimits) -> Path:
    """`path` without the endings of an op-log and with the agent's name; relative ones stand in the data directory.

    Raises Sai3Error of kind PERMISSION where this agent may not write.
    """
    whole = limits.data_dir / path
    check_allowed(str(whole.parent), (limits.data_dir, *limits.allow_path), path)
    name = re.sub(r"(\.(tsv|csv|zst))+$", "", whole.name)
    return whole.with_name(f"{name}_{re.sub(r'[^A-Za-z0-9.-]', '_', agent)}")


def check_custom(stage: Stage, limits: AgentLimits) -> None:
    """Raises Sai3Error of kind PERMISSION if the stage runs a command and this agent may not."""
    if stage.type is StageType.CUSTOM and not limits.allow_custom:
        raise Sai3Error(
            f"stage {stage.name!r} runs a command, and this agent may run none",
            hint="start the agent with --allow-custom",
            kind=ErrorKind.PERMISSION,
        )


def _one_of(words: type[W], word: str) -> W:
    try:
        return words(word)
    except ValueError as error:
        hint = "install the same version of sai3tui on all hosts"
        raise ConfigError(f"this agent knows no {words.__name__} {word!r}", hint=hint) from error


def check_allowed(directory: str, allow_path: tuple[Path, ...], uri: str) -> None:
    """Raises Sai3Error of kind PERMISSION unless `directory` is one of `allow_path` or below, links resolved."""
    place = Path(directory).resolve()
    if any(place.is_relative_to(allowed.resolve()) for allowed in allow_path):
        return
    allowed_text = ", ".join(str(path) for path in allow_path) or "none"
    raise Sai3Error(
        f"this agent may not touch {place} (allowed: {allowed_text})",
        hint=f"start the agent with --allow-path {place}",
        context=ErrorContext(uri=uri, endpoint=uri),
        kind=ErrorKind.PERMISSION,
    )
