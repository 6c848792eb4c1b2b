"""Directories that a stage makes beforehand: none after the stage was given up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from sai3tui.agent.setup import AgentLimits, make_setup
from sai3tui.agent.stages import directories
from sai3tui.agent.stages.base import StageContext
from sai3tui.proto import sai3tui_pb2 as pb
from tests.waiting import wait_until_async

CONFIG = """
target: file://{target}/
prepare:
  directory_structure: {{width: 40, depth: 3, files_per_dir: 1, distribution: bottom}}
  ensure_objects: [{{base_uri: data/, count: 0, size_distribution: 1000}}]
workload: [{{op: get, path: "data/**/*", weight: 1}}]
distributed:
  tree_creation_mode: isolated
  stages: [{{name: prepare, order: 1, type: prepare, completion: tasks_done}}]
  agents: [{{id: a, address: "127.0.0.1:7000"}}]
"""
ALL = 40 + 40**2 + 40**3


def found(target: Path) -> int:
    return sum(path.is_dir() for path in target.rglob("*"))


async def test_no_directory_is_made_once_the_stage_is_given_up(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=CONFIG.format(target=target).encode())
    setup = make_setup(spec, AgentLimits(tmp_path / "own", (tmp_path,)), {})
    context = cast(StageContext, SimpleNamespace(setup=setup, sharing=None, index=1))
    making = asyncio.ensure_future(directories.make(context))
    assert await wait_until_async(lambda: any(target.glob("data/*/*")), 30)
    making.cancel()
    await asyncio.wait({making})
    assert making.cancelled()
    left = found(target)
    # The thread has to end for that, with all of its work if nothing stops it.
    await asyncio.get_running_loop().shutdown_default_executor()
    assert found(target) == left < ALL
