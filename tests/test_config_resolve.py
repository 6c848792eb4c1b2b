from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.model import StageType
from sai3tui.config.ops import Op
from sai3tui.config.problems import Level
from sai3tui.config.resolve import Resolution, deal, load_resolved
from sai3tui.config.resolved import NamespaceFrom, OpSource, Resolved, SetKind, deal_by
from sai3tui.errors import ConfigError

CONFIGS = Path(__file__).parent / "data" / "configs"


def seed(**replacements: str) -> Resolution:
    text = (CONFIGS / "s3_single_node.yaml").read_text()
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return load_resolved(text, "seed.yaml")


def resolved(text: str) -> Resolved:
    return load_resolved(text, "t.yaml").require()


def problems(text: str, level: Level = Level.ERROR) -> list[str]:
    return [str(p) for p in load_resolved(text, "t.yaml").problems if p.level is level]


def roots(found: Resolved) -> list[list[tuple[str, int]]]:
    return [[(e.location.uri, e.connections) for e in agent.endpoints] for agent in found.agents]


def test_the_relative_base_uri_of_the_lost_night_stands_under_each_endpoint() -> None:
    found = seed()
    assert found.problems == ()
    run = found.require()
    assert run.shared
    assert roots(run) == [[("s3://10.9.0.21/sai3-bucket1/", 8), ("s3://10.9.0.25/sai3-bucket1/", 8)]]
    assert [(s.kind, s.prefix, s.count, s.directories) for s in run.sets] == [(SetKind.TREE, "data/", 64000, 584)]
    assert [(o.pattern, o.source, o.set_ids) for o in run.ops] == [("data/d*_w*.dir/**/*", OpSource.SETS, (0,))]


def test_a_pattern_that_misses_what_prepare_makes_is_an_error_with_its_line() -> None:
    found = seed(**{'path: "data/d*': 'path: "d1*'})
    assert found.resolved is None
    (problem,) = found.problems
    assert (problem.line, problem.level, problem.code) == (37, Level.ERROR, "pattern")
    assert problem.hint == "write 'data/d1*_w*.dir/**/*'"
    (problem,) = seed(**{'path: "data/d*': 'path: "data/e*'}).problems
    assert "data/d1_w1.dir/d2_w1.dir/d3_w1.dir/file_00000000.dat" in problem.hint
    (problem,) = seed(**{'path: "data/d*_w*.dir/**/*': 'path: "data/d1_w9.dir/*'}).problems
    assert (problem.line, problem.level) == (37, Level.ERROR)


def test_legacy_absolute_uris_are_reduced_to_keys_under_the_endpoints() -> None:
    run = load_resolved((CONFIGS / "legacy_mixed_4agents.yaml").read_bytes(), "legacy").require()
    assert run.shared
    assert len(run.agents) == 4
    assert [len(agent.endpoints) for agent in run.agents] == [8] * 4
    assert [(s.kind, s.prefix, s.count) for s in run.sets] == [
        (SetKind.PREPARED, "data/", 1_000_000),
        (SetKind.DELETABLE, "data/", 1_000_000),
    ]
    by_op = {op.op: op for op in run.ops}
    assert by_op[Op.GET].set_ids == (0,)
    assert (by_op[Op.DELETE].pattern, by_op[Op.DELETE].set_ids) == ("data/deletable-*.dat", (1,))
    assert (by_op[Op.PUT].pattern, by_op[Op.PUT].source) == ("new/", OpSource.NEW)


def test_isolated_mounts_are_index_spaces_of_their_own() -> None:
    run = load_resolved((CONFIGS / "isolated_mounts_rate.yaml").read_bytes(), "isolated").require()
    assert not run.shared
    assert run.slots == 1
    assert [a.kv_cache_dir for a in run.agents] == ["/var/tmp/kv"] * 2
    assert roots(run)[1] == [("file:///mnt/nvme3/b/", 8), ("file:///mnt/nvme4/b/", 8)]


def test_nested_epochs_resolve_and_can_be_run() -> None:
    run = load_resolved((CONFIGS / "nested_stages_epochs.yaml").read_bytes(), "nested").require()
    assert run.shared
    assert [stage.type for stage in run.stages].count(StageType.CUSTOM) == 1
    run.require_runnable()
    seed().require().require_runnable()


