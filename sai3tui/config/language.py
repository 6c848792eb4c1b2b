"""The whole language as data: `LANGUAGE` is the block that a file is. See `vocabulary.py`."""

from __future__ import annotations

from sai3tui.config.language_fleet import DISTRIBUTED, MULTI_ENDPOINT
from sai3tui.config.language_load import IO_RATE, OP, PREPARE
from sai3tui.config.model import EngineName
from sai3tui.config.storage_options import Addressing, Checksum, Fsync, PageCacheMode, PayloadSigning
from sai3tui.config.thresholds import ThresholdScope
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, Status, words_of

PERF_LOG = BlockSpec(
    "perf_log",
    "`perf_log.tsv` in the results.",
    (
        Field("enabled", Kind.BOOLEAN, "Whether it is written.", "true", note="has an effect"),
        Field("interval", Kind.SECONDS, "Between rows.", "1", ("interval_seconds",), least=0.001),
        Field("path", Kind.TEXT, "It stands in the results directory.", status=Status.IGNORED),
    ),
)

ERROR_HANDLING = BlockSpec(
    "error_handling",
    "When errors stop a stage, slow it down, or are tried again.",
    (
        Field("max_total_errors", Kind.COUNT, "More of them fail the stage.", "100"),
        Field(
            "error_rate_threshold",
            Kind.NUMBER,
            "More errors per second than this, of kinds that time may mend, have an agent pause; 0: none do.",
            "5",
            least=0,
        ),
        Field("backoff_duration", Kind.SECONDS, "For how long.", "5"),
        Field("error_rate_window", Kind.SECONDS, "The rate is measured over this time.", "1"),
        Field("retry_on_error", Kind.BOOLEAN, "Try operations of execute again.", "false"),
        Field("max_retries", Kind.COUNT, "How often at most.", "3", most=1000),
        Field("initial_retry_delay_ms", Kind.NUMBER, "Milliseconds before the first.", "100", least=0),
        Field("max_retry_delay_ms", Kind.NUMBER, "Milliseconds, at most.", "5000", least=0),
        Field("retry_backoff_multiplier", Kind.NUMBER, "Each waits so many times longer.", "2", least=1),
        Field("retry_jitter_factor", Kind.NUMBER, "Share of the wait that is random.", "0.25", least=0, most=1),
    ),
    example="""\
target: s3://bucket/
error_handling: {max_total_errors: 50, retry_on_error: true, max_retries: 2, initial_retry_delay_ms: 50}
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
""",
)

THRESHOLD = BlockSpec(
    "thresholds",
    "What must be met: a run that misses one ends with exit code 4.",
    (
        Field(
            "metric",
            Kind.TEXT,
            "`throughput`, `ops`, `errors`, `errors.rate`, `coverage`, or a latency: `p50`, `p99.9`, `max`, `mean`. "
            "Before it an operation (`get.p99`), `scheduled` or `ttfb` (`get.ttfb.p99`), and before all `vs_baseline`.",
            required=True,
            ours=True,
        ),
        Field("stage", Kind.TEXT, "The stage it is about.", "all", ours=True),
        Field("min", Kind.QUANTITY, "It must not be less: `2GiB/s`, `100%`, `5000`.", ours=True),
        Field("max", Kind.QUANTITY, "It must not be more: `50ms`, `0.1%`.", ours=True),
        Field("window", Kind.SECONDS, "Over this time instead of the whole stage.", ours=True),
        Field(
            "scope",
            Kind.CHOICE,
            "Of the fleet, or of each agent or endpoint.",
            ThresholdScope.FLEET.value,
            words=words_of(ThresholdScope),
            ours=True,
        ),
        Field("abort", Kind.BOOLEAN, "End the run when it is missed.", "false", ours=True),
        Field("grace", Kind.SECONDS, "It may be missed for so long.", "0", ours=True),
    ),
    example="""\
target: s3://bucket/
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
thresholds:
  - {metric: get.p99, stage: execute, max: 50ms, window: 10s}
  - {metric: throughput, min: 2GiB/s}
  - {metric: errors.rate, max: 0.1%, scope: agent}
  - {metric: coverage, min: 100%}
""",
)

