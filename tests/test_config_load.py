from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.load import Loaded, load_config
from sai3tui.config.model import (
    Barrier,
    BarrierType,
    CleanupMode,
    Completion,
    Config,
    Distribution,
    EngineName,
    Fill,
    Namespace,
    SizeKind,
    SizeSpec,
    StageType,
    fixed_size,
)
from sai3tui.config.ops import Op
from sai3tui.config.problems import Level, has_errors

CONFIGS = Path(__file__).parent / "data" / "configs"
MINIMAL = "target: file:///tmp/x/\nworkload:\n  - {op: get, path: 'a/*', weight: 1}\n"


def load(text: str, **named: object) -> Loaded:
    agents = named.get("agents", ())
    assert isinstance(agents, tuple)
    return load_config(text, "t.yaml", agents_override=agents)


def good(text: str) -> Config:
    loaded = load(text)
    assert loaded.config is not None, "\n".join(map(str, loaded.problems))
    return loaded.config


def errors(text: str) -> list[str]:
    return [str(problem) for problem in load(text).problems if problem.level is Level.ERROR]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_real_files_load_without_errors_or_warnings(path: Path) -> None:
    loaded = load_config(path.read_bytes(), path.name)
    assert loaded.ok
    assert [str(p) for p in loaded.problems if p.level is not Level.NOTICE] == []


def test_the_run_of_the_lost_night() -> None:
    config = load_config((CONFIGS / "s3_single_node.yaml").read_bytes(), "seed").require()
    assert config.duration == 30.0
    assert config.prepare is not None
    assert config.prepare.directory_structure is not None
    assert config.prepare.directory_structure.files == 64_000
    assert config.prepare.directory_structure.directories == 584
    objects = config.prepare.ensure_objects[0]
    assert objects.count == 0
    assert objects.size == SizeSpec(SizeKind.LOGNORMAL, 2**20, 16 * 2**20, 8 * 2**20, 2**20)
    assert config.prepare.skip_verification
    assert config.prepare.force_overwrite
    preflight, prepare, execute = config.stages
    assert preflight.barrier == Barrier(BarrierType.ALL_OR_NOTHING, 10.0, 3, 10.0, 2, 60.0)
    assert prepare.barrier == Barrier(BarrierType.ALL_OR_NOTHING, 120.0, 1, 300.0, 3, 1500.0)
    assert execute.barrier == Barrier()
    assert preflight.timeout == 300.0
    assert execute.duration == 30.0
    assert config.distributed.grpc_keepalive_interval == 60.0
    assert config.agents[0].address == "172.21.4.10:7761"
    assert load_config((CONFIGS / "s3_single_node.yaml").read_bytes(), "seed").problems == ()


def test_legacy_file_gets_its_stages_with_one_notice() -> None:
    loaded = load_config((CONFIGS / "legacy_mixed_4agents.yaml").read_bytes(), "legacy")
    assert [p.code for p in loaded.problems] == ["assumed"]
    config = loaded.require()
    assert [(s.name, s.type, s.completion) for s in config.stages] == [
        ("preflight", StageType.VALIDATION, Completion.VALIDATION_PASSED),
        ("prepare", StageType.PREPARE, Completion.TASKS_DONE),
        ("execute", StageType.EXECUTE, Completion.DURATION),
        ("cleanup", StageType.CLEANUP, Completion.TASKS_DONE),
    ]
    assert config.stages[2].duration == 300.0
    assert config.prepare is not None
    assert config.prepare.cleanup_mode is CleanupMode.BEST_EFFORT
    assert config.prepare.ensure_objects[0].count == 1_000_000
    assert config.prepare.ensure_objects[0].size == fixed_size(1_048_576)
    assert config.prepare.post_prepare_delay == 2.0
    assert config.distributed.start_delay == 5.0
    assert [agent.id for agent in config.agents] == ["agent-1", "agent-2", "agent-3", "agent-4"]


def test_nested_stages_inherit_their_phase() -> None:
    config = load_config((CONFIGS / "nested_stages_epochs.yaml").read_bytes(), "nested").require()
    by_name = {stage.name: stage for stage in config.stages}
    assert by_name["epoch-1"].duration == 600.0
    assert by_name["epoch-1"].barrier.type is BarrierType.MAJORITY
    assert by_name["epoch-1"].barrier.agent_barrier_timeout == 300.0
    assert by_name["checkpoint"].barrier.type is BarrierType.MAJORITY
    assert by_name["checkpoint"].args == ("--epoch", "1")
    assert by_name["prepare"].timeout == 3600.0
    assert by_name["prepare"].expected_objects == 50176
    assert by_name["teardown"].optional
    assert by_name["teardown"].barrier.type is BarrierType.BEST_EFFORT


