"""The tables of the language are what the loader reads: no field is only in one of them."""

from __future__ import annotations

import math

import pytest
import yaml

from sai3tui.config.language import LANGUAGE
from sai3tui.config.load import Loaded, load_config
from sai3tui.config.model import (
    Config,
    EndpointPolicy,
    EndpointStrategy,
    IoRate,
    KeySource,
    Popularity,
    ReadRange,
    SizeKind,
    SizeSpec,
    StageType,
    Until,
    fixed_size,
)
from sai3tui.config.problems import Level
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import OpSource
from sai3tui.config.thresholds import Bound, Threshold, Unit, parse_bound
from sai3tui.config.units import UnitError
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, Status, blocks_below
from sai3tui.workload.plan import make_plan

BLOCKS = blocks_below(LANGUAGE)
FLEET = "distributed: {agents: [h], shared_filesystem: true, tree_creation_mode: concurrent, path_selection: random"
TARGET = "target: s3://b/\n"
GET = "workload: [{op: get, path: x, weight: 1, source: list}]\n"
# One file for each block, with the field under test in place of the @.
SKELETONS = {
    "": GET + "@",
    "workload": TARGET + "workload: [{@}]",
    "prepare": TARGET + GET + "prepare: {@}",
    "multi_endpoint": TARGET + GET + "multi_endpoint: {@}",
    "distributed": TARGET + GET + "distributed: {@}",
    "io_rate": TARGET + GET + "io_rate: {@}",
    "perf_log": TARGET + GET + "perf_log: {@}",
    "preflight": TARGET + GET + "preflight: {@}",
    "error_handling": TARGET + GET + "error_handling: {@}",
    "thresholds": TARGET + GET + "thresholds: [{@}]",
    "sizes": TARGET + GET + "prepare: {ensure_objects: [{count: 1, size_spec: {@}}]}",
    "bounds of sizes": TARGET + GET + "prepare: {ensure_objects: [{count: 1, size_spec: {lognormal: {@}}}]}",
    "size with a weight": TARGET + GET + "prepare: {ensure_objects: [{count: 1, size_spec: {weighted: [{@}]}}]}",
    "range": TARGET + "workload: [{op: get, path: x, weight: 1, range: {@}}]",
    "ensure_objects": TARGET + GET + "prepare: {ensure_objects: [{@}]}",
    "directory_structure": TARGET + GET + "prepare: {directory_structure: {@}, ensure_objects: [{count: 0}]}",
    "endpoint with a weight": TARGET + GET + "multi_endpoint: {endpoints: [{@}]}",
    "agents": TARGET + GET + "distributed: {agents: [{@}]}",
    "stages": TARGET + GET + FLEET + ", stages: [{@}]}",
    "barrier_sync": TARGET + GET + FLEET + ", barrier_sync: {@}}",
    "barrier": TARGET + GET + FLEET + ", barrier_sync: {execute: {@}}}",
    "until_steady": TARGET + GET + FLEET + ", stages: [{type: execute, until_steady: {@}}]}",
    "until": TARGET + GET + FLEET + ", stages: [{type: execute, until: {@}}]}",
}
NOT_READ = {"range_engine", "s3dlio_optimization", "autotune", "ssh", "deployment", "op_log_path", "volumes"}
SIZE_TYPES = {
    "size": "type: fixed",
    "min": "type: uniform",
    "max": "type: uniform",
    "mean": "type: lognormal",
    "std_dev": "type: lognormal",
}


def wrong_value(field: Field) -> str:
    if field.kind in (Kind.BLOCK, Kind.WORD_OR_BLOCK):
        return "[12]"
    if field.kind is Kind.SIZES:
        return "[]"
    return "{no: {such: value}}"


def cases() -> list[tuple[BlockSpec, Field]]:
    unread = (Kind.ANYTHING, Kind.MAP)
    found = [(block, field) for block in BLOCKS if block.name not in NOT_READ for field in block.fields]
    return [
        (block, field)
        for block, field in found
        if field.status is not Status.IGNORED and field.kind not in unread and field.name not in NOT_READ
    ]


def extra(block: BlockSpec, field: Field) -> str:
    if block.name == "sizes":
        return SIZE_TYPES.get(field.name, "")
    if block.name == "bounds of sizes":
        return ""
    if block.name == "stages" and field.name != "type":
        return f"type: {field.only[0] if field.only else 'execute'}"
    if block.name == "agents" and field.name != "address":
        return "address: h"
    return ""


@pytest.mark.parametrize(("block", "field"), cases(), ids=lambda each: each.name or "file")
def test_every_field_of_the_language_is_read(block: BlockSpec, field: Field) -> None:
    for name in field.names:
        before = extra(block, field)
        given = f"{name}: {wrong_value(field)}"
        text = SKELETONS[block.name].replace("@", f"{before}, {given}" if before else given)
        if name == "workload" and not block.name:
            text = given
        column = max(line.find(given) for line in text.splitlines()) + len(name) + 3
        found = [p for p in load_config(text, "t").problems if p.level is Level.ERROR and p.column >= column]
        assert found, f"nobody reads {block.name}.{name}: {text}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name or "file")
