"""Controllers that leave, die and come back, on real agents: the run goes on, and its results lack nothing."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest

import sai3tui.agent.service as agent_service
from sai3tui.agent.spool import Spool
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.lead import shown_name
from sai3tui.controller.request import AttachOrder, RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Lead, Outcome, Phase, RunSnapshot, StageStatus
from sai3tui.events import (
    AgentState,
    Attached,
    BarrierReleased,
    Detached,
    FailureSeen,
    RunFinished,
    StageFinished,
    Steered,
)
from sai3tui.handover import led_words
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.events_log import read_events
from sai3tui.results.history import read_history
from sai3tui.results.oplog import OplogProblem, read_oplog
from sai3tui.results.reader import load_run
from sai3tui.results.tally import Item
from sai3tui.results.thresholds import ThresholdStatus
from tests.agents import AgentUnderTest, agent_in_process, running_agent
from tests.fault_matrix import Relay
from tests.test_results_baseline import finished as baseline_run
from tests.waiting import wait_until_async

OBJECTS = 200
AGENTS = ("agents/a1", "agents/a2")
CONFIG = """\
target: file://{target}/
concurrency: 2
prepare:
  ensure_objects:
    - {{base_uri: "data/", count: {objects}, size_spec: 1000}}
workload:
  - {{op: get, path: "data/*", weight: 1}}
thresholds: [{{metric: get.max, stage: execute, max: 1h}}]
distributed:
  shared_filesystem: true
  start_delay: 0
  controller_timeout: {timeout}
  stages:
    - {{name: prepare, order: 1, type: prepare, completion: tasks_done}}
    - {{name: execute, order: 2, type: execute, completion: duration, duration: {seconds}s}}
    - {{name: cleanup, order: 3, type: cleanup, completion: tasks_done}}
  agents:
{agents}"""


@contextmanager
def two_agents(
    tmp_path: Path,
    *arguments: str,
    seconds: int = 3,
    timeout: float = 600,
    skews: tuple[float, float] = (0, 0),
) -> Iterator[tuple[bytes, list[AgentUnderTest]]]:
    """A configuration and the agents that it names; `skews` are by how many seconds the clock of each is ahead."""
    target = tmp_path / "target"
    with ExitStack() as stack:
        agents = [
            stack.enter_context(
                running_agent(
                    tmp_path,
                    "--allow-path",
                    str(target),
                    *arguments,
                    name=f"a{n}",
                    environ={"SAI3TUI_TEST_CLOCK_SKEW": str(skew)},
                )
            )
            for n, skew in enumerate(skews, 1)
        ]
        lines = "".join(f'    - {{id: a{n}, address: "{a.address}"}}\n' for n, a in enumerate(agents, 1))
        text = CONFIG.format(target=target, objects=OBJECTS, agents=lines, seconds=seconds, timeout=timeout)
        yield text.encode(), agents


def session_for(tmp_path: Path, text: bytes, *, preflight: bool = True, stays: bool = False) -> RunSession:
    root = tmp_path / "results"
    return RunSession(RunRequest(Path("/somewhere/tiny.yaml"), text, root, preflight=preflight, stays=stays))


def attached(tmp_path: Path, *targets: str | Path, **how: bool) -> RunSession:
    order = AttachOrder(tuple(str(target) for target in targets), **how)
    return RunSession(RunRequest(Path(), b"", results_root=tmp_path / "results", attach=order, keeps_past=True))


@asynccontextmanager
async def going(session: RunSession) -> AsyncIterator[asyncio.Task[Outcome]]:
    task = asyncio.create_task(session.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


def in_stage(session: RunSession, index: int) -> Callable[[], bool]:
    def there() -> bool:
        snapshot = session.snapshot()
        return (
            snapshot.stage_index == index and snapshot.stages[index - 1].total_ops > 0
        ) or snapshot.outcome is not None

    return there


async def finished(session: RunSession) -> tuple[Outcome, RunSnapshot]:
    outcome = await asyncio.wait_for(session.run(), 120)
    return outcome, session.snapshot()


def check_whole(directory: Path, *, errors: bool = False) -> None:
    """What an uninterrupted run's results have, these have too: nothing is missing and nothing is there twice."""
    record = load_run(directory)
    assert record.doubts == ()
    assert record.outcome is not None
    assert (record.outcome.status, record.outcome.exit_code) == ("success", 0)
    prepare, execute, cleanup = record.stages
    assert [stage.status for stage in record.stages] == [StageStatus.DONE] * 3
    assert (prepare.done, prepare.total_ops) == (OBJECTS, OBJECTS)
    assert (cleanup.done, execute.errors > 0) == (OBJECTS, errors)
    (threshold,) = record.thresholds
    assert (threshold.stage, threshold.status, threshold.failed) == ("execute", ThresholdStatus.MET, False)
    assert threshold.value
    history = read_history(directory)
    for agent, known in history.known.items():
        # What agents share with each other is no part of the run log, nor of the numbers here.
        assert len(set(range(1, max(known) + 1)) - known) <= 4, agent
    items: list[Item] = [*history.events, *history.reports]
    times = Counter((item.agent, item.sequence) for item in items if item.sequence)
    assert set(times.values()) == {1}
    opened = [event.stage_index for event in history.events if isinstance(event, BarrierReleased)]
    assert opened == [0, 1, 2, 3]
    for name in ("perf_log.tsv", "agents/a1/perf_log.tsv", "agents/a2/perf_log.tsv"):
        with (directory / name).open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        for stage in record.stages:
            mine = [row for row in rows if row["stage"] == stage.name]
            keys = [row["elapsed_s"] for row in mine]
            assert len(set(keys)) == len(keys)
            if name == "perf_log.tsv":
                assert sum(int(row[f"{g}_ops"]) for row in mine for g in ("get", "put", "meta")) == stage.total_ops
    assert {"STATUS.txt", "report.html", "01_prepare_results.tsv", "populate_ledger.tsv"} <= set(record.files)
    ledger = (directory / "populate_ledger.tsv").read_text().splitlines()
    assert len(ledger) == 4


