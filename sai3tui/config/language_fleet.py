"""The language, part 2: who does the work, against what, and in which stages. Data only; see `vocabulary.py`."""

from __future__ import annotations

from sai3tui.config.language_load import IO_RATE, OP
from sai3tui.config.model import (
    AgentLossPolicy,
    BarrierType,
    Completion,
    EndpointPolicy,
    EndpointStrategy,
    Namespace,
    PathSelection,
    StageType,
    TreeCreationMode,
)
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, Status, words_of

STAGE_WORDS = (("preflight", "validation"), ("workload", "execute"))
"""Other words for stage types, as documents of the predecessor have them."""

ENDPOINT = BlockSpec(
    "endpoint with a weight",
    "One endpoint.",
    (
        Field("uri", Kind.TEXT, "The endpoint.", required=True, ours=True),
        Field("weight", Kind.COUNT, "Its share of the connections.", "1", least=1, most=10**6, ours=True),
    ),
)

MULTI_ENDPOINT = BlockSpec(
    "multi_endpoint",
    "Endpoints to spread the work over, for all agents or, in an agent's entry, for that one. `host{1...8}` and "
    "`host[01-16]` stand for many.",
    (
        Field(
            "endpoints",
            Kind.TEXTS_OR_BLOCKS,
            "URIs of one scheme; `s3://HOST/BUCKET/`, `s3+https://HOST:PORT/BUCKET/` or `file:///DIR/`.",
            required=True,
            block=ENDPOINT,
            note="up to 4096 instead of 32; `{1...8}`, `[01-16]` and weights are added",
        ),
        Field(
            "strategy",
            Kind.CHOICE,
            "How the work is spread. `round_robin`: connections are dealt alike, operations that are due go by turns. "
            "`least_connections`: what is due goes to the endpoint with the fewest in flight; in one namespace, what "
            "prepare makes to whichever is free. `weighted`: likewise, with connections dealt by weight.",
            EndpointStrategy.ROUND_ROBIN.value,
            words=words_of(EndpointStrategy),
            note="connections are bound to an endpoint, so without a rate all have their share in flight at any time",
        ),
        Field(
            "namespace",
            Kind.CHOICE,
            "Whether all endpoints show the same objects. `auto`: those with the same bucket and prefix do; of files, "
            "preflight looks whether several directories, or those of several agents, do, and the run is planned by "
            "that.",
            Namespace.AUTO.value,
            words=words_of(Namespace),
            ours=True,
        ),
        Field(
            "endpoint_policy",
            Kind.CHOICE,
            "`tolerant` takes an endpoint that keeps failing out for a while, says so and tries it again; in one "
            "namespace others do its part meanwhile. Of independent ones only in execute. `strict`: never.",
            EndpointPolicy.TOLERANT.value,
            words=words_of(EndpointPolicy),
            ours=True,
        ),
    ),
    example="""\
concurrency: 16
multi_endpoint:
  strategy: round_robin
  namespace: shared
  endpoints: ["s3://10.0.0.{1...4}:9000/bucket/"]
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
""",
)

BARRIER = BlockSpec(
    "barrier",
    "How a stage ends for the whole fleet. Also a word alone: `barrier: majority`. A stage inherits what it leaves out "
    "from `barrier_sync`, if that is enabled.",
    (
        Field(
            "type",
            Kind.CHOICE,
            "Who must have arrived before the next stage begins.",
            BarrierType.ALL_OR_NOTHING.value,
            ("barrier_type",),
            words=words_of(BarrierType),
        ),
        Field(
            "heartbeat_interval",
            Kind.SECONDS,
            "How often an agent says that it is alive.",
            "30",
            least=1,
            note='also "30s"',
        ),
        Field("missed_threshold", Kind.COUNT, "So many missing in a row make it suspect.", "3", least=1, most=10_000),
        Field("query_timeout", Kind.SECONDS, "How long a suspect agent has to answer.", "10", least=0.001),
        Field("query_retries", Kind.COUNT, "How often it is asked again before it is lost.", "2", most=10_000),
        Field(
            "agent_barrier_timeout",
            Kind.SECONDS,
            "How long those who have arrived wait for the others.",
            "120",
            ("timeout", "timeout_secs"),
        ),
        Field("timeout_seconds", Kind.SECONDS, "A word of older files.", status=Status.IGNORED),
        Field("enabled", Kind.BOOLEAN, "A word of older files.", status=Status.IGNORED),
    ),
)

