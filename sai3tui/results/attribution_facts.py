"""From what a stage measured to the facts that attribution judges."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind
from sai3tui.events import Finding, Report
from sai3tui.metrics.attribution import AgentFacts, Attribution, Cell, StageFacts, attribute
from sai3tui.metrics.histogram import Histogram
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.stage_tally import StageTally

MOST_SECONDS = 3600
"""Of an agent's rates that are kept to see who was slow when."""
STALL = 0.5
"""A second with less than this share of the agent's median rate is slow."""
BROKEN = frozenset({ErrorKind.NETWORK, ErrorKind.TIMEOUT})


@dataclass(slots=True)
class AgentSums:
    """Sums over the intervals of one agent in one stage, without warm-up."""

    cells: dict[str, list[int]] = field(default_factory=dict)
    """Per endpoint: operations that succeeded, sum of their service times in µs, body bytes."""
    nic_s: float = 0.0
    nic_pct_s: float = 0.0
    retransmits: int | None = None
    seconds: float = 0.0
    limited_s: float = 0.0
    rates: array[float] = field(default_factory=lambda: array("f"))
    """Operations per second, of each second of the stage; negative where nothing was reported."""


class FactCollector:
    """Takes the reports of a run, and what preflight found."""

    def __init__(self) -> None:
        self._agents: dict[tuple[int, str], AgentSums] = {}
        self._connect_us: dict[str, float] = {}

    def finding(self, finding: Finding) -> None:
        if finding.check == "connect" and finding.took_ms > 0:
            known = self._connect_us.get(finding.agent, 0.0)
            self._connect_us[finding.agent] = max(known, finding.took_ms * 1000)

    def report(self, report: Report, start_ns: int) -> None:
        """One interval; `start_ns` is when its stage began."""
        if report.warmup:
            return
        seconds = (report.end_ns - report.start_ns) / SECOND_NS
        agent = self._agents.setdefault((report.stage_index, report.agent), AgentSums())
        agent.seconds += seconds
        agent.limited_s += seconds if report.client_limited_reason else 0.0
        vitals = report.vitals
        if vitals.nic_pct is not None:
            agent.nic_s += seconds
            agent.nic_pct_s += vitals.nic_pct * seconds
        if vitals.tcp_retransmits is not None:
            agent.retransmits = (agent.retransmits or 0) + vitals.tcp_retransmits
        for stats in report.endpoints:
            cell = agent.cells.setdefault(stats.uri, [0, 0, 0])
            cell[0] += stats.ops
            cell[1] += stats.service.sum_us
            cell[2] += stats.bytes
        self._rate(agent, round((report.start_ns - start_ns) / SECOND_NS), report, seconds)

    def sums(self, stage_index: int, agent: str) -> AgentSums:
        """What an agent's reports come to in a stage."""
        return self._agents.get((stage_index, agent), AgentSums())

    def restore(self, stage_index: int, agent: str, sums: AgentSums) -> None:
        """Go on from what was kept."""
        self._agents[stage_index, agent] = sums

    def facts(self, stage: StageTally, connections: Mapping[str, int]) -> StageFacts:
        """Of one stage so far. `connections`: how many each agent has."""
        index = stage.info.index
        agents = []
        for name, part in sorted(stage.agents.items()):
            known = self._agents.get((index, name))
            if known is None:
                continue
            service = _merged(stats.service for stats in part.ops.rows())
            limited = part.summary.client_limited_reason if part.summary is not None else ""
            if part.summary is None and known.limited_s >= 0.25 * known.seconds:
                limited = part.limited or "in a quarter of its time"
            agents.append(
                AgentFacts(
                    name,
                    stage.agent_seconds(name),
                    part.ops.ops,
                    part.ops.bytes,
                    service.mean_us,
                    connections.get(name, 0),
                    limited,
                    known.nic_pct_s / known.nic_s if known.nic_s else None,
                    known.retransmits,
                    self._connect_us.get(name),
                    {uri: Cell(cell[0], cell[1] / cell[0]) for uri, cell in known.cells.items() if cell[0]},
                )
            )
        attempts = stage.failed_attempts
        gets = [stats for stats in stage.ops.rows() if stats.op is Op.GET]
        together, alone = self._stalls(index)
        return StageFacts(
            tuple(agents),
            attempts=sum(stats.attempts for stats in stage.ops.rows()),
            throttled=sum(stats.count for stats in attempts if stats.kind is ErrorKind.THROTTLED),
            server_errors=sum(stats.count for stats in attempts if stats.subclass == "http_5xx"),
            broken=sum(stats.count for stats in attempts if stats.kind in BROKEN),
            get_us=_merged(stats.service for stats in gets).mean_us,
            ttfb_us=_merged(stats.ttfb for stats in gets).mean_us,
            paced=stage.info.paced,
            stalls_together=together,
            stalls_alone=alone,
        )

    def attribution(self, stage: StageTally, connections: Mapping[str, int]) -> Attribution:
        return attribute(self.facts(stage, connections))

    def _rate(self, agent: AgentSums, second: int, report: Report, seconds: float) -> None:
        if not 0 <= second < MOST_SECONDS or seconds < 0.5:
            return
        rates = agent.rates
        while len(rates) <= second:
            rates.append(-1.0)
        rates[second] = sum(stats.ops for stats in report.ops) / seconds

    def _stalls(self, index: int) -> tuple[int, int]:
        """Seconds in which at least four of five agents were slow, and in which at most one of five was."""
        series = [
            agent.rates for (stage, _), agent in self._agents.items() if stage == index and len(agent.rates) >= 10
        ]
        if len(series) < 3:
            return 0, 0
        usual = [median(rate for rate in rates if rate >= 0) for rates in series]
        together = alone = 0
        for second in range(min(len(rates) for rates in series)):
            slow = sum(rates[second] < STALL * middle for rates, middle in zip(series, usual, strict=True))
            together += slow >= 0.8 * len(series)
            alone += 0 < slow <= 0.2 * len(series)
        return together, alone


def _merged(histograms: Iterable[Histogram]) -> Histogram:
    made = Histogram()
    for histogram in histograms:
        made.merge(histogram)
    return made