def test_every_size_dialect() -> None:
    forms = {
        "size_spec: 8MiB": fixed_size(8 * 2**20),
        "size_spec: 2048": fixed_size(2048),
        "size_spec: {fixed: 32KB}": fixed_size(32_000),
        "size_spec: {type: fixed, size: 1 KiB}": fixed_size(1024),
        "size_spec: {uniform: {min: 1KB, max: 4KB}}": SizeSpec(SizeKind.UNIFORM, 1000, 4000),
        "size_distribution: {type: uniform, min: 1, max: 2}": SizeSpec(SizeKind.UNIFORM, 1, 2),
        "size_spec: {type: lognormal, mean: 10, std_dev: 5}": SizeSpec(SizeKind.LOGNORMAL, 1, 0, 10, 5),
        "min_size: 524_288, max_size: 524288": fixed_size(524288),
        "min_size: '1,024', max_size: 2 048": SizeSpec(SizeKind.UNIFORM, 1024, 2048),
        "fill: zero": fixed_size(2**20),
        "object_size: 0": fixed_size(0),
        "size_spec: 0": fixed_size(0),
        "size_spec: {type: uniform, min: 0, max: 2}": SizeSpec(SizeKind.UNIFORM, 0, 2),
        "min_size: 0, max_size: 0": fixed_size(0),
        "min_size: 0": SizeSpec(SizeKind.UNIFORM, 0, 2**20),
    }
    for form, expected in forms.items():
        config = good(MINIMAL + f"prepare: {{ensure_objects: [{{base_uri: a/, count: 5, {form}}}]}}\n")
        assert config.prepare is not None
        assert config.prepare.ensure_objects[0].size == expected, form


def test_stage_dialects() -> None:
    config = good(
        MINIMAL
        + """
distributed:
  shared_filesystem: true
  tree_creation_mode: isolated
  path_selection: random
  agents: ["node{01...03}", {address: "x:1", id: solo}]
  stages:
    - {name: b, order: 2, stage_type: execute, duration_secs: 90, barrier: best_effort}
    - {name: a, order: 1, type: preflight, barrier: {barrier_type: majority, heartbeat_interval: 30s}}
    - {name: c, order: 3, type: custom, script: /bin/true, timeout_secs: 10m}
"""
    )
    assert [(s.name, s.type) for s in config.stages] == [
        ("a", StageType.VALIDATION),
        ("b", StageType.EXECUTE),
        ("c", StageType.CUSTOM),
    ]
    assert config.stages[0].barrier.type is BarrierType.MAJORITY
    assert config.stages[1].barrier.type is BarrierType.BEST_EFFORT
    assert config.stages[1].duration == 90.0
    assert config.stages[2].command == "/bin/true"
    assert config.stages[2].timeout == 600.0
    assert [(a.id, a.address) for a in config.agents] == [
        ("agent-1", "node01:7167"),
        ("agent-2", "node02:7167"),
        ("agent-3", "node03:7167"),
        ("solo", "x:1"),
    ]


def test_a_file_without_a_fleet_runs_on_one_local_agent() -> None:
    config = good(MINIMAL + "engine: boto\nseed: 7\nverify: true\nio_rate: {iops: max}\n")
    assert config.distributed.local
    assert [(a.id, a.address) for a in config.agents] == [("local", "")]
    assert [s.type for s in config.stages] == [StageType.VALIDATION, StageType.EXECUTE]
    assert (config.engine, config.seed, config.verify) == (EngineName.BOTO, 7, True)
    assert config.io_rate is not None
    assert config.io_rate.iops == 0


def test_stages_without_agents_run_on_one_local_agent() -> None:
    source = MINIMAL + "distributed: {stages: [{name: load, order: 1, type: execute, duration: 2s}]}\n"
    loaded = load_config(source, "m")
    config = loaded.require()
    assert config.distributed.local
    assert [(a.id, a.address) for a in config.agents] == [("local", "")]
    assert [s.name for s in config.stages] == ["load"]
    assert [p.message for p in loaded.problems] == ["distributed.agents is not given: taken as one local agent"]
    named = load_config(source, "m", agents_override=("h",)).require()
    assert not named.distributed.local