def test_names_are_not_used_twice(block: BlockSpec) -> None:
    names = [name for field in block.fields for name in field.names]
    assert len(names) == len(set(names))
    for field in block.fields:
        assert field.text or field.status is not Status.ACTS, field.name
        assert set(field.later_words) <= set(field.words)
        assert {word for _, word in field.other_words} <= set(field.words)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.example], ids=lambda block: block.name or "file")
def test_every_example_validates_and_plans(block: BlockSpec) -> None:
    found = load_resolved(block.example, "example")
    resolved = found.require()
    assert [str(p) for p in found.problems if p.level is Level.WARNING] == []
    assert make_plan(resolved.config, resolved).objects > 0
    assert block.name in ("", "sizes") or yaml.safe_dump(yaml.safe_load(block.example)).count(f"{block.name}:")


def load(text: str) -> Loaded:
    return load_config(text, "t.yaml")


def good(text: str) -> Config:
    loaded = load(text)
    assert loaded.config is not None, "\n".join(map(str, loaded.problems))
    return loaded.config


def messages(text: str, level: Level) -> list[str]:
    return [p.message for p in load(text).problems if p.level is level]


def test_operations_with_everything() -> None:
    get, delete, put = good(
        """
target: s3://b/
workload:
  - {op: get, path: a, weight: 1, verify: true, range: {size: 64KiB, align: 4KiB}, popularity: zipf, zipf_exponent: 1.2,
     io_rate: {iops: 1_000}, source: list}
  - {op: delete, path: b/*, weight: 1, delete_many: 100, source: list}
  - {op: put, path: c/, weight: 1, object_size: 1GiB, part_size: 16MiB}
"""
    ).workload
    assert (get.verify, get.read_range, get.io_rate) == (True, ReadRange(65536, 4096), IoRate(1000))
    assert (get.popularity, get.zipf_exponent, get.source) == (Popularity.ZIPF, 1.2, KeySource.LIST)
    assert delete.delete_many == 100
    assert put.part_size == 16 * 2**20


def test_a_field_of_another_operation_is_noticed() -> None:
    text = TARGET + "workload: [{op: get, path: x, weight: 1, part_size: 8MiB, recursive: true}]\n"
    assert messages(text, Level.NOTICE) == [
        "workload[0].part_size has no effect where op is get",
        "workload[0].recursive has no effect where op is get",
    ]


def test_stages_with_everything() -> None:
    stage = good(
        TARGET
        + GET
        + FLEET
        + ", stages: [{name: a, order: 1, type: execute, duration: 5m, timeout_seconds: 10m, concurrency: 4, "
        "warmup_period: 10s, io_rate: {iops: max}, until: {operations: '1,000', bytes: 1GiB}, "
        "workload: [{op: list, path: '', weight: 1}]}, {name: v, order: 2, type: verify}]}\n"
    ).stages[0]
    assert (stage.duration, stage.timeout, stage.concurrency, stage.warmup_period) == (300.0, 600.0, 4, 10.0)
    assert (stage.io_rate, stage.until) == (IoRate(0), Until(1000, 2**30))
    assert stage.workload is not None
    assert len(stage.workload) == 1
    verify = load(TARGET + GET + FLEET + ", stages: [{name: v, order: 2, type: verify}]}\n").require().stages[0]
    assert verify.type is StageType.VERIFY


def test_endpoints_with_weights_and_bracket_ranges() -> None:
    block = good(
        GET + "multi_endpoint: {strategy: weighted, endpoint_policy: strict, endpoints: "
        "['s3://10.0.0.[01-02]/b/', {uri: 's3://big{1...2}.a.b/b/', weight: 3}]}\n"
    ).multi_endpoint
    assert block is not None
    assert [e.text for e in block.endpoints][:3] == ["s3://10.0.0.01/b/", "s3://10.0.0.02/b/", "s3://big1.a.b/b/"]
    assert block.weights == (1, 1, 3, 3)
    assert (block.strategy, block.policy) == (EndpointStrategy.WEIGHTED, EndpointPolicy.STRICT)


