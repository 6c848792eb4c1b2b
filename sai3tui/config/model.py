"""The whole configuration language as frozen values.

`load.py` makes a `Config` out of YAML and reports problems; everything else reads it. Durations are seconds (float),
sizes are bytes, None means: not given. `at` is where something stands in the file, for messages only: it takes no
part in comparisons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from sai3tui.config.ops import Op
from sai3tui.config.places import NOWHERE as NOWHERE
from sai3tui.config.places import Placed as Placed
from sai3tui.config.places import Position as Position
from sai3tui.config.storage_options import FileOptions, S3Options
from sai3tui.config.thresholds import Threshold

KIB = 1024
MIB = 1024 * KIB

DEFAULT_AGENT_PORT = 7167
DEFAULT_DIR_MASK = "sai3bench.d%d_w%d.dir"
DEFAULT_SEED = 1


class SizeKind(StrEnum):
    FIXED = "fixed"
    UNIFORM = "uniform"
    LOGNORMAL = "lognormal"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class SizeSpec:
    """How large objects are, in bytes. `minimum` and `maximum` are inclusive; a fixed size is both of them.

    `mean` and `std_dev` are those of the lognormal sizes themselves (linear, before truncation), else 0. A lognormal
    without an upper bound has `maximum` 0. `weighted` are (size, weight) of a weighted draw.
    """

    kind: SizeKind
    minimum: int
    maximum: int
    mean: int = 0
    std_dev: int = 0
    weighted: tuple[tuple[int, int], ...] = ()


def fixed_size(size: int) -> SizeSpec:
    """A spec under which every object has `size` bytes."""
    return SizeSpec(SizeKind.FIXED, size, size)


class Fill(StrEnum):
    ZERO = "zero"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Content:
    """What the bytes of objects are like: 1 / `dedup_factor` of the blocks are unique, and they shrink
    `compress_factor` times."""

    fill: Fill = Fill.RANDOM
    dedup_factor: int = 1
    compress_factor: int = 1


class KeySource(StrEnum):
    """Where the objects of a GET, STAT or DELETE come from. AUTO: prepare if the pattern matches there, else LIST."""

    AUTO = "auto"
    PREPARE = "prepare"
    LIST = "list"


class Popularity(StrEnum):
    """Which objects are chosen: all alike, few very often, in order and round again, or each once."""

    UNIFORM = "uniform"
    ZIPF = "zipf"
    SEQUENTIAL = "sequential"
    ONCE = "once"


class ArrivalKind(StrEnum):
    """How the times between operations are spread."""

    EXPONENTIAL = "exponential"
    UNIFORM = "uniform"
    DETERMINISTIC = "deterministic"


@dataclass(frozen=True, slots=True)
class IoRate:
    """Operations per second of the whole fleet; 0 means as fast as it goes."""

    iops: int
    distribution: ArrivalKind = ArrivalKind.EXPONENTIAL


@dataclass(frozen=True, slots=True)
class ReadRange:
    """GETs of `size` bytes that begin at multiples of `align`."""

    size: int
    align: int = 1


DEFAULT_ZIPF_EXPONENT = 0.99


@dataclass(frozen=True, slots=True)
class WorkloadOp:
    """One entry of `workload`. `path` is as written; `size` is that of PUT (None for the others); `concurrency`
    caps how many connections of an agent may be in this entry at once. `part_size` 0: PUTs in one request."""

    op: Op
    weight: int
    path: str = ""
    size: SizeSpec | None = None
    content: Content = field(default_factory=Content)
    concurrency: int | None = None
    recursive: bool = False
    at: Position = field(default=NOWHERE, compare=False)
    io_rate: IoRate | None = None
    verify: bool = False
    read_range: ReadRange | None = None
    part_size: int = 0
    delete_many: int = 1
    source: KeySource = KeySource.AUTO
    popularity: Popularity = Popularity.UNIFORM
    zipf_exponent: float = DEFAULT_ZIPF_EXPONENT


class Distribution(StrEnum):
    """Which directories of a tree hold files."""

    BOTTOM = "bottom"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class DirectoryStructure:
    """A tree of `width` subdirectories per directory, `depth` levels deep. `dir_mask` has two `%d`: level, place."""

    width: int
    depth: int
    files_per_dir: int = 0
    distribution: Distribution = Distribution.BOTTOM
    dir_mask: str = DEFAULT_DIR_MASK
    at: Position = field(default=NOWHERE, compare=False)

    @property
    def directories(self) -> int:
        """Directories on all levels."""
        if self.width == 1:
            return self.depth
        return (self.leaves - 1) * self.width // (self.width - 1)

    @property
    def leaves(self) -> int:
        """Directories on the deepest level."""
        return math.prod([self.width] * self.depth)

    @property
    def files(self) -> int:
        holders = self.leaves if self.distribution is Distribution.BOTTOM else self.directories
        return holders * self.files_per_dir


@dataclass(frozen=True, slots=True)
class EnsureObjects:
    """Objects that must exist before execute. `count` is as written: 0 means as many as the tree holds."""

    count: int
    base_uri: Placed | None = None
    size: SizeSpec = field(default_factory=lambda: fixed_size(MIB))
    content: Content = field(default_factory=Content)
    at: Position = field(default=NOWHERE, compare=False)


class PrepareStrategy(StrEnum):
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"


class CleanupMode(StrEnum):
    """What an object that is not there, or cannot be deleted, means for cleanup."""

    STRICT = "strict"
    TOLERANT = "tolerant"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True)
class Prepare:
    ensure_objects: tuple[EnsureObjects, ...] = ()
    directory_structure: DirectoryStructure | None = None
    strategy: PrepareStrategy = PrepareStrategy.SEQUENTIAL
    skip_verification: bool = False
    force_overwrite: bool = False
    cleanup: bool = False
    cleanup_only: bool = False
    cleanup_mode: CleanupMode = CleanupMode.TOLERANT
    post_prepare_delay: float = 0.0
    key_prefix_shards: int = 0
    at: Position = field(default=NOWHERE, compare=False)
    verify: bool = False
    part_size: int = 0
    """Larger objects are PUT in parts of so many bytes; 0: in one request."""


class EndpointStrategy(StrEnum):
    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    WEIGHTED = "weighted"


class EndpointPolicy(StrEnum):
    """What becomes of an endpoint that keeps failing. TOLERANT: it rests for a while."""

    TOLERANT = "tolerant"
    STRICT = "strict"


class Namespace(StrEnum):
    """Whether all endpoints show the same objects. AUTO: told by the URIs, and for files by preflight, which looks."""

    AUTO = "auto"
    SHARED = "shared"
    INDEPENDENT = "independent"


@dataclass(frozen=True, slots=True)
class MultiEndpoint:
    """`weights` has one number for each endpoint, or is empty: all alike."""

    endpoints: tuple[Placed, ...]
    strategy: EndpointStrategy = EndpointStrategy.ROUND_ROBIN
    namespace: Namespace = Namespace.AUTO
    at: Position = field(default=NOWHERE, compare=False)
    weights: tuple[int, ...] = ()
    policy: EndpointPolicy = EndpointPolicy.TOLERANT


@dataclass(frozen=True, slots=True)
class RangeEngine:
    """GETs of objects of `min_split_size` bytes or more read ranges of `chunk_size`, so many of an object at once."""

    chunk_size: int = 64 * MIB
    max_concurrent_ranges: int = 16
    min_split_size: int = 16 * MIB


class BarrierType(StrEnum):
    ALL_OR_NOTHING = "all_or_nothing"
    MAJORITY = "majority"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True)
class Barrier:
    """How a stage ends. Times in seconds."""

    type: BarrierType = BarrierType.ALL_OR_NOTHING
    heartbeat_interval: float = 30.0
    missed_threshold: int = 3
    query_timeout: float = 10.0
    query_retries: int = 2
    agent_barrier_timeout: float = 120.0


class StageType(StrEnum):
    VALIDATION = "validation"
    PREPARE = "prepare"
    EXECUTE = "execute"
    CLEANUP = "cleanup"
    HYBRID = "hybrid"
    CUSTOM = "custom"
    VERIFY = "verify"


class Completion(StrEnum):
    DURATION = "duration"
    TASKS_DONE = "tasks_done"
    SCRIPT_EXIT = "script_exit"
    VALIDATION_PASSED = "validation_passed"
    DURATION_OR_TASKS = "duration_or_tasks"


@dataclass(frozen=True, slots=True)
class Until:
    """Ends a stage once the fleet has done so many operations or moved so many bytes; None: does not."""

    operations: int | None = None
    bytes: int | None = None


LEAST_STEADY_S = 20
"""Nothing is said of the mean of less time."""


@dataclass(frozen=True, slots=True)
class UntilSteady:
    """Ends an execute stage once the mean of its steady part is known to +/- `half_width`, a share of it."""

    half_width: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, with its barrier already inherited. `duration` is set for execute stages, and is the `max_duration`
    of hybrid ones. `order` is as written; stages of a Config stand in that order. What is None at the end is as the
    file as a whole has it."""

    name: str
    order: int
    type: StageType
    completion: Completion
    barrier: Barrier = field(default_factory=Barrier)
    duration: float | None = None
    timeout: float | None = None
    optional: bool = False
    expected_objects: int | None = None
    expected_tasks: int | None = None
    command: str = ""
    args: tuple[str, ...] = ()
    at: Position = field(default=NOWHERE, compare=False)
    workload: tuple[WorkloadOp, ...] | None = None
    concurrency: int | None = None
    io_rate: IoRate | None = None
    warmup_period: float | None = None
    until: Until | None = None
    until_steady: UntilSteady | None = None


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent. `address` is host:port, and empty for the local agent that the front starts itself."""

    id: str
    address: str
    concurrency_override: int | None = None
    multi_endpoint: MultiEndpoint | None = None
    target_override: Placed | None = None
    kv_cache_dir: str | None = None
    at: Position = field(default=NOWHERE, compare=False)


class AgentLossPolicy(StrEnum):
    """What becomes of the work of an agent that is lost. DEFAULT: redistribute, but continue for execute."""

    DEFAULT = "default"
    REDISTRIBUTE = "redistribute"
    CONTINUE = "continue"
    FAIL = "fail"


class TreeCreationMode(StrEnum):
    ISOLATED = "isolated"
    COORDINATOR = "coordinator"
    CONCURRENT = "concurrent"


class PathSelection(StrEnum):
    RANDOM = "random"
    PARTITIONED = "partitioned"
    EXCLUSIVE = "exclusive"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class BarrierSync:
    """Barrier settings as written; stages have already inherited from them."""

    enabled: bool = False
    default: Barrier = field(default_factory=Barrier)
    phases: tuple[tuple[StageType, Barrier], ...] = ()

    def for_stage(self, stage_type: StageType) -> Barrier:
        """What a stage of this type inherits (custom and hybrid ones inherit from execute)."""
        if stage_type in (StageType.CUSTOM, StageType.HYBRID):
            stage_type = StageType.EXECUTE
        return dict(self.phases).get(stage_type, self.default) if self.enabled else Barrier()


@dataclass(frozen=True, slots=True)
class Distributed:
    """The fleet. Times in seconds. `local` is true where the file has no `distributed` block."""

    agents: tuple[AgentConfig, ...]
    shared_filesystem: bool = True
    tree_creation_mode: TreeCreationMode = TreeCreationMode.CONCURRENT
    path_selection: PathSelection = PathSelection.RANDOM
    partition_overlap: float = 0.3
    barrier_sync: BarrierSync = field(default_factory=BarrierSync)
    start_delay: float = 2.0
    grpc_keepalive_interval: float = 30.0
    grpc_keepalive_timeout: float = 10.0
    agent_ready_timeout: float = 120.0
    kv_cache_dir: str | None = None
    on_agent_loss: AgentLossPolicy = AgentLossPolicy.DEFAULT
    controller_timeout: float = 600.0
    local: bool = False
    at: Position = field(default=NOWHERE, compare=False)
    shared_said: bool = field(default=False, compare=False)
    """Whether the file gives `shared_filesystem`. To say what is so anyway changes nothing."""


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    """When errors stop a stage, slow it down or are tried again. Rates per second, times in seconds."""

    max_total_errors: int = 100
    error_rate_threshold: float = 5.0
    backoff_duration: float = 5.0
    error_rate_window: float = 1.0
    retry_on_error: bool = False
    max_retries: int = 3
    initial_retry_delay: float = 0.1
    max_retry_delay: float = 5.0
    retry_backoff_multiplier: float = 2.0
    retry_jitter_factor: float = 0.25


@dataclass(frozen=True, slots=True)
class PerfLog:
    """`perf_log.tsv`: rows every `interval` seconds."""

    enabled: bool = True
    interval: float = 1.0


class EngineName(StrEnum):
    WIRE = "wire"
    BOTO = "boto"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class PreflightRules:
    """Names of checks that are not made, and of those whose errors are warnings. `rate`: also measure."""

    skip: frozenset[str] = frozenset()
    warn_only: frozenset[str] = frozenset()
    rate: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration, complete: what the file left out has its default. `stages` are never empty, and
    `distributed.agents` never is either: a file without them has one local agent. `processes` None: as many as the
    agent finds good."""

    workload: tuple[WorkloadOp, ...]
    stages: tuple[Stage, ...]
    distributed: Distributed
    duration: float = 60.0
    concurrency: int = 16
    target: Placed | None = None
    prepare: Prepare | None = None
    multi_endpoint: MultiEndpoint | None = None
    perf_log: PerfLog = field(default_factory=PerfLog)
    warmup_period: float = 0.0
    io_rate: IoRate | None = None
    error_handling: ErrorHandling = field(default_factory=ErrorHandling)
    enable_metadata_cache: bool = True
    cache_checkpoint_interval: float = 300.0
    seed: int = DEFAULT_SEED
    verify: bool = False
    engine: EngineName = EngineName.WIRE
    s3: S3Options = field(default_factory=S3Options)
    files: FileOptions = field(default_factory=FileOptions)
    thresholds: tuple[Threshold, ...] = ()
    processes: int | None = None
    dynamic_put_pool: bool = False
    preflight: PreflightRules = field(default_factory=PreflightRules)
    range_engine: RangeEngine | None = None
    op_log_path: str = ""
    path: str = field(default="", compare=False)

    @property
    def entries(self) -> tuple[WorkloadOp, ...]:
        """Every entry of the workload of the file and of those of its stages."""
        return (*self.workload, *(op for stage in self.stages for op in stage.workload or ()))

    @property
    def agents(self) -> tuple[AgentConfig, ...]:
        return self.distributed.agents
