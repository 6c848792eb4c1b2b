"""Who limited a stage: the load generators, the network or the storage. Pure rules over what was measured.

Each rule looks at one kind of fact and gives evidence with a weight from 0 to 1, or none. Evidence for a cause adds up
as independent doubts do: two pieces of 0.5 leave a doubt of 0.25. A cause is named only if its evidence is strong and
that for the others weak; else the answer is "unclear", which costs less than a wrong one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

ENOUGH = 0.5
"""A cause with less than this is not named."""
CONTRADICTION = 0.5
"""Nor is one if another has more than this share of its evidence."""
FEWEST_OPS = 50
SHORTEST_S = 5.0
SLOW = 2.0
"""So many times the median of its peers is slow."""
SEGMENT_BYTES = 1448
"""Payload of a TCP segment on Ethernet with timestamps; larger ones make a share of retransmits smaller, not larger."""


class Cause(StrEnum):
    CLIENT = "client"
    NETWORK = "network"
    SERVER = "server"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one agent measured at one endpoint: operations, and their mean service time in µs."""

    ops: int
    mean_us: float


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent's part of a stage. `limited` is why it limited itself, empty if it did not. `nic_pct` is the mean load
    of its busiest interface (None: not known), `connect_us` how long a TCP connection to the storage took to open."""

    id: str
    seconds: float
    ops: int
    bytes: int
    mean_us: float
    connections: int = 0
    limited: str = ""
    nic_pct: float | None = None
    retransmits: int | None = None
    connect_us: float | None = None
    cells: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A stage. `ttfb_us` and `get_us` are means of GETs; `paced`: operations came on a schedule, so that connections
    may have been idle on purpose. Attempts are counted with those that were made again. `stalls_together` are seconds
    in which nearly all agents were slow at once, `stalls_alone` those in which few were."""

    agents: tuple[AgentFacts, ...]
    attempts: int = 0
    throttled: int = 0
    server_errors: int = 0
    broken: int = 0
    get_us: float = 0.0
    ttfb_us: float = 0.0
    paced: bool = False
    stalls_together: int = 0
    stalls_alone: int = 0

    @property
    def ops(self) -> int:
        return sum(agent.ops for agent in self.agents)

    @property
    def seconds(self) -> float:
        return max((agent.seconds for agent in self.agents), default=0.0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that speaks for a cause; `UNCLEAR` for one that is worth knowing but tells none of them."""

    cause: Cause
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """`confidence` from 0 to 1, 0 where it is unclear. `facts` are all that was found, the strongest first. `short`:
    too little was measured to say anything."""

    cause: Cause = Cause.UNCLEAR
    confidence: float = 0.0
    facts: tuple[Evidence, ...] = ()
    short: bool = False

    @property
    def sentence(self) -> str:
        """`server, high confidence: 4 % of the attempts were throttled; ...`."""
        if self.short:
            return "too short to say"
        told = "; ".join(evidence.text for evidence in self.facts) or "nothing stands out"
        if self.cause is Cause.UNCLEAR:
            return f"unclear: {told}"
        word = "high" if self.confidence >= 0.8 else "medium" if self.confidence >= 0.65 else "low"
        return f"{self.cause.value} ({word} confidence): {told}"


Rule = Callable[[StageFacts], Evidence | None]


def attribute(facts: StageFacts) -> Attribution:
    """The verdict on a stage."""
    if facts.ops < FEWEST_OPS or facts.seconds < SHORTEST_S:
        return Attribution(short=True)
    found = [evidence for rule in RULES if (evidence := rule(facts)) is not None]
    scores = {cause: _together(e.weight for e in found if e.cause is cause) for cause in Cause}
    if scores[Cause.CLIENT] >= ENOUGH:
        # A busy generator stretches every time that it measures: then times say nothing of the storage.
        found = [e for e in found if e.text not in _timings(facts)]
        scores = {cause: _together(e.weight for e in found if e.cause is cause) for cause in Cause}
    told = tuple(sorted(found, key=lambda evidence: -evidence.weight))
    causes = sorted((Cause.CLIENT, Cause.NETWORK, Cause.SERVER), key=lambda cause: -scores[cause])
    best, second = scores[causes[0]], scores[causes[1]]
    if best < ENOUGH or second > CONTRADICTION * best:
        return Attribution(Cause.UNCLEAR, 0.0, told)
    return Attribution(causes[0], best, told)


def saturated_generators(facts: StageFacts) -> Evidence | None:
    """Agents that reached a limit of their own, by the share of operations that they did."""
    limited = [agent for agent in facts.agents if agent.limited]
    if not limited:
        return None
    share = sum(agent.ops for agent in limited) / facts.ops
    first = f"{limited[0].id}: {limited[0].limited}"
    text = f"{len(limited)} of {len(facts.agents)} agents limited themselves ({first})"
    return Evidence(Cause.CLIENT, 0.9 if share >= 0.5 else 0.4 * share, text)


def idle_connections(facts: StageFacts) -> Evidence | None:
    """Little's law: operations in flight are rate times service time. What is missing to the number of connections was
    spent in the generator, between operations."""
    connections = sum(agent.connections for agent in facts.agents)
    if facts.paced or not connections or facts.attempts > 1.02 * facts.ops:
        # The time of what failed is in no service time.
        return None
    in_flight = sum(agent.ops / agent.seconds * agent.mean_us / 1e6 for agent in facts.agents if agent.seconds)
    busy = in_flight / connections
    if busy >= 0.8:
        return None
    text = f"connections were busy {busy:.0%} of the time: the rest passed between operations, in the generator"
    return Evidence(Cause.CLIENT, 0.6 if busy < 0.6 else 0.3, text)


def full_links(facts: StageFacts) -> Evidence | None:
    """Agents whose network interface was full, by the share of bytes that they moved."""
    total = sum(agent.bytes for agent in facts.agents)
    full = [agent for agent in facts.agents if agent.nic_pct is not None and agent.nic_pct >= 85]
    if not full or not total:
        return None
    share = sum(agent.bytes for agent in full) / total
    text = f"the network interface of {_named(full)} was {max(agent.nic_pct or 0 for agent in full):.0f} % full"
    return Evidence(Cause.NETWORK, 0.9 if share >= 0.5 else 0.4 * share, text)


def retransmits(facts: StageFacts) -> Evidence | None:
    """Segments sent again, against those that the bytes moved need."""
    known = [agent for agent in facts.agents if agent.retransmits is not None]
    segments = sum(max(agent.bytes / SEGMENT_BYTES, 2.0 * agent.ops) for agent in known)
    again = sum(agent.retransmits or 0 for agent in known)
    if not segments or again < 20 or again / segments < 0.001:
        return None
    share = again / segments
    text = f"{share:.1%} of the TCP segments were sent again"
    return Evidence(Cause.NETWORK, 0.7 if share >= 0.01 else 0.4, text)


def broken_connections(facts: StageFacts) -> Evidence | None:
    """Attempts that a connection's end or silence broke; a server that is overloaded does that too."""
    if not facts.attempts or facts.broken < 5 or facts.broken / facts.attempts < 0.01:
        return None
    text = f"{facts.broken / facts.attempts:.1%} of the attempts ended with a broken connection or timed out"
    return Evidence(Cause.NETWORK, 0.3, text)


def throttling(facts: StageFacts) -> Evidence | None:
    """Answers by which the storage says that it is asked for too much."""
    if not facts.attempts or facts.throttled < 5 or facts.throttled / facts.attempts < 0.005:
        return None
    share = facts.throttled / facts.attempts
    return Evidence(Cause.SERVER, 0.9 if share >= 0.02 else 0.6, f"{share:.1%} of the attempts were throttled")


def server_errors(facts: StageFacts) -> Evidence | None:
    if not facts.attempts or facts.server_errors < 5 or facts.server_errors / facts.attempts < 0.01:
        return None
    text = f"{facts.server_errors / facts.attempts:.1%} of the attempts were answered with an error of the server"
    return Evidence(Cause.SERVER, 0.5, text)


def slow_endpoint(facts: StageFacts) -> Evidence | None:
    """Endpoints that are slow for every agent, while the same agents find others fast."""
    ratios: dict[str, list[float]] = {}
    for agent in facts.agents:
        means = {uri: cell.mean_us for uri, cell in agent.cells.items() if cell.ops >= 10}
        for uri, mean in means.items() if len(means) >= 2 else ():
            others = median(other for each, other in means.items() if each != uri)
            ratios.setdefault(uri, []).append(mean / others if others else 0.0)
    slow = sorted(uri for uri, values in ratios.items() if len(values) >= 2 and min(values) >= SLOW)
    if not slow:
        return None
    return Evidence(Cause.SERVER, 0.75, f"{', '.join(slow[:3])} was slow for all agents, other endpoints were not")


def slow_agent(facts: StageFacts) -> Evidence | None:
    """An agent that is slow at endpoints that are fast for others: its host, or its part of the network."""
    slow = []
    means: dict[str, list[float]] = {}
    for agent in facts.agents:
        for uri, cell in agent.cells.items():
            means.setdefault(uri, []).append(cell.mean_us)
    for known in means.values():
        known.sort()
    for agent in facts.agents:
        ratios = []
        for uri, cell in agent.cells.items():
            usual = _median_of_others(means[uri], cell.mean_us)
            if cell.ops >= 10 and usual > 0:
                ratios.append(cell.mean_us / usual)
        if len(facts.agents) >= 3 and ratios and min(ratios) >= SLOW:
            slow.append(agent)
    if not slow or len(slow) > len(facts.agents) // 3:
        return None
    text = f"{_named(slow)} was slow at endpoints that were fast for others: its host or its network"
    return Evidence(Cause.UNCLEAR, 0.5, text)


def _median_of_others(ascending: Sequence[float], own: float) -> float:
    """Of sorted values without one that is `own`; 0.0 if there is no other. Without making a list for each agent."""
    count = len(ascending) - 1
    if not count:
        return 0.0
    place = bisect_left(ascending, own)
    middle = [ascending[k if k < place else k + 1] for k in ((count - 1) // 2, count // 2)]
    return sum(middle) / 2


def waiting_for_answers(facts: StageFacts) -> Evidence | None:
    """GETs whose time is nearly all before the first byte, and much longer than a way there and back takes."""
    connect_us = _slowest_connect(facts)
    if facts.get_us <= 0 or facts.ttfb_us < 0.8 * facts.get_us or connect_us is None:
        return None
    if facts.ttfb_us < 10 * connect_us or facts.ttfb_us < 1000:
        return None
    text = (
        f"{facts.ttfb_us / facts.get_us:.0%} of the time of a GET passed before its first byte "
        f"({facts.ttfb_us / 1000:.1f} ms; a connection opens in {connect_us / 1000:.1f} ms)"
    )
    return Evidence(Cause.SERVER, 0.6, text)


def long_way(facts: StageFacts) -> Evidence | None:
    """GETs that take hardly longer than the way there and back."""
    connect_us = _slowest_connect(facts)
    if facts.get_us <= 0 or connect_us is None or connect_us < 1000 or facts.get_us > 1.5 * connect_us:
        return None
    text = (
        f"a GET took {facts.get_us / 1000:.1f} ms, opening a connection {connect_us / 1000:.1f} ms: it is the distance"
    )
    return Evidence(Cause.NETWORK, 0.7, text)


def stalls(facts: StageFacts) -> Evidence | None:
    """Agents that stop at the same moments have something in common, and that is not their hosts."""
    if len(facts.agents) < 3 or facts.stalls_together < 3 or facts.stalls_together < 3 * facts.stalls_alone:
        return None
    text = (
        f"all agents were slow at once in {facts.stalls_together} s: the storage, or a part of the network they share"
    )
    return Evidence(Cause.SERVER, 0.35, text)


RULES: tuple[Rule, ...] = (
    saturated_generators,
    idle_connections,
    full_links,
    retransmits,
    broken_connections,
    throttling,
    server_errors,
    slow_endpoint,
    slow_agent,
    waiting_for_answers,
    long_way,
    stalls,
)
TIMING_RULES: tuple[Rule, ...] = (slow_endpoint, slow_agent, waiting_for_answers, long_way)


def _timings(facts: StageFacts) -> set[str]:
    return {evidence.text for rule in TIMING_RULES if (evidence := rule(facts)) is not None}


def _together(weights: Iterable[float]) -> float:
    doubt = 1.0
    for weight in weights:
        doubt *= 1 - weight
    return 1 - doubt


def _slowest_connect(facts: StageFacts) -> float | None:
    return max((agent.connect_us for agent in facts.agents if agent.connect_us is not None), default=None)


def _named(agents: Sequence[AgentFacts]) -> str:
    names = [agent.id for agent in agents]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
