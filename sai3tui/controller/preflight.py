"""Preflight of the whole fleet: every agent's own checks, what only the controller can see, and what needs several.

The matrix is the findings in the journal's fleet; the newest word on an agent, check and subject stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sai3tui.config.preflight import OVERRIDABLE
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.journal import Journal
from sai3tui.controller.planning import RunPlan
from sai3tui.errors import Failure, Sai3Error
from sai3tui.events import Finding, Level
from sai3tui.proto import sai3tui_pb2 as pb

CLOCK_WARNING_S = 1.0
FAR_CLOCK_S = 14 * 60.0
CHECK = pb.PreflightStep.PREFLIGHT_CHECK


class Preflight:
    """Checks `links`, in the order of the plan's agents. `rate`: also measure. `version` is ours."""

    def __init__(
        self,
        journal: Journal,
        plan: RunPlan,
        links: Sequence[AgentLink],
        spec_of: Callable[[int], pb.RunSpec],
        version: str,
        *,
        rate: bool = False,
    ) -> None:
        self._journal = journal
        self._plan = plan
        self._links = links
        self._spec_of = spec_of
        self._version = version
        self._rate = rate or plan.resolved.config.preflight.rate
        self.accepted: dict[str, str] = {}
        """Checks that somebody decided to live with, and why."""

    @property
    def errors(self) -> list[Finding]:
        """What keeps the run from starting."""
        return [finding for finding in self._journal.fleet.findings if finding.level is Level.ERROR]

    async def run(self) -> None:
        """Make all checks anew."""
        self._journal.fleet.forget_findings()
        for link in self._links:
            self._look_at(link)
        await self._step(CHECK)
        if not self.errors and self._plan.resolved.shared and len(self._links) > 1:
            await self._compare_namespaces()
        if not self.errors and self._rate:
            await self._step(pb.PreflightStep.PREFLIGHT_RATE_ALL)
            await self._step(pb.PreflightStep.PREFLIGHT_RATE_EACH)

    def accept(self, check: str, reason: str) -> bool:
        """Let the run begin although `check` found errors. False if that is no check to override."""
        if check not in OVERRIDABLE or not reason.strip():
            return False
        self.accepted[check] = reason
        for finding in self.errors:
            if finding.check == check:
                self._emit(finding)
        text = f"preflight: errors of {check!r} were accepted: {reason}"
        self._journal.fleet.notices += (text,)
        self._journal.note(Level.WARNING, text, code="accepted")
        return True

    # --- what the controller sees

    def _look_at(self, link: AgentLink) -> None:
        hello = link.hello
        if hello is None:
            return
        offset_s, unsure_s = link.clock.offset_ns / 1e9, link.clock.uncertainty_ns / 1e9
        if hello.insecure:
            self._tell(
                link,
                "agent",
                Level.WARNING,
                "takes orders from anybody on its network (--insecure)",
                "neither certificate nor token",
                "start it with --certs or --token-file",
            )
        else:
            self._tell(link, "agent", Level.OK, "lets us in, and is idle", link.access_words)
        if hello.package_version != self._version:
            self._tell(
                link,
                "version",
                Level.WARNING,
                f"has sai3tui {hello.package_version}, this controller {self._version}",
                f"protocol {hello.protocol_version} on both sides",
                "install the same version on all hosts",
            )
        told = f"its clock is {abs(offset_s):.3f} s {'ahead of' if offset_s > 0 else 'behind'} ours"
        evidence = f"± {unsure_s * 1000:.2f} ms; times are corrected by that"
        if abs(offset_s) > FAR_CLOCK_S:
            advice = "set the clocks (NTP): one of the two is so wrong that storages refuse its signatures"
            self._tell(link, "clock", Level.ERROR, told, evidence, advice)
        elif abs(offset_s) > CLOCK_WARNING_S:
            self._tell(link, "clock", Level.WARNING, told, evidence, "set the clocks (NTP) of both hosts")
        else:
            self._tell(link, "clock", Level.OK, told, evidence)

    def _tell(
        self, link: AgentLink, check: str, level: Level, message: str, evidence: str = "", advice: str = ""
    ) -> None:
        if check in self._plan.resolved.config.preflight.skip:
            return
        if level is Level.ERROR and check in self._plan.resolved.config.preflight.warn_only:
            level = Level.WARNING
        self._emit(Finding(time.time_ns(), link.id, check, link.address, level, message, evidence, advice))

    # --- what the agents find

    async def _compare_namespaces(self) -> None:
        """Each agent leaves a probe; when all have, each looks for its neighbour's; when all have, they go."""
        try:
            await self._step(pb.PreflightStep.PREFLIGHT_LEAVE)
            if not self.errors:
                await self._step(pb.PreflightStep.PREFLIGHT_LOOK)
        finally:
            await asyncio.shield(self._step(pb.PreflightStep.PREFLIGHT_REMOVE))

    async def _step(self, step: pb.PreflightStep.ValueType) -> None:
        await asyncio.gather(*(self._ask(link, number, step) for number, link in enumerate(self._links)))

    async def _ask(self, link: AgentLink, number: int, step: pb.PreflightStep.ValueType) -> None:
        try:
            async for finding in link.preflight(self._spec_of(number), step):
                self._emit(finding)
        except Sai3Error as error:
            self._emit(_unanswered(link, error.failure()))

    def _emit(self, finding: Finding) -> None:
        reason = self.accepted.get(finding.check)
        if finding.level is Level.ERROR and reason is not None:
            evidence = "; ".join(filter(None, (finding.evidence, f"an error, accepted: {reason}")))
            finding = replace(finding, level=Level.WARNING, evidence=evidence)
        self._journal.emit(finding)


def _unanswered(link: AgentLink, failure: Failure) -> Finding:
    return Finding(
        time.time_ns(),
        link.id,
        "agent",
        link.address,
        Level.ERROR,
        failure.message,
        "; ".join(failure.causes),
        failure.hint,
        0.0,
        failure,
    )