async def test_a_controller_detaches_and_another_one_brings_the_run_to_its_end(tmp_path: Path) -> None:
    with two_agents(tmp_path) as (text, agents):
        first = session_for(tmp_path, text)
        async with going(first) as running:
            assert await wait_until_async(in_stage(first, 2), 60)
            assert first.snapshot().detachable
            first.request_detach("gone for lunch")
            outcome = await asyncio.wait_for(running, 60)
        assert (outcome.status, outcome.exit_code, outcome.failure) == ("detached", 0, None)
        directory = Path(outcome.results)
        second = attached(tmp_path, directory)
        before = first.snapshot()
        outcome, snapshot = await finished(second)
        assert (outcome.status, outcome.failure, Path(outcome.results)) == ("success", None, directory)
        assert snapshot.run_id == before.run_id
        # The past of the run is there to look at, also what was before this controller came.
        prepare = second.frames.at(before.elapsed_s / 2, snapshot)
        assert second.frames.span[0] < before.elapsed_s / 2
        assert prepare.elapsed_s < before.elapsed_s
        assert sum(stage.total_ops for stage in prepare.stages) < sum(stage.total_ops for stage in snapshot.stages)
        assert snapshot.started_ns == before.started_ns
        assert [s.total_ops for s in snapshot.stages][:1] == [OBJECTS]
        check_whole(directory)
        assert [agent.log for agent in agents if "Traceback" in agent.log] == []