BARRIER_SYNC = BlockSpec(
    "barrier_sync",
    "Barriers by type of stage. Without it, every stage ends at an all_or_nothing barrier.",
    (
        Field("enabled", Kind.BOOLEAN, "Whether stages inherit from here.", "false"),
        Field("default_heartbeat_interval", Kind.SECONDS, "For types of stages that say nothing.", "30", least=1),
        Field("default_missed_threshold", Kind.COUNT, "Likewise.", "3", least=1, most=10_000),
        Field("default_query_timeout", Kind.SECONDS, "Likewise.", "10", least=0.001),
        Field("default_query_retries", Kind.COUNT, "Likewise.", "2", most=10_000),
        Field(
            "default_agent_barrier_timeout",
            Kind.SECONDS,
            "Likewise.",
            "120",
            ("agent_barrier_timeout",),
            ours=True,
        ),
        *(
            Field(
                kind.value,
                Kind.WORD_OR_BLOCK,
                f"For {kind.value} stages.",
                words=words_of(BarrierType),
                block=BARRIER,
                ours=kind in (StageType.CUSTOM, StageType.HYBRID, StageType.VERIFY),
            )
            for kind in StageType
        ),
    ),
    example="""\
target: s3://bucket/
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
distributed:
  shared_filesystem: true
  tree_creation_mode: concurrent
  path_selection: random
  barrier_sync:
    enabled: true
    default_heartbeat_interval: 10s
    prepare: {type: all_or_nothing, agent_barrier_timeout: 10m}
    execute: majority
  agents: ["node{1...4}:7167"]
  stages:
    - {name: preflight, order: 1, type: validation}
    - {name: prepare, order: 2, type: prepare}
    - {name: read, order: 3, type: execute, duration: 10s}
""",
)

UNTIL = BlockSpec(
    "until",
    "Ends a stage early, at whichever comes first.",
    (
        Field("operations", Kind.COUNT, "So many operations of the fleet, exactly.", least=1, ours=True),
        Field("bytes", Kind.SIZE, "So many bytes of the fleet, to the size of an object.", least=1, ours=True),
    ),
)

UNTIL_STEADY = BlockSpec(
    "until_steady",
    "Ends a stage once its mean is known well enough. The beginning that is not steady is cut by itself.",
    (
        Field(
            "half_width",
            Kind.QUANTITY,
            "The mean is known to plus and minus this share of it, with 95 %: `1%`.",
            required=True,
            ours=True,
        ),
        Field("max", Kind.SECONDS, "It ends after this time in any case.", required=True, least=1, ours=True),
    ),
    example="""\
target: s3://bucket/
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
distributed:
  shared_filesystem: true
  tree_creation_mode: concurrent
  path_selection: random
  agents: ["node{1...4}:7167"]
  stages:
    - {name: prepare, order: 1, type: prepare}
    - {name: read, order: 2, type: execute, until_steady: {half_width: 1%, max: 10m}}
""",
)

