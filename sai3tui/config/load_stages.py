"""Stages and barriers, in all the dialects they are written in."""

from __future__ import annotations

from dataclasses import replace

from sai3tui.config.fields import Block, describe
from sai3tui.config.load_workload import read_io_rate, read_workload
from sai3tui.config.model import (
    LEAST_STEADY_S,
    Barrier,
    BarrierSync,
    BarrierType,
    Completion,
    Prepare,
    Stage,
    StageType,
    Until,
    UntilSteady,
)
from sai3tui.config.problems import ProblemList
from sai3tui.config.thresholds import Unit
from sai3tui.config.yaml12 import MappingNode, ScalarNode

COMPLETIONS: dict[StageType, tuple[Completion, ...]] = {
    StageType.VALIDATION: (Completion.VALIDATION_PASSED,),
    StageType.PREPARE: (Completion.TASKS_DONE, Completion.DURATION_OR_TASKS),
    StageType.EXECUTE: (Completion.DURATION, Completion.DURATION_OR_TASKS),
    StageType.CLEANUP: (Completion.TASKS_DONE, Completion.DURATION_OR_TASKS),
    StageType.HYBRID: (Completion.DURATION_OR_TASKS,),
    StageType.CUSTOM: (Completion.SCRIPT_EXIT, Completion.DURATION_OR_TASKS),
    StageType.VERIFY: (Completion.TASKS_DONE, Completion.DURATION_OR_TASKS),
}
"""What may end a stage of each type; the first one is the default."""


def read_barrier_sync(distributed: Block) -> BarrierSync:
    block = distributed.block("barrier_sync")
    if block is None:
        return BarrierSync()
    base = Barrier()
    default = replace(
        base,
        heartbeat_interval=block.seconds("default_heartbeat_interval", default=base.heartbeat_interval),
        missed_threshold=block.count("default_missed_threshold", default=base.missed_threshold),
        query_timeout=block.seconds("default_query_timeout", default=base.query_timeout),
        query_retries=block.count("default_query_retries", default=base.query_retries),
        agent_barrier_timeout=block.seconds("default_agent_barrier_timeout", default=base.agent_barrier_timeout),
    )
    phases = []
    for stage_type in StageType:
        if block.has(stage_type.value):
            barrier = read_barrier(block, stage_type.value, default)
            if barrier is not None:
                phases.append((stage_type, barrier))
    enabled = block.boolean("enabled", default=False)
    block.finish()
    return BarrierSync(enabled, default, tuple(phases))


def read_barrier(parent: Block, name: str, inherited: Barrier) -> Barrier | None:
    """The barrier under `name`, what it leaves out taken from `inherited`; None where there is none."""
    node = parent.get(name)
    if isinstance(node, ScalarNode):
        kind = parent.choice(name, of=BarrierType, default=inherited.type)
        return replace(inherited, type=kind)
    block = parent.block(name)
    if block is None:
        return None
    barrier = Barrier(
        block.choice("type", of=BarrierType, default=inherited.type),
        block.seconds("heartbeat_interval", default=inherited.heartbeat_interval),
        block.count("missed_threshold", default=inherited.missed_threshold),
        block.seconds("query_timeout", default=inherited.query_timeout),
        block.count("query_retries", default=inherited.query_retries),
        block.seconds("agent_barrier_timeout", default=inherited.agent_barrier_timeout),
    )
    block.finish()
    return barrier


def read_stages(distributed: Block, sync: BarrierSync, duration: float) -> tuple[Stage, ...]:
    """The stages in their order; empty where the file has none."""
    stages = []
    for place, block in enumerate(distributed.blocks("stages"), 1):
        stage = _read_stage(_flattened(block), place, sync, duration)
        if stage is not None:
            stages.append(stage)
    _check_unique(stages, distributed.problems)
    return tuple(sorted(stages, key=lambda stage: stage.order))


def synthesised_stages(prepare: Prepare | None, execute: bool, duration: float, sync: BarrierSync) -> tuple[Stage, ...]:
    """The stages of a file without a list of them: validation, then what it has something to do for."""
    kinds = [(StageType.VALIDATION, "preflight")]
    if prepare is not None and prepare.cleanup_only:
        kinds.append((StageType.CLEANUP, "cleanup"))
        return _made(kinds, duration, sync)
    if prepare is not None and prepare.ensure_objects:
        kinds.append((StageType.PREPARE, "prepare"))
    if execute:
        kinds.append((StageType.EXECUTE, "execute"))
    if prepare is not None and prepare.ensure_objects and prepare.cleanup:
        kinds.append((StageType.CLEANUP, "cleanup"))
    return _made(kinds, duration, sync)


def _made(kinds: list[tuple[StageType, str]], duration: float, sync: BarrierSync) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            name,
            order,
            kind,
            COMPLETIONS[kind][0],
            sync.for_stage(kind),
            duration if kind is StageType.EXECUTE else None,
        )
        for order, (kind, name) in enumerate(kinds, 1)
    )


