from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.config.model import Content, DirectoryStructure, Distribution, fixed_size
from sai3tui.config.resolve import Resolution, load_resolved
from sai3tui.config.resolved import Resolved, ResolvedSet, SetKind
from sai3tui.errors import ConfigError
from sai3tui.workload.objects import ObjectSet, layout_hash, object_sets
from sai3tui.workload.patterns import Selection
from sai3tui.workload.plan import look_up, make_plan

CONFIGS = Path(__file__).parent / "data" / "configs"
SEED = (CONFIGS / "s3_single_node.yaml").read_text()


def resolution(name: str) -> Resolution:
    return load_resolved((CONFIGS / name).read_bytes(), name)


def document(found: Resolution) -> dict[str, Any]:
    resolved = found.require()
    made: dict[str, Any] = json.loads(json.dumps(make_plan(resolved.config, resolved, found.problems).to_json()))
    return made


def changed(**replacements: str) -> Resolved:
    text = SEED
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return load_resolved(text, "seed").require()


def test_the_plan_of_the_seed() -> None:
    plan = document(resolution("s3_single_node.yaml"))
    assert plan["directories"] == 584
    assert plan["objects"] == 64_000
    expected = plan["bytes_expected"]
    assert isinstance(expected, int)
    # truncation at two sides of a narrow lognormal moves the mean by less than a thousandth
    assert expected == pytest.approx(64_000 * 8 * 2**20, rel=1e-3)
    (agent,) = plan["agents"]
    endpoints = agent.pop("endpoints")
    assert agent == {"id": "agent-1", "address": "172.21.4.10:7761", "concurrency": 16, "objects": 64_000}
    assert [(e["uri"], e["connections"], e["objects"]) for e in endpoints] == [
        ("s3://10.9.0.21/sai3-bucket1/", 8, 32_000),
        ("s3://10.9.0.25/sai3-bucket1/", 8, 32_000),
    ]
    data = "data/d1_w8.dir/d2_w8.dir/d3_w8.dir/file_000639"
    assert endpoints[0]["last"] == f"s3://10.9.0.21/sai3-bucket1/{data}98.dat"
    assert endpoints[1]["last"] == f"s3://10.9.0.25/sai3-bucket1/{data}99.dat"
    assert [(s["index"], s["name"], s["type"], s["completion"]) for s in plan["stages"]] == [
        (1, "preflight", "validation", "validation_passed"),
        (2, "prepare", "prepare", "tasks_done"),
        (3, "execute", "execute", "duration"),
    ]
    barrier = plan["stages"][1]["barrier"]
    assert barrier["type"] == "all_or_nothing"
    assert barrier["agent_barrier_timeout"] == 1500.0
    assert [sample["index"] for sample in plan["samples"]] == [0, 1, 63_999]
    assert plan["notices"] == []


def test_an_object_can_be_looked_up() -> None:
    (found,) = look_up(resolution("s3_single_node.yaml").require(), [63_999])
    assert found.uri.endswith("/sai3-bucket1/data/d1_w8.dir/d2_w8.dir/d3_w8.dir/file_00063999.dat")
    assert (found.agent, found.endpoint) == ("agent-1", "s3://10.9.0.25/sai3-bucket1/")
    assert 2**20 <= found.size <= 16 * 2**20
    with pytest.raises(ConfigError) as caught:
        look_up(resolution("s3_single_node.yaml").require(), [64_000])
    assert "63999" in caught.value.hint


def test_four_agents_keep_all_their_eight_endpoints_busy() -> None:
    found = resolution("legacy_mixed_4agents.yaml")
    plan = document(found)
    assert plan["objects"] == 2_000_000
    assert plan["bytes_expected"] == 2_000_000 * 2**20
    for agent in plan["agents"]:
        assert agent["objects"] == 500_000
        assert [e["objects"] for e in agent["endpoints"]] == [62_500] * 8
    resolved = found.require()
    owners = [(o.agent, o.endpoint) for o in look_up(resolved, range(64))]
    assert len(set(owners)) == 32


def test_independent_agents_each_have_all_objects() -> None:
    found = resolution("isolated_mounts_rate.yaml")
    plan = document(found)
    assert plan["objects"] == 80_000
    assert plan["namespace"] == "independent"
    assert [agent["objects"] for agent in plan["agents"]] == [40_000, 40_000]
    both = look_up(found.require(), [5])
    assert [(o.agent, o.endpoint, o.size == both[0].size) for o in both] == [
        ("left", "file:///mnt/nvme2/b/", True),
        ("right", "file:///mnt/nvme4/b/", True),
    ]


