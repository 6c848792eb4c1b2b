"""What an agent that is lost, or has failed, means for the stage that it was in. Pure: a table."""

from __future__ import annotations

from enum import Enum

from sai3tui.config.model import AgentLossPolicy, BarrierType, StageType
from sai3tui.errors import ErrorKind

DIVIDED = frozenset({StageType.PREPARE, StageType.CLEANUP, StageType.VERIFY})
"""Stages that do something once to every object, so that what one agent leaves can be done by another."""


class Loss(Enum):
    """HAND_OVER: others do what it leaves, and the barrier can still be met. GO_ON: without what it leaves, if the
    barrier can be met. FAIL: the stage has failed."""

    HAND_OVER = "hand over"
    GO_ON = "go on"
    FAIL = "fail"


_OF_ITS_HOST = frozenset({ErrorKind.AGENT_LOST, ErrorKind.RESOURCE})
"""Failures that say nothing about what the other agents can do."""


def loss_of(
    barrier: BarrierType,
    policy: AgentLossPolicy,
    stage_type: StageType,
    *,
    shared: bool,
    kind: ErrorKind = ErrorKind.AGENT_LOST,
) -> Loss:
    """`shared`: all agents see the same objects; what one of them has by itself, nobody else can do. `kind` is why the
    agent is lost, or has failed. Wrong data is no loss that one goes on with; any other failure is, unless nothing but
    the whole will do and nobody has said otherwise."""
    if policy is AgentLossPolicy.FAIL or kind is ErrorKind.CORRUPT:
        return Loss.FAIL
    if policy is AgentLossPolicy.CONTINUE:
        return Loss.GO_ON
    strict = barrier is BarrierType.ALL_OR_NOTHING
    if strict and policy is AgentLossPolicy.DEFAULT and kind not in _OF_ITS_HOST:
        return Loss.FAIL
    if shared and stage_type in DIVIDED:
        return Loss.HAND_OVER
    return Loss.FAIL if strict else Loss.GO_ON
