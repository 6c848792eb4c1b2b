"""The main job end to end: the seed's run, scaled down, headless, against a real agent and a real S3 server."""

from __future__ import annotations

import asyncio
import csv
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sai3tui.local_agents import LocalAgents
from sai3tui.processes import free_port
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import ObjectState
from tests.e2e import Done, commanding, ended, environment, run_batch, scaled_seed_config, started
from tests.servers import ServerUnderTest
from tests.waiting import wait_until

OBJECTS = 640


@pytest.fixture
def agents(s3_server: ServerUnderTest, tmp_path: Path) -> Iterator[LocalAgents]:
    """One agent with the server's keys."""
    with LocalAgents.start(1, tmp_path, environ=environment(s3_server)) as running:
        yield running


def config_file(directory: Path, text: str) -> Path:
    path = directory / "s3_single_node.yaml"
    path.write_text(text)
    return path


def stored(server: ServerUnderTest, bucket: str) -> dict[Path, int]:
    """Files that hold the bucket's data objects -> when they were written last, in ns."""
    files = (server.data_dir / bucket / "data").rglob("*.dat")
    return {path: path.stat().st_mtime_ns for path in files}


def tsv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


async def recorded_created(data_dir: Path, copy: Path, objects: int) -> set[int]:
    """Indices of the objects that the data directory of a dead agent says were created. Looks at a copy of it."""
    (layout,) = (data_dir / "cache").iterdir()
    shutil.copytree(layout, copy)
    cache = LayoutCache.open(copy, objects)
    try:
        record = cache.latest
        assert record is not None
        assert not record.complete
        states = cache.states(record, 0, 0)
        return {k for k in range(objects) if states.get(k) is ObjectState.CREATED}
    finally:
        await cache.close()


def assert_one_message(done: Done, *words: str) -> None:
    assert "Traceback" not in done.stderr
    told = done.stderr + str(done.lines[-1:])
    for word in words:
        assert word in told


def test_the_seed_run_succeeds(s3_server: ServerUnderTest, agents: LocalAgents, tmp_path: Path) -> None:
    bucket = s3_server.bucket("seed-run")
    config = config_file(tmp_path, scaled_seed_config(s3_server, bucket, agents.addresses[0]))
    done = run_batch(config, environ=commanding(agents))
    assert done.code == 0, done.stderr
    assert done.result["exit"] == 0

    objects = s3_server.keys(bucket, "data/")
    assert len(objects) == OBJECTS
    assert max(objects.items())[0] == "data/d1_w8.dir/d2_w8.dir/file_00000639.dat"
    assert all(8 * 1024 <= size <= 128 * 1024 for size in objects.values())

    prepare = done.stage("prepare")
    assert prepare["objects"] == OBJECTS
    assert prepare["bytes"] == sum(objects.values())
    assert done.stage("execute")["ops"] > 0
    assert all(stage["errors"] == 0 for stage in done.result["stages"])

    endpoint_stats = tsv(next(done.directory.glob("*_prepare_endpoint_stats.tsv")))
    assert len(endpoint_stats) == 2
    text = (done.directory / next(done.directory.glob("*_prepare_endpoint_stats.tsv")).name).read_text()
    assert all(address in text for address in s3_server.host_ports)

    perf_log = (done.directory / "perf_log.tsv").read_text().splitlines()
    assert {len(line.split("\t")) for line in perf_log if not line.startswith("#")} == {31}
    assert (done.directory / "config.yaml").read_bytes() == config.read_bytes()
    assert "ero operations" not in (done.directory / "STATUS.txt").read_text()

    log = agents.logs[0].read_text()
    assert not re.search(r"\b(WARN|WARNING|ERROR|CRITICAL|Traceback)\b", log), log