def test_endpoints_expand_and_say_their_namespace() -> None:
    config = good(
        MINIMAL
        + "multi_endpoint: {namespace: independent, strategy: RoundRobin, endpoints: ['s3://10.0.0.{1...3}/b/']}\n"
    )
    assert config.multi_endpoint is not None
    assert [e.text for e in config.multi_endpoint.endpoints] == [f"s3://10.0.0.{n}/b/" for n in (1, 2, 3)]
    assert config.multi_endpoint.namespace is Namespace.INDEPENDENT


def test_agents_of_the_command_line_replace_addresses_and_keep_settings() -> None:
    source = (CONFIGS / "s3_single_node.yaml").read_bytes()
    config = load_config(source, "seed", agents_override=("127.0.0.1:9001", "127.0.0.1:9002")).require()
    assert [(a.id, a.address) for a in config.agents] == [("agent-1", "127.0.0.1:9001"), ("agent-2", "127.0.0.1:9002")]
    assert config.agents[0].multi_endpoint is not None
    assert config.agents[1].multi_endpoint is None
    alone = load_config(MINIMAL, "m", agents_override=("h",)).require()
    assert [(a.id, a.address) for a in alone.agents] == [("agent-1", "h:7167")]
    assert not alone.distributed.local


def test_all_problems_are_reported_at_once_with_their_places() -> None:
    text = """target: file:///tmp/x/
duration: 5 parsecs
concurrency: 0
workloads: []
workload:
  - {op: gett, path: "a", weight: 1}
  - {op: put, path: "b/", weight: 1}
  - {op: get, weight: 1}
  - {op: get, path: c, weight: -1}
prepare:
  force_overwrite: yes
  ensure_objects:
    - {count: many}
"""
    found = [(p.line, p.column, p.level.value, p.code) for p in load(text).problems]
    assert found == [
        (2, 11, "error", "unit"),
        (3, 14, "error", "range"),
        (4, 1, "warning", "unknown-key"),
        (6, 10, "error", "choice"),
        (7, 5, "error", "required"),
        (8, 5, "error", "required"),
        (9, 32, "error", "unit"),
        (11, 20, "error", "type"),
        (13, 15, "error", "unit"),
    ]
    problems = load(text).problems
    assert str(problems[3]) == (
        "t.yaml:6:10: error: workload[0].op is 'gett', not one of get, put, list, stat, delete, mkdir, rmdir "
        "(did you mean 'get'?)"
    )
    assert problems[2].hint == "did you mean 'workload'?"
    assert problems[7].hint == "write true"
    assert problems[0].to_json() == {
        "line": 2,
        "column": 11,
        "level": "error",
        "code": "unit",
        "message": "duration: '5 parsecs' is not a duration",
        "hint": problems[0].hint,
    }


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("prepare: {directory_structure: {width: 2, depth: 2}}\n", "requires at least one ensure_objects"),
        (
            "prepare: {directory_structure: {width: 2, depth: 2, files_per_dir: 3}, ensure_objects: [{count: 5}]}\n",
            "ensure_objects.count (5) does not match directory tree total files (12)",
        ),
        (
            "prepare: {directory_structure: {width: 1000000, depth: 9}, ensure_objects: [{count: 0}]}\n",
            "directory tree size overflow",
        ),
        (
            "prepare: {directory_structure: {width: 2, depth: 2, dir_mask: 'd%d'}, ensure_objects: [{count: 0}]}\n",
            "does not name directories apart",
        ),
        ("prepare: {ensure_objects: [{count: 1, size_spec: {type: lognormal, mean: 5}}]}\n", "has no 'std_dev'"),
        ("prepare: {ensure_objects: [{count: 1, size_spec: {type: uniform, min: 5, max: 2}}]}\n", "above max"),
        ("io_rate: {iops: fast}\n", "invalid IOPS value"),
        ("distributed: {agents: []}\n", "agents is empty"),
        ("distributed: {agents: ['h:0']}\n", "is no address"),
        ("distributed: {agents: ['h', 'h']}\n", "the address h:7167"),
        ("distributed: {agents: ['h{1...99999}']}\n", "expands to 99,999"),
        ("multi_endpoint: {endpoints: []}\n", "must contain at least 1"),
        ("multi_endpoint: {endpoints: [s3://b/, s3://b/]}\n", "listed twice"),
        (
            "distributed: {agents: [h], stages: [{name: a, order: 1, type: prepare, completion: duration}]}\n",
            "completion should be tasks_done or duration_or_tasks",
        ),
        (
            "distributed: {agents: [h], stages: [{name: a, order: 1, type: execute}, "
            "{name: a, order: 1, type: cleanup}]}\n",
            "duplicate stage name: a",
        ),
        ("distributed: {agents: [h], stages: [{name: a, order: 1, type: custom}]}\n", "has no 'command'"),
        ("seed: -1\n", "is not a count"),
    ],
)
def test_what_is_an_error(extra: str, words: str) -> None:
    assert any(words in line for line in errors(MINIMAL + extra)), errors(MINIMAL + extra)


