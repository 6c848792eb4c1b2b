"""What an agent survives: rubbish, floods and silence on its port. It stays up, idle, and of bounded size."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import resource
import secrets
import socket
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sai3tui.access import NO_ACCESS
from sai3tui.agent.checkpoint import unpack
from sai3tui.agent.listen import MAX_CALLS, MAX_RECEIVED_BYTES
from sai3tui.controller.channel import open_channel
from sai3tui.errors import StorageError
from sai3tui.events import PROTOCOL_VERSION
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import AgentUnderTest, Driver, running_agent, stub_of
from tests.scripted_agent import Script, scripted_agent
from tests.test_batch_run import sai3tui, write
from tests.test_controller_session import config_text

GROWTH = 200 * 1024 * 1024
BOUND_S = 60.0
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentUnderTest]:
    with running_agent(tmp_path_factory.mktemp("hard")) as agent:
        yield agent


def memory(agent: AgentUnderTest) -> int:
    return int(psutil.Process(agent.child.pid).memory_info().rss)


@contextlib.asynccontextmanager
async def unharmed(agent: AgentUnderTest) -> AsyncIterator[None]:
    """Whatever is done in between, the agent answers afterwards, is idle, and has not grown much."""
    before = memory(agent)
    yield
    async with stub_of(agent) as stub, asyncio.timeout(BOUND_S):
        reply = await stub.Hello(pb.HelloRequest(protocol_version=PROTOCOL_VERSION), wait_for_ready=True)
        assert reply.state == pb.IDLE
        assert (await stub.Status(pb.StatusRequest())).state == pb.IDLE
    assert memory(agent) - before < GROWTH
    assert "defect" not in agent.log


text = st.text(max_size=200)
specs = st.builds(
    pb.RunSpec,
    run_id=text,
    config_name=text,
    config_yaml=st.one_of(
        st.binary(max_size=2000), st.just(b"target: s3://b/\nworkload: [{op: get, path: x, weight: 1}]")
    ),
    agents_override=st.lists(text, max_size=4),
    agent_index=st.integers(0, 2**32 - 1),
    layout_hash=text,
    fresh=st.booleans(),
    controller_timeout_s=st.floats(),
    accepted_checks=st.lists(text, max_size=4),
    credentials=st.dictionaries(text, text, max_size=4),
)
firsts = st.one_of(
    st.builds(pb.ControllerMessage, run_id=text, sequence=st.integers(0, 2**64 - 1), start=specs),
    st.builds(pb.ControllerMessage, run_id=text, subscribe=st.builds(pb.Subscribe, cursor=st.integers(0, 2**64 - 1))),
    st.builds(pb.ControllerMessage, ping=st.builds(pb.Ping, controller_time_ns=st.integers(-(2**63), 2**63 - 1))),
    st.just(pb.ControllerMessage(goodbye=pb.Goodbye())),
    st.just(pb.ControllerMessage()),
)
FUZZ = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FUZZ
@given(first=firsts, spec=specs, run_id=text, cursor=st.integers(0, 2**64 - 1), step=st.integers(0, 9))
async def test_any_message_is_answered_or_refused(
    agent: AgentUnderTest, first: pb.ControllerMessage, spec: pb.RunSpec, run_id: str, cursor: int, step: int
) -> None:
    async with unharmed(agent), stub_of(agent) as stub, asyncio.timeout(BOUND_S):
        call = stub.Run()
        await call.write(first)
        await call.done_writing()
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for _ in call:
                pass
        assert await call.code() in REFUSALS | {grpc.StatusCode.OK}
        checking = stub.Preflight(pb.PreflightRequest(spec=spec, step=pb.PreflightStep.ValueType(step)))
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for finding in checking:
                assert finding.level == pb.ERROR or finding.message
        log = stub.FetchLog(pb.FetchLogRequest(run_id=run_id, cursor=cursor))
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for _ in log:
                pass
        assert await log.code() in REFUSALS | {grpc.StatusCode.OK}
        await stub.Abort(pb.AbortRequest(run_id=run_id, reason=run_id, wait_ms=10))


@FUZZ
@given(
    payload=st.binary(max_size=4000),
    name=st.sampled_from(["Hello", "Abort", "Status", "Preflight", "FetchLog", "Run", "No"]),
)
async def test_any_bytes_are_answered_or_refused(agent: AgentUnderTest, payload: bytes, name: str) -> None:
    async with unharmed(agent):
        channel = open_channel(agent.address, NO_ACCESS)
        try:
            call: Any = channel.stream_stream(f"/sai3tui.v1.Agent/{name}")()
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with asyncio.timeout(BOUND_S):
                    await call.write(payload)
                    await call.done_writing()
                    async for _ in call:
                        pass
        finally:
            await channel.close()


async def test_random_bytes_on_the_socket(agent: AgentUnderTest) -> None:
    host, _, port = agent.address.rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    async with unharmed(agent):
        for start in (
            b"",
            preface,
            preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01",
        ):
            for _ in range(10):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(start + secrets.token_bytes(20_000))
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                writer.close()


async def test_a_thousand_connections_that_say_nothing(agent: AgentUnderTest) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    host, _, port = agent.address.rpartition(":")
    opened: list[socket.socket] = []
    try:
        async with unharmed(agent):
            opened.extend(socket.create_connection((host, int(port)), 30) for _ in range(1000))
            async with stub_of(agent) as stub, asyncio.timeout(BOUND_S):
                reply = await stub.Hello(pb.HelloRequest(protocol_version=PROTOCOL_VERSION), wait_for_ready=True)
                assert reply.state == pb.IDLE
    finally:
        for each in opened:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_half_open_streams_are_bounded_and_let_go(agent: AgentUnderTest) -> None:
    channels = [open_channel(agent.address, NO_ACCESS) for _ in range(3)]
    async with unharmed(agent):
        try:
            calls: list[Any] = [
                channel.stream_stream("/sai3tui.v1.Agent/Run")() for channel in channels for _ in range(MAX_CALLS)
            ]
            await asyncio.gather(*(each.initial_metadata() for each in calls[:1]), return_exceptions=True)
            codes = await asyncio.wait_for(asyncio.gather(*(each.code() for each in calls)), BOUND_S)
        finally:
            for channel in channels:
                await channel.close()
    # Some were told so at once, the others after the time for a first message.
    assert set(codes) <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes


async def test_oversized_messages_and_headers_are_refused(agent: AgentUnderTest) -> None:
    async with unharmed(agent):
        channel = open_channel(agent.address, NO_ACCESS)
        try:
            hello: Any = channel.unary_unary("/sai3tui.v1.Agent/Hello")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hello(bytes(MAX_RECEIVED_BYTES + 1), timeout=BOUND_S)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            with pytest.raises(grpc.aio.AioRpcError):
                await hello(b"", metadata=(("x", "y" * 200_000),), timeout=BOUND_S)
        finally:
            await channel.close()


async def test_a_configuration_that_is_too_large_is_refused(agent: AgentUnderTest) -> None:
    async with unharmed(agent), stub_of(agent) as stub:
        call = stub.Run()
        spec = pb.RunSpec(run_id="big", config_yaml=b"# " + b"x" * (5 * 1024 * 1024))
        await call.write(pb.ControllerMessage(start=spec))
        assert await asyncio.wait_for(call.code(), BOUND_S) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    target = tmp_path / "target"
    config = f"""
