"""Every kind of operation and stage in whole runs of a real agent: what they do, how often, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import grpc
import psutil
import pytest

from sai3tui.agent.stages.custom import end_group
from sai3tui.config.ops import Op
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, running_agent, stub_of
from tests.servers import ServerUnderTest
from tests.waiting import wait_until_async

STAGES_ON_S3 = """
concurrency: 6
target: s3+http://{host}/{bucket}/
processes: 2
prepare:
  verify: true
  ensure_objects:
    - {{base_uri: data/, count: 40, size_spec: 100KiB}}
workload:
  - {{op: get, path: "data/prepared-*", weight: 4, verify: true, range: {{size: 10KiB, align: 4KiB}}}}
  - {{op: put, path: "big/", weight: 1, object_size: 11MiB, part_size: 5MiB, concurrency: 1}}
  - {{op: delete, path: "data/deletable-*", weight: 1, delete_many: 10}}
  - {{op: stat, path: "data/prepared-*", weight: 1, io_rate: {{iops: 20, distribution: deterministic}}}}
distributed:
  stages:
    - {{name: prepare, order: 1, type: prepare}}
    - {{name: mixed, order: 2, type: execute, duration: 2s}}
    - {{name: turns, order: 3, type: execute, duration: 60s, until: {{operations: 101}}, concurrency: 3,
        workload: &get [{{op: get, path: "data/prepared-*", weight: 1}}]}}
    - {{name: both, order: 4, type: hybrid, expected_tasks: 57, max_duration: 60s, workload: *get}}
    - {{name: short, order: 5, type: hybrid, expected_tasks: 1_000_000_000, max_duration: 1s, workload: *get,
        io_rate: {{iops: 10}}}}
    - {{name: bytes, order: 6, type: execute, duration: 60s, until: {{bytes: 3MiB}}, workload: *get}}
    - {{name: verify, order: 7, type: verify}}
    - {{name: cleanup, order: 8, type: cleanup}}
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""


def ops_of(summary: pb.StageSummary) -> dict[str, tuple[int, int]]:
    """Operations and bytes by kind."""
    found: dict[str, tuple[int, int]] = {}
    for stats in summary.ops:
        word = Op(stats.op).word
        ops, moved = found.get(word, (0, 0))
        found[word] = (ops + stats.ops, moved + stats.bytes)
    return found


async def test_operations_and_stages_on_object_storage(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-operations")
    config = STAGES_ON_S3.format(host=s3_server.host_port, bucket=bucket)
    s3_server.make_directories(bucket, config)
    sizes: dict[str, int] = {}

    def look(message: pb.AgentMessage) -> None:
        if message.HasField("arrived") and message.arrived.summary.stage_name == "mixed":
            sizes.update(s3_server.keys(bucket))

    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config, on_message=look)
            await driver.run(120)
    assert driver.failure is None, driver.failure
    assert [m.failure.sample.message for m in driver.messages if m.HasField("failure")] == []

    # Two pools, because reads and deletes mix; each object is read back once.
    assert ops_of(driver.summary("prepare")) == {"put": (80, 80 * 102400), "get": (80, 80 * 102400)}
    mixed = ops_of(driver.summary("mixed"))
    assert mixed["get"][1] == mixed["get"][0] * 10240
    assert mixed["put"][1] == mixed["put"][0] * 11 * 2**20
    assert 20 <= mixed["stat"][0] <= 45
    assert mixed["delete"][0] < 40
    uploaded = {key: size for key, size in sizes.items() if key.startswith("big/")}
    assert set(uploaded.values()) == {11 * 2**20}
    assert len(uploaded) == mixed["put"][0]
    deletable = [key for key in sizes if "deletable" in key]
    assert driver.summary("mixed").objects.done == len(uploaded) + 40 - len(deletable)
    assert mixed["delete"][0] >= (40 - len(deletable)) / 10
    assert s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []

    assert ops_of(driver.summary("turns")) == {"get": (101, 101 * 102400)}
    assert ops_of(driver.summary("both"))["get"][0] == 57
    assert driver.summary("short").seconds < 30
    assert 1 <= ops_of(driver.summary("short"))["get"][0] <= 30
    assert 0 <= ops_of(driver.summary("bytes"))["get"][1] - 3 * 2**20 < 2 * 102400
    assert driver.summary("bytes").seconds < 30
    assert ops_of(driver.summary("verify"))["get"][0] == 40 + len(deletable)
    assert s3_server.keys(bucket) == {}
    assert driver.reports(1)[0].vitals.workers <= 2


