"""What the predecessor's documents promise and its program does not do: each row works here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sai3tui.config.load import load_config
from sai3tui.config.model import (
    ArrivalKind,
    BarrierType,
    CleanupMode,
    Config,
    Distribution,
    IoRate,
    PathSelection,
    PrepareStrategy,
    SizeKind,
    SizeSpec,
    StageType,
    fixed_size,
)
from sai3tui.config.patterns import compile_pattern
from sai3tui.config.problems import Level
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import Resolved
from sai3tui.workload.objects import object_sets
from sai3tui.workload.pacing import FleetSchedule
from sai3tui.workload.plan import Plan, make_plan
from sai3tui.workload.share import Share
from sai3tui.workload.sizes import Sizes

HEAD = """\
target: s3://b/t/
workload: [{op: get, path: "d/**", weight: 1}]
"""
PREPARE = "prepare: {{ensure_objects: [{{base_uri: d/, count: 1000, {}}}]}}\n"
FLEET = "distributed: {{shared_filesystem: true, tree_creation_mode: concurrent, path_selection: random, {}}}\n"


def config(text: str) -> Config:
    found = load_config(text, "t")
    assert [str(p) for p in found.problems if p.level is not Level.NOTICE] == []
    return found.require()


def resolved(text: str) -> Resolved:
    return load_resolved(text, "t").require()


def plan(text: str) -> Plan:
    found = resolved(text)
    return make_plan(found.config, found)


def stage(fields: str) -> Config:
    return config(HEAD + PREPARE.format("size_spec: 1KiB") + FLEET.format(f"agents: [h], stages: [{{{fields}}}]"))


# --- documented, and rejected or ignored


@pytest.mark.parametrize("kind", [kind for kind in StageType if kind is not StageType.CUSTOM])
def test_stages_may_be_nested_under_config(kind: StageType) -> None:
    (found,) = stage(f"name: a, order: 1, config: {{type: {kind.value}, timeout_secs: 10m, optional: true}}").stages
    assert (found.type, found.timeout, found.optional) == (kind, 600.0, True)


@pytest.mark.parametrize(("text", "seconds"), [('"10m"', 600), ('"90"', 90), ("45", 45), ('"1h 30m"', 5400)])
def test_time_limits_of_stages_have_units(text: str, seconds: float) -> None:
    assert stage(f"name: a, order: 1, type: execute, duration: 5s, timeout_secs: {text}").stages[0].timeout == seconds


def test_heartbeats_have_units_and_barriers_may_be_words() -> None:
    (found,) = stage('name: a, order: 1, type: cleanup, barrier: {type: majority, heartbeat_interval: "30s"}').stages
    assert (found.barrier.type, found.barrier.heartbeat_interval) == (BarrierType.MAJORITY, 30.0)
    (found,) = stage("name: a, order: 1, type: cleanup, barrier: best_effort").stages
    assert found.barrier.type is BarrierType.BEST_EFFORT


def test_the_most_specific_barrier_counts() -> None:
    sync = "barrier_sync: {enabled: true, default_heartbeat_interval: 1m, prepare: {type: majority, query_timeout: 5s}}"
    stages = """stages: [{name: a, order: 1, type: prepare, barrier: {agent_barrier_timeout: 7m}},
      {name: b, order: 2, type: prepare}, {name: c, order: 3, type: execute, duration: 1s}]"""
    text = HEAD + PREPARE.format("size_spec: 1KiB") + FLEET.format(f"agents: [h], {sync}, {stages}")
    own, phase, default = (each.barrier for each in config(text).stages)
    assert (own.type, own.query_timeout, own.heartbeat_interval) == (BarrierType.MAJORITY, 5.0, 60.0)
    assert own.agent_barrier_timeout == 420.0
    assert replace(own, agent_barrier_timeout=phase.agent_barrier_timeout) == phase
    assert (default.type, default.heartbeat_interval) == (BarrierType.ALL_OR_NOTHING, 60.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("min_size: 1,048,576, max_size: 1_048_576".replace("1,048,576", '"1,048,576"'), fixed_size(2**20)),
        ("min_size: 524_288, max_size: 512KiB", fixed_size(2**19)),
        ("min_size: 262 144, max_size: 1MB", SizeSpec(SizeKind.UNIFORM, 2**18, 10**6)),
        ("size_spec: {fixed: 2048}", fixed_size(2048)),
        ("size_spec: {fixed: 32KB}", fixed_size(32000)),
        ("size_spec: {type: fixed, size: 8MiB}", fixed_size(2**23)),
        ("size_spec: 8MiB", fixed_size(2**23)),
        ("size_spec: {uniform: {min: 1KB, max: 4KB}}", SizeSpec(SizeKind.UNIFORM, 1000, 4000)),
        ("file_size: 64KiB", fixed_size(2**16)),
    ],
)
def test_sizes_of_every_dialect(text: str, size: SizeSpec) -> None:
    prepare = config(HEAD + PREPARE.format(text)).prepare
    assert prepare is not None
    assert prepare.ensure_objects[0].size == size


@pytest.mark.parametrize("word", ["best_effort", "besteffort", "BestEffort", "best-effort"])
def test_cleanup_modes_are_words_of_any_spelling(word: str) -> None:
    found = config(HEAD + f"prepare: {{cleanup_mode: {word}, ensure_objects: [{{base_uri: d/, count: 1}}]}}\n").prepare
    assert found is not None
    assert found.cleanup_mode is CleanupMode.BEST_EFFORT


def test_files_may_be_spread_over_all_directories_by_the_documents_word() -> None:
    tree = "directory_structure: {width: 2, depth: 2, files_per_dir: 3, distribution: uniform}"
    found = config(
        HEAD + f"prepare: {{strategy: tree, {tree}, ensure_objects: [{{base_uri: d/, count: 0}}]}}\n"
    ).prepare
    assert found is not None
    assert found.directory_structure is not None
    assert found.directory_structure.distribution is Distribution.ALL
    assert found.directory_structure.files == 18


def test_shards_are_the_index_modulo_their_number() -> None:
    text = HEAD + "prepare: {key_prefix_shards: 256, ensure_objects: [{base_uri: d/, count: 1000, size_spec: 1KiB}]}\n"
    (objects,) = object_sets(resolved(text))
    assert [objects.key(index) for index in (0, 161, 257)] == [
        "d/00/prepared-00000000.dat",
        "d/a1/prepared-00000161.dat",
        "d/01/prepared-00000257.dat",
    ]


# --- where objects go


def endpoints(count: int, each: str = "s3://10.0.0.{1...COUNT}:9000/b/") -> str:
    return f"multi_endpoint: {{endpoints: ['{each.replace('COUNT', str(count))}']}}\n"


@pytest.mark.parametrize("strategy", PrepareStrategy)
def test_a_base_uri_is_kept_under_every_endpoint_and_placement_is_no_matter_of_strategy(
    strategy: PrepareStrategy,
) -> None:
    text = endpoints(2) + HEAD.partition("\n")[2]
    text += f"prepare: {{prepare_strategy: {strategy.value}, ensure_objects: [{{base_uri: d/, count: 8}}]}}\n"
    (agent,) = plan(text).agents
    firsts = [each.first.uri for each in agent.endpoints if each.first is not None]
    assert firsts == ["s3://10.0.0.1:9000/b/d/prepared-00000000.dat", "s3://10.0.0.2:9000/b/d/prepared-00000001.dat"]
    assert [each.objects for each in agent.endpoints] == [4, 4]


@pytest.mark.parametrize(("agents", "each"), [(4, 2), (4, 16), (6, 4), (8, 8)])
def test_no_endpoint_idles_whatever_divides_what(agents: int, each: int) -> None:
    text = f"concurrency: {each}\n" + endpoints(each) + HEAD.partition("\n")[2] + PREPARE.format("size_spec: 1KiB")
    found = plan(text + FLEET.format(f"agents: ['h{{1...{agents}}}']"))
    objects = [endpoint.objects for agent in found.agents for endpoint in agent.endpoints]
    assert len(objects) == agents * each
    assert sum(objects) == 1000
    assert max(objects) - min(objects) <= 1


def test_independent_endpoints_are_read_where_their_objects_are() -> None:
    text = "concurrency: 4\n" + endpoints(3, "file:///mnt/{1...COUNT}/") + HEAD.partition("\n")[2]
    found = resolved(text + PREPARE.format("size_spec: 1KiB"))
    assert not found.shared
    first = make_plan(found.config, found).agents[0]
    assert [each.objects for each in first.endpoints] == [334, 333, 333]


@pytest.mark.parametrize("prefix", ["s3://10.0.0.1:9000/b/", "s3://10.0.0.2:9000/b/", ""])
def test_a_path_below_any_endpoint_is_the_same_key(prefix: str) -> None:
    text = endpoints(2) + f"workload: [{{op: get, path: '{prefix}d/*', weight: 1}}]\n"
    assert resolved(text + PREPARE.format("size_spec: 1KiB")).ops[0].pattern == "d/*"


# --- rates


@pytest.mark.parametrize("kind", ArrivalKind)
@pytest.mark.parametrize("workers", [1, 4, 7])
def test_the_rate_that_is_asked_for_is_that_of_the_whole_fleet(kind: ArrivalKind, workers: int) -> None:
    second, rate, seconds = 1_000_000_000, 500, 40
    due = 0
    for worker in range(workers):
        schedule = FleetSchedule(rate, kind, 7, 0, worker * 2, 2, workers * 2)
        while schedule.next() < seconds * second:
            due += 1
    assert due == pytest.approx(rate * seconds, rel=0.05)


@pytest.mark.parametrize(
    ("text", "iops"), [("max", 0), ("MAX", 0), ("0", 0), ("-5", 0), ('"1,000"', 1000), ("250", 250)]
)
def test_rates_as_they_are_written(text: str, iops: int) -> None:
    found = config(HEAD + PREPARE.format("size_spec: 1KiB") + f"io_rate: {{iops: {text}}}\n").io_rate
    assert found == IoRate(iops)


def test_an_entry_may_have_a_rate_of_its_own() -> None:
    text = "target: s3://b/\nworkload: [{op: list, path: '', weight: 1, io_rate: {iops: 5, distribution: uniform}}]\n"
    assert config(text).workload[0].io_rate == IoRate(5, ArrivalKind.UNIFORM)


# --- which objects are chosen


@pytest.mark.parametrize("selection", PathSelection)
def test_agents_know_which_part_is_theirs(selection: PathSelection) -> None:
    text = HEAD + PREPARE.format("size_spec: 1KiB") + FLEET.format("agents: [h, i, j]").replace("random", selection)
    found = resolved(text)
    assert found.config.distributed.path_selection is selection
    parts = [Share(1000, agent.index, len(found.agents)) for agent in found.agents]
    owned = Counter(index for part in parts for index in part.indices(np.arange(len(part))).tolist())
    assert owned == Counter(range(1000))


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("d/*", "d/a/b/c", True),
        ("d/**/x*", "d/x1", True),
        ("d/**/x*", "e/d/x1", False),
        ("*/x", "a/b/x", True),
        ("d/", "d/a", True),
        ("d/", "d/a/b", False),
        ("d/x", "d/x1", False),
    ],
)
def test_patterns_are_about_the_whole_key(pattern: str, key: str, matches: bool) -> None:
    assert (compile_pattern(pattern).fullmatch(key) is not None) is matches


def test_an_entry_that_is_never_drawn_needs_no_objects() -> None:
    text = "target: s3://b/\nworkload: [{op: list, path: '', weight: 1}, {op: get, path: 'nothing/*', weight: 0}]\n"
    assert load_resolved(text, "t").ok


def test_deletes_have_objects_of_their_own() -> None:
    text = HEAD.replace("]\n", ", {op: delete, path: 'd/prepared-*', weight: 1}]\n") + PREPARE.format("size_spec: 1KiB")
    found = resolved(text)
    get, delete = found.ops
    assert not set(get.set_ids) & set(delete.set_ids)


def test_what_exists_is_recognised_by_its_name() -> None:
    text = HEAD + "prepare: {key_prefix_shards: 16, ensure_objects: [{base_uri: d/, count: 50, size_spec: 1KiB}]}\n"
    (objects,) = object_sets(resolved(text))
    assert [objects.index_of(objects.key(index)) for index in range(50)] == list(range(50))


def test_new_objects_have_the_sizes_that_are_asked_for() -> None:
    spec = "{type: uniform, min: 1KiB, max: 64KiB}"
    text = f"target: s3://b/\nworkload: [{{op: put, path: n/, weight: 1, size_spec: {spec}}}]\n"
    size = config(text).workload[0].size
    assert size is not None
    drawn = {Sizes(size, 1).size(index) for index in range(100)}
    assert len(drawn) > 80


EXECUTE = "{name: load, order: 1, type: execute, completion: duration, duration: 1s"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("agents: [h], controller_timeout: 0", "controller_timeout is 0.0: it must be at least 1"),
        ("agents: [h], grpc_keepalive_timeout: 0.5", "grpc_keepalive_timeout is 0.5: it must be at least 1"),
        (
            f"agents: [h], stages: [{EXECUTE}, barrier: {{heartbeat_interval: 0}}}}]",
            "heartbeat_interval is 0.0: it must be at least 1",
        ),
        (
            f"agents: [h], stages: [{EXECUTE}, barrier: {{query_timeout: 0}}}}]",
            "query_timeout is 0.0: it must be at least 0.001",
        ),
    ],
)
def test_a_time_that_cannot_act_is_an_error(fields: str, said: str) -> None:
    problems = load_config(HEAD + FLEET.format(fields), "t").problems
    assert [problem.level for problem in problems if problem.message.endswith(said)] == [Level.ERROR]


def test_signs_of_life_come_no_oftener_than_grpc_allows_and_that_is_said() -> None:
    found = load_config(HEAD + FLEET.format("agents: [h], grpc_keepalive_interval: 2"), "t")
    assert "grpc_keepalive_interval is 2 s: taken as 10 s" in [problem.message for problem in found.problems]
    assert found.require().distributed.grpc_keepalive_interval == 10.0
