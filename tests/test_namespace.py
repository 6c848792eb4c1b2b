"""`namespace: auto` of files: what preflight sees decides how the run is planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sai3tui.cli import main
from sai3tui.config.model import Namespace
from sai3tui.config.resolve import load_resolved
from sai3tui.config.resolved import NamespaceFrom, Resolved
from sai3tui.controller.preflight import namespace_seen, same_files_elsewhere
from tests.agents import AgentUnderTest, running_agent
from tests.e2e import run_batch

OBJECTS = 12

FLEET = """\
concurrency: 2
prepare: {force_overwrite: true, ensure_objects: [{base_uri: data/, count: 12, size_spec: 100}]}
workload: [{op: get, path: "data/*", weight: 1}]
distributed:
  tree_creation_mode: concurrent
  path_selection: random
  start_delay: 0
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
    - {name: cleanup, order: 2, type: cleanup, completion: tasks_done}
"""
ONE_PATH = "target: file:///m/\n" + FLEET + "  agents: [h1, h2]\n"
TWO_PATHS = FLEET + (
    "  agents:\n    - {address: h1, target_override: file:///m1/}\n    - {address: h2, target_override: file:///m2/}\n"
)


def resolved(text: str, namespace: Namespace = Namespace.AUTO) -> Resolved:
    return load_resolved(text, "t.yaml", namespace=namespace).require()


@pytest.mark.parametrize(
    ("text", "shared", "known_from"),
    [
        (ONE_PATH, True, NamespaceFrom.ASSUMED),
        (TWO_PATHS, False, NamespaceFrom.ASSUMED),
        (ONE_PATH + "  shared_filesystem: true\n", True, NamespaceFrom.CONFIG),
        (ONE_PATH + "  shared_filesystem: false\n", False, NamespaceFrom.CONFIG),
        (TWO_PATHS + "  shared_filesystem: true\n", False, NamespaceFrom.ASSUMED),
        (ONE_PATH.replace("file:///m/", "s3://10.0.0.1/b/"), True, NamespaceFrom.CONFIG),
        (ONE_PATH.replace("[h1, h2]", "[h1]"), True, NamespaceFrom.CONFIG),
    ],
)
def test_what_is_assumed_until_preflight_has_looked(text: str, shared: bool, known_from: NamespaceFrom) -> None:
    run = resolved(text)
    assert (run.shared, run.namespace_from) == (shared, known_from)
    for found in (Namespace.SHARED, Namespace.INDEPENDENT):
        then = resolved(text, found)
        if known_from is NamespaceFrom.CONFIG:
            assert then == run
        else:
            assert (then.shared, then.namespace_from) == (found is Namespace.SHARED, NamespaceFrom.PREFLIGHT)


def test_agents_with_trees_of_their_own_at_one_path_do_not_meet_if_some_are_one_tree_after_all() -> None:
    places = [agent.endpoints[0].location.uri for agent in resolved(ONE_PATH, Namespace.INDEPENDENT).agents]
    assert places == ["file:///m/agent-1/", "file:///m/agent-2/"]


def test_what_the_probes_come_to() -> None:
    run = resolved(TWO_PATHS, Namespace.SHARED)
    first, second = ("agent-1", "file:///m1/"), ("agent-2", "file:///m2/")
    both = {"0.0", "1.0"}
    assert namespace_seen(run, {first: both, second: both}) is Namespace.SHARED
    assert namespace_seen(run, {first: {"0.0"}, second: {"1.0"}}) is Namespace.INDEPENDENT
    assert namespace_seen(run, {first: both}) is Namespace.AUTO
    assert namespace_seen(run, {}) is Namespace.AUTO
    assert same_files_elsewhere(run, {first: {"0.0"}, second: {"1.0"}}) is None
    # Two of three agents are on one tree, under different paths.
    three = resolved(TWO_PATHS + "    - {address: h3, target_override: file:///m3/}\n", Namespace.SHARED)
    seen = {first: both, second: both, ("agent-3", "file:///m3/"): {"2.0"}}
    assert namespace_seen(three, seen) is Namespace.INDEPENDENT
    assert same_files_elsewhere(three, seen) == ("agent-1", "file:///m1/", "agent-2")


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "tree-1", tmp_path / "tree-2"


@pytest.fixture
def agents(tmp_path: Path, trees: tuple[Path, Path]) -> Iterator[list[AgentUnderTest]]:
    """Two agents, each in a directory of its own."""
    with ExitStack() as stack:
        running = []
        for number, tree in enumerate(trees):
            tree.mkdir()
            leave = ("--allow-path", str(tmp_path))
            running.append(stack.enter_context(running_agent(tmp_path, *leave, name=f"agent-{number}", cwd=tree)))
        yield running


@pytest.mark.parametrize(
    ("paths", "one_tree"),
    [
        pytest.param("one path", False, id="two trees at one path"),
        pytest.param("two paths", True, id="one tree at two paths", marks=pytest.mark.slow),
        pytest.param("two paths", False, id="two trees at two paths", marks=pytest.mark.slow),
    ],
)
def test_the_run_is_planned_by_what_preflight_sees(
    agents: list[AgentUnderTest],
    trees: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    paths: str,
    one_tree: bool,
) -> None:
    text = {
        # The same path, which is another directory for each of the two processes.
        "one path": ONE_PATH.replace("file:///m/", "file:///proc/self/cwd/"),
        "two paths": TWO_PATHS.replace("file:///m1/", f"file://{trees[0]}/").replace(
            "file:///m2/", f"file://{trees[1]}/"
        ),
    }[paths]
    if one_tree:
        trees[1].rename(trees[1].with_name("aside"))
        trees[1].symlink_to(trees[0])
    config = tmp_path / "run.yaml"
    config.write_text(text.replace("h1", agents[0].address).replace("h2", agents[1].address))
    assert main(["plan", str(config)]) == 0
    assert "until preflight has looked" in capsys.readouterr().out

    done = run_batch(config)
    assert done.code == 0, done.stderr
    plan = json.loads((done.directory / "plan.json").read_text())
    meta = json.loads((done.directory / "metadata.json").read_text())
    found = "shared" if one_tree else "independent"
    assert (plan["namespace"], plan["namespace_from"]) == (found, "preflight")
    assert (meta["namespace"], meta["namespace_found"], meta["layout_hash"]) == (found, found, plan["layout_hash"])
    objects = OBJECTS if one_tree else 2 * OBJECTS
    assert (plan["objects"], done.stage("prepare")["ops"], done.stage("cleanup")["ops"]) == (objects,) * 3
    said = "all agents and endpoints show the same files" if one_tree else "do not all show the same files"
    assert any(said in notice and "preflight found" in notice for notice in meta["notices"])
    assert [path for tree in trees for path in tree.rglob("*") if path.is_file()] == []

    # Who asks by the configuration finds what is on record, however it was settled.
    assert main(["cache", "show", str(config), "--json", "--data-dir", str(tmp_path)]) == 0
    assert {each["layout"] for each in json.loads(capsys.readouterr().out)["caches"]} == {plan["layout_hash"]}