def test_the_layout_hash_depends_on_the_objects_only() -> None:
    base = layout_hash(changed())
    assert len(base) == 16
    same = [
        {"duration: 30s": "duration: 45s"},
        {"concurrency_override: 16": "concurrency_override: 64"},
        {"172.21.4.10:7761": "127.0.0.1:9999"},
        {"10.9.0.25": "10.9.0.99"},
        {"weight: 100": "weight: 7"},
        {"force_overwrite: true": "force_overwrite: false"},
    ]
    for replacement in same:
        assert layout_hash(changed(**replacement)) == base, replacement
    other = [
        {"files_per_dir: 125": "files_per_dir: 126"},
        {"std_dev: 1MiB": "std_dev: 2MiB"},
        {'"data/': '"dota/'},
        {"fill: random": "fill: zero"},
        {"concurrency: 16\n": "concurrency: 16\nseed: 2\n"},
        {"sai3-bucket1": "sai3-bucket2"},
        {"d%d_w%d.dir": "d%d-w%d.dir", "d*_w*.dir": "d*-w*.dir"},
    ]
    hashes = [layout_hash(changed(**replacement)) for replacement in other]
    assert len({base, *hashes}) == len(other) + 1


def test_all_files_plan() -> None:
    for path in CONFIGS.glob("*.yaml"):
        assert document(load_resolved(path.read_bytes(), path.name))["stages"]


SHAPES = st.builds(
    DirectoryStructure,
    width=st.integers(1, 4),
    depth=st.integers(1, 3),
    files_per_dir=st.integers(1, 4),
    distribution=st.sampled_from(Distribution),
)
FLAT = st.builds(
    lambda kind, count, shards: ResolvedSet(0, kind, "p/", count, fixed_size(1), Content(), shards),
    st.sampled_from([SetKind.PREPARED, SetKind.DELETABLE]),
    st.integers(1, 200),
    st.sampled_from([0, 1, 16, 300]),
)
SETS = FLAT | SHAPES.map(
    lambda shape: ResolvedSet(0, SetKind.TREE, "p/", shape.files, fixed_size(1), Content(), 0, shape)
)


@given(SETS)
def test_keys_are_distinct_and_lead_back_to_their_index(made: ResolvedSet) -> None:
    objects = ObjectSet(made, 1)
    keys = [objects.key(i) for i in range(objects.count)]
    assert len(set(keys)) == objects.count
    assert [objects.index_of(key) for key in keys] == list(range(objects.count))
    assert objects.index_of(keys[0] + "x") is None
    assert objects.index_of("p/prepared-99999999.dat") is None
    with pytest.raises(IndexError):
        objects.key(objects.count)


PATTERNS = ["*", "p/*1*", "p/**/*.dat", "p/", "**/file_00000001.dat", "q*"]


@settings(max_examples=50)
@given(
    SETS, st.sampled_from(["*", "p/*1*", "p/**/*.dat", "p/", "**/file_00000001.dat", "q*"]), st.integers(0, 2**64 - 1)
)
def test_a_selection_draws_exactly_what_matches(made: ResolvedSet, pattern: str, bits: int) -> None:
    objects = ObjectSet(made, 1)
    selection = Selection(pattern, objects)
    inside = [i for i in range(objects.count) if i in selection]
    assert len(selection) == len(inside)
    assert [selection.nth(n) for n in range(len(selection))] == inside
    if inside:
        assert selection.draw(bits) in selection
    with pytest.raises(IndexError):
        selection.nth(len(inside))


def test_sets_of_a_run_differ_in_their_sizes() -> None:
    first, second = object_sets(resolution("isolated_mounts_rate.yaml").require())
    assert [first.size(i) for i in range(20)] != [second.size(i) for i in range(20)]


@pytest.mark.parametrize(("atomic", "said"), [("false", True), ("true", False)])
def test_reads_that_may_meet_a_file_that_is_being_overwritten_are_said(atomic: str, said: bool) -> None:
    text = (
        f"target: file:///t/\natomic_create: {atomic}\n"
        "prepare: {directory_structure: {width: 2, depth: 1, files_per_dir: 2}, ensure_objects: [{count: 0}]}\n"
        "workload: [{op: get, path: '**', weight: 1}, {op: put, path: '**', object_size: 1KiB, weight: 1}]\n"
    )
    found = load_resolved(text, "t").require()
    notices = make_plan(found.config, found).notices
    assert "put overwrites objects that prepare made" in notices
    assert any("while it is overwritten" in notice for notice in notices) is said


@pytest.mark.parametrize(("size", "said"), [("1KiB", True), ("100", False)])
def test_settings_of_a_put_that_do_not_act_are_said(size: str, said: bool) -> None:
    text = (
        "target: s3://b/p/\n"
        "prepare: {directory_structure: {width: 2, depth: 1, files_per_dir: 2},"
        " ensure_objects: [{count: 0, size_distribution: 100}]}\n"
        f"workload: [{{op: put, path: '**', object_size: {size}, weight: 1}}]\n"
    )
    found = load_resolved(text, "t").require()
    assert any("its own do not act" in notice for notice in make_plan(found.config, found).notices) is said