ON_FILES = """
concurrency: 4
target: file://{target}/
page_cache_mode: dontneed
range_engine: {{enabled: true, chunk_size: 64KiB, min_split_size: 100KiB, max_concurrent_ranges: 3}}
prepare:
  ensure_objects: [{{base_uri: data/, count: 20, size_spec: 300KiB}}]
workload:
  - {{op: mkdir, path: "new/", weight: 4}}
  - {{op: rmdir, path: "new/", weight: 2, recursive: true}}
  - {{op: get, path: "data/*", weight: 2, verify: true}}
  - {{op: list, path: "new/", weight: 1}}
distributed:
  stages:
    - {{name: prepare, order: 1, type: prepare}}
    - {{name: mixed, order: 2, type: execute, duration: 30s, until: {{operations: 300}}}}
    - {{name: cleanup, order: 3, type: cleanup}}
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""


async def test_directories_and_ranges_on_files(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "new").mkdir(parents=True)
    left: list[int] = []

    def look(message: pb.AgentMessage) -> None:
        if message.HasField("arrived") and message.arrived.summary.stage_name == "mixed":
            left.append(len(list((target / "new").iterdir())))

    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, ON_FILES.format(target=target), on_message=look)
            await driver.run()
    assert driver.failure is None, driver.failure
    assert [m.failure.sample.message for m in driver.messages if m.HasField("failure")] == []
    mixed = ops_of(driver.summary("mixed"))
    assert sum(ops for ops, _ in mixed.values()) == 300
    assert mixed["rmdir"][0] > 0
    assert left == [mixed["mkdir"][0] - mixed["rmdir"][0]]
    # Each GET read five ranges and counts once, with all of its bytes.
    assert mixed["get"][1] == mixed["get"][0] * 300 * 1024
    assert [path for path in target.rglob("*") if ".sai3tui" not in path.parts and path != target / "new"] == []


VERIFY = """
concurrency: 2
target: s3+http://{host}/{bucket}/
prepare:
  ensure_objects: [{{base_uri: data/, count: 12, size_spec: 20000}}]
workload: []
distributed:
  stages:
    - {{name: prepare, order: 1, type: prepare}}
    - {{name: verify, order: 2, type: verify}}
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""


@pytest.mark.parametrize("what", ["changed", "exchanged", "gone"])
async def test_verify_says_what_is_wrong_where(s3_server: ServerUnderTest, tmp_path: Path, what: str) -> None:
    bucket = s3_server.bucket(f"agent-verify-{what}")
    config = VERIFY.format(host=s3_server.host_port, bucket=bucket)
    s3_server.make_directories(bucket, config)
    directory = s3_server.data_dir / bucket / "data"

    def damage(message: pb.AgentMessage) -> None:
        if not (message.HasField("arrived") and message.arrived.summary.stage_name == "prepare"):
            return
        third, fifth = (directory / f"prepared-{number:08d}.dat" for number in (3, 5))
        match what:
            case "changed":
                found = bytearray(third.read_bytes())
                found[12_345] ^= 0xFF
                third.write_bytes(found)
            case "exchanged":
                third.write_bytes(fifth.read_bytes())
            case "gone":
                s3_server.client().delete_object(Bucket=bucket, Key=f"data/{third.name}")

    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config, on_message=damage)
            await driver.run()
    failure = driver.failure
    assert failure is not None
    assert failure.kind == pb.CORRUPT
    assert failure.stage == "verify"
    assert failure.uri.endswith("prepared-00000003.dat")
    match what:
        case "changed":
            assert failure.object_index == 3
            assert "offset 12345" in failure.message
        case "exchanged":
            assert "offset 0" in failure.message
            assert "object 5" in failure.hint
        case "gone":
            assert failure.message == "1 of 12 objects could not be read back"


CUSTOM = """
target: file://{target}/
workload: []
distributed:
  stages:
    - {{name: talk, order: 1, type: custom, command: /bin/sh, args: ["-c", {talk!r}]}}
    - {{name: slow, order: 2, type: custom, optional: true, timeout_secs: 1, command: /bin/sh, args: ["-c", {slow!r}]}}
    - {{name: last, order: 3, type: custom, command: {last}, args: ["$SAI3_STAGE; exit 1"]}}
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""
MARK = "SAI3_TEST_MARK"


def marked(value: str) -> list[int]:
    """Processes whose environment has the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value and process.name() == "sleep":
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_a_command_is_killed_though_nobody_waits_for_its_end(tmp_path: Path) -> None:
    """An abort that is in a hurry cancels whoever waits for a command that does not listen."""
    mark = f"{os.getpid()}-{tmp_path.name}"
    script = f"trap 'touch {tmp_path}/heard' TERM; touch {tmp_path}/ready; sleep 300 & wait; sleep 300"
    environ = {**os.environ, MARK: mark}
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, start_new_session=True, env=environ)
    assert await wait_until_async(lambda: (tmp_path / "ready").exists() and len(marked(mark)) == 1, 30)
    ending = asyncio.create_task(end_group(process))
    assert await wait_until_async(lambda: (tmp_path / "heard").exists(), 30)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    assert await wait_until_async(lambda: marked(mark) == [], 30)


