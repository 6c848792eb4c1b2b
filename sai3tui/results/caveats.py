"""What is to be known about a run's figures before they are believed: said wherever they are shown or handed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sai3tui.metrics.attribution import Cause
from sai3tui.results.files import utc_text
from sai3tui.results.reader import RunRecord
from sai3tui.results.status import stage_notes, unreported_text
from sai3tui.results.views import StageStatus

NOTABLE_SKEW_MS = 50.0
CUT = (StageStatus.RUNNING, StageStatus.AT_BARRIER)
"""States of a stage that has not ended."""


class Weight(StrEnum):
    """How grave it is, the gravest first."""

    DAMAGE = "damage"
    """Files are not as they were written: figures may be wrong."""
    WARNING = "warning"
    """Figures are right, and not what one may take them for."""
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Caveat:
    weight: Weight
    text: str

    @property
    def line(self) -> str:
        return f"{self.weight.value}: {self.text}"


def caveats(record: RunRecord) -> tuple[Caveat, ...]:
    """The gravest first, each once."""
    found = [Caveat(Weight.DAMAGE, text) for text in record.doubts]
    found += [Caveat(Weight.WARNING, text) for text in _warnings(record)]
    known = {each.text for each in found}
    found += [Caveat(Weight.NOTE, text) for text in dict.fromkeys(_notes(record)) if text not in known]
    return tuple(found)


def grave(found: Iterable[Caveat]) -> list[Caveat]:
    """Without notes."""
    return [each for each in found if each.weight is not Weight.NOTE]


def open_end_text(record: RunRecord) -> str:
    """Of a run that never said how it ended."""
    until = utc_text(record.ended_ns)
    if record.live:
        return f"the run still goes on: figures are those of what was written until {until}"
    missing = "the last ten seconds" if record.foreign else "the last second"
    return (
        f"the run log breaks off at {until}, as its controller was killed: figures are those of what was written until "
        f"then, at most {missing} before its end {'are' if record.foreign else 'is'} missing"
    )


def _warnings(record: RunRecord) -> list[str]:
    outcome = record.outcome
    found = []
    if outcome is None:
        found.append(open_end_text(record))
        cut = [f"{stage.index} {stage.name}" for stage in record.stages if stage.status in CUT and not record.live]
        found += [f"stage {name} had not ended: its figures are of the part of it that was written" for name in cut]
    elif outcome.exit_code:
        why = f": {outcome.failure.message}" if outcome.failure is not None else ""
        found.append(f"the run ended as {outcome.status.replace('_', ' ')}, exit code {outcome.exit_code}{why}")
    for stage in record.stages:
        name = f"stage {stage.index} {stage.name}"
        if stage.status in (StageStatus.FAILED, StageStatus.ABORTED):
            found.append(f"{name} {'failed' if stage.status is StageStatus.FAILED else 'was aborted'}")
        if stage.errors:
            found.append(f"{name}: {stage.errors:,} of {stage.errors + stage.total_ops:,} operations failed")
        if stage.unreported:
            found.append(f"{name}: {unreported_text(stage)}")
        if stage.attribution.cause is Cause.CLIENT:
            found.append(f"{name}: these are figures of the load generators, not of the storage")
    if not record.meta.preflight:
        found.append("preflight was skipped")
    return found


def _notes(record: RunRecord) -> list[str]:
    # What limited a stage stands beside its figures.
    found = stage_notes(record.stages, limits=False, losses=False)
    if record.meta.baseline:
        found.append(f"the run was compared with {record.meta.baseline} while it went on")
    late = [stage for stage in record.stages if stage.start_skew_ms > NOTABLE_SKEW_MS]
    found += [f"stage {stage.index} {stage.name}: agents started within {stage.start_skew_ms:.1f} ms" for stage in late]
    found += [*record.meta.notices, *record.notes]
    if not record.foreign:
        found.append("percentiles are upper edges of bins (at most 1.6 % wide) of histograms merged over all agents")
    return found