def test_thresholds_are_typed() -> None:
    found = good(
        TARGET
        + GET
        + "thresholds: [{metric: get.p99, stage: execute, max: 50ms, window: 10s, abort: true, scope: agent}, "
        "{metric: throughput, min: 2GiB/s}, {metric: errors.rate, max: 0.1%}, {metric: ops, min: 5000}]\n"
    ).thresholds
    assert isinstance(found[0], Threshold)
    assert found[0].maximum == Bound(0.05, Unit.SECONDS)
    assert (found[0].window, found[0].abort, found[0].stage) == (10.0, True, "execute")
    assert found[1].minimum == Bound(2.0 * 2**30, Unit.BYTES_PER_SECOND)
    assert found[2].maximum is not None
    assert math.isclose(found[2].maximum.value, 0.001)
    assert found[3].minimum == Bound(5000.0)
    bad = TARGET + GET + "thresholds: [{metric: ops, max: soon}, {metric: p99}, {max: 1}]\n"
    assert [p.code for p in load(bad).problems if p.level is Level.ERROR] == ["unit", "required", "required"]


@pytest.mark.parametrize("text", ["", "%", "1%%", "GiB/s", "nan", True, math.inf, "1/s/s", "١%"])
def test_what_is_no_bound(text: float | str) -> None:
    with pytest.raises(UnitError):
        parse_bound(text)


def test_weighted_sizes() -> None:
    text = TARGET + GET + "prepare: {ensure_objects: [{base_uri: a/, count: 5, size_spec: {weighted: [%s]}}]}\n"
    config = good(text % "{size: 4KiB, weight: 3}, {size: 1MiB, weight: 1}")
    assert config.prepare is not None
    assert config.prepare.ensure_objects[0].size == SizeSpec(
        SizeKind.WEIGHTED, 4096, 2**20, weighted=((4096, 3), (2**20, 1))
    )
    alone = good(text % "{size: 4KiB, weight: 3}, {size: 1MiB, weight: 0}").prepare
    assert alone is not None
    assert alone.ensure_objects[0].size == fixed_size(4096)
    assert messages(text % "{size: 1, weight: 0}", Level.ERROR)
    assert messages(text % "", Level.ERROR)


def test_source_says_where_objects_come_from() -> None:
    prepare = "prepare: {ensure_objects: [{base_uri: data/, count: 10}]}\n"
    text = TARGET + prepare + "workload: [{op: get, path: '%s', weight: 1, source: %s}]\n"
    listed = load_resolved(text % ("data/*", "list"), "t")
    assert listed.require().ops[0].source is OpSource.LISTED
    assert load_resolved(text % ("data/*", "prepare"), "t").require().ops[0].source is OpSource.SETS
    assert not load_resolved(text % ("elsewhere/*", "prepare"), "t").ok
    assert load_resolved(text % ("data/nothing*", "list"), "t").problems == ()


@pytest.mark.parametrize(("text", "count"), [("auto", None), ("single", 1), ("4", 4)])
def test_processes(text: str, count: int | None) -> None:
    assert good(TARGET + GET + f"processes: {text}\n").processes == count


def test_processes_of_none_is_an_error() -> None:
    assert messages(TARGET + GET + "processes: 0\n", Level.ERROR) == ["processes must be >= 1"]


def test_two_names_of_one_field_are_a_warning() -> None:
    text = TARGET + GET + "perf_log: {interval: 1s, interval_seconds: 5}\n"
    assert messages(text, Level.WARNING) == ["perf_log.interval and interval_seconds mean the same: interval counts"]
    assert good(text).perf_log.interval == 1.0


def test_a_setting_at_its_default_needs_no_notice() -> None:
    quiet = TARGET + GET + "verify: false\npage_cache_mode: auto\nprocesses: auto\ndynamic_put_pool: false\n"
    assert load(quiet).problems == ()
    assert len(messages(TARGET + GET + "autotune: {uri: x}\n", Level.NOTICE)) == 1


def test_a_notice_is_given_once_for_each_field() -> None:
    agent = "{address: h, volumes: [a]}"
    fleet = "distributed: {shared_filesystem: true, tree_creation_mode: isolated, path_selection: random, agents: "
    text = TARGET + GET + fleet + f"[{agent}, {agent}, {agent}]}}\n"
    assert [said for said in messages(text, Level.NOTICE) if "volumes" in said] == [
        "distributed.agents[0].volumes is not acted on yet"
    ]


@pytest.mark.parametrize("stages", ["", FLEET + "}", FLEET + ", stages: [{name: p, order: 3, type: prepare}]}"])
def test_cleanup_only_leaves_no_stage_that_writes(stages: str) -> None:
    prepare = "prepare: {cleanup_only: true, ensure_objects: [{base_uri: a/, count: 5}]}\n"
    found = good(TARGET + GET + prepare + stages + "\n").stages
    assert {stage.type for stage in found} <= {StageType.VALIDATION, StageType.CLEANUP}
    assert found[-1].type is StageType.CLEANUP


def test_agents_share_the_rate_of_the_fleet_by_their_connections() -> None:
    text = TARGET + GET + "concurrency: 8\ndistributed: {agents: [a, b, {address: c, concurrency_override: 16}]}\n"
    found = load_resolved(text, "t").require()
    assert [found.rate_share(agent.index) for agent in found.agents] == [0.25, 0.25, 0.5]
