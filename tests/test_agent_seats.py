"""Several controllers at one agent: one leads, the others watch; and an agent that the others leave behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.leadership import Lead, Leadership, Seat
from sai3tui.agent.run_thread import RunThread
from sai3tui.agent.service import AgentService
from sai3tui.agent.setup import AgentLimits
from sai3tui.agent.spool import Spool
from sai3tui.agent.work import Assignments, Work
from sai3tui.errors import Sai3Error
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import Driver, running_agent, stub_of
from tests.test_agent_abort import config_of, loaded
from tests.waiting import wait_until_async


async def test_only_one_leads_and_taking_over_displaces_it() -> None:
    seats = Leadership(lambda: None)
    first = seats.join("anna", lead=True)
    viewer = seats.join("watching", lead=False)
    with pytest.raises(Sai3Error, match="led by anna"):
        seats.join("bert", lead=True)
    assert (first.leads, viewer.leads, seats.alone_since) == (True, False, None)
    second = seats.join("bert", lead=True, take_over=True, term=1)
    assert (first.leads, second.leads, seats.leader) == (False, True, "bert")
    assert [lead.by for lead in news(first)] == ["bert"]
    seats.leave(first)
    alone = [seats.alone]
    seats.leave(second)
    assert [*alone, seats.alone] == [False, True]
    assert [lead.by for lead in news(viewer)] == ["anna", "bert", ""]
    assert news(second) == []


async def test_orders_of_whom_another_one_has_displaced_are_refused_until_it_takes_over_again() -> None:
    seats = Leadership(lambda: None)
    first = seats.join("anna", lead=True)
    seats.join("watching", lead=False)
    assert seats.taken_from("anna") is seats.taken_from("") is None
    assert taker(seats, "watching") == "anna"
    second = seats.join("bert", lead=True, take_over=True, term=1)
    assert (taker(seats, "anna"), taker(seats, "bert")) == ("bert", "")
    # Also when that one has left since, and to whose stream only breaks off it comes as a surprise.
    seats.leave(first)
    seats.leave(second)
    assert (taker(seats, "anna"), taker(seats, "bert"), taker(seats, "somebody")) == ("bert", "", "")
    with pytest.raises(Sai3Error, match="bert has taken this run over"):
        seats.join("anna", lead=True)
    seats.join("anna", lead=True, take_over=True, term=2)
    assert (taker(seats, "anna"), taker(seats, "bert")) == ("", "anna")


@given(
    st.permutations(range(6)),
    st.lists(st.tuples(st.sampled_from([0, 1]), st.booleans()), min_size=2, max_size=3),
)
def test_of_those_who_come_at_once_one_leads_at_all_agents(order: list[int], comers: list[tuple[int, bool]]) -> None:
    """They come to two agents in any order. Whoever is refused or displaced anywhere withdraws everywhere. `comers`
    are by how much later than the first one they have asked for terms, and whether they take over: who does not comes
    to no agent if it was told of a leader."""
    agents = [Leadership(lambda: None) for _ in range(2)]
    names = [f"c{number}" for number in range(len(comers))]
    given_up: set[str] = set()
    seats: list[tuple[int, Seat]] = []
    for place in order:
        number, agent = divmod(place, 2)
        if number >= len(comers) or names[number] in given_up:
            continue
        late, takes = comers[number]
        later = late if takes else 0
        try:
            seats.append((agent, agents[agent].join(names[number], lead=True, take_over=takes, term=1 + later)))
        except Sai3Error:
            given_up.add(names[number])
    given_up |= {seat.controller for _, seat in seats if not seat.leads}
    for agent, seat in seats:
        if seat.controller in given_up:
            agents[agent].leave(seat)
    assert len(given_up) == len(comers) - 1
    assert {seats.leader for seats in agents} == set(names) - given_up


async def test_who_comes_back_leads_on_unless_another_one_has_come_with_a_better_claim() -> None:
    seats = Leadership(lambda: None)
    broken = seats.join("bert", lead=True, term=3)
    assert seats.term == 3
    seats.leave(broken)
    seats.join("anna", lead=True, term=3)
    assert seats.join("bert", lead=True, term=3).leads
    seats.join("carl", lead=True, take_over=True, term=4)
    with pytest.raises(Sai3Error, match="led by carl"):
        seats.join("bert", lead=True, term=3)


def taker(seats: Leadership, controller: str) -> str:
    lead = seats.taken_from(controller)
    return lead.by if lead is not None else ""


async def test_whose_stream_broke_off_for_a_moment_has_led_all_the_time() -> None:
    seats = Leadership(lambda: None)
    viewer = seats.join("watching", lead=False)
    first = seats.join("anna", lead=True)
    seats.leave(first)
    seats.join("anna", lead=True)
    nobody, led, alone, again = news(viewer)
    assert [nobody.by, led.by, alone.by, again.by] == ["", "anna", "", "anna"]
    assert again == led
    assert led.since_ns <= alone.since_ns


async def test_a_viewer_sees_all_and_moves_nothing_until_it_takes_over(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub, asyncio.timeout(60):
            config = config_of(f"file://{target}/", duration="1s")
            leader = Driver(stub, config, hold=[1, 2])
            leader.spec.controller = "the first"
            leading = asyncio.ensure_future(leader.run())
            assert await wait_until_async(lambda: "running 1" in leader.states, 30)
            assert (await stub.Hello(pb.HelloRequest())).leader == "the first"
            assert (await stub.Status(pb.StatusRequest(with_spec=True))).spec == leader.spec

            refused = stub.Run()
            wanted = pb.Subscribe(cursor=1, lead=True, controller="the second")
            await refused.write(pb.ControllerMessage(run_id="run-1", subscribe=wanted))
            with pytest.raises(grpc.aio.AioRpcError, match="led by the first"):
                await refused.read()

            viewer = Driver(stub, config, "run-1", hold=[0, 1, 2])
            call = viewer.call = stub.Run()
            await call.write(pb.ControllerMessage(run_id="run-1", subscribe=pb.Subscribe(cursor=1)))
            viewing = asyncio.ensure_future(_take_all(viewer))
            assert await wait_until_async(lambda: viewer.states[-1:] == ["at_barrier 1"], 30)
            assert numbers(viewer) == numbers(leader)
            await viewer.release(1)
            pong = len(viewer.pongs)
            await call.write(pb.ControllerMessage(ping=pb.Ping(controller_time_ns=time.time_ns())))
            assert await wait_until_async(lambda: len(viewer.pongs) > pong, 30)
            assert viewer.pongs[-1].state == pb.AT_BARRIER

            second = Driver(stub, config, "run-1")
            call = second.call = stub.Run()
            wanted.take_over, wanted.term = True, 1
            await call.write(pb.ControllerMessage(run_id="run-1", subscribe=wanted))
            await _take_all(second)
            await asyncio.gather(viewing, leading)
            assert second.states[-3:] == ["at_barrier 2", "completed", "idle"]
            assert [m.led.by for m in leader.messages if m.HasField("led")] == ["the second"]
            assert [m.led.by for m in viewer.messages if m.HasField("led")][:2] == ["the first", "the second"]
            assert numbers(leader) == numbers(viewer) == numbers(second)


async def test_an_excluded_agent_stops_its_stage_and_rejoins_at_the_next_barrier(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub, asyncio.timeout(60):
            driver = Driver(stub, config_of(f"file://{target}/"), hold=[1])
            running = await loaded(driver)
            assert driver.call is not None
            exclude = pb.Exclude(stage_index=1, reason="late at barrier 1")
            await driver.call.write(pb.ControllerMessage(exclude=exclude))
            await running
    assert driver.states[2:] == [
        "running 1",
        "at_barrier 1",
        "excluded",
        "at_barrier 2",
        "completed",
        "idle",
    ]
    arrivals = [m.arrived for m in driver.messages if m.HasField("arrived")]
    assert [(a.stage_index, a.HasField("summary")) for a in arrivals] == [(0, False), (1, True), (2, False)]
    assert sum(o.ops for o in arrivals[1].summary.ops) > 0
    assert "left behind" in arrivals[1].summary.failure.message
    assert "Traceback" not in agent.log


async def test_a_clock_that_is_wrong_changes_nothing_but_the_times(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target), environ={"SAI3TUI_TEST_CLOCK_SKEW": "-3600"}) as agent:
        async with stub_of(agent) as stub, asyncio.timeout(60):
            hello = await stub.Hello(pb.HelloRequest())
            assert abs(hello.agent_time_ns - time.time_ns() + 3600 * 10**9) < 60 * 10**9
            driver = Driver(stub, config_of(f"file://{target}/", duration="1s"), clock_skew_s=-3600)
            await driver.run()
    assert driver.failure is None
    assert all(abs(m.agent_time_ns - hello.agent_time_ns) < 60 * 10**9 for m in driver.messages)
    summary = driver.summary("load")
    assert 0.9 < summary.seconds < 30
    began = [m.began for m in driver.messages if m.HasField("began")]
    assert [b.stage_index for b in began] == [1, 2]
    assert all(b.began_ns >= b.planned_start_ns for b in began)


def news(seat: Seat) -> list[Lead]:
    return [seat.news.get_nowait() for _ in range(seat.news.qsize())]


def numbers(driver: Driver) -> list[tuple[int, str | None]]:
    return [(m.sequence, m.WhichOneof("body")) for m in driver.messages if m.sequence]


async def _take_all(driver: Driver) -> None:
    assert driver.call is not None
    async for message in driver.call:
        await driver.take(message)


async def test_what_is_said_again_is_done_once() -> None:
    stirred: list[int] = []
    assignments = Assignments(lambda: stirred.append(1))
    assert assignments.add(1, Work(3, None, {}))
    assert not assignments.add(1, Work(3, None, {}))
    taken = assignments.take(1)
    assert taken is not None
    assert not assignments.add(1, Work(3, None, {}))
    assert not assignments.waiting(1)
    assert assignments.add(1, Work(4, None, {}))
    assert assignments.add(2, Work(3, None, {}))
    assert len(stirred) == 3


class BrokenStream:
    """Takes one message; the next one meets what gRPC says of a call that is over."""

    def __init__(self) -> None:
        self.taken: list[pb.AgentMessage] = []

    async def write(self, message: pb.AgentMessage) -> None:
        if self.taken:
            raise grpc.aio.InternalError("RPC finished")
        self.taken.append(message)


async def test_a_stream_that_breaks_as_something_is_said_gives_its_seat_up_and_is_no_defect(tmp_path: Path) -> None:
    with RunThread() as thread:
        async with asyncio.TaskGroup() as runs, asyncio.timeout(30):
            service = AgentService(AgentLimits(tmp_path), {}, runs, thread)
            spool, seats = Spool("r"), Leadership(lambda: None)
            spool.append(pb.AgentMessage())
            run = SimpleNamespace(setup=SimpleNamespace(run_id="r"), spool=spool, seats=seats)
            stream, seat = BrokenStream(), seats.join("anna", lead=True)

            async def silent() -> AsyncIterator[pb.ControllerMessage]:
                await asyncio.Event().wait()
                yield pb.ControllerMessage()

            await service._serve(run, seat, 1, silent(), stream)  # type: ignore[arg-type]
    assert [message.HasField("seated") for message in stream.taken] == [True]
    assert seats.alone
