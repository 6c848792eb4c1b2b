"""What a lost agent means, row by row."""

from __future__ import annotations

import pytest

from sai3tui.config.model import AgentLossPolicy, BarrierType, StageType
from sai3tui.controller.loss import Loss, loss_of
from sai3tui.errors import ErrorKind

STRICT, MOST, BEST = BarrierType.ALL_OR_NOTHING, BarrierType.MAJORITY, BarrierType.BEST_EFFORT
DEFAULT, REDISTRIBUTE, CONTINUE, FAIL = (
    AgentLossPolicy.DEFAULT,
    AgentLossPolicy.REDISTRIBUTE,
    AgentLossPolicy.CONTINUE,
    AgentLossPolicy.FAIL,
)
WORK = (StageType.PREPARE, StageType.CLEANUP, StageType.VERIFY)
OTHER = tuple(stage for stage in StageType if stage not in WORK)


@pytest.mark.parametrize("barrier", BarrierType)
@pytest.mark.parametrize("policy", [DEFAULT, REDISTRIBUTE])
@pytest.mark.parametrize("stage", WORK)
def test_work_on_shared_objects_is_handed_over(barrier: BarrierType, policy: AgentLossPolicy, stage: StageType) -> None:
    assert loss_of(barrier, policy, stage, shared=True) is Loss.HAND_OVER


@pytest.mark.parametrize("policy", [DEFAULT, REDISTRIBUTE])
@pytest.mark.parametrize(("stage", "shared"), [(s, False) for s in StageType] + [(s, True) for s in OTHER])
def test_other_work_fails_a_strict_barrier_and_no_other(
    policy: AgentLossPolicy, stage: StageType, shared: bool
) -> None:
    assert loss_of(STRICT, policy, stage, shared=shared) is Loss.FAIL
    assert loss_of(MOST, policy, stage, shared=shared) is Loss.GO_ON
    assert loss_of(BEST, policy, stage, shared=shared) is Loss.GO_ON


@pytest.mark.parametrize("barrier", BarrierType)
@pytest.mark.parametrize("stage", StageType)
@pytest.mark.parametrize("shared", [True, False])
def test_who_says_continue_or_fail_gets_it(barrier: BarrierType, stage: StageType, shared: bool) -> None:
    assert loss_of(barrier, CONTINUE, stage, shared=shared) is Loss.GO_ON
    assert loss_of(barrier, FAIL, stage, shared=shared) is Loss.FAIL


@pytest.mark.parametrize("barrier", BarrierType)
@pytest.mark.parametrize("policy", AgentLossPolicy)
@pytest.mark.parametrize("stage", StageType)
@pytest.mark.parametrize("shared", [True, False])
def test_who_fails_is_lost_to_the_stage_unless_it_read_wrong_data_or_all_are_to_succeed(
    barrier: BarrierType, policy: AgentLossPolicy, stage: StageType, shared: bool
) -> None:
    lost = loss_of(barrier, policy, stage, shared=shared)
    assert loss_of(barrier, policy, stage, shared=shared, kind=ErrorKind.CORRUPT) is Loss.FAIL
    assert loss_of(barrier, policy, stage, shared=shared, kind=ErrorKind.RESOURCE) is lost
    strict = barrier is STRICT and policy is DEFAULT
    assert loss_of(barrier, policy, stage, shared=shared, kind=ErrorKind.STORAGE) is (Loss.FAIL if strict else lost)
