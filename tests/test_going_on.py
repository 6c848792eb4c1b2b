"""What a run that has not done everything tells to do next."""

from __future__ import annotations

import pytest

from sai3tui.config.stage_choice import StageChoice
from sai3tui.results.going_on import how_to_go_on, what_is_left
from sai3tui.results.views import StageStatus

PREPARED = ("prepare", StageStatus.DONE)
CHECKED = ("validation", StageStatus.DONE)


@pytest.mark.parametrize("status", [StageStatus.FAILED, StageStatus.ABORTED, StageStatus.PENDING])
@pytest.mark.parametrize(("left", "choice"), [("cleanup", StageChoice.CLEANUP_ONLY), ("verify", StageChoice.VERIFY)])
def test_cleanup_or_verify_is_done_alone_if_nothing_else_is_left(
    status: StageStatus, left: str, choice: StageChoice
) -> None:
    stages = [CHECKED, PREPARED, ("execute", StageStatus.DONE), (left, status)]
    assert what_is_left(stages, StageChoice.ALL) is choice
    assert how_to_go_on(stages) == f"All stages but {left} are done; this does {left} alone:"


@pytest.mark.parametrize("chosen", [StageChoice.ALL, StageChoice.SKIP_PREPARE])
@pytest.mark.parametrize(
    ("prepare", "execute", "said"),
    [
        (StageStatus.DONE, StageStatus.FAILED, "Prepare was through"),
        (StageStatus.FAILED, StageStatus.DONE, "will not be created again"),
        (StageStatus.ABORTED, StageStatus.PENDING, "will not be created again"),
    ],
)
def test_whatever_else_is_left_is_gone_on_with_by_the_same_run(
    chosen: StageChoice, prepare: StageStatus, execute: StageStatus, said: str
) -> None:
    stages = [CHECKED, ("prepare", prepare), ("execute", execute), ("cleanup", StageStatus.PENDING)]
    assert what_is_left(stages, chosen) is chosen
    assert said in how_to_go_on(stages)
