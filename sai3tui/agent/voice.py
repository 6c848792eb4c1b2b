"""What a run tells whoever follows it: messages into its spool, and what people should know into the agent's log."""

from __future__ import annotations

import logging
from dataclasses import replace

from sai3tui.agent.clock import now_ns
from sai3tui.agent.lease import ErrorBrake
from sai3tui.agent.spool import Spool
from sai3tui.agent.state import StateMachine
from sai3tui.errors import ErrorKind, Failure
from sai3tui.event_codec import failure_to_proto, finding_to_proto, report_to_proto
from sai3tui.events import Finding, Level, Report
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.layout import LayoutCache
from sai3tui.state.wire import names_to_rows, slots_to_proto

logger = logging.getLogger(__name__)


class Voice:
    """One per run. `cache` is the state cache, while it is open; `stage_name` the stage that is spoken of."""

    def __init__(self, agent: str, machine: StateMachine, spool: Spool) -> None:
        self.spool = spool
        self.stage_name = ""
        self.cache: LayoutCache | None = None
        self._agent = agent
        self._machine = machine
        self._corrupt: Failure | None = None

    def say(
        self,
        *,
        report: pb.Report | None = None,
        arrived: pb.Arrived | None = None,
        stage_started: pb.StageStarted | None = None,
        finding: pb.Finding | None = None,
        failure: pb.FailureSeen | None = None,
        note: pb.Note | None = None,
        shared: pb.SharedPart | None = None,
        released: pb.Release | None = None,
        began: pb.StageBegan | None = None,
        surveyed: pb.Surveyed | None = None,
        assigned: pb.Assignment | None = None,
        told: pb.Told | None = None,
    ) -> None:
        self.spool.append(
            pb.AgentMessage(
                agent_time_ns=now_ns(),
                report=report,
                arrived=arrived,
                stage_started=stage_started,
                finding=finding,
                failure=failure,
                note=note,
                shared=shared,
                released=released,
                began=began,
                surveyed=surveyed,
                assigned=assigned,
                told=told,
            )
        )

    def share(self, part: pb.SharedPart) -> None:
        self.say(shared=part)

    def report(self, report: Report) -> None:
        message = report_to_proto(report)
        changes = self.changes()
        if changes is not None:
            message.states.CopyFrom(changes)
        self.say(report=message)

    def finding(self, finding: Finding) -> None:
        self.say(finding=finding_to_proto(finding))

    def note(self, level: Level, text: str, code: str) -> None:
        logger.log(logging.WARNING if level >= Level.WARNING else logging.INFO, "%s", text)
        self.say(note=pb.Note(level=pb.Level.ValueType(int(level)), text=text, code=code))

    def changes(self) -> pb.StateChanges | None:
        """What has changed in the state cache since the last call; None: nothing."""
        cache = self.cache
        if cache is None:
            return None
        latest = cache.latest
        slots = cache.news(latest) if latest is not None else {}
        names = cache.pool_news()
        if not slots and not names:
            return None
        return pb.StateChanges(
            generation=latest.number if latest is not None else 0,
            states=slots_to_proto(slots),
            names=names_to_rows(names),
        )

    # --- what workers see

    def worker_lost(self, failure: Failure) -> None:
        self.note(Level.WARNING, failure.sentence(), "worker-lost")

    def endpoint_out(self, uri: str, seconds: float, failure: Failure | None) -> None:
        if failure is None:
            self.note(Level.INFO, f"endpoint {uri} answers again", "endpoint-back")
            return
        text = f"endpoint {uri} keeps failing and is taken out for {seconds:.0f} s or more: {failure.sentence()}"
        self.note(Level.WARNING, text, "endpoint-out")

    def paused(self, brake: ErrorBrake, count: int) -> None:
        text = (
            f"{count} operations failed within {brake.window:g} s, more than error_rate_threshold allows: "
            f"no operation begins for {brake.pause:g} s"
        )
        self.note(Level.WARNING, text, "backoff")

    def failures_seen(self, count: int, sample: Failure) -> None:
        """Workers saw `count` more failures of one cause."""
        if sample.kind is ErrorKind.CORRUPT and self._corrupt is None:
            self._corrupt = sample
        seen = pb.FailureSeen(
            stage_index=self._machine.stage_index, count=count, sample=failure_to_proto(self.placed(sample))
        )
        self.say(failure=seen)

    def take_corrupt(self) -> Failure | None:
        """The first time since the last call that what was read is not what was written."""
        corrupt, self._corrupt = self._corrupt, None
        return corrupt

    def placed(self, failure: Failure) -> Failure:
        """`failure` with agent and stage, as far as they were not known below."""
        context = failure.context
        return replace(
            failure,
            context=replace(context, agent=context.agent or self._agent, stage=context.stage or self.stage_name),
        )
