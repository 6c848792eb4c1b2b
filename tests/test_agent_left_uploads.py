"""Uploads in parts that somebody left open who was killed: they are ended, and nobody else's are."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent import left_uploads
from sai3tui.agent.controls import Controls
from sai3tui.agent.course import Course
from sai3tui.agent.left_uploads import LeftUploads
from sai3tui.agent.setup import AgentLimits, RunSetup, make_setup
from sai3tui.agent.state import StateMachine
from sai3tui.events import Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.storage import s3uploads
from sai3tui.workload.names import is_new_name, new_name
from tests.agents import AgentUnderTest, Driver, agent_in_process, running_agent, stub_of
from tests.fault_proxy import Fault, Seen, fault_proxy, says
from tests.fault_server import CREDENTIALS
from tests.resuming import killed, workers_of
from tests.s3_servers import moto, program
from tests.servers import ServerUnderTest
from tests.waiting import wait_until_async

CONFIG = """
concurrency: 3
target: s3+http://{host}/{bucket}/run/
prepare:
  part_size: 5MiB
  ensure_objects: [{{base_uri: data/, count: 2, size_spec: {size}}}]
workload: [{{op: put, path: "new/", object_size: 6MiB, part_size: 5MiB, weight: 1}}]
distributed:
  stages: [{stages}]
  agents: [{{id: agent-1, address: "127.0.0.1:7167"}}]
