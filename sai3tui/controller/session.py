"""One run from its configuration to its outcome, free of any UI.

`run()` owns everything that the run needs: the local agent, connections, streams, files. The other methods may be
called from any thread, before, during and after `run()`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sai3tui.clock import now_ns
from sai3tui.controller.arrival import Arrival
from sai3tui.controller.conductor import Conductor, Displaced
from sai3tui.controller.frames import Frames
from sai3tui.controller.gate import Gate
from sai3tui.controller.groundwork import Groundwork
from sai3tui.controller.journal import OnItem, OnSecond
from sai3tui.controller.loss import DIVIDED
from sai3tui.controller.planning import RunPlan
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
from sai3tui.controller.steering import Steering
from sai3tui.controller.streams import Streams
from sai3tui.controller.viewer import Viewer
from sai3tui.errors import Sai3Error, failure_of
from sai3tui.events import AbortRequested, Detached, Level
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.directory import check_root
from sai3tui.results.going_on import Progress, what_is_left
from sai3tui.results.views import StageStatus

logger = logging.getLogger(__name__)

TICK_S = 0.25


class RunSession:
    """See the module. `environ` is given to a local agent (None: our own environment)."""

    def __init__(self, request: RunRequest, environ: Mapping[str, str] | None = None) -> None:
        self._ground = Groundwork(request, environ)
        self._journal = self._ground.journal
        self._gate = Gate(self._ground)
        self._arrival = Arrival(self._ground)
        self._director: Conductor | Viewer | None = None
        """Who leads the run here, or watches it, once agents have been told of us."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[Callable[[], None]] = []
        self._aborting = asyncio.Event()
        self._abort: Ending | None = None
        self._course: tuple[RunPlan, Streams] | None = None
        """What the director directs."""

    @property
    def request(self) -> RunRequest:
        """What was asked for; of a run that we came to, what was asked for there."""
        return self._ground.request

    # --- from any thread

    def snapshot(self) -> RunSnapshot:
        """The latest one; immutable."""
        return self._journal.snapshot

    @property
    def frames(self) -> Frames:
        """The run's past, if the request is to keep it; may be read from anywhere."""
        return self._journal.frames

    def proceed(self) -> None:
        """Start the run after a hold; ignored while preflight runs or has errors."""
        self._post(self._gate.proceed)

    def recheck(self) -> None:
        """Run preflight again while held; ignored while it runs."""
        self._post(self._gate.recheck)

    def accept(self, check: str, reason: str) -> None:
        """While held: let the run begin although the preflight check `check` has found errors. Of `owner` that means
        to take over what belongs to others, and it is checked again."""
        self._post(lambda: self._gate.accept(check, reason))

    def request_abort(self, reason: str, exit_code: int = EXIT_SIGINT) -> None:
        """End the run: agents stop and become idle, results are kept. Only the first request counts. Where we have yet
        to come to a run in progress it is left as it is, and the exit code is as asked for."""
        self._post(lambda: self._begin_abort(Ending(DETACHED if self.coming else "aborted", exit_code, None, reason)))

    def request_detach(self, reason: str) -> None:
        """Leave the run to its agents, which go on to the next barrier and hold there. Does nothing unless the
        snapshot says that it is `detachable`, or we have yet to come to a run in progress."""

        def detach() -> None:
            if self.coming or self._journal.fleet.detachable:
                self._begin_abort(Ending(DETACHED, EXIT_OK, None, reason))

        self._post(detach)

    @property
    def coming(self) -> bool:
        """Whether we have yet to come to a run in progress, or never came."""
        return self.request.attach is not None and self._director is None

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
        return RunSession(taking, self._ground.environ)

    def wait_longer(self, seconds: float) -> None:
        """Give those who are late at the current barrier so much more time."""
        self._steer(lambda steering: steering.wait_longer(seconds))

    def release_without(self, agent: str) -> None:
        """Do not wait for this agent at the current barrier: it is left behind there."""
        self._steer(lambda steering: steering.release_without(agent))

    def pause_at_barrier(self) -> None:
        """Keep the next barrier shut, also when all have arrived, until `go_on`."""
        self._steer(Steering.pause)

    def go_on(self) -> None:
        """Let barriers open again."""
        self._steer(Steering.go_on)

    def _steer(self, command: Callable[[Steering], None]) -> None:
        def steer() -> None:
            if isinstance(self._director, Conductor):
                self._director.steer(command)

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
                ticking = group.create_task(self._tick())
                ending = await self._until_end(group, self._script(group))
                displaced = await self._wind_up(ending)
                if displaced is not None:
                    self._abort = None
                    self._aborting.clear()
                    ending = await self._until_end(group, self._instead(displaced, ending))
                    await self._wind_up(ending)
                ticking.cancel()
                if self.coming and self._abort is not None:
                    self._journal.fleet.lead = self._arrival.lead
                if ending.status == DETACHED or self._watches or self.coming:
                    return self._journal.part(Outcome(ending.status, ending.exit_code, ending.failure))
                return self._journal.finish(self._outcome(ending))
        finally:
            with self._lock:
                self._loop = None
            try:
                self._journal.close()
            finally:
                await self._ground.close()

    async def _until_end(self, group: asyncio.TaskGroup, play: Coroutine[Any, Any, Ending]) -> Ending:
        script = group.create_task(play)
        aborting = group.create_task(self._aborting.wait())
        await asyncio.wait({script, aborting}, return_when=asyncio.FIRST_COMPLETED)
        aborting.cancel()
        if self._abort is not None:
            script.cancel()
            await asyncio.wait({script})
            return self._abort
        return script.result()

    async def _script(self, group: asyncio.TaskGroup) -> Ending:
        return await self._outcome_of(self._play(group))

    async def _instead(self, displaced: Displaced, wanted: Ending) -> Ending:
        """The run was not ended as was `wanted`, as another controller leads it by now."""
        code = wanted.exit_code if wanted.status == "aborted" else EXIT_OK
        return await self._outcome_of(self._step_aside(displaced, code))

    async def _outcome_of(self, play: Coroutine[Any, Any, Ending]) -> Ending:
        try:
            return await play
        except RunStopped as stopped:
            return stopped.ending
        except Sai3Error as error:
            logger.debug("the run stopped", exc_info=True)
            return failed(error.failure())
        except Exception as error:
            logger.debug("a defect stopped the run", exc_info=True)
            return failed(failure_of(error))

    async def _play(self, group: asyncio.TaskGroup) -> Ending:
        ground, order = self._ground, self.request.attach
        if order is not None:
            director, plan, streams = await self._arrival.come(order, group)
        else:
            plan = await self._prepare()
            if self.request.preflight_only:
                return SUCCESS
            streams = ground.streams(group)
            director = Conductor(plan, streams, self._journal, ground.coordinator(plan))
            director.begin_work(group)
            streams.open({link.id: _start(ground, plan, n) for n, link in enumerate(ground.links)}, director)
            self._journal.fleet.detachable = not (plan.local or self.request.owned)
        self._director, self._course = director, (plan, streams)
        if self._journal.fleet.phase is Phase.CONNECTING:
            # Not sooner: until then nobody leads or watches here, whatever has been read of the run.
            self._journal.phase(Phase.RUNNING)
        try:
            return await director.play()
        except Displaced as displaced:
            return await self._step_aside(displaced, EXIT_OK)

    async def _prepare(self) -> RunPlan:
        """All that comes before a run: agents are there and free, preflight has let it pass, its results are open."""
        ground, journal = self._ground, self._journal
        plan = await ground.make_plan()
        if not self.request.preflight_only:
            check_root(self.request.root)
        ground.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        addresses = await ground.addresses(plan)
        await ground.load_baseline(plan)
        ground.introduce(plan, addresses)
        if self.request.access.forwarded and not plan.local:
            names = ", ".join(self.request.access.forwarded)
            journal.note(Level.INFO, f"forwards to agents that have none: {names}", code="credentials")
        await ground.connect(plan, addresses)
        plan = await self._gate.passed(plan)
        if not self.request.preflight_only:
            ground.open_results(plan, addresses)
        return plan

    async def _step_aside(self, displaced: Displaced, code: int) -> Ending:
        """Another controller leads the run: watch it to its end, or leave, with this exit code."""
        journal, director, course = self._journal, self._director, self._course
        journal.fleet.lead = displaced.lead
        if not self.request.stays or director is None or course is None:
            return Ending(DETACHED, code, None, displaced.lead.sentence)
        journal.emit(Detached(now_ns(), "", displaced.lead.sentence))
        journal.keep_nothing()
        journal.fleet.detachable = True
        journal.phase(Phase.RUNNING)
        plan, streams = course
        viewer = self._director = Viewer(plan, streams, journal, displaced.opened)
        # First of all: whoever steps down can take in nothing more, and would give up agents that say something.
        streams.heard_by(viewer)
        await director.step_down()
        await streams.open_again()
        return await viewer.play()

    async def _wind_up(self, ending: Ending) -> Displaced | None:
        """Leave the run, or end it; returns what kept us from ending it, if something did."""
        if self._director is None:
            return None
        self._journal.fleet.waiting = None
        if ending.status == DETACHED or self._watches:
            self._journal.emit(Detached(now_ns(), "", ending.reason))
            await self._director.leave()
            return None
        if not ending.clean:
            self._journal.phase(Phase.ABORTING)
            self._journal.emit(AbortRequested(now_ns(), "", "the run failed" if ending.failure else ending.reason))
        try:
            await self._director.end(ending)
        except Displaced as displaced:
            return displaced
        return None

    def _outcome(self, ending: Ending) -> Outcome:
        resume = ""
        # What ends with us leaves nothing to go on with: neither states nor, in a demo, the configuration.
        lasting = not self.request.owned
        stages = [(stage.info.type, stage.status) for stage in self._journal.fleet.tally.stages.values()]
        if lasting and self._director is not None and _worth_going_on(stages, clean=ending.clean):
            left = what_is_left(stages, self.request.only)
            resume = self.request.resume_command(self._journal.fleet.results_dir, left)
        return Outcome(ending.status, ending.exit_code, ending.failure, "", resume)

    def _begin_abort(self, ending: Ending) -> None:
        if self._abort is None:
            self._abort = ending
            self._aborting.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._journal.tick()
            breach = self._journal.fleet.judge.breach(now_ns())
            if breach is not None and not self._watches:
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


def _start(ground: Groundwork, plan: RunPlan, number: int) -> pb.ControllerMessage:
    return pb.ControllerMessage(start=ground.spec(plan, number))


def _worth_going_on(stages: Progress, *, clean: bool) -> bool:
    """Whether a stage that does something once to every object has more to do, or what it did can be used again.
    `clean`: all stages were gone through, though one of those may have failed."""
    once = [status for kind, status in stages if kind in DIVIDED]
    if clean:
        return StageStatus.FAILED in once
    begun = any(status is not StageStatus.PENDING for status in once)
    return begun and any(status is not StageStatus.DONE for _, status in stages)