async def test_a_controller_that_dies_is_made_up_for_from_what_agents_kept(tmp_path: Path) -> None:
    with two_agents(tmp_path) as (text, _):
        first = session_for(tmp_path, text)
        async with going(first):
            assert await wait_until_async(in_stage(first, 2), 60)
            directory = Path(first.snapshot().results_dir)
        # As after kill -9: half a line, half a frame, and rows that never came.
        for name in ("events.jsonl", "perf_log.tsv", "metrics.zst"):
            data = (directory / name).read_bytes()
            (directory / name).write_bytes(data[: len(data) * 2 // 3])
        outcome, _ = await finished(attached(tmp_path, directory))
        assert (outcome.status, outcome.failure) == ("success", None)
        check_whole(directory)


async def test_who_comes_later_knows_of_objects_what_agents_have_on_record_and_says_what_they_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After hours, reports of the prepare are not kept any more; here all but the last one. Its controller's cache is
    on another host."""
    monkeypatch.setattr(agent_service, "Spool", partial(Spool, report_bytes=1, other_bytes=1))
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, _):
        text = CONFIG.format(
            target=target,
            objects=OBJECTS,
            agents=f'    - {{id: a1, address: "{address}"}}\n',
            seconds=2,
            timeout=600,
        )
        first = session_for(tmp_path, text.encode(), preflight=False)
        async with going(first) as running:
            assert await wait_until_async(in_stage(first, 2), 60)
            first.request_detach("gone")
            await asyncio.wait_for(running, 60)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another-host"))
        second = attached(tmp_path, address)
        on_record = AgentLink.on_record
        seen: list[Phase] = []

        async def asked(link: AgentLink, run_id: str) -> pb.OnRecordReply:
            # Of the run all is known by now but this.
            assert await wait_until_async(lambda: second.snapshot().stage_index == 2, 60)
            seen.append(second.snapshot().phase)
            return await on_record(link, run_id)

        monkeypatch.setattr(AgentLink, "on_record", asked)
        outcome, snapshot = await finished(second)
    assert (outcome.exit_code, outcome.failure) == (0, None)
    assert seen == [Phase.CONNECTING]
    cleanup = snapshot.stages[2]
    assert (cleanup.done, cleanup.total_ops) == (OBJECTS, OBJECTS)
    assert [path for path in target.rglob("*") if path.is_file()] == []
    assert [line.agent for line in snapshot.log if "no longer kept" in line.text] == ["a1"]


async def test_agents_alone_tell_the_whole_run(tmp_path: Path) -> None:
    with two_agents(tmp_path, seconds=4) as (text, agents):
        first = session_for(tmp_path, text)
        async with going(first):
            assert await wait_until_async(in_stage(first, 2), 60)
        # One agent that answers is enough.
        second = attached(tmp_path, "127.0.0.1:1", agents[1].address)
        outcome, snapshot = await finished(second)
        assert (outcome.status, outcome.failure) == ("success", None)
        assert Path(outcome.results) != Path(first.snapshot().results_dir)
        assert {agent.state for agent in snapshot.agents} == {AgentState.IDLE}
        check_whole(Path(outcome.results))


async def test_a_second_controller_watches_is_refused_or_takes_over(tmp_path: Path) -> None:
    with two_agents(tmp_path, seconds=6) as (text, agents):
        first = session_for(tmp_path, text, stays=True)
        viewer = attached(tmp_path, agents[0].address, view=True)
        async with going(first) as leading, going(viewer):
            assert await wait_until_async(in_stage(first, 2), 60)
            refused, _ = await finished(attached(tmp_path, agents[0].address))
            assert refused.exit_code == 1
            assert refused.failure is not None
            assert "led by" in refused.failure.message
            assert first.snapshot().outcome is None

            again = attached(tmp_path, agents[0].address, view=True)
            async with going(again):
                assert await wait_until_async(lambda: again.snapshot().phase is Phase.RUNNING, 60)
                assert again.snapshot().viewing
                again.pause_at_barrier()
                directory = Path(first.snapshot().results_dir)
                second = attached(tmp_path, directory, take_over=True)
                outcome, _ = await finished(second)
                assert (outcome.status, outcome.failure) == ("success", None)
                left = await asyncio.wait_for(leading, 60)
                assert (left.status, left.exit_code) == ("success", 0)
                assert await wait_until_async(lambda: again.snapshot().outcome is not None, 60)
            for seen in (first.snapshot(), again.snapshot()):
                assert seen.viewing
                assert seen.outcome is not None
                assert seen.outcome.status == "success"
                assert [s.total_ops for s in seen.stages] == [s.total_ops for s in second.snapshot().stages]
        check_whole(directory)
        assert len(list((tmp_path / "results").iterdir())) == 1


@pytest.mark.slow
async def test_who_is_displaced_watches_on_and_may_lead_again(tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, _):
        agent = f'    - {{id: a1, address: "{address}"}}\n'
        text = CONFIG.format(target=target, objects=20, agents=agent, seconds=600, timeout=600).encode()
        first = session_for(tmp_path, text, preflight=False, stays=True)
        async with going(first):
            assert await wait_until_async(in_stage(first, 2), 60)
            directory = Path(first.snapshot().results_dir)
            # A control room that only says "attach" watches what another one leads; without a screen it is refused.
            looking = RunSession(RunRequest(Path(), b"", attach=AttachOrder((address,)), stays=True))
            async with going(looking):
                assert await wait_until_async(lambda: looking.snapshot().phase is Phase.RUNNING, 60)
                assert looking.snapshot().viewing
            refused, _ = await finished(attached(tmp_path, directory))
            assert refused.failure is not None
            assert "--take-over` leads it" in refused.failure.hint
            second = attached(tmp_path, directory, take_over=True)
            said: list[Item] = []
            second.listen(said.append)
            async with going(second) as leading:
                assert await wait_until_async(lambda: first.snapshot().viewing and bool(lead_of(first).since_ns), 60)
                assert await wait_until_async(lambda: second.snapshot().phase is Phase.RUNNING, 60)
                assert await wait_until_async(lambda: any(isinstance(item, Attached) for item in said), 60)
                (arrival,) = [item for item in said if isinstance(item, Attached)]
                assert lead_of(first).by == arrival.controller
                assert first.snapshot().started_ns < lead_of(first).since_ns <= arrival.time_ns
                # It goes on to see what happens, cannot steer, and writes no more.
                ops = first.snapshot().stages[1].total_ops
                assert await wait_until_async(lambda: first.snapshot().stages[1].total_ops > ops, 60)
                first.pause_at_barrier()
                barrier = first.snapshot().barrier
                assert barrier is not None
                assert (barrier.index, barrier.awaited, barrier.left_s, barrier.at_end) == (2, ("a1",), None, "")

                third = first.successor()
                taken: list[Item] = []
                third.listen(taken.append)
                async with going(third) as taking:
                    assert await wait_until_async(lambda: third.snapshot().phase is Phase.RUNNING, 60)
                    left = await asyncio.wait_for(leading, 60)
                    assert (left.status, left.exit_code, left.failure) == ("detached", 0, None)
                    assert second.snapshot().viewing
                    assert second.parted_for_good
                    leader = shown_name(lead_of(second).by)
                    assert led_words(second.snapshot()).startswith(f"{leader} leads this run since ")
                    assert led_words(second.snapshot()).endswith(f"sai3tui attach --view {directory}\n")
                    assert await wait_until_async(lambda: lead_of(first).by == lead_of(second).by, 60)
                    assert not third.snapshot().viewing
                    assert await wait_until_async(lambda: any(isinstance(item, Attached) for item in taken), 60)
                    third.request_abort("enough")
                    ended = await asyncio.wait_for(taking, 60)
                assert (ended.status, Path(ended.results)) == ("aborted", directory)
            assert await wait_until_async(lambda: first.snapshot().outcome is not None, 60)
        events = list(read_events(directory / "events.jsonl"))
        leaving = [type(e).__name__ for e in events if isinstance(e, Attached | Detached | Steered | RunFinished)]
        assert leaving == ["Detached", "Attached", "Detached", "Attached", "RunFinished"]
        numbered = [e.sequence for e in events if e.sequence]
        assert len(set(numbered)) == len(numbered)
        assert first.snapshot().stages[1].total_ops == third.snapshot().stages[1].total_ops


async def test_a_viewer_opens_a_stream_again_that_breaks_and_hears_of_an_end_that_it_missed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, _), Relay(address) as ours, Relay(address) as theirs:
        agent = f'    - {{id: a1, address: "{ours.address}"}}\n'
        text = CONFIG.format(target=target, objects=20, agents=agent, seconds=600, timeout=600).encode()
        leader = session_for(tmp_path, text, preflight=False)
        async with going(leader) as leading:
            assert await wait_until_async(in_stage(leader, 2), 60)
            # The viewer comes by another way, as from another host.
            directory = Path(leader.snapshot().results_dir)
            other = tmp_path / "other"
            shutil.copytree(directory, other)
            for name in ("metadata.json", "config.yaml"):
                (other / name).write_text((other / name).read_text().replace(ours.address, theirs.address))
            viewer = attached(tmp_path, other, view=True)
            async with going(viewer) as viewing:
                assert await wait_until_async(lambda: viewer.snapshot().phase is Phase.RUNNING, 60)
                await theirs.interrupt()
                assert await wait_until_async(
                    lambda: any(line.text.startswith("its stream broke") for line in viewer.snapshot().log), 60
                )
                ops = viewer.snapshot().stages[1].total_ops
                assert await wait_until_async(lambda: viewer.snapshot().stages[1].total_ops > ops, 60)
                assert viewer.snapshot().outcome is None
                leader.request_abort("enough")
                await theirs.interrupt()
                assert (await asyncio.wait_for(leading, 60)).status == "aborted"
                seen = await asyncio.wait_for(viewing, 60)
                assert (seen.status, seen.exit_code, seen.failure) == ("aborted", 130, None)
                assert any(line.text == "aborting: enough" for line in viewer.snapshot().log)
            assert viewer.snapshot().stages[1].total_ops == leader.snapshot().stages[1].total_ops


async def test_a_run_is_compared_with_the_same_baseline_whoever_leads_it(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "before").mkdir()
    baseline = baseline_run(tmp_path / "before", [100] * 10)
    async with agent_in_process(tmp_path, target) as (address, _):
        agent = f'    - {{id: a1, address: "{address}"}}\n'
        text = CONFIG.format(target=target, objects=20, agents=agent, seconds=600, timeout=600)
        text = text.replace("[{metric: get.max", "[{metric: vs_baseline.get.ops, min: -99%}, {metric: get.max")
        request = RunRequest(Path("x.yaml"), text.encode(), tmp_path / "results", preflight=False, baseline=baseline)
        session = RunSession(request)
        seen: list[tuple[object, ...]] = []
        for number in range(3):
            async with going(session) as running:
                assert await wait_until_async(in_stage(session, 2), 60)
                view = session.snapshot().baseline
                assert view is not None
                seen.append((view.name, view.bands, [each.metric for each in session.snapshot().thresholds]))
                session.request_detach("to see who comes")
                outcome = await asyncio.wait_for(running, 60)
                assert outcome.failure is None
            # First by what its directory says, then by what an agent does.
            session = attached(tmp_path, *((outcome.results,) if number == 0 else (address,)))
        assert seen[0] == seen[1] == seen[2]
        assert seen[0][0] == baseline.name
        assert json.loads((Path(outcome.results) / "metadata.json").read_text())["baseline"] == baseline.name

        # Where it cannot be read any more the run is not given up.
        baseline.rename(tmp_path / "moved")
        async with going(session) as running:
            assert await wait_until_async(in_stage(session, 2), 60)
            assert session.snapshot().baseline is None
            assert any(
                line.text.startswith(f"cannot compare with {baseline}: ")
                and "; the run goes on without it" in line.text
                for line in session.snapshot().log
            )
            session.request_abort("enough")
            outcome = await asyncio.wait_for(running, 60)
        assert (outcome.status, outcome.failure) == ("aborted", None)
        assert outcome.resume.endswith(f"--baseline {baseline}")


def lead_of(session: RunSession) -> Lead:
    return session.snapshot().lead or Lead()


async def test_without_a_controller_the_run_is_aborted_in_time_and_its_results_say_so(tmp_path: Path) -> None:
    with two_agents(tmp_path, seconds=5, timeout=1) as (text, agents):
        first = session_for(tmp_path, text)
        async with going(first):
            assert await wait_until_async(in_stage(first, 2), 60)
        directory = Path(first.snapshot().results_dir)
        assert await wait_until_async(lambda: all(" is over" in agent.log for agent in agents), 60)
        outcome, snapshot = await finished(attached(tmp_path, directory))
        assert (outcome.status, outcome.exit_code) == ("failed", 1)
        assert outcome.failure is not None
        assert "no controller for 1 s at barrier" in outcome.failure.message
        assert snapshot.stages[0].total_ops == OBJECTS
        last = list(read_events(directory / "events.jsonl"))[-1]
    assert isinstance(last, RunFinished)
    assert last.status == "failed"


async def test_clocks_that_disagree_change_no_result(tmp_path: Path) -> None:
    """Two runs at once, of agents with the right time and of agents that are seconds ahead and behind."""
    right, wrong = await asyncio.gather(recorded(tmp_path / "right", (0, 0)), recorded(tmp_path / "wrong", (7, -40)))
    for outcome, snapshot in (right, wrong):
        assert (outcome.status, outcome.failure) == ("success", None)
        check_whole(Path(outcome.results), errors=True)
        check_times(Path(outcome.results), snapshot)
    figures = [
        [(stage.name, stage.planned, stage.done, stage.existed, len(stage.arrived)) for stage in snapshot.stages]
        for _, snapshot in (right, wrong)
    ]
    assert figures[0] == figures[1]
    offsets = [agent.clock_offset_ms for agent in wrong[1].agents]
    assert all(abs(offset - true) < 3000 for offset, true in zip(offsets, (-7000, 40_000), strict=True))
    passport = json.loads((Path(wrong[0].results) / "metadata.json").read_text())["passport"]["agents"]
    for agent, offset in zip(("a1", "a2"), offsets, strict=True):
        known = passport[agent]
        assert abs(known["clock_offset_ms"] - offset) <= known["clock_uncertainty_ms"] + 5
        assert abs(known["clock_drift_ppm"]) <= known["clock_drift_uncertainty_ppm"]
        assert (
            f"clock off by {-known['clock_offset_ms']:+.3f} ms" in (Path(wrong[0].results) / "STATUS.txt").read_text()
        )


async def recorded(place: Path, skews: tuple[float, float]) -> tuple[Outcome, RunSnapshot]:
    """A run in which an object is lost, with op-logs; `skews` are by how many seconds each agent's clock is ahead."""
    place.mkdir()
    with two_agents(place, seconds=2, skews=skews) as (text, _):
        session = session_for(
            place, b"op_log_path: ops\nerror_handling: {max_total_errors: 1000000}\n" + text, preflight=False
        )

        def lose(item: Item) -> None:
            if isinstance(item, StageFinished) and item.stage_index == 1:
                next((place / "target").rglob("*.dat")).unlink()

        session.listen(lose)
        return await finished(session)


def check_times(directory: Path, snapshot: RunSnapshot) -> None:
    """All that has a time has one between the start and the end of the run, and seconds of all agents are the same."""
    start_ns = snapshot.started_ns
    end_ns = start_ns + int(snapshot.elapsed_s * 1e9)
    slack_ns = 2 * 10**9
    history = read_history(directory)
    # What was said before the start of the run has earlier times.
    times = [event.time_ns for event in history.events if event.sequence]
    times += [time for report in history.reports for time in (report.start_ns, report.end_ns)]
    assert any(isinstance(event, FailureSeen) for event in history.events)
    problems: list[OplogProblem] = []
    for agent in ("a1", "a2"):
        logged = [
            row
            for op_log in directory.parent.parent.glob(f"{agent}-data/**/ops*.zst")
            for row in read_oplog(op_log, problems.append)
        ]
        assert len(logged) > OBJECTS // 2
        times += [time for row in logged for time in (row.start_ns, row.end_ns)]
    assert problems == []
    assert start_ns - slack_ns <= min(times)
    assert max(times) <= end_ns + slack_ns
    for stage in snapshot.stages:
        assert stage.start_skew_ms < 3000
    rows = {
        name: list(csv.DictReader((directory / name / "perf_log.tsv").read_text().splitlines(), delimiter="\t"))
        for name in (".", "agents/a1", "agents/a2")
    }
    for stage in snapshot.stages:
        parts = [row for agent in AGENTS for row in rows[agent] if row["stage"] == stage.name]
        for row in parts:
            assert 0 <= float(row["elapsed_s"]) <= stage.elapsed_s + 2
            assert start_ns <= int(row["timestamp_epoch_ms"]) * 10**6 <= end_ns + slack_ns
        whole = [row for row in rows["."] if row["stage"] == stage.name]
        assert operations(parts) == operations(whole) == stage.total_ops
        # What an agent says late counts in a later second; but those of both agents are the same ones.
        firsts = [min(float(r["elapsed_s"]) for r in rows[a] if r["stage"] == stage.name) for a in AGENTS]
        lasts = [max(float(r["elapsed_s"]) for r in rows[a] if r["stage"] == stage.name) for a in AGENTS]
        assert max(firsts) < 3
        assert max(lasts) - min(lasts) < 3


def operations(rows: Iterable[Mapping[str, str]]) -> int:
    return sum(int(row[f"{group}_ops"]) for row in rows for group in ("get", "put", "meta"))


def test_a_run_that_is_over_cannot_be_attached_to(tmp_path: Path) -> None:
    outcome = asyncio.run(attached(tmp_path, tmp_path).run())
    assert outcome.exit_code == 2
    assert outcome.failure is not None
    assert "not the results directory" in outcome.failure.message