def test_an_interrupted_prepare_goes_on(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("killed-run")
    total = 64 * 40

    def config_for(agents: LocalAgents) -> Path:
        text = scaled_seed_config(s3_server, bucket, agents.addresses[0], files_per_dir=40, duration="1s")
        return config_file(tmp_path, text)

    with LocalAgents.start(1, tmp_path, environ=environment(s3_server)) as agents:
        arguments = ["--batch", str(config_for(agents)), "--json", "--results", str(tmp_path)]
        with started(arguments, environ=commanding(agents)) as process:
            assert wait_until(lambda: len(stored(s3_server, bucket)) > total // 8, 60)
            agents.kill(0)
            done = ended(process)
    assert done.code == 1
    assert_one_message(done, "agent-1")
    before = stored(s3_server, bucket)
    assert total // 8 < len(before) < total
    recorded = asyncio.run(recorded_created(tmp_path / "agent-1", tmp_path / "copy", total))
    assert recorded

    with LocalAgents.start(1, tmp_path, environ=environment(s3_server)) as agents:
        done = run_batch(config_for(agents), environ=commanding(agents))
    assert done.code == 0, done.stderr
    after = stored(s3_server, bucket)
    assert len(after) == total
    untouched = sum(after[path] == written for path, written in before.items())
    put = done.stage("prepare")["ops"]
    assert put == total - untouched
    again = {path.name for path, written in before.items() if after[path] != written}
    assert not again & {f"file_{index:08d}.dat" for index in recorded}


def test_sigint_ends_a_run_in_order(s3_server: ServerUnderTest, agents: LocalAgents, tmp_path: Path) -> None:
    bucket = s3_server.bucket("stopped-run")
    config = config_file(tmp_path, scaled_seed_config(s3_server, bucket, agents.addresses[0], duration="60s"))
    with started(["--batch", str(config), "--json", "--results", str(tmp_path)], environ=commanding(agents)) as process:
        assert wait_until(lambda: len(stored(s3_server, bucket)) > OBJECTS // 4, 60)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert done.code == 130
    assert done.result["exit"] == 130
    assert (done.directory / "STATUS.txt").is_file()

    # The agent is idle again, and the rest is made by the next run.
    config = config_file(tmp_path, scaled_seed_config(s3_server, bucket, agents.addresses[0], duration="1s"))
    done = run_batch(config, environ=commanding(agents))
    assert done.code == 0, done.stderr
    assert len(s3_server.keys(bucket, "data/")) == OBJECTS


def test_cleanup_deletes_what_the_run_made_and_nothing_else(
    s3_server: ServerUnderTest, agents: LocalAgents, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("clean-run")
    s3_server.client().put_object(Bucket=bucket, Key="data/foreign", Body=b"not ours")
    text = scaled_seed_config(s3_server, bucket, agents.addresses[0], duration="1s", cleanup=True)
    assert run_batch(config_file(tmp_path, text), environ=commanding(agents)).code == 3
    done = run_batch(config_file(tmp_path, text), "--adopt", environ=commanding(agents))
    assert done.code == 0, done.stderr
    assert s3_server.keys(bucket, "data/") == {"data/foreign": 8}


def test_an_agent_that_is_down_is_named(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    config = config_file(tmp_path, scaled_seed_config(s3_server, "unused", address))
    done = run_batch(config)
    assert done.code == 1
    assert_one_message(done, address)


def test_a_missing_bucket_fails_preflight(s3_server: ServerUnderTest, agents: LocalAgents, tmp_path: Path) -> None:
    text = scaled_seed_config(s3_server, "unused", agents.addresses[0]).replace("unused", "no-such-bucket")
    config = config_file(tmp_path, text)
    done = run_batch(config, environ=commanding(agents))
    assert done.code == 3
    assert_one_message(done, "no-such-bucket")


def test_a_wrong_key_fails_preflight(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("wrong-key")
    environ = environment(s3_server, AWS_SECRET_ACCESS_KEY="not-the-secret-key")
    with LocalAgents.start(1, tmp_path, environ=environ) as agents:
        done = run_batch(
            config_file(tmp_path, scaled_seed_config(s3_server, bucket, agents.addresses[0])),
            environ=commanding(agents),
        )
        log = agents.logs[0].read_text()
    assert done.code == 3
    assert_one_message(done, "AWS_SECRET_ACCESS_KEY")
    assert "not-the-secret-key" not in log + done.stderr + str(done.lines)
    assert s3_server.keys(bucket) == {}


def test_an_invalid_configuration_contacts_nobody(tmp_path: Path) -> None:
    config = config_file(tmp_path, "workload: [\n")
    done = run_batch(config)
    assert done.code == 2
    assert_one_message(done, f"{config}:")
    assert not list(tmp_path.glob("sai3-*"))


def test_a_port_in_use_is_named(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    arguments = ["agent", "--listen", s3_server.host_port, "--data-dir", str(tmp_path / "agent")]
    with started(arguments) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert s3_server.host_port in err
    assert "Traceback" not in err
