"""Who leads a run and no longer does, or whose agent does no longer: what it may still order, and what it is told."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.journal import Journal
from sai3tui.controller.lead import BEGAN, Lead
from sai3tui.controller.request import RunStopped
from sai3tui.controller.streams import Streams
from sai3tui.errors import Failure
from sai3tui.events import PROTOCOL_VERSION
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.proto.sai3tui_pb2_grpc import AgentServicer, add_AgentServicer_to_server
from sai3tui.results.tally import Item
from tests.agents import agent_in_process, stub_of
from tests.fault_matrix import Relay
from tests.test_controller_attach import attached, going, session_for
from tests.test_controller_viewing import CONFIG, ended, lines, seen
from tests.waiting import wait_until_async


@asynccontextmanager
async def one_agent(tmp_path: Path) -> AsyncIterator[tuple[str, Relay, bytes]]:
    """An agent, a cable to it, and a run over that cable which goes on until there is a file `gate`."""
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, _), Relay(address) as cable:
        text = CONFIG.format(target=target, gate=tmp_path / "gate", one="127.0.0.1:1", two=cable.address)
        yield address, cable, "".join(t for t in text.splitlines(keepends=True) if "id: a1" not in t).encode()


async def test_an_abort_in_the_moment_of_being_displaced_is_refused_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with one_agent(tmp_path) as (address, ours, text):
        first = session_for(tmp_path, text, preflight=False, stays=True)
        async with going(first):
            await seen(first, lambda b: b.awaited == ("a2",))
            # The second one comes by another way, and the first one does not hear of it.
            directory, other = Path(first.snapshot().results_dir), tmp_path / "other"
            shutil.copytree(directory, other)
            for name in ("metadata.json", "config.yaml"):
                (other / name).write_text((other / name).read_text().replace(ours.address, address))
            ours.flows.clear()
            second = attached(tmp_path, other, take_over=True)
            async with going(second) as leading:
                await seen(second, lambda b: b.awaited == ("a2",))
                first.request_abort("enough")
                assert await wait_until_async(lambda: "its abort is not done" in caplog.text, 60)
                ours.flows.set()
                theirs = await seen(first, lambda b: first.snapshot().viewing and b.left_s is None)
                assert theirs.awaited == ("a2",)
                assert first.snapshot().outcome is None
                (refused,) = [text for text in lines(first.snapshot()) if text.startswith("was not aborted: ")]
                assert "leads this run since" in refused
                (tmp_path / "gate").touch()
                assert await ended(leading) == ("success", 0, None)


@pytest.mark.slow
async def test_what_an_agent_did_while_its_stream_was_broken_is_said_as_its_log_has_it(tmp_path: Path) -> None:
    async with one_agent(tmp_path) as (address, cable, text), stub_of(address) as stub:
        leader = session_for(tmp_path, text, preflight=False)
        async with going(leader) as leading:
            await seen(leader, lambda b: b.awaited == ("a2",))
            cable.flows.clear()
            await stub.Abort(pb.AbortRequest(reason="somebody here needs the host", wait_ms=30_000))
            assert (await stub.Hello(pb.HelloRequest())).state == pb.IDLE
            await cable.interrupt()
            cable.flows.set()
            outcome = await asyncio.wait_for(leading, 60)
        assert outcome.failure is not None
        assert outcome.failure.message == "agent a2 aborted the run: somebody here needs the host"


class Refusing(AgentServicer):
    """Ends every stream at once, as it is told to."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        self.code, self.words = code, words

    async def Hello(self, request: pb.HelloRequest, context: Any) -> pb.HelloReply:
        return pb.HelloReply(protocol_version=PROTOCOL_VERSION, agent_time_ns=time.time_ns(), leader="bert")

    async def Run(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        await anext(aiter(request_iterator))
        await context.abort(self.code, self.words)


WORDS = 8
"""More than that many large ones no stream takes before anybody listens."""


class Busy(AgentServicer):
    """Takes a stream, and listens on it once it `listens`."""

    def __init__(self) -> None:
        self.listens = asyncio.Event()
        self.heard: list[str | None] = []

    async def Run(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        requests = aiter(request_iterator)
        await anext(requests)
        await context.write(pb.AgentMessage(run_id="run-1", seated=pb.Seated(leads=True)))
        await self.listens.wait()
        async for message in requests:
            if not message.HasField("ping"):
                self.heard.append(message.WhichOneof("body"))


class Hears:
    """What a hearer is told of who leads, and of agents that are not to be had."""

    def __init__(self) -> None:
        self.leads: list[str] = []
        self.failures: list[Failure] = []

    def hear(self, agent: str, message: pb.AgentMessage) -> None: ...

    def take(self, item: Item) -> None: ...

    def told_lead(self, agent: str, lead: Lead) -> None:
        self.leads.append(lead.by)

    def give_up(self, agent: str, failure: Failure) -> None:
        self.failures.append(failure)


@asynccontextmanager
async def streams_to(agent: AgentServicer) -> AsyncIterator[Streams]:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    add_AgentServicer_to_server(agent, server)
    link = AgentLink("a1", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    await server.start()
    try:
        async with asyncio.TaskGroup() as group:
            yield Streams("run-1", [link], Barriers(["a1"], time.monotonic()), Journal("x"), group, "anna", BEGAN)
    finally:
        await link.close()
        await server.stop(0)


async def test_a_stream_that_breaks_as_it_is_opened_says_why() -> None:
    agent = Refusing(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")  # type: ignore[abstract]
    async with streams_to(agent) as streams:
        streams.open({"a1": pb.ControllerMessage(run_id="run-1", subscribe=pb.Subscribe(cursor=1))}, Hears())
        with pytest.raises(RunStopped) as stopped:
            await streams.seated(60)
    failure = stopped.value.ending.failure
    assert failure is not None
    assert failure.message.endswith(" does not take part")
    why, *_, raw = failure.causes
    assert why.endswith(": the connection was reset")
    assert raw.endswith("Connection reset by peer")
    assert failure.hint == "look at that agent's log: it probably ended"


@pytest.mark.parametrize("words", ["this run is led by bert", "bert has taken this run over"])
async def test_who_comes_back_to_an_agent_that_another_one_leads_by_now_has_not_lost_that_agent(words: str) -> None:
    hears, agent = Hears(), Refusing(grpc.StatusCode.FAILED_PRECONDITION, words)  # type: ignore[abstract]
    async with streams_to(agent) as streams:
        streams.open({}, hears)
        streams.rejoin("a1")
        assert await wait_until_async(lambda: bool(hears.leads or hears.failures), 60)
    assert (hears.leads, hears.failures) == (["bert"], [])


async def test_who_is_stopped_in_the_middle_of_a_word_does_not_end_the_stream() -> None:
    agent = Busy()  # type: ignore[abstract]
    async with streams_to(agent) as streams:
        link = streams.links["a1"]
        streams.open({"a1": pb.ControllerMessage(run_id="run-1", subscribe=pb.Subscribe(cursor=1, lead=True))}, Hears())
        await streams.seated(60)
        # More than is taken from who does not listen.
        for _ in range(WORDS):
            streams.spawn(link.share(pb.SharedPart(lost="x" * 2_000_000)))
        await asyncio.sleep(0)
        asked = asyncio.create_task(link.end_stage(1))
        done, _ = await asyncio.wait({asked}, timeout=0.2)
        assert not done
        streams.stop_asking()
        asked.cancel()
        await asyncio.wait({asked})
        agent.listens.set()
        await asyncio.wait_for(link.exclude(1, "late"), 60)
        assert await wait_until_async(lambda: len(agent.heard) == WORDS + 2, 60)
        assert agent.heard == [*["shared"] * WORDS, "end_stage", "exclude"]
        assert not streams.left
        await streams.leave()


async def test_a_stream_that_does_not_end_in_time_is_not_taken_for_the_one_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    async def follow(link: AgentLink, run_id: str, *_: object) -> None:
        opened.append(run_id)
        await asyncio.Event().wait()

    monkeypatch.setattr(AgentLink, "follow", follow)
    monkeypatch.setattr("sai3tui.controller.streams.STREAM_END_TIMEOUT_S", 0.01)
    async with streams_to(Busy()) as streams:  # type: ignore[abstract]
        streams.open({"a1": pb.ControllerMessage()}, Hears())
        assert await wait_until_async(lambda: len(opened) == 1, 60)
        await streams.open_again()
        assert await wait_until_async(lambda: len(opened) == 2, 60)
        assert not streams.left
        await streams.leave()
        assert streams.left == {"a1"}
