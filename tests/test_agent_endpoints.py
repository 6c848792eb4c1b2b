"""Two endpoints of one real server, of which one fails: what becomes of it in each stage, and how it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sai3tui.config.ops import Op
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, running_agent, stub_of
from tests.fault_proxy import Fault, fault_proxy, says
from tests.servers import ServerUnderTest
from tests.waiting import wait_until_async

CONFIG = """
concurrency: 4
multi_endpoint:
  namespace: shared
  endpoints: ["s3+http://{host}/{bucket}/", "s3+http://{proxy}/{bucket}/"]
error_handling: {{max_retries: 3, initial_retry_delay: 50ms}}
prepare: {{ensure_objects: [{{base_uri: data/, count: 120, size_spec: 2000}}]}}
workload: [{{op: get, path: "data/*", weight: 1}}]
distributed:
  stages: [{stages}]
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""
BUSY = says("SlowDown", "503 Slow Down", lambda seen: "/data/" in seen.path)


def config_of(server: ServerUnderTest, proxy: str, bucket: str, *types: str) -> str:
    stages = ", ".join(f"{{name: {each}, order: {n}, type: {each}}}" for n, each in enumerate(types, 1))
    text = CONFIG.format(host=server.host_port, proxy=proxy, bucket=bucket, stages=stages)
    text = text.replace("type: execute", "type: execute, duration: 600s")
    server.make_directories(bucket, text)
    return text


async def test_stages_do_the_part_of_an_endpoint_that_fails(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-endpoint-out")
    async with fault_proxy(s3_server.host_port, Fault(BUSY)) as proxy:
        config = config_of(s3_server, proxy, bucket, "prepare", "verify", "cleanup")
        with running_agent(tmp_path, environ=s3_server.environ()) as agent:
            async with stub_of(agent) as stub:
                driver = Driver(stub, config)
                await driver.run(120)
    assert driver.failure is None, driver.failure
    assert s3_server.keys(bucket) == {}
    for name, op in (("prepare", Op.PUT), ("verify", Op.GET), ("cleanup", Op.DELETE)):
        summary = driver.summary(name)
        assert (summary.errors, sum(stats.ops for stats in summary.ops if stats.op == op)) == (0, 120), name
        # Each stage tells by endpoint where its operations were done: here all at the one that works.
        done = {each.uri: (each.ops, each.attempts) for each in summary.endpoints}
        assert {uri: ops for uri, (ops, _) in done.items() if ops} == {
            f"s3+http://{s3_server.host_port}/{bucket}/": 120
        }
    assert len([note for note in driver.notes if proxy in note and "taken out" in note]) >= 3


async def test_every_stage_has_figures_by_endpoint(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-endpoint-figures")
    types = ("prepare", "execute", "hybrid", "verify", "cleanup")
    async with fault_proxy(s3_server.host_port, Fault()) as proxy:
        config = config_of(s3_server, proxy, bucket, *types)
        config = config.replace("duration: 600s", "duration: 600s, until: {operations: 120}")
        config = config.replace("type: hybrid", "type: hybrid, expected_tasks: 120, max_duration: 600s")
        with running_agent(tmp_path, environ=s3_server.environ()) as agent:
            async with stub_of(agent) as stub:
                driver = Driver(stub, config)
                await driver.run(120)
    assert driver.failure is None, driver.failure
    for name in types:
        summary = driver.summary(name)
        done = {each.uri: each.ops for each in summary.endpoints}
        assert set(done) == {f"s3+http://{place}/{bucket}/" for place in (s3_server.host_port, proxy)}, name
        assert min(done.values()) > 0, name
        assert sum(done.values()) == sum(stats.ops for stats in summary.ops) == 120, name


async def test_sequential_reads_go_through_all_objects_and_round_again(
    s3_server: ServerUnderTest, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("agent-sequential")
    fault = Fault()
    async with fault_proxy(s3_server.host_port, fault) as proxy:
        config = f"""
target: s3+http://{proxy}/{bucket}/
concurrency: 1
processes: 1
prepare: {{ensure_objects: [{{base_uri: data/, count: 7, size_spec: 100}}]}}
workload: [{{op: get, path: "data/*", weight: 1, popularity: sequential}}]
distributed:
  stages:
    - {{name: prepare, order: 1, type: prepare}}
    - {{name: read, order: 2, type: execute, duration: 600s, until: {{operations: 17}}}}
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""
        s3_server.make_directories(bucket, config)
        with running_agent(tmp_path, environ=s3_server.environ()) as agent:
            async with stub_of(agent) as stub:
                driver = Driver(stub, config)
                await driver.run(120)
    assert driver.failure is None, driver.failure
    read = [seen.path[-6:-4] for seen in fault.seen if seen.method == "GET" and "/data/" in seen.path]
    assert read == [f"{number % 7:02d}" for number in range(17)]


@pytest.mark.slow
async def test_an_endpoint_that_answers_again_is_used_again(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-endpoint-back")
    fault = Fault()
    back = asyncio.Event()

    def look(message: pb.AgentMessage) -> None:
        if message.HasField("arrived") and message.arrived.summary.stage_name == "prepare":
            fault.before = BUSY
        elif message.HasField("note") and "taken out" in message.note.text:
            fault.before = lambda _seen: None
        elif message.HasField("note") and "answers again" in message.note.text:
            back.set()

    async with fault_proxy(s3_server.host_port, fault) as proxy:
        config = config_of(s3_server, proxy, bucket, "prepare", "execute")
        with running_agent(tmp_path, environ=s3_server.environ()) as agent:
            async with stub_of(agent) as stub:
                driver = Driver(stub, config, on_message=look)
                running = asyncio.create_task(driver.run(120))
                await asyncio.wait_for(back.wait(), 90)
                seen = len(fault.seen)
                assert await wait_until_async(lambda: len(fault.seen) >= seen + 20, 60)
                await stub.Abort(pb.AbortRequest(run_id="run-1", reason="a test", wait_ms=20_000), timeout=40)
                await running
    assert driver.states[-3:] == ["aborting", "aborted", "idle"]