def _flattened(block: Block) -> Block:
    """A stage whose fields stand under `config:` as if they stood beside it; what is beside it wins."""
    config = next((entry.value for entry in block.node.entries if entry.key == block.spec.nested), None)
    if not isinstance(config, MappingNode):
        if config is not None:
            block.error(config.at, "type", f"{block.name}.config is {describe(config)}, not a mapping")
        return block
    outer = tuple(entry for entry in block.node.entries if entry.key != "config")
    taken = {entry.key for entry in outer}
    inner = tuple(entry for entry in config.entries if entry.key not in taken)
    return Block(MappingNode(outer + inner, block.node.at), block.name, block.problems, block.spec)


def _read_stage(block: Block, place: int, sync: BarrierSync, duration: float) -> Stage | None:
    kind = None
    if block.require("type"):
        kind = block.choice("type", of=StageType, default=None)
    if kind is None:
        return None
    name = block.text("name", default=None)
    order = block.count("order", default=None)
    if name is None or order is None:
        name, order = name or f"{kind.value}-{place}", place if order is None else order
        block.problems.notice(block.at, "assumed", f"{block.name} is stage {name!r}, order {order}")
    until_steady, longest = _read_until_steady(block)
    inherited = sync.for_stage(kind)
    barrier = read_barrier(block, "barrier", inherited) or inherited
    stage = Stage(
        name,
        order,
        kind,
        _read_completion(block, kind, name),
        barrier,
        _read_duration(block, kind, name, duration) if longest is None else longest,
        block.seconds("timeout_secs", default=None),
        block.boolean("optional", default=False),
        block.count("expected_objects", default=None),
        block.count("expected_tasks", default=None),
        block.text("command", default="") if kind is StageType.CUSTOM else "",
        tuple(arg.text for arg in block.texts("args")) if kind is StageType.CUSTOM else (),
        block.at,
        read_workload(block) if block.has("workload") else None,
        block.count("concurrency", default=None),
        read_io_rate(block),
        block.seconds("warmup_period", default=None),
        _read_until(block, kind),
        until_steady,
    )
    if kind is StageType.CUSTOM:
        block.require("command")
    block.finish(kind.value)
    return stage


def _read_completion(block: Block, kind: StageType, name: str) -> Completion:
    allowed = COMPLETIONS[kind]
    completion = block.choice("completion", of=Completion, default=allowed[0])
    if completion not in allowed:
        words = " or ".join(word.value for word in allowed)
        message = f"stage {name!r} is of type {kind.value}: its completion should be {words}, not {completion.value}"
        block.error(block.position_of("completion"), "stage", message)
        return allowed[0]
    return completion


def _read_duration(block: Block, kind: StageType, name: str, duration: float) -> float | None:
    if kind is StageType.HYBRID:
        found = block.seconds("max_duration" if block.has("max_duration") else "duration", default=None)
        if found is None and not block.has("until") and not block.has("expected_tasks"):
            block.problems.notice(block.at, "assumed", f"stage {name!r} takes the file's duration of {duration:g} s")
            return duration
        return found
    if kind is not StageType.EXECUTE:
        return None
    found = block.seconds("duration", default=None)
    if found is None and not block.has("duration"):
        block.problems.notice(block.at, "assumed", f"stage {name!r} takes the file's duration of {duration:g} s")
    return duration if found is None else found


def _read_until(parent: Block, kind: StageType) -> Until | None:
    """`until`; the tasks that a hybrid stage expects are operations of the fleet."""
    tasks = parent.count("expected_tasks", default=None) if kind is StageType.HYBRID else None
    block = parent.block("until")
    if block is None:
        return None if tasks is None else Until(tasks)
    operations = block.count("operations", default=None)
    found = Until(tasks if operations is None else operations, block.size("bytes", default=None))
    block.require("operations", "bytes")
    block.finish()
    return found


def _read_until_steady(parent: Block) -> tuple[UntilSteady | None, float | None]:
    """The rule, and how long the stage takes at most."""
    block = parent.block("until_steady")
    if block is None:
        return None, None
    width = block.bound("half_width") if block.require("half_width") else None
    longest = block.seconds("max", default=None) if block.require("max") else None
    if width is not None and not (width.unit is Unit.SHARE and 0.0001 <= width.value <= 0.5):
        block.error(block.position_of("half_width"), "range", "half_width is a share from 0.01% to 50%", "write 1%")
    if longest is not None and longest < LEAST_STEADY_S:
        text = f"until_steady.max of {longest:g} s: nothing can be known of less than {LEAST_STEADY_S} s"
        block.problems.warning(block.position_of("max"), "range", text, "give it a minute or more")
    if parent.has("duration"):
        at = parent.position_of("duration")
        block.error(at, "stage", "a stage with until_steady has no duration", "its longest time is until_steady.max")
    block.finish()
    return (UntilSteady(width.value) if width is not None else None), longest


def _check_unique(stages: list[Stage], problems: ProblemList) -> None:
    names: set[str] = set()
    orders: set[int] = set()
    for stage in stages:
        if stage.name in names:
            problems.error(stage.at, "stage", f"duplicate stage name: {stage.name}", "every stage needs its own name")
        if stage.order in orders:
            problems.error(stage.at, "stage", f"duplicate stage order: {stage.order}", "number the stages 1, 2, 3, ...")
        names.add(stage.name)
        orders.add(stage.order)
