"""Whole runs of one agent process over real gRPC, against a real S3 server and against files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from sai3tui.config.ops import Op
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, running_agent, stub_of
from tests.servers import ServerUnderTest

TREE = """
  directory_structure: {width: 4, depth: 2, files_per_dir: 10, distribution: bottom, dir_mask: "d%d_w%d.dir"}
  ensure_objects:
    - {base_uri: "data/", count: 0, fill: random, size_distribution: {type: uniform, min: 1KiB, max: 32KiB}}
"""
STAGES = """
distributed:
  stages:
    - {name: preflight, order: 1, type: validation, completion: validation_passed, timeout_secs: 60}
    - {name: prepare, order: 2, type: prepare, completion: tasks_done}
    - {name: execute, order: 3, type: execute, completion: duration, duration: 2s}
    - {name: cleanup, order: 4, type: cleanup, completion: tasks_done}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""
WORKLOAD = """
workload:
  - {op: get, path: "data/**/*", weight: 60}
  - {op: put, path: "uploads/", weight: 20, size_spec: 4096}
  - {op: stat, path: "data/d1_w1.dir/**/*", weight: 10}
  - {op: list, path: "data/d1_w1.dir/", weight: 10}
"""


def endpoints(*uris: str) -> str:
    return f"concurrency: 6\nmulti_endpoint: {{endpoints: [{', '.join(repr(uri) for uri in uris)}]}}\n"


def prepare(flags: str = "force_overwrite: true") -> str:
    return f"prepare:\n  {flags}{TREE}"


def totals(reports: Sequence[pb.Report | pb.StageSummary], field: str) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for report in reports:
        for stats in report.ops:
            found[stats.op, stats.size_bucket] += getattr(stats, field)
    return found


async def test_a_run_from_nothing_to_nothing_over_two_endpoints(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-run")
    config = endpoints(*(f"s3+http://{place}/{bucket}/" for place in s3_server.host_ports))
    config += prepare() + WORKLOAD + STAGES
    s3_server.make_directories(bucket, config)
    seen: dict[int, int] = {}
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(
                stub,
                config,
                on_message=lambda m: (
                    seen.update({m.arrived.stage_index: len(s3_server.keys(bucket, "data/"))})
                    if m.HasField("arrived")
                    else None
                ),
            )
            await driver.run()
        assert driver.failure is None, driver.failure
        assert driver.states == [
            "validating",
            "at_barrier 0",
            "running 1",
            "at_barrier 1",
            "running 2",
            "at_barrier 2",
            "running 3",
            "at_barrier 3",
            "running 4",
            "at_barrier 4",
            "completed",
            "idle",
        ]
        assert agent.lines("WARNING", "ERROR") == []
    assert seen == {0: 0, 1: 0, 2: 160, 3: 160, 4: 0}
    assert s3_server.keys(bucket) == {}
    assert [m.sequence for m in driver.messages] == list(range(1, len(driver.messages) + 1))
    assert driver.pongs

    made = driver.summary("prepare")
    assert (made.objects.planned, made.objects.done, made.objects.existed) == (160, 160, 0)
    assert sum(stats.ops for stats in made.ops) == 160
    assert sum(stats.bytes for stats in made.ops) == made.objects.bytes
    assert [stats.ops for stats in made.endpoints] == [80, 80]
    run = driver.summary("execute")
    assert {stats.op for stats in run.ops} == {Op.GET, Op.PUT, Op.STAT, Op.LIST}
    assert run.errors == 0
    assert driver.summary("cleanup").objects.done >= 160
    for index, name in enumerate(("preflight", "prepare", "execute", "cleanup"), 1):
        summary, reports = driver.summary(name), driver.reports(index)
        for field in ("ops", "bytes", "errors", "attempts"):
            assert totals(reports, field) == totals([summary], field)
        for before, after in pairwise(reports):
            assert before.end_ns == after.start_ns


async def test_a_run_on_files_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target"
    config = f"concurrency: 4\ntarget: file://{target}/\n" + prepare() + WORKLOAD + STAGES
    files: list[int] = []
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(
                stub,
                config,
                on_message=lambda m: files.append(len(list(target.rglob("*.dat")))) if m.HasField("arrived") else None,
            )
            await driver.run()
        assert driver.failure is None, driver.failure
        assert agent.lines("WARNING", "ERROR") == []
    assert files == [0, 0, 160, 160, 0]
    assert [path for path in target.rglob("*") if ".sai3tui" not in path.parts] == []
