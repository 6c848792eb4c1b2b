"""Ends that nobody planned: aborts, signals, controllers that leave, wrong keys, agents that are busy."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import psutil
import pytest

from sai3tui.errors import ErrorKind
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import AgentUnderTest, Driver, running_agent, stub_of
from tests.fault_proxy import Fault, Seen, fault_proxy
from tests.servers import ServerUnderTest
from tests.waiting import gone, wait_until, wait_until_async


def config_of(place: str, *, duration: str = "60s", optional: str = "false", op: str = "put", stages: str = "") -> str:
    return f"""
concurrency: 4
target: {place}
workload: [{{op: {op}, path: "uploads/", weight: 1, size_spec: 2000}}]
error_handling: {{max_total_errors: 20}}
distributed:
  stages:
    {stages}
    - {{name: load, order: 5, type: execute, completion: duration, duration: {duration}, optional: {optional}}}
    - {{name: tidy, order: 6, type: cleanup, completion: tasks_done}}
  agents: [{{id: agent-1, address: "127.0.0.1:7000"}}]
"""


def children(agent: AgentUnderTest) -> list[int]:
    return [child.pid for child in psutil.Process(agent.child.pid).children(recursive=True)]


async def loaded(driver: Driver) -> asyncio.Future[None]:
    """The driver's run, once its load has been going on for an interval."""
    running = asyncio.ensure_future(driver.run())
    assert await wait_until_async(lambda: any(sum(o.ops for o in r.ops) for r in driver.reports(1)), 30)
    return running