RANGE_ENGINE = BlockSpec(
    "range_engine",
    "GETs of large objects read several ranges at the same time. Ranges are read by the connection that began the GET "
    "and by those to the same endpoint that become free meanwhile; it counts as one operation.",
    (
        Field("enabled", Kind.BOOLEAN, "Whether it is done.", "false"),
        Field("chunk_size", Kind.SIZE, "Bytes of each range.", "64 MiB", least=1),
        Field("max_concurrent_ranges", Kind.COUNT, "Of one object at once.", "16", least=1, most=10_000),
        Field("min_split_size", Kind.SIZE, "Smaller objects are read at once.", "16 MiB"),
        Field(
            "range_timeout_secs",
            Kind.SECONDS,
            "",
            "30",
            status=Status.IGNORED,
            notice="every request has the same limit of two minutes",
        ),
    ),
    example="""\
target: s3://bucket/large/
range_engine: {enabled: true, chunk_size: 8MiB, max_concurrent_ranges: 4, min_split_size: 16MiB}
prepare:
  ensure_objects: [{base_uri: data/, count: 100, size_spec: 64MiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
""",
)

CLIENT_TUNING = BlockSpec(
    "s3dlio_optimization",
    "Settings of the predecessor's storage library.",
    tuple(
        Field(name, kind, "", status=Status.IGNORED)
        for name, kind in (
            ("enable_range_downloads", Kind.BOOLEAN),
            ("range_threshold_mb", Kind.COUNT),
            ("range_concurrency", Kind.COUNT),
            ("chunk_size_mb", Kind.COUNT),
            ("gcs_channel_count", Kind.COUNT),
            ("gcs_rapid_mode", Kind.ANYTHING),
            ("gcs_write_chunk_size_bytes", Kind.COUNT),
            ("gcs_project", Kind.TEXT),
            ("h2c", Kind.BOOLEAN),
            ("h2_adaptive_window", Kind.BOOLEAN),
            ("h2_stream_window_mb", Kind.COUNT),
            ("h2_conn_window_mb", Kind.COUNT),
            ("s3dlio_rt_threads", Kind.COUNT),
            ("tokio_worker_threads", Kind.COUNT),
            ("auto_threads", Kind.BOOLEAN),
        )
    ),
)

AUTOTUNE = BlockSpec(
    "autotune",
    "A search for the best settings.",
    tuple(
        Field(name, Kind.ANYTHING, "", status=Status.LATER)
        for name in (
            "uri",
            "sizes",
            "size_range",
            "size_steps",
            "threads",
            "channels",
            "channels_per_thread",
            "range_enabled",
            "range_thresholds_mb",
            "gcs_write_chunk_sizes",
            "gcs_rapid_mode",
            "gcs_project",
            "objects",
            "trials",
            "optimize_for",
            "ops",
        )
    ),
)

PREFLIGHT = BlockSpec(
    "preflight",
    "What of the checks before a run is left out or does not keep it from starting. Their names are the columns of the "
    "matrix, and in docs/preflight.md.",
    (
        Field("skip", Kind.TEXTS, "Checks that are not made.", ours=True),
        Field("warn_only", Kind.TEXTS, "Checks whose errors are warnings.", ours=True),
        Field("rate", Kind.BOOLEAN, "Also measure what each agent reaches at each endpoint.", "false", ours=True),
    ),
    example="""\
target: s3://bucket/
preflight: {skip: [bucket], warn_only: [latency, space], rate: true}
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
""",
)

