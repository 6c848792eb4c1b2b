"""From the text of a configuration to what a session needs to know about the run, before anything is contacted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sai3tui.config.model import Namespace, StageType
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import NamespaceFrom, Resolved
from sai3tui.config.stage_choice import StageChoice
from sai3tui.errors import ConfigError
from sai3tui.events import Level
from sai3tui.results.views import StageInfo
from sai3tui.workload.plan import make_plan


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run, planned. `document` is the plan as `sai3tui plan --json` shows it."""

    resolved: Resolved
    layout_hash: str
    stages: tuple[StageInfo, ...]
    notices: tuple[str, ...]
    warnings: frozenset[str]
    document: dict[str, Any]

    def level_of(self, notice: str) -> Level:
        """How grave one of the notices is."""
        return Level.WARNING if notice in self.warnings else Level.INFO

    @property
    def local(self) -> bool:
        """Whether we start the agent ourselves."""
        return not self.resolved.agents[0].address

    @property
    def namespace_found(self) -> Namespace:
        """What preflight found, if the plan was made by that; else AUTO."""
        if self.resolved.namespace_from is not NamespaceFrom.PREFLIGHT:
            return Namespace.AUTO
        return Namespace.SHARED if self.resolved.shared else Namespace.INDEPENDENT

    @property
    def prepares(self) -> bool:
        return any(stage.type == StageType.PREPARE.value for stage in self.stages)

    @property
    def file_paths(self) -> tuple[Path, ...]:
        """Directories that a local agent needs leave for: those under test, and those of the state cache and op-log."""
        caches = tuple(Path(agent.kv_cache_dir) for agent in self.resolved.agents if agent.kv_cache_dir)
        oplog = Path(self.resolved.config.op_log_path)
        logs = (oplog.parent,) if oplog.is_absolute() else ()
        return (
            caches
            + logs
            + tuple(
                Path(endpoint.location.prefix)
                for agent in self.resolved.agents
                for endpoint in agent.endpoints
                if not endpoint.location.is_object_store
            )
        )


def plan_run(
    text: bytes,
    name: str,
    agents_override: tuple[str, ...],
    only: StageChoice = StageChoice.ALL,
    namespace: Namespace = Namespace.AUTO,
) -> RunPlan:
    """Raises ConfigError with every problem of the file if it cannot be run. `namespace`: as for `load_resolved`."""
    resolution = load_resolved(text, name, agents_override=agents_override, only=only, namespace=namespace)
    resolved = resolution.require()
    resolved.require_runnable()
    agents = resolved.agents
    if len({agent.id for agent in agents}) != len(agents):
        raise ConfigError("two agents have the same id", hint="give each agent an id of its own")
    plan = make_plan(resolved.config, resolved, resolution.problems)
    stages = tuple(
        StageInfo(
            index,
            stage.name,
            stage.type.value,
            stage.barrier.type.value,
            stage.duration or 0.0,
            stage.until_steady.half_width if stage.until_steady is not None else 0.0,
            (stage.io_rate or resolved.config.io_rate) is not None,
        )
        for index, stage in enumerate(resolved.stages, 1)
    )
    return RunPlan(resolved, plan.layout_hash, stages, plan.notices, plan.warnings, plan.to_json())