async def test_an_abort_ends_everything_and_a_second_one_nothing(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-abort")
    storage = HeldStorage()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(fault_proxy(s3_server.host_port, storage.fault))
        agent = stack.enter_context(running_agent(tmp_path, environ=s3_server.environ()))
        stub = await stack.enter_async_context(stub_of(agent))
        config = config_of(f"s3+http://{proxy}/{bucket}/")
        s3_server.make_directories(bucket, config)
        driver = Driver(stub, config)
        running = await loaded(driver)
        workers = children(agent)
        assert workers
        storage.hold()
        assert await wait_until_async(lambda: storage.held == 4, 30)
        began = time.monotonic()
        reply = await stub.Abort(pb.AbortRequest(run_id="run-1", reason="enough", wait_ms=10_000))
        took = time.monotonic() - began
        asked = len(storage.fault.seen)
        assert (reply.state, reply.was_running) == (pb.IDLE, True)
        assert took < 5.0
        again = await stub.Abort(pb.AbortRequest(wait_ms=5000))
        assert (again.state, again.was_running) == (pb.IDLE, False)
        await running
        assert driver.states[-3:] == ["aborting", "aborted", "idle"]
        assert [m.state.reason for m in driver.messages if m.state.state == pb.ABORTED] == ["enough"]
        # Nothing goes on: no process, no writer thread, no connection, no request.
        assert children(agent) == []
        assert all(gone(pid) for pid in workers)
        port = int(proxy.rpartition(":")[2])
        assert [
            c for c in psutil.Process(agent.child.pid).net_connections("tcp") if c.raddr and c.raddr[1] == port
        ] == []
        storage.let_go()
        assert await wait_until_async(lambda: storage.answered == asked, 30)
        there = s3_server.keys(bucket, "uploads/")
        assert there
        put = sum(o.ops for r in driver.reports(1) for o in r.ops)
        assert put <= len(there) <= put + 4
        assert len(storage.fault.seen) == asked

        # The next run finds its names on record, takes others and clears up.
        tidy = Driver(stub, config_of(f"s3+http://{proxy}/{bucket}/", duration="1s"), "run-2")
        await tidy.run()
        assert tidy.failure is None
        deleted = sum(o.ops for r in tidy.reports(2) for o in r.ops)
        assert len(there) + tidy.summary("load").objects.done <= deleted <= put + 4 + tidy.summary("load").objects.done
        assert s3_server.keys(bucket) == {}
        assert agent.lines("ERROR", "WARNING") == []


class HeldStorage:
    """A storage that keeps PUTs back, from when it is told to `hold` them until it lets them go."""

    def __init__(self) -> None:
        self.fault = Fault(wait=self._wait, after=self._after)
        self.held = self.answered = 0
        self._going = asyncio.Event()
        self._going.set()

    def hold(self) -> None:
        self._going.clear()

    def let_go(self) -> None:
        self._going.set()

    async def _wait(self, seen: Seen) -> None:
        if seen.method == "PUT" and not self._going.is_set():
            self.held += 1
            await self._going.wait()

    def _after(self, seen: Seen, raw: bytes) -> bytes:
        del seen
        self.answered += 1
        return raw


@pytest.mark.parametrize("state", ["barrier", "preparing"])
async def test_an_abort_works_wherever_the_run_is(s3_server: ServerUnderTest, tmp_path: Path, state: str) -> None:
    bucket = s3_server.bucket(f"agent-abort-{state}")
    config = config_of(f"s3+http://{s3_server.host_port}/{bucket}/")
    s3_server.make_directories(bucket, config)
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config, hold=[0])
            running = asyncio.ensure_future(driver.run())
            wanted = "at_barrier 0" if state == "barrier" else "validating"
            assert await wait_until_async(lambda: driver.states[-1:] == [wanted], 20)
            reply = await stub.Abort(pb.AbortRequest(wait_ms=5000))
            assert reply.state == pb.IDLE
            await running
            assert driver.states[-3:] == ["aborting", "aborted", "idle"]
            assert wait_until(lambda: children(agent) == [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_signal_aborts_the_run_and_ends_the_agent(
    s3_server: ServerUnderTest, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    bucket = s3_server.bucket(f"agent-signal-{number.name.lower()}")
    config = config_of(f"s3+http://{s3_server.host_port}/{bucket}/")
    s3_server.make_directories(bucket, config)
    with running_agent(tmp_path, environ=s3_server.environ()) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config)
            running = await loaded(driver)
            workers = children(agent)
            agent.child.process.send_signal(number)
            await running
            assert driver.states[-3:] == ["aborting", "aborted", "idle"]
        assert wait_until(lambda: not agent.child.running, 8)
        assert agent.child.process.returncode == code
        assert all(gone(pid) for pid in workers)
        assert agent.lines("ERROR", "WARNING") == []
        assert "Traceback" not in agent.log


async def test_a_second_run_is_refused_by_name_and_harms_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            first = Driver(stub, config_of(f"file://{target}/", duration="1s"), "the-first", hold=[0])
            running = asyncio.ensure_future(first.run())
            assert await wait_until_async(lambda: first.states[-1:] == ["at_barrier 0"], 20)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await Driver(stub, config_of(f"file://{target}/"), "the-second").run()
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "the-first" in (refused.value.details() or "")
            wrong = await stub.Abort(pb.AbortRequest(run_id="the-second", wait_ms=100))
            assert not wrong.was_running
            await first.release(0)
            await running
        assert first.states[-2:] == ["completed", "idle"]


async def test_a_wrong_key_fails_the_run_with_its_whole_cause(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    bucket = s3_server.bucket("agent-wrong-key")
    place = f"s3+http://{s3_server.host_port}/{bucket}/"
    environ = {**s3_server.environ(), "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    checks = "- {name: check, order: 1, type: validation, completion: validation_passed}"
    with running_agent(tmp_path, environ=environ) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config_of(place))
            await driver.run()
            assert driver.states[-2:] == ["failed", "idle"]
            failure = driver.failure
            assert failure is not None
            assert failure.kind in (int(ErrorKind.AUTH), int(ErrorKind.PERMISSION))
            assert failure.endpoint == place
            assert (failure.stage, failure.agent) == ("load", "agent-1")
            assert failure.hint
            counted = sum(m.failure.count for m in driver.messages if m.HasField("failure"))
            assert counted >= 20
            assert sum(o.errors for r in driver.reports(1) for o in r.ops) >= counted

            checked = Driver(stub, config_of(place, stages=checks), "run-2")
            await checked.run()
            assert checked.failure is not None
            assert checked.failure.stage == "check"
            assert checked.failure.kind in (int(ErrorKind.AUTH), int(ErrorKind.PERMISSION))
            errors = [finding for finding in checked.findings if finding.level == pb.Level.Value("ERROR")]
            assert [(finding.check, finding.subject) for finding in errors] == [("auth", place)]
            assert errors[0].advice
            assert errors[0].failure.kind == checked.failure.kind

            optional = Driver(stub, config_of(place, optional="true"), "run-3")
            await optional.run()
            summary = optional.summary("load")
            assert summary.failed
            assert summary.failure.endpoint == place
            assert optional.states[3:5] == ["at_barrier 1", "running 2"]
        assert "Traceback" not in agent.log


async def test_a_controller_may_leave_and_come_back(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config_of(f"file://{target}/", duration="2s"))
            running = await loaded(driver)
            assert driver.call is not None
            driver.call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            known = driver.messages[-1].sequence

            # The stage goes on without anybody, and holds at its barrier.
            async def at_barrier() -> bool:
                return (await stub.Status(pb.StatusRequest())).state == pb.AT_BARRIER

            async with asyncio.timeout(20):
                while not await at_barrier():  # noqa: ASYNC110 - the condition is a call
                    await asyncio.sleep(0.05)
            later = Driver(stub, config_of(f"file://{target}/", duration="2s"), "run-1")
            call = later.call = stub.Run()
            await call.write(pb.ControllerMessage(run_id="run-1", subscribe=pb.Subscribe(cursor=known + 1, lead=True)))
            async with asyncio.timeout(20):
                async for message in call:
                    await later.take(message)
            assert later.messages[0].sequence == known + 1
            assert later.states[-2:] == ["completed", "idle"]
            log = [message async for message in stub.FetchLog(pb.FetchLogRequest(run_id="run-1"))]
            assert [m.sequence for m in log] == list(range(1, later.messages[-1].sequence + 1))
            with pytest.raises(grpc.aio.AioRpcError, match="run-1"):
                _ = [m async for m in stub.FetchLog(pb.FetchLogRequest(run_id="another"))]


async def test_without_a_controller_the_agent_gives_up_after_its_time(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, config_of(f"file://{target}/"), hold=[0], controller_timeout_s=0.5)
            running = asyncio.ensure_future(driver.run())
            assert await wait_until_async(lambda: driver.states[-1:] == ["at_barrier 0"], 20)
            assert driver.call is not None
            driver.call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await wait_until_async(lambda: " is over" in agent.log, 20)
            log = [message async for message in stub.FetchLog(pb.FetchLogRequest())]
            states = [pb.AgentState.Name(m.state.state).lower() for m in log if m.HasField("state")]
            assert states[-3:] == ["aborting", "aborted", "idle"]
            assert "no controller" in next(m.state.reason for m in log if m.state.state == pb.ABORTING)
            assert (await stub.Status(pb.StatusRequest())).state == pb.IDLE


@pytest.mark.parametrize(
    "first",
    [
        pb.ControllerMessage(),
        pb.ControllerMessage(goodbye=pb.Goodbye()),
        pb.ControllerMessage(start=pb.RunSpec()),
        pb.ControllerMessage(start=pb.RunSpec(run_id="x", config_yaml=b"\xff\x00")),
        pb.ControllerMessage(start=pb.RunSpec(run_id="x", config_yaml=b"a: [")),
        pb.ControllerMessage(
            start=pb.RunSpec(
                run_id="x", agent_index=9, config_yaml=config_of("s3+http://127.0.0.1:1/some-bucket/").encode()
            )
        ),
        pb.ControllerMessage(
            start=pb.RunSpec(
                run_id="x", layout_hash="0123", config_yaml=config_of("s3+http://127.0.0.1:1/some-bucket/").encode()
            )
        ),
    ],
    ids=["nothing", "goodbye", "no-id", "binary", "yaml", "index", "layout"],
)
async def test_a_malformed_first_message_is_refused_with_a_reason(
    idle_agent: AgentUnderTest, first: pb.ControllerMessage
) -> None:
    async with stub_of(idle_agent) as stub:
        call = stub.Run()
        await call.write(first)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details()
        assert (await stub.Status(pb.StatusRequest())).state == pb.IDLE
    assert "Traceback" not in idle_agent.log


async def test_files_outside_the_allowed_paths_are_refused(idle_agent: AgentUnderTest, tmp_path: Path) -> None:
    async with stub_of(idle_agent) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await Driver(stub, config_of(f"file://{tmp_path}/elsewhere/")).run()
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "--allow-path" in (refused.value.details() or "")
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture(scope="module")
def idle_agent(tmp_path_factory: pytest.TempPathFactory):
    with running_agent(tmp_path_factory.mktemp("idle")) as agent:
        yield agent