PREPARE = "prepare: {{ensure_objects: [{{base_uri: {base}, count: 10, size_spec: 1KiB}}]}}\n"
GET = "workload: [{{op: get, path: '{path}', weight: 1}}]\n"


@pytest.mark.parametrize(
    ("head", "base", "path", "root", "prefix", "pattern"),
    [
        ("target: s3://b/t/\n", "data/", "data/*", "s3://b/t/", "data/", "data/*"),
        ("target: s3://b/t/\n", "data", "/data/*", "s3://b/t/", "data/", "data/*"),
        ("target: s3://b/t/\n", "s3://b/t/data/", "s3://b/t/data/*", "s3://b/t/", "data/", "data/*"),
        ("target: s3://b/t/\n", "s3://b/other/", "s3://b/other/*", "s3://b/", "other/", "other/*"),
        ("target: s3://b/t/\n", "s3://b/t/x/", "x/*", "s3://b/t/", "x/", "x/*"),
        ("", "s3://10.0.0.1:9000/b/x/", "s3://10.0.0.1:9000/b/x/*", "s3://10.0.0.1:9000/b/", "x/", "x/*"),
        ("", "file:///m/a/", "file:///m/a/*", "file:///m/a/", "", "*"),
        ("target: file:///m/\n", "file:///m/a/", "a/*", "file:///m/", "a/", "a/*"),
        (
            "multi_endpoint: {endpoints: ['s3://h:{1...2}/b/p/']}\n",
            "s3://b/p/x/",
            "s3://h:2/b/p/x/*",
            "s3://h:1/b/p/",
            "x/",
            "x/*",
        ),
    ],
)
def test_where_paths_stand(head: str, base: str, path: str, root: str, prefix: str, pattern: str) -> None:
    run = resolved(head + PREPARE.format(base=base) + GET.format(path=path))
    assert run.agents[0].endpoints[0].location.uri == root
    assert run.sets[0].prefix == prefix
    assert (run.ops[0].pattern, run.ops[0].set_ids) == (pattern, (0,))


def test_a_target_above_which_absolute_uris_lie_keeps_relative_paths_below_it() -> None:
    run = resolved("target: s3://b/t/\n" + PREPARE.format(base="s3://b/other/") + GET.format(path="mine/*"))
    assert run.agents[0].endpoints[0].location.uri == "s3://b/"
    assert run.ops[0].pattern == "t/mine/*"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GET.format(path="data/*"), "there is no target"),
        ("target: s3://b/\n" + GET.format(path="s3://c/data/*"), "is on other storage than"),
        ("target: s3://b/\n" + GET.format(path="s3://*/data"), "'*' in its host or bucket"),
        ("target: s3://b/*/\n" + GET.format(path="x"), "has a '*' in it"),
        ("target: data/\n" + GET.format(path="x"), "is not a URI"),
        ("target: s3://b/\n" + GET.format(path="../x"), "'.' or '..'"),
        ("target: s3://b/\n" + PREPARE.format(base="x*/") + GET.format(path="x*"), "has a '*' in it"),
        (
            "multi_endpoint: {endpoints: [s3://10.0.0.1/b/]}\n"
            + PREPARE.format(base="s3://c/x/")
            + GET.format(path="x/*"),
            "base_uri 's3://c/x/' is not below any place",
        ),
        (
            "multi_endpoint: {endpoints: [s3://10.0.0.1/b/]}\n" + GET.format(path="s3://10.0.0.9/b/x/*"),
            "is not below any place",
        ),
        (
            "multi_endpoint: {endpoints: [s3://10.0.0.1/b/, file:///m/]}\n" + GET.format(path="x/*"),
            "endpoints of several schemes: file, s3",
        ),
        (
            "concurrency: 1\nmulti_endpoint: {endpoints: ['s3://10.0.0.{1...2}/b/']}\n" + GET.format(path="x/*"),
            "1 connections for 2 endpoints",
        ),
        (
            "target: s3://b/\nprepare: {ensure_objects: [{count: 1, base_uri: a/}, {count: 2, base_uri: a}]}\n"
            + GET.format(path="a/*"),
            "make the same objects under 'a/'",
        ),
        ("target: s3://b/\nworkload: [{op: mkdir, path: d/, weight: 1}]\n", "has no directories"),
        (
            "target: s3://b/\ndistributed: {shared_filesystem: false, agents: [h]}\n"
            "multi_endpoint: {namespace: shared, endpoints: [s3://b/]}\n" + GET.format(path="x/*"),
            "contradicts",
        ),
    ],
)
def test_what_cannot_be_resolved_is_an_error_at_its_place(text: str, words: str) -> None:
    found = problems(text)
    assert any(words in line for line in found), found
    assert load_resolved(text, "t").resolved is None


