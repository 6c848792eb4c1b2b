"""A run that reads something else than was written ends with the exit code for that, and says what and where."""

from __future__ import annotations

from pathlib import Path

from sai3tui.controller.request import EXIT_CORRUPT
from sai3tui.local_agents import LocalAgents
from tests.e2e import commanding, environment, run_batch
from tests.servers import ServerUnderTest

CONFIG = """\
target: s3+http://{host}/{bucket}/
duration: 1s
concurrency: 4
verify: true
prepare:
  ensure_objects:
    - {{base_uri: data/, count: 12, size_spec: 20000}}
workload:
  - {{op: get, path: "data/*", weight: 1}}
distributed:
  agents: [{{id: a, address: "127.0.0.1:{port}"}}]
  stages:
    - {stage}
"""
PREPARE = "{name: prepare, type: prepare, order: 1, completion: tasks_done}"
EXECUTE = "{name: execute, type: execute, order: 1, completion: duration, duration: 1s}"


def test_a_changed_byte_in_the_storage_fails_the_run_that_reads_it(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    environ = environment(s3_server)
    bucket = s3_server.bucket("verify-run")
    with LocalAgents.start(1, tmp_path, environ=environ) as agents:
        port = agents.addresses[0].rpartition(":")[2]

        def run(stage: str) -> tuple[int, dict[str, object]]:
            config = tmp_path / "verify.yaml"
            text = CONFIG.format(host=s3_server.host_port, bucket=bucket, port=port, stage=stage)
            s3_server.make_directories(bucket, text)
            config.write_text(text)
            done = run_batch(config, environ=commanding(agents, environ))
            return done.code, done.result

        assert run(PREPARE)[0] == 0
        assert run(EXECUTE)[0] == 0
        victim = sorted((s3_server.data_dir / bucket / "data").rglob("*.dat"))[5]
        damaged = bytearray(victim.read_bytes())
        damaged[12_345] ^= 0xFF
        victim.write_bytes(damaged)
        code, result = run(EXECUTE)
    assert code == EXIT_CORRUPT
    assert result["exit"] == EXIT_CORRUPT
    failure = result["failure"]
    assert isinstance(failure, dict)
    assert failure["kind"] == "corrupt"
    assert "offset 12345" in failure["message"]
    assert victim.name in failure["context"]["uri"]