"""
PREPARE = "{name: prepare, order: 1, type: prepare}"
CLEANUP = "{name: cleanup, order: 2, type: cleanup, completion: tasks_done}"
OURS = ("data/prepared-00000000.dat", "data/prepared-00000001.dat", "new/obj_18446744073709551615")
OTHERS = (
    "data/prepared-00000002.dat",  # one more than there are
    "data/theirs",
    "new/obj_18446744073709551616",
    "new/sub/obj_7",
    "elsewhere/prepared-00000000.dat",
    ".sai3tui/probe-0123456789abcdef",
)
PROBE = ".sai3tui/probe-0123456789abcdef.parts"


def config_of(host: str, bucket: str, stages: str = PREPARE, size: str = "6MiB") -> str:
    return CONFIG.format(host=host, bucket=bucket, stages=stages, size=size)


def begin(client: Any, bucket: str, *keys: str, prefix: str = "run/") -> None:
    for key in keys:
        begun = client.create_multipart_upload(Bucket=bucket, Key=prefix + key)
        client.upload_part(
            Bucket=bucket, Key=prefix + key, UploadId=begun["UploadId"], PartNumber=1, Body=b"a part of it"
        )


def uploads(client: Any, bucket: str) -> list[str]:
    """The keys of all that are open in the bucket."""
    return sorted(each["Key"] for each in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def setup_of(server: ServerUnderTest, host: str, bucket: str, tmp_path: Path) -> RunSetup:
    config = config_of(host=host, bucket=bucket)
    spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=config.encode())
    return make_setup(spec, AgentLimits(tmp_path), server.environ())


async def swept(setup: RunSetup, since: float) -> list[tuple[Level, str, str]]:
    async with Controls(setup.endpoints, setup.environ) as controls:
        left = LeftUploads(setup, controls, since)
        await left.end()
        return list(left.told())


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**48), st.sampled_from([0, 1, 16, 300]), st.sampled_from([0, 16, 300])
)
def test_new_names_are_known_by_their_form(state: int, sequence: int, shards: int, others: int) -> None:
    name = new_name(state, sequence, shards)
    assert is_new_name(name, shards)
    assert is_new_name(name, others) == (name == new_name(state, sequence, others))
    for no_name in (name + "0" * 20, name + "x", "x" + name, name.replace("_", ""), name.replace("obj", "dir"), ""):
        assert not is_new_name(no_name, shards)


async def test_only_what_is_ours_and_was_begun_before_is_ended(
    s3_server: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_uploads, "BATCH", 2)
    bucket = s3_server.bucket("left-uploads-ours")
    client = s3_server.client()
    begin(client, bucket, *OURS, *OTHERS, PROBE)
    begin(client, bucket, OURS[0], prefix="other-run/")
    everything = uploads(client, bucket)
    setup = setup_of(s3_server, s3_server.host_port, bucket, tmp_path)
    # As if the run had begun long ago: whoever is at it may be at these uploads, too.
    assert await swept(setup, time.monotonic() - 1000) == []
    assert uploads(client, bucket) == everything
    # As if they had been begun 1,000 seconds before the run. A probe may still be in the making by its age.
    ((level, text, code),) = await swept(setup, time.monotonic() + 1000)
    assert (level, code) == (Level.INFO, "uploads-aborted")
    assert text.startswith("3 uploads in parts")
    left = sorted([*(f"run/{key}" for key in (*OTHERS, PROBE)), f"other-run/{OURS[0]}"])
    assert uploads(client, bucket) == left
    assert await swept(setup, time.monotonic() + 1000) == []


def test_one_of_those_who_passed_the_barrier_acts_for_all() -> None:
    course = Course(StateMachine(), 60.0, lambda call: None)
    assert not course.acts(1, "b")
    course.release(pb.Release(stage_index=1, arrived=["b", "c"], missing=["a"]))
    assert [agent for agent in "abc" if course.acts(1, agent)] == ["b"]


@pytest.mark.parametrize(
    ("refused", "status", "level", "said"),
    [
        ("uploads", "501 Not Implemented", Level.INFO, "cannot all be looked for"),
        ("uploadId", "403 Forbidden", Level.WARNING, "1 upload in parts was left open, and could not be aborted"),
    ],
)
async def test_a_storage_that_refuses_is_a_note(
    s3_server: ServerUnderTest, tmp_path: Path, refused: str, status: str, level: Level, said: str
) -> None:
    bucket = s3_server.bucket(f"left-uploads-refused-{level.name.lower()}")
    client = s3_server.client()
    begin(client, bucket, OURS[0])
    fault = Fault(says("NotImplemented", status, lambda seen: refused in seen.query))
    async with fault_proxy(s3_server.host_port, fault) as proxy:
        ((noted, text, code),) = await swept(setup_of(s3_server, proxy, bucket, tmp_path), time.monotonic() + 1000)
    assert (noted, code) == (level, "uploads-left")
    assert said in text
    assert "injected" in text
    assert uploads(client, bucket) == [f"run/{OURS[0]}"]


async def test_where_all_show_the_same_one_that_answers_is_enough(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("left-uploads-endpoints")
    client = s3_server.client()
    begin(client, bucket, *OURS)
    fault = Fault(says("SlowDown", "503 Service Unavailable", lambda seen: True))
    async with fault_proxy(s3_server.host_port, fault) as proxy:
        hosts = [proxy, *s3_server.host_ports]
        places = ", ".join(f"'s3+http://{host}/{bucket}/run/'" for host in hosts)
        config = config_of("x", bucket).replace(
            f"target: s3+http://x/{bucket}/run/", f"multi_endpoint: {{endpoints: [{places}]}}"
        )
        spec = pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=config.encode())
        setup = make_setup(spec, AgentLimits(tmp_path), s3_server.environ())
        ((level, text, _),) = await swept(setup, time.monotonic() + 1000)
    assert level is Level.INFO
    assert text.startswith("3 uploads in parts were aborted")
    assert uploads(client, bucket) == []


async def test_a_run_ends_them_before_its_first_stage_and_after_its_last(
    s3_environ: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is open counts as begun a while ago.
    monkeypatch.setattr(s3uploads, "ROUNDED_S", -1000.0)
    bucket = s3_environ.bucket("left-uploads-run")
    client = s3_environ.client()
    begin(client, bucket, OURS[0], OTHERS[0])
    config = config_of(s3_environ.host_port, bucket, size="1KiB")
    s3_environ.make_directories(bucket, config)
    arrived = [asyncio.Event(), asyncio.Event()]

    def seen(message: pb.AgentMessage) -> None:
        if message.HasField("arrived"):
            arrived[message.arrived.stage_index].set()

    async with agent_in_process(tmp_path) as (address, _), stub_of(address) as stub:
        driver = Driver(stub, config, hold=(0, 1), on_message=seen)
        running = asyncio.ensure_future(driver.run())
        for index, event in enumerate(arrived):
            async with asyncio.timeout(60):
                await event.wait()
            assert uploads(client, bucket) == [f"run/{OTHERS[0]}"]
            assert len(s3_environ.keys(bucket, "run/data/")) == 2 * index
            if index:
                begin(client, bucket, *OURS)
            await driver.release(index)
        await running
    assert driver.failure is None, driver.failure
    ended = [m.note.text for m in driver.messages if m.note.code == "uploads-aborted"]
    assert [text.partition(" in parts")[0] for text in ended] == ["1 upload", "3 uploads"]
    assert uploads(client, bucket) == [f"run/{OTHERS[0]}"]


@pytest.fixture(scope="module")
def long_ago() -> Iterator[Any]:
    """A client of a server that says of all uploads that they were begun long ago."""
    if program("moto_server") is None:
        pytest.skip("moto is not installed")
    with moto() as port:
        yield boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=BotoConfig(s3={"addressing_style": "path"}),
        )


class Held:
    """Keeps the second part of the first object back that gets there, until it is let go."""

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, seen: Seen) -> None:
        if "partNumber=2" in seen.query and not self.there.is_set():
            self.there.set()
            await self.go_on.wait()


async def held_back(held: Held, running: asyncio.Future[None]) -> None:
    await wait_until_async(lambda: held.there.is_set() or running.done(), 60)
    assert held.there.is_set(), "no object was in the middle of its parts"


def kill_workers(agent: AgentUnderTest) -> None:
    for pid in workers_of(agent):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
async def test_what_a_killed_worker_leaves_open_is_ended_with_its_run(long_ago: Any, tmp_path: Path) -> None:
    bucket = "left-by-a-worker"
    long_ago.create_bucket(Bucket=bucket)
    begin(long_ago, bucket, OURS[0], OTHERS[0])
    held = Held()
    upstream = long_ago.meta.endpoint_url.removeprefix("http://")
    async with fault_proxy(upstream, Fault(wait=held)) as proxy:
        config = config_of(host=proxy, bucket=bucket)
        with running_agent(tmp_path, environ=CREDENTIALS) as agent:
            async with stub_of(agent) as stub:
                driver = Driver(stub, config)
                running = asyncio.ensure_future(driver.run(120))
                await held_back(held, running)
                # What an earlier run left was ended before anything of this one was begun.
                assert "1 upload in parts was aborted" in " ".join(driver.notes)
                kill_workers(agent)
                await running
                held.go_on.set()
    assert driver.failure is None, driver.failure
    ended = [m.note.text for m in driver.messages if m.note.code == "uploads-aborted"]
    assert len(ended) == 2
    assert uploads(long_ago, bucket) == [f"run/{OTHERS[0]}"]
    listed = long_ago.list_objects_v2(Bucket=bucket, Prefix="run/data/")["Contents"]
    assert [each["Size"] for each in listed] == [6 * 2**20] * 2


@pytest.mark.slow
@pytest.mark.parametrize("stages", [f"{PREPARE}, {CLEANUP}", CLEANUP])
async def test_what_a_killed_agent_leaves_open_is_ended_by_the_next_run(
    s3_server: ServerUnderTest, tmp_path: Path, stages: str
) -> None:
    bucket = s3_server.bucket(f"left-by-an-agent-{len(stages)}")
    client = s3_server.client()
    held = Held()
    async with fault_proxy(s3_server.host_port, Fault(wait=held)) as proxy:
        config = config_of(host=proxy, bucket=bucket)
        s3_server.make_directories(bucket, config)
        with running_agent(tmp_path, environ=s3_server.environ()) as agent:
            async with stub_of(agent) as stub:
                running = asyncio.ensure_future(Driver(stub, config).run(120))
                await held_back(held, running)
                await killed(agent, running, workers_of(agent))
        held.go_on.set()
        left = uploads(client, bucket)
        assert left
        assert set(left) <= {f"run/data/prepared-{n:08d}.dat" for n in range(2)}
        begun = max(each["Initiated"].timestamp() for each in client.list_multipart_uploads(Bucket=bucket)["Uploads"])
        # By their times, which may be rounded, nobody can tell of younger ones that they were begun before.
        assert await wait_until_async(lambda: time.time() > begun + 2.5, 30)
        with running_agent(tmp_path, environ=s3_server.environ()) as again:
            async with stub_of(again) as stub:
                driver = Driver(stub, config_of(host=proxy, bucket=bucket, stages=stages), "run-2")
                await driver.run(120)
    assert driver.failure is None, driver.failure
    (text,) = [m.note.text for m in driver.messages if m.note.code == "uploads-aborted"]
    assert text.startswith(f"{len(left)} upload")
    assert uploads(client, bucket) == []
    assert [key for key in s3_server.keys(bucket) if "/data/" in key] == []
