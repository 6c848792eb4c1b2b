"""YAML text into a `Config`, with every problem of the file found at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sai3tui.config.fields import Block
from sai3tui.config.language import LANGUAGE
from sai3tui.config.load_fleet import read_distributed, read_multi_endpoint
from sai3tui.config.load_stages import read_stages, synthesised_stages
from sai3tui.config.load_storage import read_file_options, read_s3_options
from sai3tui.config.load_thresholds import check_threshold_stages, read_thresholds
from sai3tui.config.load_workload import read_error_handling, read_io_rate, read_prepare, read_workload
from sai3tui.config.model import (
    DEFAULT_SEED,
    Config,
    EngineName,
    PerfLog,
    RangeEngine,
    StageType,
)
from sai3tui.config.preflight import read_preflight
from sai3tui.config.problems import Problem, ProblemList, has_errors
from sai3tui.config.stage_choice import StageChoice, chosen_stages
from sai3tui.config.yaml12 import MappingNode, Node, ScalarNode, SequenceNode, YamlError, parse_yaml
from sai3tui.errors import ConfigError

DEFAULT_DURATION = 60.0
DEFAULT_CONCURRENCY = 16
SECRET_WORDS = ("SECRET", "PASSWORD", "PASSPHRASE", "TOKEN", "ACCESSKEY", "ACCOUNTKEY", "APIKEY")
"""In the names of what is no business of a file, written together."""
_NO_SEPARATORS = str.maketrans("", "", "-_ ")


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


def load_config(
    source: str | bytes, path: str, *, agents_override: Sequence[str] = (), only: StageChoice = StageChoice.ALL
) -> Loaded:
    """Read `source`; `path` is its name in messages. `agents_override` are the addresses of `--agents`, `only` says
    which stages are left.

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
    config = _read(Block(root, "", problems, LANGUAGE), agents_override, only)
    _refuse_secrets(root, problems)
    found = problems.sorted()
    return Loaded(None if has_errors(found) else replace(config, path=path), found)


def problems_error(problems: Sequence[Problem], error: type[ConfigError] = ConfigError) -> ConfigError:
    """One error that says all that is wrong with a file."""
    lines = [str(problem) for problem in problems if has_errors((problem,))]
    return error("\n".join(lines) or "the configuration is not valid")


def _read(top: Block, agents_override: Sequence[str], only: StageChoice) -> Config:
    duration = top.seconds("duration", default=DEFAULT_DURATION)
    top.require("workload")
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
    if only is StageChoice.ALL and prepare is not None and prepare.cleanup_only:
        only = StageChoice.CLEANUP_ONLY
    stages = chosen_stages(stages, only, prepare, fleet.barrier_sync, top.problems)
    if block is not None:
        block.finish()
    config = Config(
        workload,
        stages,
        fleet,
        duration,
        top.count("concurrency", default=DEFAULT_CONCURRENCY),
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
        read_thresholds(top),
        _read_processes(top),
        top.boolean("dynamic_put_pool", default=False),
        read_preflight(top),
        _read_range_engine(top),
        op_log_path=top.text("op_log_path", default=""),
    )
    top.foreign("s3dlio_optimization", "autotune")
    top.finish()
    _check_stages(config, top.problems)
    check_threshold_stages(config, top.problems)
    if not config.s3.tls_verify:
        message = "tls_verify is false: whoever stands between can answer instead of the storage"
        top.problems.warning(top.position_of("tls_verify"), "tls", message, "name the storage's CA: ca_file")
    return config


@lru_cache(maxsize=1024)
def _names_secret(key: str) -> bool:
    """Whether what stands under `key` is a secret. A large file has few keys, each many times."""
    word = key.translate(_NO_SEPARATORS).upper()
    return any(secret in word for secret in SECRET_WORDS)


def _refuse_secrets(root: Node, problems: ProblemList) -> None:
    """Files are copied into results, mailed and kept: no secret may stand in one, under whatever key."""
    pending, seen = [root], set[int]()
    while pending:
        node = pending.pop()
        # An anchor's node stands in several places.
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            pending += node.items
        elif isinstance(node, MappingNode):
            for entry in node.entries:
                if _names_secret(entry.key):
                    message = f"{entry.key[:60]} does not belong into a file"
                    hint = "remove it, and set it for the agents, or hand it to them: --forward-credentials"
                    problems.error(entry.key_at, "secret", message, hint)
                pending.append(entry.value)


def _read_perf_log(top: Block) -> PerfLog:
    block = top.block("perf_log")
    if block is None:
        return PerfLog()
    found = PerfLog(
        block.boolean("enabled", default=True),
        block.seconds("interval", default=1.0),
    )
    block.finish()
    return found


def _read_processes(top: Block) -> int | None:
    """How many worker processes an agent has; None for `auto`."""
    node = top.get("processes")
    word = node.text.lower() if isinstance(node, ScalarNode) else ""
    if node is None or word == "auto":
        return None
    if word == "single":
        return 1
    found = top.count("processes", default=None)
    if found == 0:
        top.error(node.at, "range", "processes must be >= 1", "write auto, single or a number")
    return found


def _read_range_engine(top: Block) -> RangeEngine | None:
    block = top.block("range_engine")
    if block is None:
        return None
    enabled = block.boolean("enabled", default=False)
    default = RangeEngine()
    found = RangeEngine(
        block.size("chunk_size", default=default.chunk_size),
        block.count("max_concurrent_ranges", default=default.max_concurrent_ranges),
        block.size("min_split_size", default=default.min_split_size),
    )
    block.finish()
    return found if enabled else None


def _check_stages(config: Config, problems: ProblemList) -> None:
    has_objects = config.prepare is not None and bool(config.prepare.ensure_objects)
    for stage in config.stages:
        entries = config.workload if stage.workload is None else stage.workload
        if stage.type in (StageType.EXECUTE, StageType.HYBRID) and not any(op.weight for op in entries):
            message = f"stage {stage.name!r} has nothing to do: the workload has no entry with a weight above 0"
            problems.error(stage.at, "workload", message, "add entries to workload:")
        if stage.type is StageType.PREPARE and not has_objects:
            message = f"stage {stage.name!r} has nothing to do: there is no prepare.ensure_objects"
            problems.warning(stage.at, "stage", message, "add prepare.ensure_objects, or remove the stage")