def test_a_pattern_without_prepare_is_a_warning() -> None:
    text = "target: s3://b/\n" + GET.format(path="data/*")
    assert "the objects must exist already" in problems(text, Level.WARNING)[0]
    assert resolved(text).ops[0].source is OpSource.LISTED


def test_a_pattern_beside_what_prepare_makes_is_a_warning_too() -> None:
    text = "target: s3://b/\n" + PREPARE.format(base="data/") + GET.format(path="old/*")
    assert problems(text) == []
    assert len(problems(text, Level.WARNING)) == 1


@pytest.mark.parametrize(
    ("size", "extra", "words"),
    [
        ("5GiB", "", None),
        (str(5 * 1024**3 + 1), "", "part_size"),
        (str(5 * 1024**3 + 1), ", part_size: 64MiB", None),
    ],
)
def test_more_than_one_put_takes_is_a_warning(size: str, extra: str, words: str | None) -> None:
    text = f"target: s3://h:1/b/\nworkload: [{{op: put, path: new/, object_size: {size}, weight: 1{extra}}}]"
    found = [f"{p.message} {p.hint}" for p in load_resolved(text, "t.yaml").problems if p.level is Level.WARNING]
    said = [each for each in found if "5 GiB" in each]
    assert len(said) == (words is not None), found
    assert all(words is not None and words in each for each in said)
    prepare = f"prepare: {{ensure_objects: [{{base_uri: x/, count: 1, size_spec: {size}}}]}}"
    prepare = f"target: s3://h:1/b/\n{prepare}\nworkload: [{{op: get, path: x/*, weight: 1}}]"
    warned = [each for each in problems(prepare, Level.WARNING) if "5 GiB" in each]
    assert len(warned) == (size != "5GiB"), warned
    parts = prepare.replace("{ensure_objects", "{part_size: 64MiB, ensure_objects")
    assert [each for each in problems(parts, Level.WARNING) if "5 GiB" in each] == []


def test_weight_zero_is_no_error() -> None:
    text = (
        "target: s3://b/\n"
        + PREPARE.format(base="data/")
        + ("workload: [{op: get, path: 'data/*', weight: 1}, {op: get, path: data/nothing*, weight: 0}]\n")
    )
    assert problems(text) == []


def test_put_overwrites_tree_files_and_makes_objects_elsewhere() -> None:
    text = """target: s3://b/
prepare: {directory_structure: {width: 2, depth: 1, files_per_dir: 2}, ensure_objects: [{count: 0, base_uri: data/}]}
workload:
  - {op: put, path: data/, object_size: 1, weight: 1}
  - {op: put, path: new, object_size: 1, weight: 1}
  - {op: list, path: data/sai*, weight: 1}
  - {op: stat, path: data/sai3bench.d1_w2.dir/, weight: 1}
"""
    ops = resolved(text).ops
    assert [(o.pattern, o.source) for o in ops] == [
        ("data/*", OpSource.SETS),
        ("new/", OpSource.NEW),
        ("data/", OpSource.PREFIX),
        ("data/sai3bench.d1_w2.dir/", OpSource.SETS),
    ]


