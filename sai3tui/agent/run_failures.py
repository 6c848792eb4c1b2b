"""What ended a run or a stage, as failures."""

from __future__ import annotations

import logging

from sai3tui.config.model import Stage
from sai3tui.errors import ErrorKind, Failure, Sai3Error, cause_chain, failure_of

logger = logging.getLogger(__name__)


def first_of(group: BaseExceptionGroup[Sai3Error]) -> Sai3Error:
    for error in group.exceptions:
        return first_of(error) if isinstance(error, BaseExceptionGroup) else error
    return Sai3Error("an empty group of errors")


def internal(group: BaseExceptionGroup[BaseException]) -> Failure:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    logger.error("this is a defect of sai3tui", exc_info=group)
    return failure_of(inner)


def timed_out(stage: Stage, error: TimeoutError) -> Failure:
    return Failure(
        ErrorKind.TIMEOUT,
        f"stage {stage.name!r} took longer than its timeout of {stage.timeout:g} s",
        cause_chain(error),
        hint="raise timeout_secs of the stage",
    )
