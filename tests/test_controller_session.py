"""Whole runs of the session against scripted agents over real gRPC."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from sai3tui.controller.coordinator import Coordinator
from sai3tui.controller.groundwork import Groundwork
from sai3tui.controller.request import AttachOrder, RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Outcome, Phase, RunSnapshot, StageStatus
from sai3tui.controller.thread import SessionThread
from sai3tui.errors import ErrorKind
from sai3tui.events import (
    AgentState,
    BarrierArrived,
    BarrierReleased,
    Event,
    Level,
    Note,
    Report,
    StateChanged,
    WorkHandedOver,
)
from sai3tui.processes import free_port
from sai3tui.proto import sai3tui_pb2 as pb
from tests.scripted_agent import Script, ScriptedAgent, scripted_agent
from tests.waiting import wait_until, wait_until_async

CONFIG = """\
target: s3://10.0.0.1/bucket/
concurrency: 4
prepare:
  ensure_objects:
    - {base_uri: "data/", count: 100, size_spec: 1000}
workload:
  - {op: get, path: "data/*", weight: 1}
duration: 1s
distributed:
  shared_filesystem: true
  start_delay: 0
  barrier_sync:
    enabled: true
    prepare: {type: BARRIER, agent_barrier_timeout: TIMEOUT}
    execute: {type: BARRIER, agent_barrier_timeout: TIMEOUT}
  stages:
    - {name: prepare, order: 1, type: prepare, completion: tasks_done}
    - {name: execute, order: 2, type: execute, completion: duration, duration: 1s}
  agents:
AGENTS"""


def config_text(addresses: list[str], barrier: str = "all_or_nothing", timeout: int = 20) -> bytes:
    agents = "".join(f'    - {{id: a{n}, address: "{address}"}}\n' for n, address in enumerate(addresses, 1))
    text = CONFIG.replace("BARRIER", barrier).replace("TIMEOUT", str(timeout)).replace("AGENTS", agents)
    return text.encode()


def request(tmp_path: Path, text: bytes, **changes: object) -> RunRequest:
    return RunRequest(Path("/somewhere/tiny.yaml"), text, results_root=tmp_path, **changes)  # type: ignore[arg-type]


async def play(
    tmp_path: Path, *scripts: Script, barrier: str = "all_or_nothing", timeout: int = 20, **changes: object
) -> tuple[Outcome, RunSnapshot, list[ScriptedAgent], list[Event | Report]]:
    items: list[Event | Report] = []
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(scripted_agent(script)) for script in scripts]
        text = config_text([agent.address for agent in agents], barrier, timeout)
        session = RunSession(request(tmp_path, text, **changes))
        session.listen(items.append)
        outcome = await asyncio.wait_for(session.run(), 30)
        return outcome, session.snapshot(), agents, items


async def test_a_run_succeeds_and_every_figure_is_there(tmp_path: Path) -> None:
    outcome, snapshot, agents, items = await play(tmp_path, Script(), Script(skew_ns=-5_000_000_000))

    assert (outcome.status, outcome.exit_code, outcome.failure) == ("success", 0, None)
    assert outcome.resume == ""
    assert snapshot.phase is Phase.FINISHED
    assert snapshot.outcome == outcome
    assert [(s.name, s.status, s.total_ops, s.done, s.errors) for s in snapshot.stages] == [
        ("prepare", StageStatus.DONE, 200, 200, 0),
        ("execute", StageStatus.DONE, 200, 200, 0),
    ]
    assert snapshot.stages[0].total_bytes == 200_000
    assert {agent.state for agent in snapshot.agents} == {AgentState.IDLE}
    assert sum(r.ops[0].ops for r in items if isinstance(r, Report)) == 400
    assert all(agent.goodbyes == 1 and not agent.aborts for agent in agents)
    assert all(agent.stream_ended_well == 1 for agent in agents)
    assert [agent.spec.agent_index for agent in agents if agent.spec] == [0, 1]
    assert agents[0].spec is not None
    assert agents[0].spec.layout_hash


@pytest.mark.parametrize("step_s", [-7200, 7200])
async def test_setting_the_hosts_clock_in_the_middle_of_a_run_changes_no_figure(
    tmp_path: Path, step_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, clock, step_ns = time.time_ns, time.clock_gettime_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: wall() + step_ns)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: clock(which) + step_ns * (which == time.CLOCK_REALTIME))

    def set_clock(item: Event | Report) -> None:
        nonlocal step_ns
        if isinstance(item, Report):
            step_ns = step_s * 10**9

    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(scripted_agent(Script())) for _ in "ab"]
        session = RunSession(request(tmp_path, config_text([agent.address for agent in agents])))
        session.listen(set_clock)
        outcome = await asyncio.wait_for(session.run(), 30)
    assert step_ns
    assert (outcome.status, outcome.failure) == ("success", None)
    snapshot = session.snapshot()
    assert 0 < snapshot.elapsed_s < 60
    assert [stage.total_ops for stage in snapshot.stages] == [200, 200]
    rows = [row.split("\t") for row in (Path(outcome.results) / "perf_log.tsv").read_text().splitlines()]
    place = rows[0].index("elapsed_s")
    assert all(0 <= float(row[place]) < 60 for row in rows[1:])


async def test_releases_name_one_moment_on_every_agents_own_clock(tmp_path: Path) -> None:
    skew = -5_000_000_000
    _, snapshot, (straight, skewed), items = await play(tmp_path, Script(), Script(skew_ns=skew))

    assert [index for index, _ in straight.starts] == [0, 1, 2]
    for (_, ours), (_, theirs) in zip(straight.starts, skewed.starts, strict=True):
        assert abs(theirs - ours - skew) < 100_000_000
    offsets = {agent.id: agent.clock_offset_ms for agent in snapshot.agents}
    assert abs(offsets["a2"] - 5000) < 100
    # Nothing may be reported in the wrong place: both agents' events are on our clock.
    times = [item.time_ns for item in items if isinstance(item, Event)]
    assert max(times) - min(times) < 30_000_000_000
    released = [item for item in items if isinstance(item, BarrierReleased)]
    assert [r.stage_index for r in released] == [0, 1, 2]


async def test_how_far_apart_agents_begin_is_in_the_results(tmp_path: Path) -> None:
    outcome, snapshot, *_ = await play(tmp_path, Script(), Script(skew_ns=-5_000_000_000, late_ns=2_000_000_000))

    metadata = json.loads((Path(outcome.results) / "metadata.json").read_text())
    for stage, told in zip(snapshot.stages, metadata["stages"], strict=True):
        assert abs(stage.start_skew_ms - 2000) < 500
        assert told["start_skew_ms"] == round(stage.start_skew_ms, 3)
    status = (Path(outcome.results) / "STATUS.txt").read_text()
    assert f"Start skew: 1 prepare {snapshot.stages[0].start_skew_ms:.1f} ms, 2 execute" in status


async def test_a_failed_stage_ends_the_run_with_the_agents_whole_failure(tmp_path: Path) -> None:
    outcome, snapshot, (bad, good), _ = await play(tmp_path, Script(fail_stage=1), Script(hang_stage=1))

    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.failure is not None
    assert outcome.failure.kind is ErrorKind.NOT_FOUND
    assert outcome.failure.causes == ("HTTP 404 NoSuchBucket",)
    assert outcome.failure.context.agent == "a1"
    assert outcome.failure.context.object_index == 7
    assert bad.aborts == []  # it failed by itself: no abort on top
    assert bad.goodbyes == 1
    assert len(good.aborts) == 1
    assert "the bucket does not exist" in good.aborts[0]
    assert good.state is AgentState.IDLE
    assert outcome.resume == f"sai3tui resume {outcome.results}"  # its configuration is no file here
    assert snapshot.stages[0].status is StageStatus.FAILED
    assert snapshot.stages[0].total_ops > 0
    assert snapshot.stages[1].status is StageStatus.SKIPPED
    assert [(g.count, g.agents) for g in snapshot.failures] == [(3, ("a1",))]


async def test_a_failed_validation_stage_is_a_failed_preflight(tmp_path: Path) -> None:
    text = config_text(["127.0.0.1:1"]).replace(
        b"    - {name: prepare, order: 1, type: prepare, completion: tasks_done}",
        b"    - {name: check, order: 1, type: validation, completion: validation_passed}",
    )
    async with scripted_agent(Script(fail_stage=1)) as agent:
        session = RunSession(request(tmp_path, text.replace(b"127.0.0.1:1", agent.address.encode())))
        outcome = await asyncio.wait_for(session.run(), 30)
    assert (outcome.status, outcome.exit_code) == ("preflight_failed", 3)


async def test_an_optional_stage_that_failed_does_not_end_the_run(tmp_path: Path) -> None:
    outcome, snapshot, *_ = await play(tmp_path, Script(optional_failure=1))

    assert outcome.exit_code == 0
    assert snapshot.stages[0].status is StageStatus.FAILED
    assert snapshot.stages[0].failure is not None
    assert snapshot.stages[1].status is StageStatus.DONE


async def test_warnings_about_the_configuration_are_warnings_of_the_run(tmp_path: Path) -> None:
    async with scripted_agent() as agent:
        text = config_text([agent.address]) + b"durations: 5\n"
        session = RunSession(request(tmp_path, text))
        notes: list[Note] = []
        session.listen(lambda item: notes.append(item) if isinstance(item, Note) else None)
        outcome = await asyncio.wait_for(session.run(), 30)
    assert outcome.exit_code == 0
    said = "unknown key 'durations' (did you mean 'duration'?)"
    assert [note.level for note in notes if note.text == said] == [Level.WARNING]
    assert said in session.snapshot().notices


async def test_a_lost_agent_ends_an_all_or_nothing_run(tmp_path: Path) -> None:
    outcome, snapshot, (dead, other), _ = await play(tmp_path, Script(die_stage=2), Script(hang_stage=2))

    assert outcome.exit_code == 1
    assert outcome.failure is not None
    assert outcome.failure.kind is ErrorKind.AGENT_LOST
    assert outcome.failure.context.agent == "a1"
    assert dead.address in outcome.failure.message
    assert outcome.failure.hint
    assert len(other.aborts) == 1
    assert snapshot.coverage == 0.5


async def test_what_a_lost_agent_leaves_of_prepare_goes_to_those_who_are_at_the_barrier_too(tmp_path: Path) -> None:
    outcome, snapshot, (_, other), items = await play(tmp_path, Script(die_stage=1, intervals=6), Script())

    assert (outcome.status, outcome.exit_code) == ("incomplete", 6)
    (handed,) = [item for item in items if isinstance(item, WorkHandedOver)]
    assert (handed.agent, handed.objects, handed.to) == ("a1", 50, ("a2",))
    (added,) = other.added
    assert sum(each.end_k - each.first_k for each in added.generation.holdings) == 50
    assert [stage.status for stage in snapshot.stages] == [StageStatus.DONE, StageStatus.DONE]


async def test_on_agent_loss_fail_ends_the_run(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        scripts = (Script(die_stage=1), Script())
        agents = [await stack.enter_async_context(scripted_agent(script)) for script in scripts]
        text = config_text([agent.address for agent in agents], "best_effort")
        text = text.replace(b"distributed:\n", b"distributed:\n  on_agent_loss: fail\n")
        outcome = await asyncio.wait_for(RunSession(request(tmp_path, text)).run(), 30)
    assert outcome.exit_code == 1
    assert outcome.failure is not None
    assert outcome.failure.kind is ErrorKind.AGENT_LOST


async def test_best_effort_goes_on_without_a_lost_agent_and_says_so(tmp_path: Path) -> None:
    outcome, snapshot, *_ = await play(tmp_path, Script(die_stage=1), Script(), barrier="best_effort")

    assert (outcome.status, outcome.exit_code) == ("incomplete", 6)
    assert snapshot.stages[1].status is StageStatus.DONE
    assert snapshot.stages[1].total_ops == 100
    states = {agent.id: agent.state for agent in snapshot.agents}
    assert states["a1"] is AgentState.LOST


async def test_an_agent_that_lives_although_it_is_lost_is_told_to_stop(tmp_path: Path) -> None:
    beats = "heartbeat_interval: 1, missed_threshold: 1, query_timeout: 1, query_retries: 0"
    async with scripted_agent(Script(mute_stage=1)) as mute, scripted_agent(Script()) as other:
        text = config_text([mute.address, other.address], "best_effort").decode()
        text = text.replace("agent_barrier_timeout: 20", f"agent_barrier_timeout: 60, {beats}")
        session = RunSession(request(tmp_path, text.encode()))
        outcome = await asyncio.wait_for(session.run(), 60)
        assert mute.aborts == ["it was taken for lost"]
        assert other.aborts == []
    assert (outcome.status, outcome.exit_code) == ("incomplete", 6)
    snapshot = session.snapshot()
    assert snapshot.coverage == 0.5
    assert {agent.id: agent.state for agent in snapshot.agents}["a1"] is AgentState.LOST
    assert any(line.agent == "a1" and "lives after all" in line.text for line in snapshot.log)


async def test_a_barrier_timeout_names_who_is_missing(tmp_path: Path) -> None:
    outcome, *_ = await play(tmp_path, Script(hang_stage=1), Script(), timeout=1)

    assert outcome.exit_code == 1
    assert outcome.failure is not None
    assert outcome.failure.kind is ErrorKind.TIMEOUT
    assert "a1" in outcome.failure.message
    assert "prepare" in outcome.failure.message


async def test_agents_that_are_down_are_all_named_and_nothing_is_left(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    async with scripted_agent() as up:
        text = config_text([up.address, *(f"127.0.0.1:{port}" for port in ports)])
        outcome = await asyncio.wait_for(RunSession(request(tmp_path, text)).run(), 30)
        assert up.spec is None
    assert outcome.exit_code == 1
    assert outcome.failure is not None
    told = outcome.failure.sentence()
    assert all(f"127.0.0.1:{port}" in told for port in ports)
    assert "connection refused" in told
    assert list(tmp_path.iterdir()) == []


async def test_an_agent_of_another_protocol_is_refused(tmp_path: Path) -> None:
    outcome, *_ = await play(tmp_path, Script(protocol=99))
    assert outcome.exit_code == 2
    assert outcome.failure is not None
    assert "protocol 99" in outcome.failure.message


async def test_a_busy_agent_is_refused_with_its_runs_name(tmp_path: Path) -> None:
    outcome, *_ = await play(tmp_path, Script(busy_run="run-of-another"))
    assert outcome.exit_code == 1
    assert outcome.failure is not None
    assert "run-of-another" in outcome.failure.message


async def test_a_run_that_lost_its_controller_is_not_ended_by_the_next_one(tmp_path: Path) -> None:
    script = Script(busy_run="run-of-a-dead-controller", orphan=True)
    outcome, _, (agent,), _ = await play(tmp_path, script)
    assert outcome.exit_code == 1
    assert outcome.failure is not None
    assert "run-of-a-dead-controller" in outcome.failure.message
    assert f"sai3tui attach {agent.address}" in outcome.failure.hint
    assert agent.aborts == []


async def test_an_invalid_config_is_exit_2_before_anything_is_contacted(tmp_path: Path) -> None:
    outcome = await RunSession(request(tmp_path, b"target: [")).run()
    assert outcome.exit_code == 2
    assert list(tmp_path.iterdir()) == []


async def test_preflight_errors_end_the_run_before_it_starts(tmp_path: Path) -> None:
    bad = pb.Finding(check="auth", subject="s3://x/", level=pb.ERROR, message="the key is wrong", advice="correct it")
    outcome, snapshot, (agent,), _ = await play(tmp_path, Script(findings=(bad,)))

    assert (outcome.status, outcome.exit_code) == ("preflight_failed", 3)
    assert outcome.failure is not None
    assert "the key is wrong" in outcome.failure.message
    assert outcome.failure.hint == "correct it"
    assert agent.spec is None
    assert [finding.check for finding in snapshot.findings if finding.level is Level.ERROR] == ["auth"]
    assert list(tmp_path.iterdir()) == []


async def test_skipping_preflight_is_written_down(tmp_path: Path) -> None:
    bad = pb.Finding(check="auth", level=pb.ERROR, message="no")
    outcome, snapshot, (agent,), _ = await play(tmp_path, Script(findings=(bad,)), preflight=False)

    assert outcome.exit_code == 0
    assert agent.preflights == 0
    assert any("preflight was skipped" in notice for notice in snapshot.notices)
    metadata = json.loads((Path(outcome.results) / "metadata.json").read_text())
    assert metadata["preflight"] == "skipped"


async def test_what_is_answered_while_checks_run_is_no_answer_to_what_they_find(tmp_path: Path) -> None:
    async with scripted_agent() as agent:
        session = RunSession(request(tmp_path, config_text([agent.address]), hold_after_preflight=True))
        session.proceed()
        running = asyncio.create_task(session.run())
        for number in (1, 2, 3):
            assert await wait_until_async(
                lambda: agent.preflights == number and session.snapshot().phase is Phase.READY  # noqa: B023
            )
            assert agent.spec is None
            if number < 3:
                session.recheck()
                session.recheck()
            session.proceed()
        outcome = await asyncio.wait_for(running, 30)
    assert outcome.exit_code == 0
    assert agent.preflights == 3


async def test_one_that_cannot_be_closed_keeps_none_from_being_closed(tmp_path: Path) -> None:
    ground = Groundwork(request(tmp_path, b""), {})
    closed: list[str] = []

    class Thing:
        def __init__(self, name: str, error: Exception | None = None) -> None:
            self.name, self.error = name, error

        async def close(self) -> None:
            closed.append(self.name)
            if self.error is not None:
                raise self.error

    things: Any = [Thing("a1"), Thing("a2", OSError("a2 is stuck")), Thing("a3")]
    ground.links = things
    ground._coordinator = cast("Any", Thing("coordinator", OSError("its lock is gone")))
    ground._local = cast("Any", Thing("local"))
    with pytest.raises(BaseExceptionGroup) as raised:
        await ground.close()
    assert sorted(closed) == ["a1", "a2", "a3", "coordinator", "local"]
    assert [str(error) for error in raised.value.exceptions] == ["a2 is stuck", "its lock is gone"]


async def test_a_hold_waits_for_proceed_and_can_check_again(tmp_path: Path) -> None:
    bad = pb.Finding(check="auth", level=pb.ERROR, message="the key is wrong")
    async with scripted_agent(Script(findings=(bad,))) as agent:
        session = RunSession(request(tmp_path, config_text([agent.address]), hold_after_preflight=True))
        running = asyncio.create_task(session.run())
        assert await wait_until_async(lambda: session.snapshot().phase is Phase.READY)
        session.proceed()
        assert await wait_until_async(lambda: any("not started" in line.text for line in session.snapshot().log))
        agent.script.findings = ()
        session.recheck()
        assert await wait_until_async(
            lambda: (
                session.snapshot().phase is Phase.READY
                and all(finding.level is not Level.ERROR for finding in session.snapshot().findings)
            )
        )
        assert agent.spec is None
        session.proceed()
        outcome = await asyncio.wait_for(running, 30)
    assert outcome.exit_code == 0
    assert agent.preflights == 2


async def test_an_abort_leaves_agents_idle_and_keeps_the_results(tmp_path: Path) -> None:
    async with scripted_agent(Script(hang_stage=1)) as agent:
        session = RunSession(request(tmp_path, config_text([agent.address])))
        running = asyncio.create_task(session.run())
        assert await wait_until_async(lambda: any(s.total_ops for s in session.snapshot().stages))
        session.request_abort("SIGINT", 130)
        session.request_abort("SIGTERM", 143)
        outcome = await asyncio.wait_for(running, 10)
        assert agent.state is AgentState.IDLE
        assert agent.aborts == ["SIGINT"]
    assert (outcome.status, outcome.exit_code) == ("aborted", 130)
    results = Path(outcome.results)
    assert "50" in (results / "01_prepare_results.tsv").read_text()
    assert json.loads((results / "metadata.json").read_text())["status"] == "aborted"
    assert "Zero" not in (results / "STATUS.txt").read_text()


async def test_what_agents_have_not_done_at_an_abort_is_given_to_nobody(tmp_path: Path) -> None:
    items: list[Event | Report] = []
    async with scripted_agent(Script(hang_stage=1)) as first, scripted_agent(Script(hang_stage=1)) as second:
        session = RunSession(request(tmp_path, config_text([first.address, second.address], "best_effort")))
        session.listen(items.append)
        running = asyncio.create_task(session.run())
        assert await wait_until_async(lambda: any(s.total_ops for s in session.snapshot().stages))
        session.request_abort("SIGTERM", 143)
        outcome = await asyncio.wait_for(running, 30)
    assert (outcome.status, outcome.exit_code) == ("aborted", 143)
    ended = {item.agent for item in items if isinstance(item, StateChanged) and item.state is AgentState.ABORTED}
    assert ended == {"a1", "a2"}
    assert not [item for item in items if isinstance(item, WorkHandedOver)]
    assert first.added == second.added == []


@pytest.mark.parametrize("turns", range(3))
async def test_a_session_that_is_cancelled_as_something_happens_ends(tmp_path: Path, turns: int) -> None:
    """An arrival at the very moment of the cancellation, or so many turns of the loop before it, must not keep whoever
    waits at the barrier waiting."""
    async with scripted_agent(Script()) as prompt, scripted_agent(Script(hang_stage=1)) as late:
        session = RunSession(request(tmp_path, config_text([prompt.address, late.address])))
        running = asyncio.create_task(session.run())

        def cancel(turns: int) -> None:
            if turns:
                asyncio.get_running_loop().call_soon(cancel, turns - 1)
            else:
                running.cancel()

        def arrived(item: Event | Report) -> None:
            if isinstance(item, BarrierArrived) and item.stage_index == 1:
                cancel(turns)

        session.listen(arrived)
        done, _ = await asyncio.wait({running}, timeout=60)
        assert done == {running}
        assert running.cancelled()
        assert [index for index, _ in prompt.starts] == [0]


class Talker(ScriptedAgent):
    """Says what it is given to say, on the stream that it was told on what to do."""

    def assigned(self, out, assignment: pb.Assignment) -> None:
        self.say = out.put_nowait
        super().assigned(out, assignment)


async def test_what_agents_say_while_a_displaced_controller_steps_down_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Event | Report] = []
    close = Coordinator.close

    def heard() -> bool:
        return any(isinstance(item, Report) and item.objects.done == 77 for item in said)

    agent = Talker(Script(hang_stage=1))
    async with scripted_agent(agent):

        async def close_slowly(self: Coordinator) -> None:
            await close(self)
            now, states = agent.now(), pb.StateChanges(generation=1)
            report = pb.Report(stage_index=1, start_ns=now, end_ns=now, objects=pb.Objects(done=77), states=states)
            agent.say(pb.AgentMessage(agent_time_ns=now, report=report))
            await wait_until_async(lambda: heard() or bool(losses()), 30)

        def losses() -> list[StateChanged]:
            return [item for item in said if isinstance(item, StateChanged) and item.state is AgentState.LOST]

        monkeypatch.setattr(Coordinator, "close", close_slowly)
        session = RunSession(request(tmp_path, config_text([agent.address]), preflight=False, stays=True))
        session.listen(said.append)
        running = asyncio.create_task(session.run())
        await asyncio.wait_for(agent.working.wait(), 60)
        agent.say(pb.AgentMessage(agent_time_ns=agent.now(), led=pb.Led(by="somebody else", since_ns=agent.now())))
        assert await wait_until_async(lambda: heard() or bool(losses()), 60)
        assert losses() == []
        session.request_detach("seen enough")
        outcome = await asyncio.wait_for(running, 60)
        assert (outcome.status, outcome.failure) == ("detached", None)


async def test_who_has_yet_to_come_to_a_run_can_leave_it_to_others(tmp_path: Path) -> None:
    """An abort that follows, as of a front that is closed, must not end a run that we have come to by then."""
    order = AttachOrder((f"127.0.0.1:{free_port()}",))
    session = RunSession(RunRequest(Path(), b"", results_root=tmp_path, attach=order))
    session.request_detach("left while the run was taken over")
    session.request_abort("the front was closed")
    outcome = await asyncio.wait_for(session.run(), 60)
    assert (outcome.status, outcome.exit_code, outcome.failure) == ("detached", 0, None)


async def test_an_abort_before_the_run_began_ends_it(tmp_path: Path) -> None:
    async with scripted_agent() as agent:
        session = RunSession(request(tmp_path, config_text([agent.address]), hold_after_preflight=True))
        session.request_abort("SIGTERM", 143)
        outcome = await asyncio.wait_for(session.run(), 10)
    assert (outcome.status, outcome.exit_code) == ("aborted", 143)
    assert list(tmp_path.iterdir()) == []


async def test_an_insecure_agent_is_a_loud_notice(tmp_path: Path) -> None:
    _, snapshot, *_ = await play(tmp_path, Script(insecure=True))
    assert any("--insecure" in notice for notice in snapshot.notices)


async def test_reports_that_got_lost_are_made_up_for_by_the_summary(tmp_path: Path) -> None:
    _, snapshot, *_ = await play(tmp_path, Script(lose_reports=True))
    assert snapshot.stages[0].total_ops == 100
    assert any("lack 50 operations" in line.text and line.level is Level.WARNING for line in snapshot.log)


async def test_results_agree_with_the_snapshot(tmp_path: Path) -> None:
    outcome, snapshot, *_ = await play(tmp_path, Script(), Script())

    results = Path(outcome.results)
    assert results.name.endswith("-tiny")
    metadata = json.loads((results / "metadata.json").read_text())
    assert metadata["status"] == "success"
    for view, stage in zip(snapshot.stages, metadata["stages"], strict=True):
        assert (stage["ops"], stage["bytes"], stage["errors"]) == (view.total_ops, view.total_bytes, view.errors)
        assert stage["p99_us"] == round(view.p99_us, 1)
    rows = (results / "perf_log.tsv").read_text().splitlines()
    header = rows[0].split("\t")
    assert len(header) == 31
    puts = sum(int(row.split("\t")[header.index("put_ops")]) for row in rows[1:])
    assert puts == snapshot.stages[0].total_ops
    assert (results / "config.yaml").read_bytes().startswith(b"target:")
    assert json.loads((results / "plan.json").read_text())["objects"] == 100


async def test_a_results_root_that_cannot_be_written_ends_the_run_early(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    async with scripted_agent() as agent:
        text = config_text([agent.address])
        outcome = await asyncio.wait_for(RunSession(request(file / "results", text)).run(), 10)
        assert agent.preflights == 0
    assert outcome.exit_code == 1
    assert outcome.failure is not None
    assert str(file) in outcome.failure.message
    assert "--results" in outcome.failure.hint


async def test_a_full_disk_costs_the_file_but_not_the_run(tmp_path: Path) -> None:
    async with scripted_agent(Script(intervals=3)) as agent:
        session = RunSession(request(tmp_path, config_text([agent.address]), hold_after_preflight=True))
        running = asyncio.create_task(session.run())
        assert await wait_until_async(lambda: session.snapshot().phase is Phase.READY)

        def fill(item: object) -> None:
            if isinstance(item, BarrierReleased) and item.stage_index == 0:
                path = Path(session.snapshot().results_dir) / "agents" / "a1"
                path.mkdir(parents=True)
                (path / "perf_log.tsv").symlink_to("/dev/full")

        session.listen(fill)
        session.proceed()
        outcome = await asyncio.wait_for(running, 30)
    assert agent.goodbyes == 1
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert outcome.failure is not None
    assert "perf_log.tsv" in outcome.failure.message
    assert "No space left" in outcome.failure.message
    assert session.snapshot().stages[1].status is StageStatus.DONE
    assert sum("goes on without that file" in line.text for line in session.snapshot().log) == 1


def test_a_session_on_its_own_thread_can_be_watched_and_stopped(tmp_path: Path) -> None:
    ready = asyncio.Event()
    address: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve(stop: asyncio.Event) -> None:
        async with scripted_agent(Script(hang_stage=1)) as agent:
            address.append(agent.address)
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    server = threading.Thread(target=lambda: loop.run_until_complete(serve(stop)))
    server.start()
    try:
        assert wait_until(lambda: bool(address))
        thread = SessionThread(RunSession(request(tmp_path, config_text(address))))
        thread.start()
        assert wait_until(lambda: any(stage.total_ops for stage in thread.snapshot().stages))
        assert thread.stop(10)
        assert thread.failure is None
        outcome = thread.snapshot().outcome
        assert outcome is not None
        assert outcome.exit_code == 130
    finally:
        loop.call_soon_threadsafe(stop.set)
        server.join(10)
        loop.close()
