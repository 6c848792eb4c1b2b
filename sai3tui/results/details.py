"""What a stage did per operation, agent and endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sai3tui.config.ops import Op
from sai3tui.results.figures import Figures
from sai3tui.results.stage_tally import StageTally
from sai3tui.results.tally import Tally


@dataclass(slots=True)
class StageDetail:
    """Figures per operation, and per agent and operation; operations and body bytes per agent and endpoint. Warm-up is
    left out."""

    figures: dict[Op, Figures] = field(default_factory=dict)
    cells: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    agents: dict[tuple[str, Op], Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each agent measured."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """Figures as a table of another program has them, by the names of results/export.py; what it does not say is not
    in them. `agent` is empty in a row over all of them."""

    stage_index: int
    agent: str
    op: str
    figures: Mapping[str, int | float]


def stage_detail(tally: Tally, stage: StageTally) -> StageDetail:
    made = StageDetail()
    for agent, part in sorted(stage.agents.items()):
        for stats in part.ops.rows():
            made.figures.setdefault(stats.op, Figures()).add(stats)
            made.agents.setdefault((agent, stats.op), Figures()).add(stats)
        sums = tally.facts.sums(stage.info.index, agent)
        if sums.seconds:
            made.seconds[agent] = sums.seconds
        for uri, (ops, _, size) in sums.cells.items():
            made.cells[agent, uri] = ops, size
    return made
