"""One run from its configuration to its outcome, free of any UI.

`run()` owns everything that the run needs: the local agent, connections, streams, files. The other methods may be
called from any thread, before, during and after `run()`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import platformdirs

from sai3tui.config.metric_names import parse_metric
from sai3tui.config.model import Namespace
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.attaching import (
    STATUS_TIMEOUT_S,
    RunningRun,
    controller_name,
    events_of,
    fetch_history,
    find_by_agent,
    find_by_directory,
    made_again,
    results_directory,
    started_again,
    subscribe,
)
from sai3tui.controller.barriers import Barriers
from sai3tui.controller.conductor import Conductor, Displaced
from sai3tui.controller.coordinator import Coordinator, coordinator_directory
from sai3tui.controller.fleet import LiveAgent
from sai3tui.controller.frames import Frames
from sai3tui.controller.journal import Journal, OnItem, OnSecond, clock_facts
from sai3tui.controller.lead import Lead
from sai3tui.controller.local_agent import LocalAgent
from sai3tui.controller.planning import RunPlan, plan_run
from sai3tui.controller.preflight import Preflight
from sai3tui.controller.refusals import preflight_failed, unreachable
from sai3tui.controller.request import (
    DETACHED,
    EXIT_OK,
    EXIT_SIGINT,
    EXIT_THRESHOLD,
    SUCCESS,
    THRESHOLD_MISSED,
    AttachOrder,
    Ending,
    RunRequest,
    RunStopped,
    failed,
)
from sai3tui.controller.snapshot import Outcome, Phase, RunSnapshot
from sai3tui.controller.streams import Streams
from sai3tui.controller.viewer import Viewer
from sai3tui.errors import ConfigError, ResourceError, Sai3Error, failure_of
from sai3tui.events import (
    AbortRequested,
    AgentConnected,
    Attached,
    BarrierReleased,
    Detached,
    Level,
    Report,
    RunStarted,
)
from sai3tui.host import host_facts
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.baseline import Baseline, load_baseline
from sai3tui.results.directory import check_root
from sai3tui.results.history import History, in_order, read_history
from sai3tui.results.metadata import AgentMeta, RunMeta
from sai3tui.results.passport import agent_passport, passport
from sai3tui.results.tally import Item
from sai3tui.results.thresholds import Judge
from sai3tui.results.views import StageStatus

logger = logging.getLogger(__name__)

TICK_S = 0.25
SEATED_TIMEOUT_S = 15.0
REOPEN_TIMEOUT_S = 15.0
RENEWED_NS = 2_000_000_000
"""Before the first report that a directory lacks: its rows of the fleet's seconds are not whole."""


