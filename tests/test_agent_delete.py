"""DELETE of an execute stage that means a part of a set: exactly that part is deleted, each object once."""

from __future__ import annotations

from pathlib import Path

from sai3tui.config.ops import Op
from tests.agents import Driver, running_agent, stub_of

CONFIG = """
target: file://TARGET/
concurrency: 4
workload:
  - {op: delete, path: "data/d1_w1.dir/d2_w2.dir/*", weight: 30}
  - {op: delete, path: "data/d1_w1.dir/d2_w1.dir/*", weight: 30}
  - {op: delete, path: "data/d1_w1.dir/**/*", weight: 10}
  - {op: get, path: "data/d1_w2.dir/**/*", weight: 30}
prepare:
  directory_structure: {width: 2, depth: 2, files_per_dir: 20, distribution: bottom, dir_mask: "d%d_w%d.dir"}
  ensure_objects: [{base_uri: data/, count: 0, size_distribution: 1000}]
distributed:
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
    - {name: execute, order: 2, type: execute, completion: duration, duration: 1s}
    - {name: cleanup, order: 3, type: cleanup, completion: tasks_done}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""
PER_DIRECTORY = 20


async def test_entries_delete_the_part_that_they_match_and_cleanup_the_rest(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    left: set[str] = set()
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:

            def look(message: object) -> None:
                del message
                # The barrier is released only after this: cleanup has not begun.
                if driver.states[-1:] == ["at_barrier 2"]:
                    left.update(str(path.relative_to(target)) for path in target.rglob("*.dat"))

            driver = Driver(stub, CONFIG.replace("TARGET", str(target)), on_message=look)
            await driver.run()
        assert driver.failure is None, driver.failure
    assert len(left) == 2 * PER_DIRECTORY
    assert all("data/d1_w2.dir/" in key for key in left)
    execute, cleanup = driver.summary("execute"), driver.summary("cleanup")
    deletes = sum(stats.ops for stats in execute.ops if stats.op == Op.DELETE)
    assert (deletes, execute.errors) == (2 * PER_DIRECTORY, 0)
    assert cleanup.objects.done == 2 * PER_DIRECTORY
    assert not list(target.rglob("*.dat"))
