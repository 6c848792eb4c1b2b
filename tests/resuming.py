"""What tests of an interrupted prepare have in common: a small tree, what the server holds, what the cache says."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from sai3tui.config.resolve import load_resolved
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState
from sai3tui.workload.objects import layout_hash, object_sets
from tests.agents import AgentUnderTest
from tests.servers import ServerUnderTest
from tests.waiting import gone, wait_until_async


def config_of(
    server: ServerUnderTest, bucket: str, flags: str, agents: int = 1, stages: str = "prepare", objects: int = 800
) -> str:
    places = ", ".join(f"'s3+http://{place}/{bucket}/'" for place in server.host_ports)
    fleet = ", ".join(f"{{id: agent-{n}, address: '127.0.0.1:{7000 + n}'}}" for n in range(1, agents + 1))
    listed = ", ".join(
        f"{{name: {name}, order: {n}, type: {name}, completion: tasks_done}}"
        for n, name in enumerate(stages.split(), 1)
    )
    text = f"""
concurrency: 4
workload: [{{op: get, path: "data/**/*", weight: 1}}]
multi_endpoint: {{endpoints: [{places}]}}
prepare:
  {flags}
  directory_structure: {{width: 2, depth: 2, files_per_dir: {objects // 4}, distribution: bottom}}
  ensure_objects: [{{base_uri: data/, count: 0, size_distribution: 1000}}]
distributed:
  stages: [{listed}]
  agents: [{fleet}]
"""
    server.make_directories(bucket, text)
    return text


def versions(server: ServerUnderTest, bucket: str) -> dict[str, int]:
    """When each object was last written, by key, to the nanosecond: the server keeps objects as files."""
    root = server.data_dir / bucket
    found = {}
    for path in (root / "data").rglob("*.dat"):
        try:
            found[str(path.relative_to(root))] = path.stat().st_mtime_ns
        except FileNotFoundError:  # the server renames what it has received
            continue
    return found


async def recorded(agent: AgentUnderTest, config: str) -> tuple[set[str], set[str]]:
    """The keys that an agent's cache has on disk as created and as creating."""
    resolved = load_resolved(config, "test.yaml").require()
    objects = object_sets(resolved)[0]
    cache = LayoutCache.open(agent.data_dir / "cache" / layout_hash(resolved), objects.count)
    try:
        record = cache.latest
        assert record is not None
        keys: dict[ObjectState, set[str]] = {state: set() for state in ObjectState}
        for held in record.holdings:
            states = cache.states(record, held.set_id, held.slot)
            for k in range(held.first_k, held.end_k):
                keys[states.get(k)].add(objects.key(held.slot + k * record.slots))
    finally:
        await cache.close()
    return keys[ObjectState.CREATED], keys[ObjectState.CREATING]


def children(agent: AgentUnderTest) -> list[int]:
    return [child.pid for child in psutil.Process(agent.child.pid).children(recursive=True)]


def workers_of(agent: AgentUnderTest) -> list[int]:
    """Its worker processes."""
    found = []
    for pid in children(agent):
        try:
            command = " ".join(psutil.Process(pid).cmdline())
        except psutil.NoSuchProcess:
            continue
        if "resource_tracker" not in command:
            found.append(pid)
    return found


def content_of(server: ServerUnderTest, bucket: str, key: str) -> bytes:
    path: Path = server.data_dir / bucket / key
    return path.read_bytes()


async def killed(agent: AgentUnderTest, running: asyncio.Future[Any], processes: Sequence[int]) -> None:
    """Kill an agent with SIGKILL in the middle of the run that `running` drives; its `processes` end with it."""
    assert processes
    os.kill(agent.child.pid, signal.SIGKILL)
    agent.child.process.wait()
    with pytest.raises(grpc.aio.AioRpcError):
        await running
    assert await wait_until_async(lambda: all(gone(pid) for pid in processes)), "a worker outlived its agent"
