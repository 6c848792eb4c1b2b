"""Agents that are lost, fail or are late, under each policy, by whole runs against scripted agents over real gRPC: what
they leave is done by those who take part, or the stage has failed and says how much is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sai3tui.config.ops import Op
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Outcome, RunSnapshot, StageStatus
from sai3tui.errors import ErrorKind, Failure
from sai3tui.events import BarrierReleased, Event, Report, StageFinished, WorkHandedOver
from sai3tui.proto import sai3tui_pb2 as pb
from tests.scripted_agent import Script, ScriptedAgent, scripted_agent
from tests.test_controller_session import config_text, request

CORRUPT = Failure(ErrorKind.CORRUPT, "object 7 is not what was written")
FULL = Failure(ErrorKind.RESOURCE, "the state cache cannot be written: No space left on device")
VERIFIES = (("prepare", "prepare", Op.PUT), ("verify", "verify", Op.GET))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run left unfinished here is nothing to the next one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "controller"))


class Blind(ScriptedAgent):
    """Does what it is told, but does not answer how the storage looks."""

    def assigned(self, out, assignment: pb.Assignment) -> None:
        if not assignment.survey:
            super().assigned(out, assignment)


@dataclass
class Ran:
    outcome: Outcome
    snapshot: RunSnapshot
    agents: list[ScriptedAgent]
    items: list[Event | Report]

    @property
    def ended(self) -> tuple[str, int]:
        return self.outcome.status, self.outcome.exit_code

    @property
    def stages(self) -> list[StageStatus]:
        return [stage.status for stage in self.snapshot.stages]

    @property
    def handed(self) -> list[tuple[str, int, int, tuple[str, ...]]]:
        return [(i.agent, i.stage_index, i.objects, i.to) for i in self.items if isinstance(i, WorkHandedOver)]

    @property
    def status(self) -> str:
        return (Path(self.outcome.results) / "STATUS.txt").read_text()


async def play(
    tmp_path: Path,
    *scripts: Script | ScriptedAgent,
    barrier: str = "best_effort",
    timeout: int = 20,
    on_loss: str = "",
    edit: Callable[[str], str] = lambda text: text,
) -> Ran:
    items: list[Event | Report] = []
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(scripted_agent(script)) for script in scripts]
        text = config_text([agent.address for agent in agents], barrier, timeout).decode()
        if on_loss:
            text = text.replace("distributed:\n", f"distributed:\n  on_agent_loss: {on_loss}\n")
        session = RunSession(request(tmp_path, edit(text).encode(), preflight=False))
        session.listen(items.append)
        outcome = await asyncio.wait_for(session.run(), 60)
        return Ran(outcome, session.snapshot(), agents, items)


def failing(stage: int, failure: Failure | None = None) -> Script:
    script = Script(fail_stage=stage)
    return script if failure is None else replace(script, failure=failure)


def verifying(text: str) -> str:
    """The second stage verifies."""
    return text.replace(
        "{name: execute, order: 2, type: execute, completion: duration, duration: 1s}",
        "{name: verify, order: 2, type: verify, completion: tasks_done}",
    ).replace("    execute: {type", "    verify: {type")


@pytest.mark.parametrize("barrier", ["best_effort", pytest.param("all_or_nothing", marks=pytest.mark.slow)])
@pytest.mark.parametrize("script", [Script(fail_stage=1), pytest.param(Script(die_stage=1), marks=pytest.mark.slow)])
async def test_what_nobody_has_got_to_do_fails_the_stage_with_a_count_and_a_way_on(
    tmp_path: Path, script: Script, barrier: str
) -> None:
    ran = await play(tmp_path, script, Script(), barrier=barrier, on_loss="continue")

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.FAILED, StageStatus.DONE]
    assert ran.handed == [("a1", 1, 50, ())]
    failure = ran.outcome.failure
    assert failure is not None
    assert failure.kind is (ErrorKind.AGENT_LOST if script.die_stage else script.failure.kind)
    assert failure.message == "stage prepare: 50 of 100 objects were not created (50 of a1)"
    assert any((ran.agents[0].address if script.die_stage else "bucket") in cause for cause in failure.causes)
    assert ran.outcome.resume == f"sai3tui resume {ran.outcome.results}"
    assert failure.message in ran.status
    assert ran.outcome.resume in ran.status.partition("=== How to go on ===")[2]


@pytest.mark.slow
@pytest.mark.parametrize("on_loss", ["", "continue"])
async def test_who_dies_while_it_looks_at_the_storage_is_followed_by_another_one(tmp_path: Path, on_loss: str) -> None:
    agents = Blind(Script(die_stage=1)), Script()
    ran = await play(tmp_path, *agents, barrier="all_or_nothing", on_loss=on_loss, edit=surveyed)

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.DONE, StageStatus.DONE]
    assert ran.handed == []


def surveyed(text: str) -> str:
    return text.replace("prepare:\n", "prepare:\n  force_overwrite: false\n", 1)


@pytest.mark.slow
async def test_who_fails_to_look_at_the_storage_is_followed_by_another_one(tmp_path: Path) -> None:
    ran = await play(tmp_path, Blind(failing(1)), Script(), edit=surveyed)

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.DONE, StageStatus.DONE]


@pytest.mark.slow
async def test_if_nobody_can_look_at_the_storage_the_run_ends_with_the_cause(tmp_path: Path) -> None:
    ran = await play(tmp_path, Blind(failing(1)), Blind(failing(1)), edit=surveyed)

    assert ran.ended == ("failed", 1)
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.kind is ErrorKind.NOT_FOUND


@pytest.mark.parametrize(
    ("barrier", "on_loss", "others"),
    [("best_effort", "", 1), ("majority", "", 2), ("all_or_nothing", "redistribute", 1)],
)
async def test_what_a_failed_agent_leaves_goes_to_the_others_and_its_failure_is_told(
    tmp_path: Path, barrier: str, on_loss: str, others: int
) -> None:
    ran = await play(tmp_path, failing(1), *[Script()] * others, barrier=barrier, on_loss=on_loss)

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.DONE, StageStatus.DONE]
    ((agent, stage, objects, to),) = ran.handed
    assert (agent, stage, to) == ("a1", 1, ("a2", "a3")[:others])
    assert sum(held(each) for agent in ran.agents for each in agent.added) == objects > 0
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.kind is ErrorKind.NOT_FOUND
    assert "the bucket does not exist" in ran.status.partition("=== What failed ===")[2]
    assert "the bucket does not exist" in ran.status.partition("=== Coverage ===")[2]
    assert ran.snapshot.coverage == others / (others + 1)


def held(assignment: pb.Assignment) -> int:
    return sum(each.end_k - each.first_k for each in assignment.generation.holdings)


@pytest.mark.parametrize(
    ("barrier", "on_loss"), [("best_effort", ""), ("majority", "continue"), ("all_or_nothing", "continue")]
)
async def test_wrong_data_ends_the_run_whatever_the_policy(tmp_path: Path, barrier: str, on_loss: str) -> None:
    ran = await play(tmp_path, failing(2, CORRUPT), Script(), Script(), barrier=barrier, on_loss=on_loss)

    assert ran.ended == ("failed", 5)
    assert ran.stages == [StageStatus.DONE, StageStatus.FAILED]
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.message == CORRUPT.message


@pytest.mark.slow
@pytest.mark.parametrize(("barrier", "stage"), [("best_effort", 1), ("majority", 2)])
async def test_on_agent_loss_fail_is_for_agents_that_fail_too(tmp_path: Path, barrier: str, stage: int) -> None:
    ran = await play(tmp_path, failing(stage), Script(), Script(), barrier=barrier, on_loss="fail")

    assert ran.ended == ("failed", 1)
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.kind is ErrorKind.NOT_FOUND


@pytest.mark.slow
async def test_on_agent_loss_continue_is_for_agents_that_fail_too(tmp_path: Path) -> None:
    ran = await play(tmp_path, failing(2), Script(), barrier="all_or_nothing", on_loss="continue")

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.DONE, StageStatus.DONE]
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.kind is ErrorKind.NOT_FOUND


@pytest.mark.slow
async def test_one_full_disk_is_that_agents_loss(tmp_path: Path) -> None:
    ran = await play(tmp_path, failing(1, FULL), Script(), barrier="all_or_nothing")

    assert ran.ended == ("incomplete", 6)
    assert ran.handed == [("a1", 1, 50, ("a2",))]
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.message == FULL.message


async def test_what_a_late_agent_has_not_done_is_done_before_the_barrier_opens(tmp_path: Path) -> None:
    ran = await play(tmp_path, Script(hang_stage=1), Script(), timeout=1)

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.DONE, StageStatus.DONE]
    assert ran.handed == [("a1", 1, 50, ("a2",))]
    late, other = ran.agents
    assert late.excluded == {1}
    assert sum(held(each) for each in other.added) == 50
    opened = {i.stage_index: i for i in ran.items if isinstance(i, BarrierReleased)}
    assert (opened[1].arrived, opened[1].missing) == (("a2",), ("a1",))
    # It sat the second stage out, and was there at its end.
    assert set(opened[2].arrived) == {"a1", "a2"}
    assert late.goodbyes == 1
    assert ran.snapshot.coverage == 0.5


@pytest.mark.slow
async def test_a_threshold_of_coverage_counts_who_failed_and_who_was_left_behind(tmp_path: Path) -> None:
    def limited(text: str) -> str:
        return "thresholds: [{metric: coverage, min: 100%}]\n" + text

    failed = await play(tmp_path, failing(2), Script(), edit=limited)
    late = await play(tmp_path, Script(hang_stage=1), Script(), timeout=1, edit=limited)

    assert failed.ended == late.ended == ("threshold_missed", 4)
    values = [[(view.stage, view.value) for view in ran.snapshot.thresholds] for ran in (failed, late)]
    assert values == [[("prepare", 1.0), ("execute", 0.5)], [("prepare", 0.5), ("execute", 0.5)]]


@pytest.mark.slow
async def test_what_a_late_agent_has_not_done_is_missing_where_nobody_is_to_do_it(tmp_path: Path) -> None:
    ran = await play(tmp_path, Script(hang_stage=1), Script(), timeout=1, on_loss="continue")

    assert ran.ended == ("incomplete", 6)
    assert ran.stages == [StageStatus.FAILED, StageStatus.DONE]
    (finished,) = [i for i in ran.items if isinstance(i, StageFinished) and i.stage_index == 1]
    assert finished.failure is not None
    assert finished.failure.kind is ErrorKind.TIMEOUT
    assert "50 of 100 objects were not created" in finished.failure.message
    assert any("a1 was late at barrier 1" in cause for cause in finished.failure.causes)
    assert ran.outcome.resume


@pytest.mark.slow
async def test_a_late_agent_is_a_failure_where_a_loss_is_one(tmp_path: Path) -> None:
    ran = await play(tmp_path, Script(hang_stage=1), Script(), timeout=1, on_loss="fail")

    assert ran.ended == ("failed", 1)
    assert ran.outcome.failure is not None
    assert "50 of 100 objects were not created" in ran.outcome.failure.message


async def test_who_was_left_behind_gets_no_work_of_the_stage_that_it_sits_out(tmp_path: Path) -> None:
    scripts: Sequence[Script] = (
        Script(VERIFIES, fail_stage=2),
        Script(VERIFIES, intervals=4),
        Script(VERIFIES, hang_stage=1),
    )
    ran = await play(tmp_path, *scripts, timeout=1, edit=verifying)

    assert ran.ended == ("incomplete", 6)
    assert ran.agents[2].excluded == {1}
    assert all(to == ("a2",) for agent, stage, _, to in ran.handed if stage == 2)
    assert not ran.agents[2].added


@pytest.mark.slow
async def test_a_majority_is_one_of_all_agents_of_the_run(tmp_path: Path) -> None:
    ran = await play(tmp_path, failing(1), failing(2), Script(), barrier="majority")

    assert ran.ended == ("failed", 1)
    assert ran.stages == [StageStatus.DONE, StageStatus.FAILED]
    assert ran.outcome.failure is not None
    assert "no majority of the run's 3 agents is left" in ran.outcome.failure.message
