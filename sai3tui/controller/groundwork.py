"""What a run rests on, whether it is started here or come to: plan, links to agents, what it is compared with, and what
it says of itself to agents and in its results directory."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from importlib.metadata import version

import platformdirs

from sai3tui.clock import now_ns
from sai3tui.config.metric_names import parse_metric
from sai3tui.config.model import Namespace
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.attaching import controller_name
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.cache_places import coordinator_directory
from sai3tui.controller.coordinator import Coordinator
from sai3tui.controller.fleet import LiveAgent
from sai3tui.controller.journal import Journal, clock_facts
from sai3tui.controller.lead import BEGAN, Claim
from sai3tui.controller.local_agent import LocalAgent
from sai3tui.controller.planning import RunPlan, plan_run
from sai3tui.controller.refusals import unreachable
from sai3tui.controller.request import RunRequest, RunStopped, failed
from sai3tui.controller.snapshot import Phase
from sai3tui.controller.streams import Streams
from sai3tui.errors import ConfigError, Sai3Error
from sai3tui.events import AgentConnected, Level, RunStarted
from sai3tui.host import host_facts
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.baseline import Baseline, load_baseline
from sai3tui.results.metadata import AgentMeta, RunMeta
from sai3tui.results.passport import agent_passport, passport
from sai3tui.results.thresholds import Judge


class Groundwork:
    """Belongs to the session's loop. `environ` is given to a local agent; `accepted` are preflight checks whose errors
    somebody decided to live with, `takes_over` whether what belongs to others is taken over. `close` ends all that was
    begun here."""

    def __init__(self, request: RunRequest, environ: Mapping[str, str] | None) -> None:
        self.request = request
        self.environ = dict(os.environ) if environ is None else dict(environ)
        self.journal = Journal(request.config_name, keeps_past=request.keeps_past)
        self.version = version("sai3tui")
        self.name = controller_name()
        self.run_id = ""
        self.baseline: Baseline | None = None
        self.links: list[AgentLink] = []
        self.accepted: frozenset[str] = frozenset()
        self.takes_over = False
        self._local: LocalAgent | None = None
        self._coordinator: Coordinator | None = None
        self._started_ns = 0

    async def addresses(self, plan: RunPlan) -> dict[str, str]:
        """Of all agents; the local one, if that is what the run has, is started."""
        if not plan.local:
            return {agent.id: agent.address for agent in plan.resolved.agents}
        local = self._local = LocalAgent(plan.file_paths, self.environ, verbose=self.request.verbose)
        return {plan.resolved.agents[0].id: await local.start()}

    async def make_plan(self, namespace: Namespace = Namespace.AUTO) -> RunPlan:
        """`namespace` is what preflight found, where the configuration leaves it open."""
        request = self.request
        return await asyncio.to_thread(
            plan_run, request.config_text, str(request.config_path), request.agents_override, request.only, namespace
        )

    async def load_baseline(self, plan: RunPlan) -> None:
        """What the run is compared with, if anything. Raises ConfigError if that cannot be read, or if there is none
        and a threshold needs one."""
        if self.request.baseline is not None:
            try:
                self.baseline = await asyncio.to_thread(load_baseline, self.request.baseline)
            except Sai3Error as error:
                hint = "it is the results directory of a finished run"
                raise ConfigError(f"cannot compare with {self.request.baseline}", hint=hint) from error
            return
        needing = [t for t in plan.resolved.config.thresholds if parse_metric(t.metric).against_baseline]
        if needing:
            raise ConfigError(
                f"threshold {needing[0].metric} needs a run to compare with",
                hint="name its results directory: --baseline RUN",
            )

    def introduce(self, plan: RunPlan, addresses: Mapping[str, str]) -> None:
        """Show what is planned, and by which agents."""
        baseline = self.baseline
        agents = tuple(LiveAgent(agent.id, addresses[agent.id], agent.concurrency) for agent in plan.resolved.agents)
        notices = list(plan.notices)
        if not self.request.preflight:
            notices.append("preflight was skipped: nothing was checked before the run")
        thresholds = plan.resolved.config.thresholds
        judge = Judge(thresholds, plan.stages, baseline.figures(thresholds) if baseline is not None else None)
        self.journal.fleet.plan(self.run_id, plan.stages, agents, judge)
        if baseline is not None:
            self.journal.fleet.compare_with(baseline, plan.layout_hash)
        self.journal.fleet.notices = tuple(notices)
        for notice in plan.notices if self.request.attach is None else ():
            self.journal.note(plan.level_of(notice), notice, code="plan")
        if not self.request.preflight and self.request.attach is None:
            self.journal.note(Level.WARNING, notices[-1], code="preflight")
        self.journal.refresh()

    async def connect(self, plan: RunPlan, addresses: Mapping[str, str]) -> None:
        """Links to all agents, each of which is free for this run. Raises RunStopped if one is not."""
        self.make_links(plan, addresses)
        results = await asyncio.gather(*(link.connect() for link in self.links), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise RunStopped(failed(unreachable(errors)))
        for link in self.links:
            self.greet(link)

    def make_links(self, plan: RunPlan, addresses: Mapping[str, str]) -> list[AgentLink]:
        """Links to all agents, which are not used yet."""
        fleet = plan.resolved.config.distributed
        self.links = [
            AgentLink(
                agent.id,
                addresses[agent.id],
                self.request.access if self._local is None else self._local.access,
                keepalive_interval_s=fleet.grpc_keepalive_interval,
                keepalive_timeout_s=fleet.grpc_keepalive_timeout,
                version=self.version,
            )
            for agent in plan.resolved.agents
        ]
        return self.links

    def greet(self, link: AgentLink) -> None:
        """Tell what an agent has said of itself."""
        hello = link.hello
        if hello is None:
            return
        clock = link.clock
        self.journal.emit(
            AgentConnected(
                now_ns(),
                link.id,
                link.address,
                hello.package_version,
                hello.host.hostname,
                hello.host.cores,
                clock.offset_ns,
                clock.uncertainty_ns,
            )
        )
        self.journal.heard(link.id, now_ns(), clock)
        if hello.insecure:
            self.journal.fleet.agents[link.id].insecure = True
            text = f"agent {link.id} at {link.address} takes orders from anybody on its network (--insecure)"
            self.journal.fleet.notices += (text,)
            self.journal.note(Level.WARNING, text, agent=link.id, code="insecure")
        if hello.package_version != self.version:
            text = f"agent {link.id} has sai3tui {hello.package_version}, this controller {self.version}"
            self.journal.note(Level.WARNING, text, agent=link.id, code="version")

    def streams(self, group: asyncio.TaskGroup, claim: Claim = BEGAN) -> Streams:
        """Streams to all agents, none of which is open yet; all that they start runs in `group`. `claim` is by what we
        lead, if we do."""
        links = self.links
        machine = Barriers([link.id for link in links], time.monotonic())
        return Streams(self.run_id, links, machine, self.journal, group, self.name, claim)

    def coordinator(self, plan: RunPlan) -> Coordinator:
        """Who knows of the run's objects, as far as that is on record here."""
        directory = coordinator_directory(platformdirs.user_data_path("sai3tui"), plan.layout_hash)
        made = self._coordinator = Coordinator(
            plan.resolved,
            run_id=self.run_id,
            fresh=self.request.fresh,
            # What ends with us takes its objects along: a record of them would only mislead the next one of its kind.
            directory=None if self.request.owned else directory,
            note=lambda level, text, code: self.journal.note(level, text, code=code),
        )
        return made

    def open_results(self, plan: RunPlan, addresses: Mapping[str, str], started_ns: int = 0) -> None:
        """Make the run's directory, which has all from now on. `started_ns`: when another controller started the run,
        if one did. Raises ResourceError."""
        journal = self.journal
        agents = tuple(
            AgentMeta(a.id, addresses[a.id], a.version, a.hostname, a.cores, a.concurrency)
            for a in journal.fleet.agents.values()
        )
        started = self._started_ns = started_ns or now_ns()
        meta = RunMeta(
            run_id=self.run_id,
            config_name=self.request.config_name,
            config_path=str(self.request.config_path),
            layout_hash=plan.layout_hash,
            started_ns=started,
            version=self.version,
            hostname=socket.gethostname(),
            agents=agents,
            stages=plan.stages,
            preflight=self.request.preflight,
            distributed=not plan.local,
            command_line=self.request.command_line,
            notices=journal.fleet.notices,
            perf_interval_s=plan.resolved.config.perf_log.interval,
            baseline=journal.fleet.baseline_name,
            agents_override=self.request.agents_override,
            only=self.request.only.value,
            namespace="shared" if plan.resolved.shared else "independent",
            namespace_found=plan.namespace_found.value,
            passport=passport(
                self.request.config_text,
                plan.layout_hash,
                plan.resolved.config.seed,
                host_facts(),
                {link.id: agent_passport(link.hello, link.address, clock_facts(link.clock)) for link in self.links},
            ),
        )
        journal.open_results(self.request, meta, plan.document)
        if started_ns:
            return
        ids = tuple(agent.id for agent in agents)
        journal.emit(
            RunStarted(
                started, "", self.run_id, self.request.config_name, plan.layout_hash, ids, self.request.preflight
            )
        )
        journal.phase(Phase.RUNNING)

    def spec(self, plan: RunPlan, number: int) -> pb.RunSpec:
        """What the agent with this number is told of the run."""
        found = plan.namespace_found
        return pb.RunSpec(
            run_id=self.run_id,
            config_name=self.request.config_name,
            config_yaml=self.request.config_text,
            agents_override=self.request.agents_override,
            agent_index=number,
            layout_hash=plan.layout_hash,
            fresh=self.request.fresh,
            only=self.request.only.value,
            namespace=found.value if found is not Namespace.AUTO else "",
            controller_timeout_s=plan.resolved.config.distributed.controller_timeout,
            credentials=self.request.access.forwarded if self._local is None else None,
            adopt=self.request.adopt or self.takes_over,
            accepted_checks=sorted(self.accepted),
            controller=self.name,
            started_ns=self._started_ns,
            preflight=self.request.preflight,
            clock_offset_ns=self.links[number].clock.offset_ns,
            baseline=str(self.request.baseline.absolute()) if self.request.baseline is not None else "",
        )

    async def close(self) -> None:
        """All of it, whatever cannot be closed, which is raised then, together. Idempotent."""
        closing = [link.close() for link in self.links]
        if self._coordinator is not None:
            closing.append(self._coordinator.close())
        results = await asyncio.gather(*closing, return_exceptions=True)
        if self._local is not None:
            # Links to it are gone by now.
            results += await asyncio.gather(self._local.close(), return_exceptions=True)
        errors = [result for result in results if result is not None]
        if errors:
            raise BaseExceptionGroup("not all could be closed", errors)
