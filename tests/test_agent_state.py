"""The whole table of agent states, written out a second time as a list of what is allowed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.state import LIVE, STATES, TRANSITIONS, StateMachine, Transition
from sai3tui.errors import ErrorKind, Failure, StateError
from sai3tui.events import AgentState

ALLOWED = {
    "idle": "validating",
    "validating": "at_barrier failed aborting",
    "running": "at_barrier excluded failed aborting",
    "at_barrier": "running excluded completed failed aborting",
    "excluded": "at_barrier failed aborting",
    "completed": "idle failed aborting",
    "failed": "idle",
    "aborting": "aborted",
    "aborted": "idle",
}


def machine_in(state: AgentState) -> StateMachine:
    """A machine that walked to `state` by legal steps only."""
    paths: dict[AgentState, list[AgentState]] = {AgentState.IDLE: []}
    frontier = [AgentState.IDLE]
    while frontier:
        here = frontier.pop(0)
        for after in sorted(TRANSITIONS[here]):
            if after not in paths:
                paths[after] = [*paths[here], after]
                frontier.append(after)
    machine = StateMachine()
    for step in paths[state]:
        machine.to(step)
    return machine


@pytest.mark.parametrize(("before", "after"), itertools.product(sorted(STATES), sorted(STATES)))
def test_exactly_the_transitions_of_the_table_are_possible(before: AgentState, after: AgentState) -> None:
    machine = machine_in(before)
    if after.name.lower() in ALLOWED[before.name.lower()].split():
        machine.to(after)
        assert machine.state is after
    else:
        with pytest.raises(StateError):
            machine.to(after)
        assert machine.state is before


def test_failing_and_aborting_are_possible_from_every_live_state() -> None:
    for state in LIVE:
        assert {AgentState.FAILED, AgentState.ABORTING} <= TRANSITIONS[state]
    assert AgentState.COMPLETED in LIVE


@given(st.lists(st.sampled_from(sorted(STATES)), max_size=30))
def test_idle_can_be_reached_again_from_wherever_a_walk_leads(steps: list[AgentState]) -> None:
    machine = StateMachine()
    for step in steps:
        if step in TRANSITIONS[machine.state]:
            machine.to(step)
    if machine.state is AgentState.IDLE:
        return
    if machine.state in LIVE:
        machine.to(AgentState.FAILED)
    if machine.state is AgentState.ABORTING:
        machine.to(AgentState.ABORTED)
    machine.to(AgentState.IDLE)
    assert machine.stage_index == 0


def test_every_change_is_told_with_its_stage_and_failure() -> None:
    seen: list[Transition] = []
    machine = StateMachine(seen.append)
    failure = Failure(ErrorKind.AUTH, "the key was refused")
    machine.to(AgentState.VALIDATING)
    machine.to(AgentState.AT_BARRIER, 0)
    machine.to(AgentState.RUNNING, 1, reason="released")
    machine.to(AgentState.FAILED, failure=failure)
    assert [(t.before, t.after, t.stage_index) for t in seen] == [
        (AgentState.IDLE, AgentState.VALIDATING, 0),
        (AgentState.VALIDATING, AgentState.AT_BARRIER, 0),
        (AgentState.AT_BARRIER, AgentState.RUNNING, 1),
        (AgentState.RUNNING, AgentState.FAILED, 1),
    ]
    assert seen[2].reason == "released"
    assert seen[3].failure is failure
