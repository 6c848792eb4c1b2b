"""Prepare with objects in parts before a real server: contents, what is aborted, and what a second run writes."""

from __future__ import annotations

from pathlib import Path

from tests.agents import Driver, running_agent, stub_of
from tests.fault_proxy import Fault, fault_proxy, says
from tests.servers import ServerUnderTest
from tests.test_agent_operations import ops_of

CONFIG = """
concurrency: 3
target: s3+http://{host}/{bucket}/
prepare:
  part_size: 5MiB
  verify: true
  ensure_objects: [{{base_uri: data/, count: 3, size_spec: 11MiB}}]
workload: []
distributed:
  stages: [{{name: prepare, order: 1, type: prepare}}]
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""


async def test_what_fails_is_aborted_and_made_by_the_next_run(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-parts")
    client = s3_server.client()
    fault = Fault(
        says("AccessDenied", "403 Forbidden", lambda seen: "partNumber=2" in seen.query and "01.dat" in seen.path)
    )
    async with fault_proxy(s3_server.host_port, fault) as proxy:
        config = CONFIG.format(host=proxy, bucket=bucket)
        s3_server.make_directories(bucket, config)
        with running_agent(tmp_path, environ=s3_server.environ()) as agent:
            async with stub_of(agent) as stub:
                first = Driver(stub, config)
                await first.run(120)
                assert first.failure is not None
                assert "1 of 3 objects could not be created" in first.failure.message
                assert set(s3_server.keys(bucket, "data/")) == {f"data/prepared-{n:08d}.dat" for n in (0, 2)}
                assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
                assert any(seen.method == "DELETE" and "uploadId" in seen.query for seen in fault.seen)
                fault.before = lambda _seen: None
                second = Driver(stub, config, run_id="run-2")
                await second.run(120)
    assert second.failure is None, second.failure
    # Only what was missing is written, and all is read back and is what it should be.
    assert ops_of(second.summary("prepare")) == {"put": (1, 11 * 2**20), "get": (3, 33 * 2**20)}
    made = {key: size for key, size in s3_server.keys(bucket).items() if key.startswith("data/")}
    assert list(made.values()) == [11 * 2**20] * 3
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
