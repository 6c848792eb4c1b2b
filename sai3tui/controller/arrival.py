"""Comes to a run in progress, to lead or to watch it, with all that has happened there so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sai3tui.clock import now_ns
from sai3tui.config.units import format_count
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.attaching import (
    STATUS_TIMEOUT_S,
    RunningRun,
    events_of,
    fetch_history,
    find_by_agent,
    find_by_directory,
    made_again,
    results_directory,
    started_again,
    unknown_messages,
)
from sai3tui.controller.conductor import Conductor
from sai3tui.controller.frames import SECOND_NS, Film, time_of
from sai3tui.controller.groundwork import Groundwork
from sai3tui.controller.lead import Claim, Lead
from sai3tui.controller.planning import RunPlan
from sai3tui.controller.refusals import led, unanswered, unreachable
from sai3tui.controller.request import AttachOrder, RunStopped, failed
from sai3tui.controller.snapshot import Phase, RunSnapshot
from sai3tui.controller.streams import Streams
from sai3tui.controller.told import told_again
from sai3tui.controller.viewer import Viewer
from sai3tui.errors import ResourceError, Sai3Error, failure_of
from sai3tui.events import Attached, Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.history import History, in_order, read_history
from sai3tui.results.metadata import RunMeta
from sai3tui.results.tally import Item

SEATED_TIMEOUT_S = 15.0
REOPEN_TIMEOUT_S = 15.0
MOST_FRAMES = 300
"""Of the past that is looked at again: each takes a few milliseconds, in which no agent is heard."""


class Arrival:
    """Belongs to the session's loop."""

    def __init__(self, ground: Groundwork) -> None:
        self._ground = ground
        self._journal = ground.journal
        self.lead: Lead | None = None
        """Who leads the run while we do not, as far as its agents have told."""

    async def come(self, order: AttachOrder, group: asyncio.TaskGroup) -> tuple[Conductor | Viewer, RunPlan, Streams]:
        """Whoever leads or watches the run, up to date; its plan, and the streams to its agents."""
        ground, journal = self._ground, self._journal
        run = await self._find_run(order)
        ground.run_id = run.run_id
        ground.request = replace(
            ground.request,
            config_path=Path(run.meta.config_path if run.meta is not None else run.config_name),
            config_text=run.config_text,
            name=run.config_name,
            agents_override=run.agents_override,
            only=run.only,
            preflight=run.preflight,
        )
        plan = await ground.make_plan(run.namespace)
        addresses = {agent.id: agent.address or run.addresses.get(agent.id, "") for agent in plan.resolved.agents}
        run = replace(run, addresses=addresses)
        journal.fleet.config_name = run.config_name
        ground.introduce(plan, addresses)
        links = ground.make_links(plan, addresses)
        found = await asyncio.gather(*(link.reach() for link in links), return_exceptions=True)
        absent = {link.id: e for link, e in zip(links, found, strict=True) if isinstance(e, BaseException)}
        if len(absent) == len(links):
            raise RunStopped(failed(unreachable(list(absent.values()))))
        present = [link for link in links if link.id not in absent]
        told = [link.hello for link in present if link.hello is not None and link.hello.run_id == run.run_id]
        leader = next((hello.leader for hello in told if hello.leader), "")
        self.lead = Lead(leader, 0 if leader else now_ns())
        if leader and not (order.take_over or order.view):
            if not ground.request.stays:
                # Not to come to those of its agents that it has not reached yet.
                raise RunStopped(failed(led(leader)))
            order = replace(order, view=True)
        states = await asyncio.gather(*(link.status(STATUS_TIMEOUT_S, with_spec=True) for link in present))
        here = [each for each in zip(present, states, strict=True) if _is_at(run, each[1])]
        await self._compare(plan, addresses, [status.spec for _, status in here if status is not None])
        streams = ground.streams(group, Claim(1 + max((hello.term for hello in told), default=0), order.take_over))
        director: Conductor | Viewer
        if order.view:
            director = Viewer(plan, streams, journal)
        else:
            director = Conductor(plan, streams, journal, ground.coordinator(plan))
            director.begin_work(group)
        streams.hold()
        first = {
            link.id: streams.subscription(status.last_sequence + 1)
            for link, status in here
            if status is not None and status.state != pb.IDLE
        }
        try:
            streams.open(first, director)
            await streams.seated(SEATED_TIMEOUT_S)
            dropped = {link.id: status.dropped for link, status in here if status is not None}
            await self._bring_up_to_date(order, run, plan, director, present, dropped)
        except BaseException:
            # The run is not ours: it goes on without us.
            await director.leave()
            if not order.view and any(streams.links[agent].seated.is_set() for agent in first):
                self.lead = Lead("", now_ns())
            raise
        for agent, error in absent.items():
            director.give_up(agent, failure_of(error))
        for link, status in zip(present, states, strict=True):
            if status is None:
                director.give_up(link.id, unanswered(link))
            elif status.run_id != run.run_id or status.state == pb.IDLE:
                streams.not_there(link, status)
        journal.fleet.detachable = not plan.local or order.view
        if not order.view:
            journal.emit(Attached(now_ns(), "", ground.name))
        return director, plan, streams

    async def _compare(self, plan: RunPlan, addresses: Mapping[str, str], specs: Sequence[pb.RunSpec]) -> None:
        """With what the run was compared before, as its agents were told, if that can be read here. A run is not given
        up for the lack of it."""
        ground = self._ground
        if ground.request.baseline is None:
            told = next((spec.baseline for spec in specs if spec.baseline), "")
            ground.request = replace(ground.request, baseline=Path(told) if told else None)
        if ground.request.baseline is not None:
            try:
                await ground.load_baseline(plan)
            except Sai3Error as error:
                why = error.failure().sentence()
                text = f"{why}; the run goes on without it (sai3tui attach --baseline RUN names another place)"
                self._journal.note(Level.WARNING, text, code="baseline")
            else:
                ground.introduce(plan, addresses)

    async def _find_run(self, order: AttachOrder) -> RunningRun:
        """By its directory, or by the first of the agents named that knows it. Raises Sai3Error."""
        directory = results_directory(order)
        if directory is not None:
            return await asyncio.to_thread(find_by_directory, directory)
        failures: list[Sai3Error] = []
        for address in order.targets:
            link = AgentLink("of the run", address, self._ground.request.access, version=self._ground.version)
            try:
                return await find_by_agent(link)
            except Sai3Error as error:
                failures.append(error)
            finally:
                await link.close()
        raise RunStopped(failed(unreachable(failures)))

    async def _bring_up_to_date(
        self,
        order: AttachOrder,
        run: RunningRun,
        plan: RunPlan,
        director: Conductor | Viewer,
        links: list[AgentLink],
        dropped: Mapping[str, int],
    ) -> None:
        """All that has happened goes through the journal, in the order in which it did; but what agents have dropped
        and nobody has written down."""
        journal = self._journal
        for link in links:
            self._ground.greet(link)
        history = History()
        if order.view:
            journal.keep_nothing()
            journal.fleet.lead = journal.fleet.lead or Lead()
            if run.directory is not None:
                history = await asyncio.to_thread(read_history, run.directory)
        elif run.directory is not None and run.meta is not None:
            history = await self._reopen(run.directory, run.meta)
        else:
            self._ground.open_results(plan, run.addresses, run.started_ns)
        messages, failures = await fetch_history(links, run.run_id)
        fetched = events_of(messages, links)
        for agent, error in failures.items():
            journal.note(Level.WARNING, f"its log cannot be had: {error}", agent=agent, code="history")
        for link in links:
            lacking = min(dropped.get(link.id, 0), unknown_messages(link.id, messages, history))
            if lacking:
                text = f"{format_count(lacking)} of its oldest reports and notes were no longer kept: figures lack them"
                journal.note(Level.WARNING, text, agent=link.id, code="dropped")
        items: list[Item] = [*history.events, *history.reports]
        items += [item for item in fetched if not history.knows(item)]
        items += told_again(items)
        items += started_again(items, run, plan.layout_hash) + made_again(items, plan.stages)
        before = {id(item) for item in (*history.events, *history.reports)}
        items = in_order(items)
        span_ns = time_of(items[-1]) - run.started_ns if items else 0

        def running(at_ns: int) -> RunSnapshot:
            return replace(journal.fleet.snapshot(at_ns), phase=Phase.RUNNING)

        film = Film(journal.frames, max(SECOND_NS, span_ns // MOST_FRAMES))
        for item in items:
            journal.replay(item, known=id(item) in before)
            if journal.keeps_past:
                film.at(time_of(item), journal.fleet.tally.started_ns, running)
        if isinstance(director, Conductor):
            await director.come()
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


def _is_at(run: RunningRun, status: pb.StatusReply | None) -> bool:
    """Whether an agent is at this run, or was at last."""
    return status is not None and status.run_id == run.run_id
