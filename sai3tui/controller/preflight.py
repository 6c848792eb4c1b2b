"""Preflight of the whole fleet: every agent's own checks, what only the controller can see, and what needs several.

The matrix is the findings in the journal's fleet; the newest word on an agent, check and subject stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import replace

from sai3tui.clock import now_ns
from sai3tui.config.model import Namespace
from sai3tui.config.preflight import OVERRIDABLE
from sai3tui.config.resolved import NamespaceFrom, Resolved
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
    """Checks `links`, in the order of the plan's agents. `rate`: also measure. `version` is ours.

    `plan` is made again, by `plan_again`, when what was found of the namespace is not what was assumed.
    """

    def __init__(
        self,
        journal: Journal,
        plan: RunPlan,
        links: Sequence[AgentLink],
        spec_of: Callable[[RunPlan, int], pb.RunSpec],
        plan_again: Callable[[Namespace], Awaitable[RunPlan]],
        version: str,
        *,
        rate: bool = False,
    ) -> None:
        self._journal = journal
        self.plan = plan
        self._links = links
        self._spec_of = spec_of
        self._plan_again = plan_again
        self._version = version
        self._rate = rate or plan.resolved.config.preflight.rate
        self.accepted: dict[str, str] = {}
        """Checks that somebody decided to live with, and why."""

    @property
    def errors(self) -> list[Finding]:
        """What keeps the run from starting."""
        return [finding for finding in self._journal.fleet.findings if finding.level is Level.ERROR]

    async def run(self) -> None:
        """Make all checks anew. First of all, so that they are of what will be done, the plan is settled."""
        self._journal.fleet.forget_findings()
        for link in self._links:
            self._look_at(link)
        if self.plan.namespace_found is not Namespace.AUTO:
            self.plan = await self._plan_again(Namespace.AUTO)
        if self.plan.resolved.namespace_from is NamespaceFrom.ASSUMED:
            await self._settle_namespace()
        await self._step(CHECK)
        resolved = self.plan.resolved
        settled = resolved.namespace_from is not NamespaceFrom.ASSUMED
        if not self.errors and settled and resolved.shared and len(self._links) > 1:
            await self._with_probes(pb.PreflightStep.PREFLIGHT_LOOK, self.plan)
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
        if check in self.plan.resolved.config.preflight.skip:
            return
        if level is Level.ERROR and check in self.plan.resolved.config.preflight.warn_only:
            level = Level.WARNING
        self._emit(Finding(now_ns(), link.id, check, link.address, level, message, evidence, advice))

    # --- what the agents find

    async def _settle_namespace(self) -> None:
        """Have all agents look around, and plan by what they see. Where they cannot (a run that writes nothing, a check
        that is left out), what was assumed stands."""
        # As if all were shared, every place is as the file names it: a probe is where all can find it.
        as_one = await self._plan_again(Namespace.SHARED)
        await self._with_probes(pb.PreflightStep.PREFLIGHT_LOOK_AROUND, as_one)
        seen = {
            (finding.agent, finding.subject): frozenset(finding.shows)
            for finding in self._journal.fleet.findings
            if finding.check == "namespace" and finding.shows
        }
        found = namespace_seen(as_one.resolved, seen)
        if found is Namespace.AUTO:
            return
        one = found is Namespace.SHARED
        expected = one == self.plan.resolved.shared
        self.plan = as_one if one else await self._plan_again(found)
        message = f"{'all places show' if one else 'not all places show'} the same files"
        evidence = "as was assumed" if expected else "otherwise than was assumed: the run was planned again"
        overlap = None if one else same_files_elsewhere(as_one.resolved, seen)
        for link in self._links:
            if overlap is not None and link.id == overlap[0]:
                told = f"shows at {overlap[1]} the files of {overlap[2]}, which has another path, and not those of all"
                advice = "give directories that are one the same path, or say multi_endpoint.namespace"
                self._tell(link, "namespace", Level.ERROR, told, message, advice)
            elif one or expected:
                self._tell(link, "namespace", Level.OK, message, evidence)
            else:
                advice = "mount one file system on all hosts, or say shared_filesystem: false"
                self._tell(link, "namespace", Level.WARNING, message, evidence, advice)

    async def _with_probes(self, look: pb.PreflightStep.ValueType, plan: RunPlan) -> None:
        """Each agent leaves a probe; when all have, each looks; when all have, they go."""
        try:
            await self._step(pb.PreflightStep.PREFLIGHT_LEAVE, plan)
            if not self.errors:
                await self._step(look, plan)
        finally:
            await asyncio.shield(self._step(pb.PreflightStep.PREFLIGHT_REMOVE, plan))

    async def _step(self, step: pb.PreflightStep.ValueType, plan: RunPlan | None = None) -> None:
        by = plan or self.plan
        await asyncio.gather(
            *(self._ask(link, self._spec_of(by, number), step) for number, link in enumerate(self._links))
        )

    async def _ask(self, link: AgentLink, spec: pb.RunSpec, step: pb.PreflightStep.ValueType) -> None:
        try:
            async for finding in link.preflight(spec, step):
                self._emit(finding)
        except Sai3Error as error:
            self._emit(_unanswered(link, error.failure()))

    def _emit(self, finding: Finding) -> None:
        reason = self.accepted.get(finding.check)
        if finding.level is Level.ERROR and reason is not None:
            evidence = "; ".join(filter(None, (finding.evidence, f"an error, accepted: {reason}")))
            finding = replace(finding, level=Level.WARNING, evidence=evidence)
        self._journal.emit(finding)


Seen = Mapping[tuple[str, str], Set[str]]
"""By agent and URI of an endpoint: the places whose probes it shows, as in `Finding`."""


def namespace_seen(resolved: Resolved, seen: Seen) -> Namespace:
    """What was seen at all endpoints comes to; AUTO if not all have told."""
    places = {place for place, _, _ in _places(resolved)}
    if len(seen) < len(places):
        return Namespace.AUTO
    return Namespace.SHARED if all(shown >= places for shown in seen.values()) else Namespace.INDEPENDENT


def same_files_elsewhere(resolved: Resolved, seen: Seen) -> tuple[str, str, str] | None:
    """Where two agents would write over each other's files although the paths do not tell: the agent, its endpoint, the
    other agent. Those with the same path have directories of their own below it."""
    named = {place: (agent, uri) for place, agent, uri in _places(resolved)}
    for (agent, uri), shown in sorted(seen.items()):
        for place in sorted(shown & named.keys()):
            other, other_uri = named[place]
            if other != agent and other_uri != uri:
                return agent, uri, other
    return None


def _places(resolved: Resolved) -> list[tuple[str, str, str]]:
    """Every endpoint of every agent: its name as in `Finding`, agent, URI."""
    return [
        (f"{agent.index}.{number}", agent.id, endpoint.location.uri)
        for agent in resolved.agents
        for number, endpoint in enumerate(agent.endpoints)
    ]


def _unanswered(link: AgentLink, failure: Failure) -> Finding:
    return Finding(
        now_ns(),
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
