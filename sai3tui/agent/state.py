"""The states of an agent as one table. What the table does not know is a defect, and raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sai3tui.errors import Failure, StateError
from sai3tui.events import AgentState

_S = AgentState

STATES = frozenset(state for state in AgentState if state < 100)
"""The states that an agent itself can be in."""

LIVE = frozenset({_S.VALIDATING, _S.RUNNING, _S.AT_BARRIER, _S.EXCLUDED, _S.COMPLETED})
"""States of a run that has neither failed nor been aborted. From each of them it can."""

_FORWARD: Mapping[AgentState, frozenset[AgentState]] = {
    _S.IDLE: frozenset({_S.VALIDATING}),
    _S.VALIDATING: frozenset({_S.AT_BARRIER}),
    _S.RUNNING: frozenset({_S.AT_BARRIER, _S.EXCLUDED}),
    _S.AT_BARRIER: frozenset({_S.RUNNING, _S.EXCLUDED, _S.COMPLETED}),
    _S.EXCLUDED: frozenset({_S.AT_BARRIER}),
    _S.COMPLETED: frozenset({_S.IDLE}),
    _S.FAILED: frozenset({_S.IDLE}),
    _S.ABORTING: frozenset({_S.ABORTED}),
    _S.ABORTED: frozenset({_S.IDLE}),
}

TRANSITIONS: Mapping[AgentState, frozenset[AgentState]] = MappingProxyType(
    {state: after | ({_S.FAILED, _S.ABORTING} if state in LIVE else set()) for state, after in _FORWARD.items()}
)
"""Where each state can go."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state. `stage_index` is the stage (running) or the barrier (at it), 0 before the first stage."""

    before: AgentState
    after: AgentState
    stage_index: int
    reason: str = ""
    failure: Failure | None = None


class StateMachine:
    """The state of one agent; `on_change` is told every transition, after it happened."""

    def __init__(self, on_change: Callable[[Transition], None] | None = None) -> None:
        self.state = AgentState.IDLE
        self.stage_index = 0
        self._on_change = on_change

    def to(
        self, state: AgentState, stage_index: int | None = None, *, reason: str = "", failure: Failure | None = None
    ) -> None:
        """Change state; `stage_index` None keeps it. Raises StateError for what the table does not know."""
        before = self.state
        if state not in TRANSITIONS[before]:
            raise StateError(f"an agent that is {before.word} cannot become {state.word}")
        self.state = state
        if state is AgentState.IDLE:
            self.stage_index = 0
        elif stage_index is not None:
            self.stage_index = stage_index
        if self._on_change is not None:
            self._on_change(Transition(before, state, self.stage_index, reason, failure))