STAGE = BlockSpec(
    "stages",
    "What is done, one after the other; all agents wait for each other after each. Without a list: preflight, then "
    "prepare, execute and cleanup as far as the file has something for them to do.",
    (
        Field("name", Kind.TEXT, "Its name, unlike that of any other stage.", "type and number"),
        Field("order", Kind.COUNT, "Stages are done in ascending order.", "its place in the list", most=10**9),
        Field(
            "type",
            Kind.CHOICE,
            "What it does.",
            "",
            ("stage_type",),
            required=True,
            words=words_of(StageType),
            other_words=STAGE_WORDS,
            note="may stand in a nested `config:`; `verify` is added",
        ),
        Field(
            "completion",
            Kind.CHOICE,
            "What ends it.",
            "what suits the type",
            words=words_of(Completion),
            note="may be left out",
        ),
        Field(
            "barrier",
            Kind.WORD_OR_BLOCK,
            "How it ends for the fleet.",
            "from barrier_sync",
            ("barrier_sync",),
            words=words_of(BarrierType),
            block=BARRIER,
        ),
        Field(
            "timeout_secs",
            Kind.SECONDS,
            "It fails after this time.",
            "none",
            ("timeout", "timeout_seconds"),
            note='also "10m"',
        ),
        Field("optional", Kind.BOOLEAN, "Its failure does not end the run.", "false"),
        Field(
            "duration",
            Kind.SECONDS,
            "How long it lasts.",
            "the file's",
            ("duration_secs",),
            only=("execute", "hybrid"),
        ),
        Field("max_duration", Kind.SECONDS, "It ends after this time.", "", only=("hybrid",)),
        Field(
            "expected_objects",
            Kind.COUNT,
            "For people; the plan knows.",
            only=("prepare", "cleanup", "verify"),
            status=Status.IGNORED,
        ),
        Field(
            "expected_tasks",
            Kind.COUNT,
            "It ends after so many operations of the fleet.",
            only=("hybrid",),
            least=1,
            note="ends the stage, if `max_duration` does not first",
        ),
        Field(
            "command",
            Kind.TEXT,
            "What to run on each agent's host; no shell reads it. Agents need `--allow-custom`.",
            "",
            ("script",),
            only=("custom",),
            note="refused unless the agent was started with `--allow-custom`",
        ),
        Field("args", Kind.TEXTS, "Arguments of the command.", only=("custom",)),
        Field(
            "workload",
            Kind.BLOCKS,
            "A workload of its own.",
            "the file's",
            block=OP,
            only=("execute", "hybrid"),
            ours=True,
        ),
        Field(
            "concurrency",
            Kind.COUNT,
            "Connections of each agent in this stage.",
            "the file's",
            least=1,
            most=1_000_000,
            ours=True,
        ),
        Field(
            "io_rate",
            Kind.BLOCK,
            "A rate of its own.",
            "the file's",
            block=IO_RATE,
            only=("execute", "hybrid"),
            ours=True,
        ),
        Field(
            "warmup_period",
            Kind.SECONDS,
            "So much at its beginning is left out of the results.",
            "the file's",
            only=("execute", "hybrid"),
            ours=True,
        ),
        Field(
            "until",
            Kind.BLOCK,
            "Ends it early.",
            block=UNTIL,
            only=("execute", "hybrid"),
            ours=True,
        ),
        Field(
            "until_steady",
            Kind.BLOCK,
            "Ends it once its mean is known well enough.",
            block=UNTIL_STEADY,
            only=("execute",),
            ours=True,
        ),
        Field("description", Kind.TEXT, "For people.", status=Status.IGNORED, ours=True),
    ),
    tag="type",
    nested="config",
    example="""\
target: s3://bucket/
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
distributed:
  shared_filesystem: true
  tree_creation_mode: concurrent
  path_selection: random
  agents: [{address: "127.0.0.1:7167", id: one}]
  stages:
    - {name: preflight, order: 1, type: validation, timeout_secs: 5m}
    - {name: prepare, order: 2, type: prepare, barrier: all_or_nothing}
    - {name: first, order: 3, type: execute, duration: 10s}
    - {name: second, order: 4, type: execute, duration: 10s, optional: true}
    - {name: cleanup, order: 5, type: cleanup}
""",
)

AGENT = BlockSpec(
    "agents",
    "One agent, or with a range in its address several. An address alone will do.",
    (
        Field("address", Kind.TEXT, "HOST:PORT; the port is 7167 if left out.", required=True),
        Field("id", Kind.TEXT, "Its name in results.", "agent-1, agent-2, ...", note="the run uses it too"),
        Field("concurrency_override", Kind.COUNT, "Its connections.", "concurrency", least=1, most=1_000_000),
        Field("multi_endpoint", Kind.BLOCK, "Its endpoints.", "those of the file", block=MULTI_ENDPOINT),
        Field("target_override", Kind.TEXT, "Its target.", "target"),
        Field("kv_cache_dir", Kind.TEXT, "Where its state cache stands.", "the agent's data directory"),
        Field("listen_port", Kind.COUNT, "The port, where the address has none.", "7167", least=1, most=65535),
        Field("env", Kind.MAP, "For deployment.", status=Status.LATER),
        Field("volumes", Kind.TEXTS, "For deployment.", status=Status.LATER),
        Field("path_template", Kind.TEXT, "Independent agents write below `agent-N/`.", status=Status.IGNORED),
    ),
)

SSH = BlockSpec(
    "ssh",
    "How agents would be started.",
    (
        Field("enabled", Kind.BOOLEAN, "Whether they are.", "false", status=Status.LATER),
        Field("user", Kind.TEXT, "User on the host.", status=Status.LATER),
        Field("key_path", Kind.TEXT, "Private key.", status=Status.LATER),
        Field("timeout", Kind.SECONDS, "For the connection.", "10", status=Status.LATER),
        Field("known_hosts", Kind.TEXT, "Host keys.", status=Status.LATER),
    ),
)

