"""Which objects the operations of an execute stage are about, seen in what an agent did to real files."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from sai3tui.config.ops import Op
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, running_agent, stub_of

FLEET = """
target: file://TARGET/
concurrency: 4
workload: WORKLOAD
prepare:
  directory_structure: {width: 4, depth: 1, files_per_dir: 20, distribution: bottom, dir_mask: "d%d_w%d.dir"}
  ensure_objects: [{base_uri: data/, count: 0, size_distribution: 1000}]
distributed:
  path_selection: SELECTION
  shared_filesystem: true
  stages:
    - {name: execute, order: 1, type: execute, completion: duration, duration: 2s}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}, {id: agent-2, address: "127.0.0.1:7168"}]
"""


def make_files(target: Path) -> None:
    """The objects of the tree, so that an agent finds them without a prepare of the whole fleet."""
    for number in range(80):
        path = target / f"data/d1_w{number // 20 + 1}.dir/file_{number:08d}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (1, time.time()))


async def run(config: str, tmp_path: Path, target: Path, agent_index: int = 0) -> Driver:
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config.replace("TARGET", str(target)), agent_index=agent_index)
            await driver.run()
    return driver


def count(summary: pb.StageSummary, op: Op) -> int:
    return sum(stats.ops for stats in summary.ops if stats.op == op)


async def test_once_is_each_object_once_and_ends_the_stage(tmp_path: Path) -> None:
    target = tmp_path / "target"
    make_files(target)
    config = FLEET.replace("WORKLOAD", '[{op: get, path: "data/**/*", weight: 1, popularity: once}]')
    config = config.replace("SELECTION", "random").replace("duration: 2s", "duration: 60s")
    driver = await run(config, tmp_path, target, agent_index=1)
    assert driver.failure is None, driver.failure
    execute = driver.summary("execute")
    # One of two agents: half of 80 objects, and no need to wait for the minute to be over.
    assert (count(execute, Op.GET), execute.errors) == (40, 0)
    assert execute.seconds < 30


async def test_an_exclusive_agent_keeps_to_the_directories_that_are_its_own(tmp_path: Path) -> None:
    target = tmp_path / "target"
    make_files(target)
    workload = '[{op: put, path: "data/**/*", object_size: 1000, weight: 1}]'
    config = FLEET.replace("WORKLOAD", workload).replace("SELECTION", "exclusive")
    driver = await run(config, tmp_path, target, agent_index=1)
    assert driver.failure is None, driver.failure
    written = {path.parent.name for path in target.rglob("*.dat") if path.read_bytes() != bytes(1000)}
    assert written == {"d1_w2.dir", "d1_w4.dir"}


DELETES = """
target: file://TARGET/
concurrency: 4
workload:
  - {op: delete, path: "data/**/*", weight: 30}
  - {op: get, path: "data/**/*", weight: 30, popularity: zipf}
  - {op: stat, path: "data/**/*", weight: 20}
prepare:
  directory_structure: {width: 2, depth: 2, files_per_dir: 25, distribution: all, dir_mask: "d%d_w%d.dir"}
  ensure_objects: [{base_uri: data/, count: 0, size_distribution: 1000}]
distributed:
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
    - {name: execute, order: 2, type: execute, completion: duration, duration: 2s}
    - {name: cleanup, order: 3, type: cleanup, completion: tasks_done}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""


async def test_deletes_in_a_tree_never_make_another_operation_miss_an_object(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    driver = await run(DELETES, tmp_path, target)
    assert driver.failure is None, driver.failure
    execute, cleanup = driver.summary("execute"), driver.summary("cleanup")
    failed = Counter(attempt.subclass for attempt in execute.failed_attempts)
    assert (execute.errors, failed) == (0, Counter())
    # 6 directories of 25 objects, one half of them for deletes; a busy host may not get that far.
    deleted = count(execute, Op.DELETE)
    assert 0 < deleted <= 75
    assert count(execute, Op.GET) > 0
    assert cleanup.objects.done == 150 - deleted
    assert not list(target.rglob("*.dat"))


GROWING = """
target: file://TARGET/
concurrency: 4
dynamic_put_pool: true
verify: true
workload:
  - {op: put, path: "data/", size_spec: {type: uniform, min: 1000, max: 9000}, weight: 50}
  - {op: get, path: "data/*", weight: 50}
distributed:
  stages:
    - {name: execute, order: 1, type: execute, completion: duration, duration: 3s}
    - {name: cleanup, order: 2, type: cleanup, completion: tasks_done}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""


async def test_what_is_put_can_be_read_though_nothing_was_there_before(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "data").mkdir(parents=True)
    driver = await run(GROWING, tmp_path, target)
    assert driver.failure is None, driver.failure
    execute = driver.summary("execute")
    assert execute.errors == 0
    # There is something to read as soon as workers look at what they have put.
    assert count(execute, Op.GET) > 0
    assert count(execute, Op.PUT) > 0
    assert not list(target.rglob("obj_*"))
