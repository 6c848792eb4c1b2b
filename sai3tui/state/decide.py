"""What a prepare does with what it finds: the table of the design, as a function."""

from __future__ import annotations

from enum import Enum


class Found(Enum):
    """What the state cache (or a checkpoint) knows about the layout."""

    NOTHING = "nothing"
    UNFINISHED = "an unfinished generation"
    FINISHED = "a finished generation"


class Action(Enum):
    """What prepare does.

    RESUME: PUT what is not recorded created, in the same generation; first HEAD a sample of what is, and if any of that
    is gone, CONFIRM. CONFIRM: LIST, then PUT what is not recorded created or not there, in the same generation.
    BEGIN: a new generation, PUT all.
    REPAIR: HEAD a sample of what is recorded created and report what is gone; then PUT what is not there.
    ADOPT: nothing is known; a HEAD sample decides between adopting all, PUTting all, and COMPARE.
    COMPARE: nothing is known; LIST, then PUT what is missing or of another size.
    """

    RESUME = "resume"
    CONFIRM = "confirm"
    BEGIN = "begin"
    REPAIR = "repair"
    ADOPT = "adopt"
    COMPARE = "compare"


def decide(
    found: Found, *, fresh: bool, force_overwrite: bool, skip_verification: bool, doubtful: bool = False
) -> Action:
    """The row of the table that applies. `doubtful`: more may have happened since than what is known; then all is
    looked at, and no sample."""
    if fresh:
        return Action.BEGIN
    if found is Found.UNFINISHED:
        return Action.CONFIRM if doubtful else Action.RESUME
    if force_overwrite:
        return Action.BEGIN
    if found is Found.FINISHED:
        return Action.COMPARE if doubtful else Action.REPAIR
    return Action.ADOPT if skip_verification else Action.COMPARE


def after_sample(there: int, missing: int) -> Action:
    """What ADOPT comes to when `there` objects of the sample exist with the right size and `missing` do not.

    REPAIR stands for: take all as created.
    """
    if there and not missing:
        return Action.REPAIR
    return Action.BEGIN if not there else Action.COMPARE