class RunSession:
    """See the module. `environ` is given to a local agent (None: our own environment)."""

    def __init__(self, request: RunRequest, environ: Mapping[str, str] | None = None) -> None:
        self.request = request
        self._environ = dict(os.environ) if environ is None else dict(environ)
        self._journal = Journal(request.config_name)
        self._version = version("sai3tui")
        self._name = controller_name()
        self._run_id = ""
        self._started_ns = 0
        self._baseline: Baseline | None = None
        self._links: list[AgentLink] = []
        self._local: LocalAgent | None = None
        self._director: Conductor | Viewer | None = None
        self._made: Coordinator | None = None
        self._group: asyncio.TaskGroup | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[Callable[[], None]] = []
        self._aborting = asyncio.Event()
        self._abort: Ending | None = None
        self._answer: asyncio.Queue[str] = asyncio.Queue()
        self._preflight: Preflight | None = None
        self._takes_over = False

    # --- from any thread

    def snapshot(self) -> RunSnapshot:
        """The latest one; immutable."""
        return self._journal.snapshot

    @property
    def frames(self) -> Frames:
        """The run's past; may be read from anywhere."""
        return self._journal.frames

    def proceed(self) -> None:
        """Start the run after a hold; ignored while preflight has errors."""
        self._post(lambda: self._answer.put_nowait("proceed"))

    def recheck(self) -> None:
        """Run preflight again while held."""
        self._post(lambda: self._answer.put_nowait("recheck"))

    def accept(self, check: str, reason: str) -> None:
        """While held: let the run begin although the preflight check `check` has found errors. Of `owner` that means
        to take over what belongs to others, and it is checked again."""
        self._post(lambda: self._accept(check, reason))

    def request_abort(self, reason: str, exit_code: int = EXIT_SIGINT) -> None:
        """End the run: agents stop and become idle, results are kept. Only the first request counts."""
        self._post(lambda: self._begin_abort(Ending("aborted", exit_code, None, reason)))

    def request_detach(self, reason: str) -> None:
        """Leave the run to its agents, which go on to the next barrier and hold there. Does nothing unless the
        snapshot says that it is `detachable`."""

        def detach() -> None:
            if self._journal.fleet.detachable:
                self._begin_abort(Ending(DETACHED, EXIT_OK, None, reason))

        self._post(detach)

    @property
    def parted_for_good(self) -> bool:
        """Whether we left because another controller leads the run, or because we only watched."""
        return self._abort is None or self._journal.fleet.lead is not None

    def successor(self) -> RunSession:
        """A session that takes over the run that we watch, from whoever leads it."""
        order, directory = self.request.attach, self._journal.fleet.results_dir
        taking = replace(
            self.request,
            config_path=Path(),
            config_text=b"",
            fresh=False,
            attach=AttachOrder((directory,) if order is None or directory else order.targets, take_over=True),
        )
        return RunSession(taking, self._environ)

    def wait_longer(self, seconds: float) -> None:
        """Give those who are late at the current barrier so much more time."""
        self._steer(lambda conductor: conductor.wait_longer(seconds))

    def release_without(self, agent: str) -> None:
        """Do not wait for this agent at the current barrier: it is left behind there."""
        self._steer(lambda conductor: conductor.release_without(agent))

    def pause_at_barrier(self) -> None:
        """Keep the next barrier shut, also when all have arrived, until `go_on`."""
        self._steer(Conductor.pause)

    def go_on(self) -> None:
        """Let barriers open again."""
        self._steer(Conductor.go_on)

    def _steer(self, command: Callable[[Conductor], None]) -> None:
        def steer() -> None:
            if isinstance(self._director, Conductor):
                command(self._director)

        self._post(steer)

    @property
    def _watches(self) -> bool:
        return isinstance(self._director, Viewer)

    # --- on the session's loop

    def listen(self, on_item: OnItem, on_second: OnSecond | None = None) -> None:
        """Call `on_item` with every event and report, `on_second` with the fleet's seconds. Call before `run`."""
        self._journal.listen(on_item, on_second)

    async def run(self) -> Outcome:
        """The whole run. Failures are outcomes, not exceptions; everything it started is ended on return."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            early, self._early = self._early, []
        for action in early:
            action()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                ticking = group.create_task(self._tick())
                ending = await self._until_end(group)
                await self._wind_up(ending)
                ticking.cancel()
                never_came = self.request.attach is not None and self._director is None
                if ending.status == DETACHED or self._watches or never_came:
                    return self._journal.part(Outcome(ending.status, ending.exit_code, ending.failure))
                return self._journal.finish(self._outcome(ending))
        finally:
            with self._lock:
                self._loop = None
            self._journal.close()
            await self._release_everything()

    async def _until_end(self, group: asyncio.TaskGroup) -> Ending:
        script = group.create_task(self._script(group))
        aborting = group.create_task(self._aborting.wait())
        await asyncio.wait({script, aborting}, return_when=asyncio.FIRST_COMPLETED)
        aborting.cancel()
        if self._abort is not None:
            script.cancel()
            await asyncio.wait({script})
            return self._abort
        return script.result()

    async def _script(self, group: asyncio.TaskGroup) -> Ending:
        try:
            return await self._play(group)
        except RunStopped as stopped:
            return stopped.ending
        except Sai3Error as error:
            logger.debug("the run stopped", exc_info=True)
            return failed(error.failure())
        except Exception as error:
            logger.debug("a defect stopped the run", exc_info=True)
            return failed(failure_of(error))

    async def _play(self, group: asyncio.TaskGroup) -> Ending:
        if self.request.attach is not None:
            plan, streams = await self._attach(self.request.attach, group)
            return await self._direct(plan, streams)
        plan = await self._make_plan()
        if not self.request.preflight_only:
            check_root(self.request.root)
        self._run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        addresses = {agent.id: agent.address for agent in plan.resolved.agents}
        if plan.local:
            self._local = LocalAgent(
                plan.file_paths,
                self._environ,
                verbose=self.request.verbose,
            )
            addresses = {plan.resolved.agents[0].id: await self._local.start()}
        self._baseline = await asyncio.to_thread(self._load_baseline, plan)
        self._introduce(plan, addresses)
        if self.request.access.forwarded and self._local is None:
            names = ", ".join(self.request.access.forwarded)
            self._journal.note(Level.INFO, f"forwards to agents that have none: {names}", code="credentials")
        await self._connect(plan, addresses)
        plan = await self._check_first(plan)
        if self.request.preflight_only:
            return SUCCESS
        self._open_results(plan, addresses)
        streams = self._streams(group)
        conductor = self._director = Conductor(plan, streams, self._journal, self._coordinator(plan))
        self._journal.fleet.detachable = not (plan.local or self.request.owned)
        specs = {link.id: pb.ControllerMessage(start=self._spec(plan, n)) for n, link in enumerate(self._links)}
        conductor.begin_work(group)
        streams.open(specs, conductor)
        return await self._direct(plan, streams)

    async def _direct(self, plan: RunPlan, streams: Streams) -> Ending:
        """Lead or watch the run to its end. Who is displaced goes on as a viewer, or leaves."""
        director = self._director
        if isinstance(director, Viewer):
            return await director.play()
        assert director is not None
        try:
            return await director.play()
        except Displaced as displaced:
            lead = self._journal.fleet.lead = displaced.lead
        if not self.request.stays:
            return Ending(DETACHED, EXIT_OK, None, lead.sentence)
        self._journal.emit(Detached(time.time_ns(), "", lead.sentence))
        self._journal.keep_nothing()
        self._journal.fleet.detachable = True
        await director.step_down()
        viewer = self._director = Viewer(plan, streams, self._journal, director.opened)
        await streams.go_on_as_viewer(viewer)
        return await viewer.play()

    async def _attach(self, order: AttachOrder, group: asyncio.TaskGroup) -> tuple[RunPlan, Streams]:
        """Come to a run in progress, with all that happened there so far."""
        run = await self._find_run(order)
        self._run_id = run.run_id
        self.request = replace(
            self.request,
            config_path=Path(run.meta.config_path if run.meta is not None else run.config_name),
            config_text=run.config_text,
            agents_override=run.agents_override,
            only=run.only,
            preflight=run.preflight,
        )
        plan = await self._make_plan(run.namespace)
        addresses = {agent.id: agent.address or run.addresses.get(agent.id, "") for agent in plan.resolved.agents}
        run = replace(run, addresses=addresses)
        journal = self._journal
        journal.fleet.config_name = run.config_name
        self._baseline = await asyncio.to_thread(self._load_baseline, plan)
        self._introduce(plan, addresses)
        self._make_links(plan, addresses)
        found = await asyncio.gather(*(link.reach() for link in self._links), return_exceptions=True)
        absent = {link.id: e for link, e in zip(self._links, found, strict=True) if isinstance(e, BaseException)}
        if len(absent) == len(self._links):
            raise RunStopped(failed(unreachable(list(absent.values()))))
        streams = self._streams(group)
        director: Conductor | Viewer
        if order.view:
            director = Viewer(plan, streams, journal)
        else:
            director = Conductor(plan, streams, journal, self._coordinator(plan))
            director.begin_work(group)
        streams.hold()
        present = [link for link in self._links if link.id not in absent]
        first = {}
        for link in present:
            status = await link.status(STATUS_TIMEOUT_S)
            if status is not None and status.run_id == run.run_id and status.state != pb.IDLE:
                first[link.id] = subscribe(run.run_id, status.last_sequence + 1, order, self._name)
        try:
            streams.open(first, director)
            await streams.seated(SEATED_TIMEOUT_S)
            await self._bring_up_to_date(order, run, plan, director, present)
        except BaseException:
            # The run is not ours: it goes on as it did before we came.
            await director.leave()
            raise
        for link in self._links:
            if link.id in absent:
                director.give_up(link.id, failure_of(absent[link.id]))
        journal.fleet.detachable = not plan.local or order.view
        if not order.view:
            journal.emit(Attached(time.time_ns(), "", self._name))
        self._director = director
        journal.phase(Phase.RUNNING)
        return plan, streams

    def _streams(self, group: asyncio.TaskGroup) -> Streams:
        links = self._links
        machine = Barriers([link.id for link in links], time.monotonic())
        return Streams(self._run_id, links, machine, self._journal, group, self._name)

    def _coordinator(self, plan: RunPlan) -> Coordinator:
        made = self._made = Coordinator(
            plan.resolved,
            fresh=self.request.fresh,
            # The cache has gone on since the run began: who attaches makes the fleet's state from what agents said.
            directory=None
            if self.request.attach is not None
            else coordinator_directory(platformdirs.user_data_path("sai3tui"), plan.layout_hash),
            note=lambda level, text, code: self._journal.note(level, text, code=code),
        )
        return made

    async def _find_run(self, order: AttachOrder) -> RunningRun:
        directory = results_directory(order)
        if directory is not None:
            return await asyncio.to_thread(find_by_directory, directory)
        link = AgentLink("of the run", order.targets[0], self.request.access, version=self._version)
        try:
            return await find_by_agent(link)
        finally:
            await link.close()

    async def _bring_up_to_date(
        self, order: AttachOrder, run: RunningRun, plan: RunPlan, director: Conductor | Viewer, links: list[AgentLink]
    ) -> None:
        """All that has happened goes through the journal, in the order in which it did."""
        journal = self._journal
        for link in links:
            self._greet(link)
        history = History()
        if order.view:
            journal.keep_nothing()
            journal.fleet.lead = journal.fleet.lead or Lead()
            if run.directory is not None:
                history = await asyncio.to_thread(read_history, run.directory)
        elif run.directory is not None and run.meta is not None:
            history = await self._reopen(run.directory, run.meta)
        else:
            self._open_results(plan, run.addresses, run.started_ns)
        messages, failures = await fetch_history(links, run.run_id)
        fetched = events_of(messages, links)
        for agent, error in failures.items():
            journal.note(Level.WARNING, f"its log cannot be had: {error}", agent=agent, code="history")
        items: list[Item] = [*history.events, *history.reports]
        items += [item for item in fetched if not history.knows(item)]
        made = made_again(items, plan.stages)
        renewed = [item.end_ns - RENEWED_NS for item in items if isinstance(item, Report) and not history.knows(item)]
        # The start of a stage that agents tell of is not to the millisecond the one that its seconds were counted from.
        renewed += [event.start_ns for event in made if isinstance(event, BarrierReleased)]
        if renewed:
            journal.renew_rows(min(renewed))
        items += started_again(items, run, plan.layout_hash) + made
        before = {id(item) for item in (*history.events, *history.reports)}
        items = in_order(items)
        for item in items:
            journal.replay(item, known=id(item) in before)
        director.adopt(items, messages)
        journal.refresh()

    async def _reopen(self, directory: Path, meta: RunMeta) -> History:
        """As soon as who wrote there before has left, which takes a moment."""
        deadline = time.monotonic() + REOPEN_TIMEOUT_S
        while True:
            try:
                return self._journal.reopen_results(directory, meta)
            except ResourceError:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _make_plan(self, namespace: Namespace = Namespace.AUTO) -> RunPlan:
        """`namespace` is what preflight found, where the configuration leaves it open."""
        request = self.request
        return await asyncio.to_thread(
            plan_run, request.config_text, str(request.config_path), request.agents_override, request.only, namespace
        )

    def _load_baseline(self, plan: RunPlan) -> Baseline | None:
        """Raises ConfigError if it cannot be read, or if there is none and a threshold needs one."""
        if self.request.baseline is not None:
            try:
                return load_baseline(self.request.baseline)
            except Sai3Error as error:
                hint = "it is the results directory of a finished run"
                raise ConfigError(f"cannot compare with {self.request.baseline}", hint=hint) from error
        needing = [t for t in plan.resolved.config.thresholds if parse_metric(t.metric).against_baseline]
        if needing:
            raise ConfigError(
                f"threshold {needing[0].metric} needs a run to compare with",
                hint="name its results directory: --baseline RUN",
            )
        return None

    def _introduce(self, plan: RunPlan, addresses: Mapping[str, str]) -> None:
        baseline = self._baseline
        agents = tuple(LiveAgent(agent.id, addresses[agent.id], agent.concurrency) for agent in plan.resolved.agents)
        notices = list(plan.notices)
        if not self.request.preflight:
            notices.append("preflight was skipped: nothing was checked before the run")
        thresholds = plan.resolved.config.thresholds
        judge = Judge(thresholds, plan.stages, baseline.figures(thresholds) if baseline is not None else None)
        self._journal.fleet.plan(self._run_id, plan.stages, agents, judge)
        if baseline is not None:
            self._journal.fleet.compare_with(baseline, plan.layout_hash)
        self._journal.fleet.notices = tuple(notices)
        for notice in plan.notices if self.request.attach is None else ():
            self._journal.note(Level.INFO, notice, code="plan")
        if not self.request.preflight and self.request.attach is None:
            self._journal.note(Level.WARNING, notices[-1], code="preflight")
        self._journal.refresh()

    async def _connect(self, plan: RunPlan, addresses: Mapping[str, str]) -> None:
        self._make_links(plan, addresses)
        results = await asyncio.gather(*(link.connect() for link in self._links), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise RunStopped(failed(unreachable(errors)))
        for link in self._links:
            self._greet(link)

    def _make_links(self, plan: RunPlan, addresses: Mapping[str, str]) -> None:
        fleet = plan.resolved.config.distributed
        self._links = [
            AgentLink(
                agent.id,
                addresses[agent.id],
                self.request.access if self._local is None else self._local.access,
                keepalive_interval_s=fleet.grpc_keepalive_interval,
                keepalive_timeout_s=fleet.grpc_keepalive_timeout,
                version=self._version,
            )
            for agent in plan.resolved.agents
        ]

    def _greet(self, link: AgentLink) -> None:
        hello = link.hello
        if hello is None:
            return
        clock = link.clock
        self._journal.emit(
            AgentConnected(
                time.time_ns(),
                link.id,
                link.address,
                hello.package_version,
                hello.host.hostname,
                hello.host.cores,
                clock.offset_ns,
                clock.uncertainty_ns,
            )
        )
        self._journal.heard(link.id, time.time_ns(), clock)
        if hello.insecure:
            self._journal.fleet.agents[link.id].insecure = True
            text = f"agent {link.id} at {link.address} takes orders from anybody on its network (--insecure)"
            self._journal.fleet.notices += (text,)
            self._journal.note(Level.WARNING, text, agent=link.id, code="insecure")
        if hello.package_version != self._version:
            text = f"agent {link.id} has sai3tui {hello.package_version}, this controller {self._version}"
            self._journal.note(Level.WARNING, text, agent=link.id, code="version")

    async def _check_first(self, plan: RunPlan) -> RunPlan:
        """Preflight, as often as asked, and the hold after it. The plan by what was found."""
        checks = self._preflight = Preflight(
            self._journal,
            plan,
            self._links,
            self._spec,
            self._make_plan,
            self._version,
            rate=self.request.measure_rate,
        )
        checked = self.request.preflight
        while True:
            if checked:
                self._journal.phase(Phase.PREFLIGHT)
                await checks.run()
                self._adopt(plan, checks.plan)
                plan = checks.plan
            if not self.request.hold_after_preflight:
                if checks.errors:
                    raise RunStopped(preflight_failed(checks.errors))
                return plan
            self._journal.phase(Phase.READY)
            while True:
                answer = await self._answer.get()
                if answer == "recheck":
                    checked = True
                    break
                if not checks.errors:
                    return plan
                self._journal.note(Level.WARNING, "not started: preflight has errors; correct them and check again")

    def _adopt(self, before: RunPlan, plan: RunPlan) -> None:
        """Go on by a plan that may have been made again after a look at the storage."""
        if plan is before:
            return
        fleet = self._journal.fleet
        fleet.notices = (*plan.notices, *(each for each in fleet.notices if each not in before.notices))
        for notice in plan.notices:
            if notice not in before.notices:
                self._journal.note(Level.INFO, notice, code="plan")
        if self._baseline is not None:
            fleet.compare_with(self._baseline, plan.layout_hash)
        self._journal.refresh()

    def _open_results(self, plan: RunPlan, addresses: Mapping[str, str], started_ns: int = 0) -> None:
        """`started_ns`: when another controller started the run, if one did."""
        journal = self._journal
        agents = tuple(
            AgentMeta(a.id, addresses[a.id], a.version, a.hostname, a.cores, a.concurrency)
            for a in journal.fleet.agents.values()
        )
        started = self._started_ns = started_ns or time.time_ns()
        meta = RunMeta(
            run_id=self._run_id,
            config_name=self.request.config_name,
            config_path=str(self.request.config_path),
            layout_hash=plan.layout_hash,
            started_ns=started,
            version=self._version,
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
                {link.id: agent_passport(link.hello, link.address, clock_facts(link.clock)) for link in self._links},
            ),
        )
        journal.open_results(self.request, meta, plan.document)
        if started_ns:
            return
        ids = tuple(agent.id for agent in agents)
        journal.emit(
            RunStarted(
                started, "", self._run_id, self.request.config_name, plan.layout_hash, ids, self.request.preflight
            )
        )
        journal.refresh()

    def _spec(self, plan: RunPlan, number: int) -> pb.RunSpec:
        found = plan.namespace_found
        return pb.RunSpec(
            run_id=self._run_id,
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
            adopt=self.request.adopt or self._takes_over,
            accepted_checks=sorted(self._preflight.accepted) if self._preflight is not None else (),
            controller=self._name,
            started_ns=self._started_ns,
            preflight=self.request.preflight,
            clock_offset_ns=self._links[number].clock.offset_ns,
            baseline=str(self.request.baseline.absolute()) if self.request.baseline is not None else "",
        )

    async def _wind_up(self, ending: Ending) -> None:
        if self._director is None:
            return
        self._journal.fleet.waiting = None
        if ending.status == DETACHED or self._watches:
            self._journal.emit(Detached(time.time_ns(), "", ending.reason))
            await self._director.leave()
            return
        if not ending.clean:
            self._journal.phase(Phase.ABORTING)
            self._journal.emit(
                AbortRequested(time.time_ns(), "", "the run failed" if ending.failure else ending.reason)
            )
        await self._director.end(ending)

    async def _release_everything(self) -> None:
        if self._made is not None:
            await self._made.close()
        for link in self._links:
            await link.close()
        if self._local is not None:
            await self._local.close()

    def _outcome(self, ending: Ending) -> Outcome:
        resume = ""
        # What ends with us leaves nothing to go on with: neither states nor, in a demo, the configuration.
        lasting = not self.request.owned
        if lasting and not ending.clean and self._director is not None and self._prepare_unfinished():
            resume = self.request.resume_command()
        return Outcome(ending.status, ending.exit_code, ending.failure, "", resume)

    def _prepare_unfinished(self) -> bool:
        stages = self._journal.fleet.tally.stages.values()
        return any(
            stage.info.type == "prepare" and stage.status is not StageStatus.PENDING for stage in stages
        ) and not all(stage.status is StageStatus.DONE for stage in stages)

    def _accept(self, check: str, reason: str) -> None:
        if check == "owner":
            self._takes_over = True
            self._journal.note(Level.WARNING, f"taken over: {reason}", code="adopted")
            self._answer.put_nowait("recheck")
            return
        if self._preflight is not None and self._preflight.accept(check, reason):
            self._journal.refresh()

    def _begin_abort(self, ending: Ending) -> None:
        if self._abort is None:
            self._abort = ending
            self._aborting.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._journal.tick()
            breach = self._journal.fleet.judge.breach(time.time_ns())
            if breach is not None:
                self._begin_abort(Ending(THRESHOLD_MISSED, EXIT_THRESHOLD, None, f"threshold {breach.sentence}"))
            if self._director is not None:
                self._journal.fleet.waiting = self._director.waiting()
                self._director.look()

    def _post(self, action: Callable[[], None]) -> None:
        with self._lock:
            if self._loop is None:
                self._early.append(action)
            else:
                self._loop.call_soon_threadsafe(action)