def test_agents_that_do_not_share_get_prefixes_where_they_would_meet() -> None:
    head = "distributed: {shared_filesystem: false, agents: [h1, h2]}\n"
    target = resolved(head + "target: s3://b/t/\n" + PREPARE.format(base="data/") + GET.format(path="data/*"))
    assert [a.endpoints[0].location.uri for a in target.agents] == ["s3://b/t/agent-1/", "s3://b/t/agent-2/"]
    assert [a.endpoints[0].location.prefix for a in target.agents] == ["t/agent-1/", "t/agent-2/"]
    files = resolved(head + "multi_endpoint: {endpoints: [file:///m/]}\n" + GET.format(path="data/*"))
    assert [a.endpoints[0].location.uri for a in files.agents] == ["file:///m/"] * 2
    buckets = resolved(head + "multi_endpoint: {endpoints: [s3://10.0.0.1/b/]}\n" + GET.format(path="data/*"))
    assert [a.endpoints[0].location.prefix for a in buckets.agents] == ["agent-1/", "agent-2/"]


def test_target_override_and_mixed_places() -> None:
    text = (
        """target: file:///m/
distributed:
  shared_filesystem: true
  agents: [{address: h1, target_override: file:///n/, concurrency_override: 4}, {address: h2}]
"""
        + PREPARE.format(base="data/")
        + GET.format(path="data/*")
    )
    run = resolved(text)
    assert roots(run) == [[("file:///n/", 4)], [("file:///m/", 16)]]
    assert (run.shared, run.namespace_from) == (False, NamespaceFrom.ASSUMED)


def test_other_schemes_are_accepted_and_do_not_run() -> None:
    for scheme in ("az", "gs"):
        run = resolved(f"target: {scheme}://b/\n" + GET.format(path="x/*"))
        with pytest.raises(ConfigError, match=scheme):
            run.require_runnable()
    direct = "target: direct:///m/\n" + GET.format(path="x/*")
    assert resolved(direct).scheme == "file"
    assert resolved(direct).agents[0].endpoints[0].location.uri == "direct:///m/"
    resolved(direct).require_runnable()


def test_problems_carry_the_place_of_the_uri() -> None:
    text = "target: s3://b/\nprepare:\n  ensure_objects:\n    - {count: 1, base_uri: 's3://c/x/'}\n" + GET.format(
        path="q"
    )
    assert any(line.startswith("t.yaml:4:28: error:") for line in problems(text)), problems(text)


@given(st.integers(1, 5000), st.integers(1, 64))
def test_connections_are_dealt_evenly(connections: int, endpoints: int) -> None:
    dealt = deal(connections, endpoints)
    assert sum(dealt) == connections
    assert max(dealt) - min(dealt) <= 1


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.integers(0, 300))
def test_connections_are_dealt_by_weight(weights: list[int], more: int) -> None:
    total = len(weights) + more
    dealt = deal_by(total, weights)
    assert sum(dealt) == total
    assert min(dealt) >= 1
    # Within one connection of its share, but for what the smallest are given to have one at all.
    assert all(count <= total * weight / sum(weights) + 1 for count, weight in zip(dealt, weights, strict=True))


def test_weighted_endpoints_get_their_share_of_the_connections() -> None:
    text = """
concurrency: 16
multi_endpoint:
  strategy: STRATEGY
  endpoints: [{uri: "s3://10.0.0.1/b/", weight: 3}, "s3://10.0.0.{2...3}/b/", {uri: "s3://10.0.0.4/b/", weight: 11}]
workload: [{op: list, path: "data/", weight: 1}]
"""
    weighted = load_resolved(text.replace("STRATEGY", "weighted"), "t").require()
    assert [endpoint.connections for endpoint in weighted.agents[0].endpoints] == [3, 1, 1, 11]
    alike = load_resolved(text.replace("STRATEGY", "round_robin"), "t")
    assert [endpoint.connections for endpoint in alike.require().agents[0].endpoints] == [4, 4, 4, 4]
    assert [problem.code for problem in alike.problems if problem.level is Level.WARNING] == ["weights"]


def test_a_path_that_means_one_level_is_told_apart_from_everything_below() -> None:
    tree = "target: s3://b/\nprepare: {directory_structure: {width: 2, depth: 2, files_per_dir: 3}, "
    tree += "ensure_objects: [{base_uri: tree/, count: 0}]}\n"
    (found,) = problems(tree + GET.format(path="tree/"))
    assert "directly below it; 'tree/**' is everything" in found
    assert problems(tree + GET.format(path="tree/**")) == []
    (found,) = problems(tree + GET.format(path="tree/*.bin"))
    assert "named like 'tree/" in found
