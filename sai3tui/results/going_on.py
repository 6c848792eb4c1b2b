"""How a run that has not done everything is gone on with: by which stages, and what becomes of objects."""

from __future__ import annotations

from collections.abc import Sequence

from sai3tui.config.stage_choice import StageChoice
from sai3tui.results.views import StageStatus

Progress = Sequence[tuple[str, StageStatus]]
"""Of each stage its type, and how far it came."""

_ALONE = {"cleanup": StageChoice.CLEANUP_ONLY, "verify": StageChoice.VERIFY}
"""What can be done without the stages before it."""


def what_is_left(stages: Progress, chosen: StageChoice) -> StageChoice:
    """The choice of a run that does what one with `chosen` has left: cleanup or verify alone, if it is only that."""
    return _ALONE.get(_only_left(stages), chosen)


def how_to_go_on(stages: Progress) -> str:
    """What the command that goes on does with what was prepared."""
    left = _only_left(stages)
    if left in _ALONE:
        return f"All stages but {left} are done; this does {left} alone:"
    if all(status is StageStatus.DONE for kind, status in stages if kind == "prepare"):
        return "Prepare was through; this begins it anew if it has force_overwrite (not with --skip-prepare):"
    return "What was created is recorded and will not be created again:"


def _only_left(stages: Progress) -> str:
    """The type of the stages that are not done, if it is one; else nothing."""
    left = {kind for kind, status in stages if status is not StageStatus.DONE}
    return left.pop() if len(left) == 1 else ""
