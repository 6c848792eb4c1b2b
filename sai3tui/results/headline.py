"""The figures that stand for a run in a list of runs: those of the one stage that measured most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sai3tui.results.figures import MIB
from sai3tui.results.views import StageView

_MAKING = ("prepare", "cleanup")


@dataclass(frozen=True, slots=True)
class Headline:
    """Figures of a stage: bytes and operations per second, p99 in µs. All empty where nothing was measured."""

    stage: str = ""
    bytes_per_s: float = 0.0
    ops_per_s: float = 0.0
    p99_us: float = 0.0


def headline_of_json(stages: Iterable[Mapping[str, Any]]) -> Headline:
    """From the stages of a metadata.json. Raises ValueError or TypeError for what is no number."""
    return _of_the_most(
        (
            str(stage.get("type", "")),
            int(stage.get("ops", 0)),
            Headline(
                str(stage.get("name", "")),
                float(stage.get("mib_per_s", 0.0)) * MIB,
                float(stage.get("ops_per_s", 0.0)),
                float(stage.get("p99_us", 0.0)),
            ),
        )
        for stage in stages
    )


def headline_of(stages: Iterable[StageView]) -> Headline:
    """From the stages of a run that was read."""
    return _of_the_most(
        (
            stage.type,
            stage.total_ops,
            Headline(stage.name, stage.rates.get_bytes + stage.rates.put_bytes, stage.rates.ops, stage.p99_us),
        )
        for stage in stages
    )


def _of_the_most(stages: Iterable[tuple[str, int, Headline]]) -> Headline:
    """The figures of the stage with most operations (type, operations, figures); one that has a workload goes before
    one that fills or empties the storage."""
    found = [stage for stage in stages if stage[1] > 0]
    return max(found, key=lambda stage: (stage[0] not in _MAKING, stage[1]))[2] if found else Headline()
