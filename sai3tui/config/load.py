"""YAML text into a `Config`, with every problem of the file found at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sai3tui.config.fields import Block
from sai3tui.config.load_fleet import read_distributed, read_multi_endpoint
from sai3tui.config.load_stages import read_stages, synthesised_stages
from sai3tui.config.load_storage import read_file_options, read_s3_options
from sai3tui.config.load_workload import read_error_handling, read_io_rate, read_prepare, read_workload
from sai3tui.config.model import (
    DEFAULT_SEED,
    AgentLossPolicy,
    Config,
    EndpointStrategy,
    EngineName,
    PathSelection,
    PerfLog,
    StageType,
)
from sai3tui.config.problems import Problem, ProblemList, has_errors
from sai3tui.config.storage_options import FileOptions
from sai3tui.config.yaml12 import MappingNode, YamlError, parse_yaml
from sai3tui.errors import ConfigError

DEFAULT_DURATION = 60.0
DEFAULT_CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a file. `config` is None if there is an error among the problems."""

    config: Config | None
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return self.config is not None

    def require(self) -> Config:
        """The config. Raises ConfigError with the first errors where there is none."""
        if self.config is None:
            raise problems_error(self.problems)
        return self.config


def load_config(source: str | bytes, path: str, *, agents_override: Sequence[str] = ()) -> Loaded:
    """Read `source`; `path` is its name in messages. `agents_override` are the addresses of `--agents`.

    Never raises for what a file can contain: problems are values.
    """
    problems = ProblemList(path)
    try:
        root = parse_yaml(source)
    except YamlError as error:
        problems.error(error.at, "yaml", error.message, error.hint)
        return Loaded(None, problems.sorted())
    if not isinstance(root, MappingNode):
        problems.error(root.at, "type", "the file is no mapping", "begin with lines such as 'target:' and 'workload:'")
        return Loaded(None, problems.sorted())
    config = _read(Block(root, "", problems), agents_override)
    found = problems.sorted()
    return Loaded(None if has_errors(found) else replace(config, path=path), found)


def problems_error(problems: Sequence[Problem]) -> ConfigError:
    """One error that says all that is wrong with a file."""
    lines = [str(problem) for problem in problems if has_errors((problem,))]
    return ConfigError("\n".join(lines) or "the configuration is not valid")


def _read(top: Block, agents_override: Sequence[str]) -> Config:
    duration = top.seconds("duration", default=DEFAULT_DURATION, least=0.001)
    workload = read_workload(top)
    prepare = read_prepare(top)
    fleet, block = read_distributed(top, agents_override)
    stages = read_stages(block, fleet.barrier_sync, duration) if block is not None else ()
    if not stages:
        stages = synthesised_stages(prepare, bool(workload), duration, fleet.barrier_sync)
        if block is not None and not block.items("stages"):
            names = ", ".join(stage.name for stage in stages)
            top.problems.notice(block.at, "assumed", f"distributed.stages is not given: taken as {names}")
    elif prepare is not None and prepare.cleanup and not any(s.type is StageType.CLEANUP for s in stages):
        message = "prepare.cleanup is true, but the list of stages has no cleanup stage: nothing will be deleted"
        top.problems.warning(prepare.at, "stage", message, "add {name: cleanup, type: cleanup, order: ...}")
    if block is not None:
        block.finish()
    config = Config(
        workload,
        stages,
        fleet,
        duration,
        top.count("concurrency", default=DEFAULT_CONCURRENCY, least=1, most=1_000_000),
        top.placed("target"),
        prepare,
        read_multi_endpoint(top),
        _read_perf_log(top),
        top.seconds("warmup_period", default=0.0),
        read_io_rate(top),
        read_error_handling(top),
        top.boolean("enable_metadata_cache", default=True),
        top.seconds("cache_checkpoint_interval_secs", default=300.0),
        top.count("seed", default=DEFAULT_SEED),
        top.boolean("verify", default=False),
        top.choice("engine", of=EngineName, default=EngineName.WIRE),
        read_s3_options(top),
        read_file_options(top),
    )
    top.not_yet(
        "op_log_path",
        "range_engine",
        "processes",
        "processing_mode",
        "dynamic_put_pool",
        "s3dlio_optimization",
        "distributed_env",
        "autotune",
        "thresholds",
        "serve",
    )
    _say_what_has_no_effect_yet(config, top)
    top.finish()
    _check_stages(config, top.problems)
    return config


def _say_what_has_no_effect_yet(config: Config, top: Block) -> None:
    """One notice for each setting that is taken, would change the run, and is not acted on yet."""
    fleet = config.distributed
    blocks = [config.multi_endpoint, *(agent.multi_endpoint for agent in config.agents)]
    least = [block.at for block in blocks if block and block.strategy is EndpointStrategy.LEAST_CONNECTIONS]
    capped = [op.at for op in config.workload if op.concurrency is not None]
    settings = (
        ("page_cache_mode", config.files != FileOptions(), top.position_of("page_cache_mode")),
        ("warmup_period", config.warmup_period > 0, top.position_of("warmup_period")),
        ("verify", config.verify, top.position_of("verify")),
        (f"path_selection: {fleet.path_selection.value}", fleet.path_selection is not PathSelection.RANDOM, fleet.at),
        ("on_agent_loss", fleet.on_agent_loss is not AgentLossPolicy.DEFAULT, fleet.at),
        ("strategy: least_connections", bool(least), least[0] if least else top.at),
        ("concurrency of a workload entry", bool(capped), capped[0] if capped else top.at),
    )
    for name, given, at in settings:
        if given:
            top.problems.notice(at, "not-yet", f"{name} is not acted on yet")


def _read_perf_log(top: Block) -> PerfLog:
    block = top.block("perf_log")
    if block is None:
        return PerfLog()
    found = PerfLog(
        block.boolean("enabled", default=True),
        block.seconds("interval", "interval_seconds", default=1.0, least=0.001),
    )
    block.without_effect("path")
    block.finish()
    return found


def _check_stages(config: Config, problems: ProblemList) -> None:
    has_objects = config.prepare is not None and bool(config.prepare.ensure_objects)
    for stage in config.stages:
        if stage.type in (StageType.EXECUTE, StageType.HYBRID) and not any(op.weight for op in config.workload):
            message = f"stage {stage.name!r} has nothing to do: the workload has no entry with a weight above 0"
            problems.error(stage.at, "workload", message, "add entries to workload:")
        if stage.type is StageType.PREPARE and not has_objects:
            message = f"stage {stage.name!r} has nothing to do: there is no prepare.ensure_objects"
            problems.warning(stage.at, "stage", message, "add prepare.ensure_objects, or remove the stage")
        if stage.type in (StageType.CUSTOM, StageType.HYBRID):
            message = f"stages of type {stage.type.value} cannot be run yet ({stage.name!r})"
            problems.notice(stage.at, "not-yet", message)
