"""One preflight check: timed, bounded, and reported whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass

from sai3tui.agent.clock import now_ns
from sai3tui.errors import ErrorContext, ErrorKind, Failure, Sai3Error, failure_of
from sai3tui.events import Finding, Level

Emit = Callable[[Finding], None]
Work = Callable[[], Awaitable["Told"]]

CHECK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a check that did not raise has to say."""

    message: str
    evidence: str = ""
    level: Level = Level.OK
    advice: str = ""
    shows: tuple[str, ...] = ()
    """As in `Finding`."""


class Checks:
    """Runs checks of one agent and hands out their findings. Those named in `skip` are not made, errors of those in
    `warn_only` are warnings."""

    def __init__(
        self, agent: str, emit: Emit, *, skip: Set[str] = frozenset(), warn_only: Set[str] = frozenset()
    ) -> None:
        self._agent = agent
        self._emit = emit
        self._skip = skip
        self._warn_only = warn_only
        self._made: list[Finding] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._made)

    async def run(self, check: str, subject: str, work: Work, *, timeout_s: float = CHECK_TIMEOUT_S) -> bool:
        """Await what `work` begins for at most `timeout_s` seconds and report it. Whether it found no error; a check
        that is not made has found none."""
        began = time.monotonic()
        if check in self._skip:
            told = Told("not checked: preflight.skip names it", "", Level.INFO)
            self._report(check, subject, told, began, None)
            return True
        try:
            async with asyncio.timeout(timeout_s):
                told = await work()
        except TimeoutError:
            failure = Failure(
                ErrorKind.TIMEOUT,
                f"no answer within {timeout_s:g} s",
                context=ErrorContext(endpoint=subject, op=check),
                hint="is the address right, and does a firewall drop the packets?",
            )
        except (Sai3Error, OSError) as error:
            failure = failure_of(error)
        else:
            self._report(check, subject, told, began, None)
            return told.level is not Level.ERROR
        failure = failure.with_context(agent=self._agent)
        evidence = "; ".join(failure.causes)
        self._report(check, subject, Told(failure.message, evidence, Level.ERROR, failure.hint), began, failure)
        return False

    def tell(self, check: str, subject: str, told: Told) -> None:
        """Report what was found on the way to something else."""
        if check not in self._skip:
            self._report(check, subject, told, time.monotonic(), None)

    def _report(self, check: str, subject: str, told: Told, began: float, failure: Failure | None) -> None:
        level, evidence = told.level, told.evidence
        if level is Level.ERROR and check in self._warn_only:
            level = Level.WARNING
            evidence = "; ".join(filter(None, (evidence, "an error, but preflight.warn_only names it")))
        finding = Finding(
            now_ns(),
            self._agent,
            check,
            subject,
            level,
            told.message,
            evidence,
            told.advice,
            (time.monotonic() - began) * 1000.0,
            failure,
            told.shows,
        )
        self._made.append(finding)
        self._emit(finding)