target: "file://{target}/"
duration: 2
concurrency: 2
prepare: {{ensure_objects: [{{base_uri: data/, count: 50, size_distribution: 1000}}]}}
workload: [{{op: get, path: "data/*", weight: 1}}]
"""
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with unharmed(agent), stub_of(agent) as stub:
            slow: list[Any] = []

            def subscribe(_: object) -> None:
                if len(slow) < 8:
                    slow.append(stub.Run())

            driver = Driver(stub, config, "slow-readers", on_message=subscribe)
            running = asyncio.create_task(driver.run(BOUND_S))
            while not running.done():
                for call in slow:
                    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        await call.write(pb.ControllerMessage(run_id="slow-readers", subscribe=pb.Subscribe(cursor=1)))
                await asyncio.wait({running}, timeout=0.2)
            await running
            assert driver.states[-1] == "idle"
            for call in slow:
                call.cancel()


# --- what others write into what people read


async def test_escape_sequences_of_agents_and_servers_do_not_reach_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202e"
    finding = pb.Finding(
        check="auth",
        subject=f"s3://x/{evil}",
        level=pb.ERROR,
        message=evil,
        evidence=evil,
        advice=evil,
        failure=pb.Failure(kind=pb.AUTH, message=evil, causes=[evil], hint=evil, uri=evil, request_id=evil),
    )
    async with scripted_agent(Script(findings=(finding,), fail_stage=0)) as agent:
        path = write(tmp_path, config_text([agent.address]))
        for arguments in (("preflight", path), ("--batch", path)):
            ended = await sai3tui(*arguments)
            assert ended.code == 3
            for character in "\x1b\x07\x9b\u202e":
                assert character not in ended.out + ended.err, (arguments, character)


async def test_escape_sequences_of_controllers_do_not_reach_the_agents_log(agent: AgentUnderTest) -> None:
    async with unharmed(agent), stub_of(agent) as stub:
        call = stub.Run()
        await call.write(
            pb.ControllerMessage(start=pb.RunSpec(run_id="\x1b[2J\x9b", config_name="\x1b]0;x\x07", config_yaml=b"x"))
        )
        assert await asyncio.wait_for(call.code(), BOUND_S) is grpc.StatusCode.INVALID_ARGUMENT
    assert "was refused" in agent.log
    assert not {"\x1b", "\x07", "\x9b"} & set(agent.log)


async def test_nobody_can_write_lines_of_their_own_into_the_agents_log(agent: AgentUnderTest) -> None:
    forged = "2026-01-01T00:00:00.000Z INFO all is well"
    async with unharmed(agent), stub_of(agent) as stub:
        call = stub.Run()
        await call.write(pb.ControllerMessage(start=pb.RunSpec(run_id=f"x\n{forged}\r", config_yaml=b"x")))
        assert await asyncio.wait_for(call.code(), BOUND_S) is grpc.StatusCode.INVALID_ARGUMENT
    assert f"run x {forged}" in agent.log
    assert forged not in agent.log.splitlines()


# --- checkpoints that somebody planted


def packed(name: str, size: int = 10, kind: bytes = tarfile.REGTYPE, link: str = "", pax: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(buffer, closefd=False) as out:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.linkname = size, kind, link
        if pax:
            header = tarfile.TarInfo("pax")
            header.type, header.size = tarfile.XHDTYPE, pax
            out.write(header.tobuf(tarfile.USTAR_FORMAT))
            for _ in range(0, pax, 1024 * 1024):
                out.write(bytes(1024 * 1024))
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(0, min(size, 4 * 1024 * 1024), 1024 * 1024):
            out.write(bytes(min(size, 1024 * 1024)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        packed("../data.mdb"),
        packed("/etc/cron.d/x"),
        packed("data.mdb", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        packed("data.mdb", kind=tarfile.LNKTYPE, link="/etc/passwd"),
        packed("data.mdb", kind=tarfile.CHRTYPE),
        packed("data.mdb", size=1 << 50),
        packed("data.mdb", size=64 * 1024 * 1024),
        packed("data.mdb", pax=256 * 1024 * 1024),
        zstandard.compress(bytes(64 * 1024 * 1024)),
        b"",
        b"\x28\xb5\x2f\xfd" + os.urandom(100),
        os.urandom(1000),
    ],
    ids=[
        "parent",
        "absolute",
        "symlink",
        "hard link",
        "device",
        "huge",
        "cut short",
        "pax bomb",
        "zeros",
        "empty",
        "magic",
        "noise",
    ],
)
def test_what_is_no_checkpoint_is_refused_without_harm(data: bytes, tmp_path: Path) -> None:
    place = tmp_path / "deep" / "here"
    place.mkdir(parents=True)
    before = psutil.Process().memory_info().rss
    with pytest.raises(StorageError):
        unpack(data, place)
    assert psutil.Process().memory_info().rss - before < 100 * 1024 * 1024
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert {path.name for path in place.iterdir()} <= {"data.mdb"}
    assert not any(path.is_symlink() for path in place.iterdir())