async def test_commands_are_run_told_and_ended(tmp_path: Path) -> None:
    mark = f"{os.getpid()}-{tmp_path.name}"
    config = CUSTOM.format(
        target=tmp_path / "target",
        talk='echo "in $SAI3_STAGE of $SAI3_AGENT"; for i in $(seq 300); do echo line $i; done; printf end',
        slow=f"export {MARK}={mark}; sleep 300 & trap '' TERM; sleep 300; sleep 300",
        last="/bin/echo",
    )
    with running_agent(tmp_path, "--allow-path", str(tmp_path), "--allow-custom") as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config)
            await driver.run()
    assert driver.failure is None, driver.failure
    assert marked(mark) == []
    told = Counter(note.partition(":")[0] for note in driver.notes)
    assert told["talk"] == 201
    assert driver.notes[0] == "talk: in talk of agent-1"
    assert "talk: 102 more lines of output are not shown" in driver.notes
    assert driver.summary("slow").failed
    assert driver.summary("slow").failure.kind == pb.TIMEOUT
    # No shell reads the arguments.
    assert "last: $SAI3_STAGE; exit 1" in driver.notes


async def test_an_abort_ends_a_command_and_what_it_has_started(tmp_path: Path) -> None:
    mark = f"{os.getpid()}-{tmp_path.name}"
    slow = f"export {MARK}={mark}; sleep 300 & trap '' TERM; sleep 300; sleep 300"
    config = CUSTOM.format(target=tmp_path / "target", talk=slow, slow="true", last="/bin/true")
    with running_agent(tmp_path, "--allow-path", str(tmp_path), "--allow-custom") as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config)
            running = asyncio.create_task(driver.run())
            assert await wait_until_async(lambda: len(marked(mark)) == 2, 30)
            await stub.Abort(pb.AbortRequest(run_id="run-1", reason="a test", wait_ms=20_000), timeout=40)
            await running
            assert await wait_until_async(lambda: marked(mark) == [], 30)
    assert driver.states[-3:] == ["aborting", "aborted", "idle"]


async def test_a_command_does_not_outlive_an_agent_that_is_killed(tmp_path: Path) -> None:
    mark = f"{os.getpid()}-{tmp_path.name}"
    slow = f"export {MARK}={mark}; trap '' TERM; sleep 300 & sleep 300; sleep 300"
    config = CUSTOM.format(target=tmp_path / "target", talk=slow, slow="true", last="/bin/true")
    with running_agent(tmp_path, "--allow-path", str(tmp_path), "--allow-custom") as agent:
        async with stub_of(agent) as stub:
            running = asyncio.create_task(Driver(stub, config).run())
            assert await wait_until_async(lambda: len(marked(mark)) == 2, 30)
            os.kill(agent.child.pid, signal.SIGKILL)
            assert await wait_until_async(lambda: marked(mark) == [], 30)
            with pytest.raises(grpc.aio.AioRpcError):
                await running


@pytest.mark.parametrize(("command", "words"), [("/bin/false", "ended with code 1"), ("/no/such", "cannot be started")])
async def test_a_command_that_fails_fails_the_run(tmp_path: Path, command: str, words: str) -> None:
    config = CUSTOM.format(target=tmp_path / "target", talk="true", slow="true", last=command)
    with running_agent(tmp_path, "--allow-path", str(tmp_path), "--allow-custom") as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config)
            await driver.run()
    assert driver.failure is not None
    assert words in driver.failure.message
    assert driver.failure.stage == "last"


async def test_preflight_looks_for_commands(tmp_path: Path) -> None:
    config = CUSTOM.format(target=tmp_path / "target", talk="true", slow="true", last='"sleep 1; true"')
    with running_agent(tmp_path, "--allow-path", str(tmp_path), "--allow-custom") as agent:
        async with stub_of(agent) as stub:
            request = pb.PreflightRequest(spec=Driver(stub, config).spec)
            found = [each async for each in stub.Preflight(request, timeout=30) if each.check == "command"]
    assert [(f.subject, f.level) for f in found] == [("talk", pb.OK), ("slow", pb.OK), ("last", pb.ERROR)]
    assert found[0].evidence.endswith("/sh")
    assert "args: [-c, 'sleep 1; true']" in found[2].advice


async def test_commands_are_refused_without_leave(tmp_path: Path) -> None:
    config = CUSTOM.format(target=tmp_path / "target", talk="true", slow="true", last="/bin/true")
    with running_agent(tmp_path, "--allow-path", str(tmp_path)) as agent:
        async with stub_of(agent) as stub:
            findings = [
                finding
                async for finding in stub.Preflight(pb.PreflightRequest(spec=Driver(stub, config).spec), timeout=30)
            ]
    assert [(f.level, f.failure.kind) for f in findings] == [(pb.ERROR, pb.PERMISSION)]
    assert "--allow-custom" in findings[0].advice
