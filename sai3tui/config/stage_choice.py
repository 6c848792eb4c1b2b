"""Which of the stages of a file a run is to do: what the command line can leave out."""

from __future__ import annotations

from enum import StrEnum

from sai3tui.config.load_stages import COMPLETIONS
from sai3tui.config.model import BarrierSync, Prepare, Stage, StageType
from sai3tui.config.places import NOWHERE
from sai3tui.config.problems import ProblemList


class StageChoice(StrEnum):
    """The value is the option of the command line without its dashes."""

    ALL = ""
    PREPARE_ONLY = "prepare-only"
    SKIP_PREPARE = "skip-prepare"
    CLEANUP_ONLY = "cleanup-only"
    VERIFY = "verify"


_KEPT = {
    StageChoice.PREPARE_ONLY: frozenset({StageType.VALIDATION, StageType.PREPARE}),
    StageChoice.SKIP_PREPARE: frozenset(StageType) - {StageType.PREPARE},
    StageChoice.CLEANUP_ONLY: frozenset({StageType.VALIDATION, StageType.CLEANUP}),
    StageChoice.VERIFY: frozenset({StageType.VALIDATION, StageType.VERIFY}),
}
_NEEDED = {
    StageChoice.PREPARE_ONLY: StageType.PREPARE,
    StageChoice.CLEANUP_ONLY: StageType.CLEANUP,
    StageChoice.VERIFY: StageType.VERIFY,
}
"""The one stage that the choice is for; it is added where the file has none."""


def chosen_stages(
    stages: tuple[Stage, ...],
    choice: StageChoice,
    prepare: Prepare | None,
    sync: BarrierSync,
    problems: ProblemList,
) -> tuple[Stage, ...]:
    """What is left of `stages`. Says which are left out, and that there is nothing to do where that is so."""
    if choice is StageChoice.ALL:
        return stages
    option = f"--{choice.value}"
    kept = tuple(stage for stage in stages if stage.type in _KEPT[choice])
    left_out = [stage.name for stage in stages if stage not in kept]
    if left_out:
        problems.notice(NOWHERE, "chosen", f"{option}: left out {', '.join(left_out)}")
    needed = _NEEDED.get(choice)
    if needed is None:
        if not any(stage.type is not StageType.VALIDATION for stage in kept):
            problems.error(NOWHERE, "stage", f"{option} leaves nothing to do", "the file has no other stage")
        return kept
    if needed is not StageType.CLEANUP and (prepare is None or not prepare.ensure_objects):
        message = f"{option} has nothing to do: there is no prepare.ensure_objects"
        problems.error(NOWHERE, "stage", message, "add prepare.ensure_objects")
    if any(stage.type is needed for stage in kept):
        return kept
    return (*kept, added_stage(needed, stages, sync))


def added_stage(kind: StageType, stages: tuple[Stage, ...], sync: BarrierSync) -> Stage:
    """A stage of that type, behind all others, with a name of its own."""
    last = max((stage.order for stage in stages), default=0)
    names = {stage.name for stage in stages}
    name = kind.value if kind.value not in names else f"{kind.value}-{last + 1}"
    return Stage(name, last + 1, kind, COMPLETIONS[kind][0], sync.for_stage(kind))
