"""Controllers that leave, die and come back, on real agents: the run goes on, and its results lack nothing."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from sai3tui.controller.lead import shown_name
from sai3tui.controller.request import AttachOrder, RunRequest
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Lead, Outcome, Phase, RunSnapshot, StageStatus
from sai3tui.events import AgentState, Attached, BarrierReleased, Detached, RunFinished, Steered
from sai3tui.handover import led_words
from sai3tui.results.events_log import read_events
from sai3tui.results.history import read_history
from sai3tui.results.reader import load_run
from sai3tui.results.tally import Item
from sai3tui.results.thresholds import ThresholdStatus
from tests.agents import AgentUnderTest, agent_in_process, running_agent
from tests.waiting import wait_until_async

OBJECTS = 200
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
    tmp_path: Path, *arguments: str, seconds: int = 3, timeout: float = 600, **environ: str
) -> Iterator[tuple[bytes, list[AgentUnderTest]]]:
    """A configuration and the agents that it names."""
    target = tmp_path / "target"
    with ExitStack() as stack:
        agents = [
            stack.enter_context(
                running_agent(tmp_path, "--allow-path", str(target), *arguments, name=f"a{n}", environ=environ)
            )
            for n in (1, 2)
        ]
        lines = "".join(f'    - {{id: a{n}, address: "{a.address}"}}\n' for n, a in enumerate(agents, 1))
        text = CONFIG.format(target=target, objects=OBJECTS, agents=lines, seconds=seconds, timeout=timeout)
        yield text.encode(), agents


def session_for(tmp_path: Path, text: bytes, *, preflight: bool = True, stays: bool = False) -> RunSession:
    root = tmp_path / "results"
    return RunSession(RunRequest(Path("/somewhere/tiny.yaml"), text, root, preflight=preflight, stays=stays))


def attached(tmp_path: Path, *targets: str | Path, **how: bool) -> RunSession:
    order = AttachOrder(tuple(str(target) for target in targets), **how)
    return RunSession(RunRequest(Path(), b"", results_root=tmp_path / "results", attach=order))


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


def check_whole(directory: Path, seconds: int = 3) -> None:
    """What an uninterrupted run's results have, these have too: nothing is missing and nothing is there twice."""
    record = load_run(directory)
    assert record.outcome is not None
    assert (record.outcome.status, record.outcome.exit_code) == ("success", 0)
    prepare, execute, cleanup = record.stages
    assert [stage.status for stage in record.stages] == [StageStatus.DONE] * 3
    assert (prepare.done, prepare.total_ops) == (OBJECTS, OBJECTS)
    assert (cleanup.done, execute.errors) == (OBJECTS, 0)
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
        assert snapshot.started_ns == before.started_ns
        assert [s.total_ops for s in snapshot.stages][:1] == [OBJECTS]
        check_whole(directory)
        assert all("Traceback" not in agent.log for agent in agents)


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


async def test_agents_alone_tell_the_whole_run(tmp_path: Path) -> None:
    with two_agents(tmp_path, seconds=4) as (text, agents):
        first = session_for(tmp_path, text)
        async with going(first):
            assert await wait_until_async(in_stage(first, 2), 60)
        second = attached(tmp_path, agents[1].address)
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


async def test_who_is_displaced_watches_on_and_may_lead_again(tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, _):
        agent = f'    - {{id: a1, address: "{address}"}}\n'
        text = CONFIG.format(target=target, objects=20, agents=agent, seconds=600, timeout=600).encode()
        first = session_for(tmp_path, text, preflight=False, stays=True)
        async with going(first):
            assert await wait_until_async(in_stage(first, 2), 60)
            directory = Path(first.snapshot().results_dir)
            second = attached(tmp_path, directory, take_over=True)
            async with going(second) as leading:
                assert await wait_until_async(lambda: first.snapshot().viewing and bool(lead_of(first).since_ns), 60)
                assert await wait_until_async(lambda: second.snapshot().phase is Phase.RUNNING, 60)
                attached_ns = next(
                    e.time_ns for e in read_events(directory / "events.jsonl") if isinstance(e, Attached)
                )
                assert lead_of(first).by == next(
                    e.controller for e in read_events(directory / "events.jsonl") if isinstance(e, Attached)
                )
                assert first.snapshot().started_ns < lead_of(first).since_ns <= attached_ns
                # It goes on to see what happens, cannot steer, and writes no more.
                ops = first.snapshot().stages[1].total_ops
                assert await wait_until_async(lambda: first.snapshot().stages[1].total_ops > ops, 60)
                first.pause_at_barrier()
                barrier = first.snapshot().barrier
                assert barrier is not None
                assert (barrier.index, barrier.awaited, barrier.left_s, barrier.at_end) == (2, ("a1",), None, "")

                third = first.successor()
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


async def test_clocks_that_disagree_by_an_hour_change_no_figure(tmp_path: Path) -> None:
    with two_agents(tmp_path, seconds=2, SAI3TUI_TEST_CLOCK_SKEW="3600") as (text, _):
        outcome, snapshot = await finished(session_for(tmp_path, text, preflight=False))
    assert (outcome.status, outcome.failure) == ("success", None)
    check_whole(Path(outcome.results))
    assert all(abs(agent.clock_offset_ms + 3_600_000) < 60_000 for agent in snapshot.agents)
    assert 1.5 < snapshot.stages[1].elapsed_s < 30
    assert all(abs(line.time_ns - snapshot.started_ns) < 120 * 10**9 for line in snapshot.log)


def test_a_run_that_is_over_cannot_be_attached_to(tmp_path: Path) -> None:
    outcome = asyncio.run(attached(tmp_path, tmp_path).run())
    assert outcome.exit_code == 2
    assert outcome.failure is not None
    assert "not the results directory" in outcome.failure.message
