"""What a lost agent means for the stage that it was in. Pure: a table."""

from __future__ import annotations

from enum import Enum

from sai3tui.config.model import AgentLossPolicy, BarrierType, StageType

DIVIDED = frozenset({StageType.PREPARE, StageType.CLEANUP, StageType.VERIFY})
"""Stages that do something once to every object, so that what one agent leaves can be done by another."""


class Loss(Enum):
    """HAND_OVER: others do what it leaves, and the barrier can still be met. GO_ON: without what it leaves, if the
    barrier can be met. FAIL: the stage has failed."""

    HAND_OVER = "hand over"
    GO_ON = "go on"
    FAIL = "fail"


def loss_of(barrier: BarrierType, policy: AgentLossPolicy, stage_type: StageType, *, shared: bool) -> Loss:
    """`shared`: all agents see the same objects; what one of them has by itself, nobody else can do."""
    if policy is AgentLossPolicy.FAIL:
        return Loss.FAIL
    if policy is AgentLossPolicy.CONTINUE:
        return Loss.GO_ON
    if shared and stage_type in DIVIDED:
        return Loss.HAND_OVER
    return Loss.FAIL if barrier is BarrierType.ALL_OR_NOTHING else Loss.GO_ON