LANGUAGE = BlockSpec(
    "",
    "A configuration file is YAML 1.2. Sizes are bytes, or have a unit (KB is 1000, KiB 1024); durations are seconds, "
    'or have a unit ("500ms", "10m", "1h 30m"); numbers may have separators ("1,000,000", 1_000_000, 250 000). Words '
    "may be written in any case, with or without `_`.",
    (
        Field(
            "target",
            Kind.TEXT,
            "What relative paths stand under, where there are no endpoints: `s3://BUCKET/PREFIX/`, "
            "`s3+http://HOST:PORT/BUCKET/`, `s3+https://...` or `file:///DIR/`.",
        ),
        Field("workload", Kind.BLOCKS, "What execute does.", required=True, block=OP),
        Field("prepare", Kind.BLOCK, "The objects that must exist first.", block=PREPARE),
        Field("duration", Kind.SECONDS, "How long execute lasts.", "60", least=0.001, note="also a plain number"),
        Field("concurrency", Kind.COUNT, "Connections of each agent.", "16", least=1, most=1_000_000),
        Field("multi_endpoint", Kind.BLOCK, "Endpoints of all agents.", block=MULTI_ENDPOINT),
        Field("distributed", Kind.BLOCK, "The fleet.", "one local agent", block=DISTRIBUTED),
        Field("io_rate", Kind.BLOCK, "A rate to keep.", "as fast as possible", block=IO_RATE),
        Field(
            "warmup_period",
            Kind.SECONDS,
            "So much at the beginning of execute is left out of the results.",
            "0",
            note="flagged in perf_log.tsv",
        ),
        Field("perf_log", Kind.BLOCK, "The log of figures over time.", block=PERF_LOG),
        Field("error_handling", Kind.BLOCK, "What errors lead to.", block=ERROR_HANDLING),
        Field(
            "page_cache_mode",
            Kind.CHOICE,
            "What the kernel is told about reads of files.",
            PageCacheMode.AUTO.value,
            words=words_of(PageCacheMode),
        ),
        Field("enable_metadata_cache", Kind.BOOLEAN, "Keep the state of every object on disk.", "true"),
        Field("cache_checkpoint_interval_secs", Kind.SECONDS, "Between copies of the state in the storage.", "300"),
        Field("seed", Kind.COUNT, "Determines sizes and contents.", "1", ours=True),
        Field(
            "verify",
            Kind.BOOLEAN,
            "Compare everything that is read with what was written.",
            "false",
            ours=True,
        ),
        Field("thresholds", Kind.BLOCKS, "What must be met.", block=THRESHOLD, ours=True),
        Field("engine", Kind.CHOICE, "The storage client.", "wire", words=words_of(EngineName), ours=True),
        Field(
            "payload_signing",
            Kind.CHOICE,
            "Whether signatures cover bodies.",
            PayloadSigning.UNSIGNED.value,
            words=words_of(PayloadSigning),
            ours=True,
        ),
        Field(
            "checksum",
            Kind.CHOICE,
            "What the storage checks of each PUT.",
            Checksum.NONE.value,
            words=words_of(Checksum),
            ours=True,
        ),
        Field(
            "addressing",
            Kind.CHOICE,
            "Where requests name the bucket.",
            Addressing.PATH.value,
            words=words_of(Addressing),
            ours=True,
        ),
        Field("tls_verify", Kind.BOOLEAN, "Whether certificates are checked.", "true", ours=True),
        Field("ca_file", Kind.TEXT, "CAs to trust instead of the system's.", ours=True),
        Field(
            "expect_continue_above",
            Kind.SIGNED_SIZE,
            "Larger PUTs ask before they send; -1: none.",
            "-1",
            ours=True,
        ),
        Field(
            "fsync",
            Kind.CHOICE,
            "When files are made durable.",
            Fsync.NONE.value,
            words=words_of(Fsync),
            ours=True,
        ),
        Field(
            "atomic_create",
            Kind.BOOLEAN,
            "Files appear when they are whole.",
            "false",
            ours=True,
        ),
        Field("processes", Kind.PROCESSES, "Worker processes of each agent.", "auto", note="`auto` if left out"),
        Field("processing_mode", Kind.ANYTHING, "Workers are always processes.", status=Status.IGNORED),
        Field(
            "dynamic_put_pool",
            Kind.BOOLEAN,
            "GET and STAT choose among new objects too, where their pattern means what PUTs make. Each is as likely as "
            "any other object, but of each worker's new objects only the newest 65,536 are read.",
            "false",
            note="works with patterns; an agent reads what it has put itself",
        ),
        Field(
            "op_log_path",
            Kind.TEXT,
            "A log of every request, on the agents: `_<agent>-worker-<n>.tsv.zst` is added. A relative one stands in "
            "the agent's data directory; others need `--allow-path` there.",
        ),
        Field("preflight", Kind.BLOCK, "The checks before a run.", "all", block=PREFLIGHT, ours=True),
        Field("range_engine", Kind.BLOCK, "Parallel reads of one object.", block=RANGE_ENGINE),
        Field(
            "s3dlio_optimization",
            Kind.BLOCK,
            "Settings of another storage library.",
            block=CLIENT_TUNING,
            status=Status.IGNORED,
            notice="it tunes a storage library that is not used here; see range_engine and part_size",
        ),
        Field(
            "distributed_env",
            Kind.MAP,
            "Credentials for agents.",
            status=Status.IGNORED,
            notice="each agent has its credentials from its own environment, and a file is no place for secrets",
        ),
        Field("autotune", Kind.BLOCK, "A search for the best settings.", block=AUTOTUNE, status=Status.LATER),
    ),
    example="""\
target: s3://bucket/simple/
duration: 30s
concurrency: 16
prepare:
  ensure_objects:
    - {base_uri: data/, count: 1000, size_spec: 64KiB}
workload:
  - {op: get, path: "data/*", weight: 70}
  - {op: put, path: "new/", object_size: 64KiB, weight: 30}
""",
)