DEPLOYMENT = BlockSpec(
    "deployment",
    "How agents would be started in containers.",
    (
        Field("deploy_type", Kind.TEXT, "", "docker", status=Status.LATER),
        Field("container_runtime", Kind.TEXT, "", "docker", status=Status.LATER),
        Field("image", Kind.TEXT, "", "sai3bench:latest", status=Status.LATER),
        Field("network_mode", Kind.TEXT, "", "host", status=Status.LATER),
        Field("pull_policy", Kind.TEXT, "", "if_not_present", status=Status.LATER),
        Field("binary_path", Kind.TEXT, "", status=Status.LATER),
        Field("docker_args", Kind.TEXTS, "", status=Status.LATER),
    ),
)

DISTRIBUTED = BlockSpec(
    "distributed",
    "The fleet, and what it does. Without agents it is one local agent, which is started and ended with the run.",
    (
        Field(
            "agents",
            Kind.TEXTS_OR_BLOCKS,
            "The agents.",
            "one local agent",
            block=AGENT,
            note="`--agents` replaces the addresses; the list may then be empty",
        ),
        Field(
            "shared_filesystem",
            Kind.BOOLEAN,
            "All agents see the same objects and divide them; else each has its own. Left out: so for objects, and for "
            "files as preflight finds.",
            "true",
            note="may be left out",
        ),
        Field(
            "tree_creation_mode",
            Kind.CHOICE,
            "Who makes the directories of trees on file systems. `concurrent`: whoever needs one first. `coordinator`: "
            "the first agent makes all before any file. `isolated`: each agent makes its N-th part beforehand.",
            TreeCreationMode.CONCURRENT.value,
            words=words_of(TreeCreationMode),
            note="may be left out",
        ),
        Field(
            "path_selection",
            Kind.CHOICE,
            "Which objects an agent chooses among: all; mostly its own and at times all (`partitioned`) or others "
            "(`weighted`); only its own. Its own are those of every N-th directory, without a tree every N-th object.",
            PathSelection.RANDOM.value,
            words=words_of(PathSelection),
            note="may be left out; uses the agent's real identity",
        ),
        Field(
            "partition_overlap",
            Kind.NUMBER,
            "How often a partitioned or weighted agent leaves its part.",
            "0.3",
            least=0,
            most=1,
        ),
        Field("stages", Kind.BLOCKS, "The stages.", block=STAGE, note="may be left out"),
        Field("barrier_sync", Kind.BLOCK, "Barriers by type of stage.", block=BARRIER_SYNC),
        Field("start_delay", Kind.SECONDS, "From the word to start to the start.", "2", note="has an effect"),
        Field(
            "grpc_keepalive_interval",
            Kind.SECONDS,
            "Between signs of life on a connection; gRPC has 10 s at least.",
            "30",
            least=0.001,
        ),
        Field("grpc_keepalive_timeout", Kind.SECONDS, "Without an answer to one.", "10", least=1),
        Field("agent_ready_timeout", Kind.SECONDS, "For agents to be there.", "120"),
        Field("kv_cache_dir", Kind.TEXT, "Where state caches stand.", "the agents' data directories"),
        Field(
            "on_agent_loss",
            Kind.CHOICE,
            "What becomes of the work of an agent that is lost, fails or is late.",
            AgentLossPolicy.DEFAULT.value,
            words=words_of(AgentLossPolicy),
            ours=True,
        ),
        Field(
            "controller_timeout", Kind.SECONDS, "How long agents hold without a controller.", "10m", least=1, ours=True
        ),
        Field("ssh", Kind.BLOCK, "Start agents over SSH.", block=SSH, status=Status.LATER),
        Field("deployment", Kind.BLOCK, "Start agents in containers.", block=DEPLOYMENT, status=Status.LATER),
        Field("path_template", Kind.TEXT, "Independent agents write below `agent-N/`.", status=Status.IGNORED),
    ),
    example="""\
target: s3://bucket/fleet/
concurrency: 16
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
distributed:
  shared_filesystem: true
  tree_creation_mode: concurrent
  path_selection: random
  start_delay: 2s
  agents:
    - {address: "node1:7167", id: first, concurrency_override: 32}
    - "node{2...4}:7167"
""",
)