def test_execute_without_work_is_an_error() -> None:
    assert any(
        "nothing to do" in line
        for line in errors(
            MINIMAL.replace("weight: 1", "weight: 0") + "distributed: "
            "{agents: [h], stages: [{name: e, order: 1, type: execute}]}\n"
        )
    )


def test_missing_fleet_fields_are_one_notice_each() -> None:
    notices = [p.message for p in load(MINIMAL + "distributed: {agents: [h]}\n").problems]
    assert [m.partition(" is not given")[0] for m in notices] == [
        "distributed.shared_filesystem",
        "distributed.tree_creation_mode",
        "distributed.path_selection",
        "distributed.stages",
    ]


def test_features_that_do_not_exist_yet_are_noticed() -> None:
    loaded = load(MINIMAL + "autotune: {uri: x}\ndistributed: {ssh: {user: x}, agents: [h]}\n")
    assert [p.level for p in loaded.problems if p.code == "not-yet"] == [Level.NOTICE] * 2


def test_prepare_level_content_becomes_the_default_of_entries() -> None:
    config = good(
        MINIMAL + "prepare: {fill: zero, dedup_factor: 3, strategy: tree, ensure_objects: "
        "[{count: 1, base_uri: a/}, {count: 1, base_uri: b/, fill: prand}]}\n"
    )
    assert config.prepare is not None
    first, second = config.prepare.ensure_objects
    assert (first.content.fill, first.content.dedup_factor) == (Fill.ZERO, 3)
    assert (second.content.fill, second.content.dedup_factor) == (Fill.RANDOM, 3)


def test_numbers_with_separators_everywhere() -> None:
    config = good(
        MINIMAL
        + "prepare:\n  directory_structure: {width: '1,0', depth: 1}\n".replace("'1,0'", "1_0")
        + "  ensure_objects: [{count: 0}]\n"
    )
    assert config.prepare is not None
    assert config.prepare.directory_structure is not None
    assert config.prepare.directory_structure.width == 10
    assert config.prepare.directory_structure.distribution is Distribution.BOTTOM


def test_workload_entries() -> None:
    config = good(
        "target: s3://b/\nworkload:\n"
        "  - {op: put, weight: 2, object_size: 64KiB, dedup_factor: 2, concurrency: 4}\n"
        "  - {op: STAT, path: x, weight: 0}\n"
    )
    put, stat = config.workload
    assert (put.op, put.path, put.size, put.concurrency) == (Op.PUT, "", fixed_size(65536), 4)
    assert (stat.op, stat.weight) == (Op.STAT, 0)


WORDS = """workload op path weight size_spec prepare ensure_objects count base_uri directory_structure width depth
distributed agents address stages name order type config barrier multi_endpoint endpoints target duration io_rate iops
error_handling perf_log barrier_sync prepare execute mean min max"""
KEYS = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["get", "execute", "s3://b/", "1,000", "10m", "8MiB", "h{1...3}", "*", "", "fixed", "majority"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_no_structure_makes_the_loader_raise(tree: dict[str, object]) -> None:
    loaded = load_config(yaml.safe_dump(tree, allow_unicode=True), "fuzz")
    assert loaded.ok != has_errors(loaded.problems)
    assert all(p.line >= 1 and p.column >= 1 and p.message for p in loaded.problems)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_loader_raise(source: bytes) -> None:
    assert load_config(source, "fuzz").ok is False


@settings(max_examples=60)
@given(st.data())
def test_no_damage_to_a_real_file_makes_the_loader_raise(data: st.DataObject) -> None:
    source = bytearray((CONFIGS / "s3_single_node.yaml").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(source) - 1))
        source[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=5))
    loaded = load_config(bytes(source), "fuzz")
    assert loaded.ok != has_errors(loaded.problems)
