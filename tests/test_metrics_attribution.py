"""Attribution: simulated fleets into which exactly one cause was put, and mixtures of which none may be named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorKind
from sai3tui.events import (
    AttemptStats,
    BarrierReleased,
    EndpointStats,
    Finding,
    Level,
    Objects,
    OpStats,
    Report,
    Vitals,
)
from sai3tui.metrics.attribution import AgentFacts, Attribution, Cause, Cell, StageFacts, attribute
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.status import stage_notes
from sai3tui.results.tally import Tally
from sai3tui.results.views import StageInfo

URIS = ("s3://e1/", "s3://e2/", "s3://e3/")
START = 1_700_000_000 * SECOND_NS


def agent(name: str, *, mean_us: float = 5000.0, slow: str = "", **changes: object) -> AgentFacts:
    """16 connections that are always busy, evenly over three endpoints; `slow` is one that takes four times as long."""
    cells = {uri: Cell(3000, mean_us * (4 if uri == slow else 1)) for uri in URIS}
    ops = int(16 / (mean_us / 1e6) * 60)
    known = AgentFacts(name, 60.0, ops, ops * 100_000, mean_us, 16, cells=cells, connect_us=200.0, retransmits=0)
    return replace(known, **changes)  # type: ignore[arg-type]


def fleet(*changes: dict[str, object], count: int = 4, **more: object) -> StageFacts:
    agents = tuple(
        agent(f"a{n}", **(changes[n] if n < len(changes) else changes[-1] if len(changes) == 1 else {}))  # type: ignore[arg-type]
        for n in range(count)
    )
    facts = StageFacts(agents, get_us=5000.0, ttfb_us=2500.0)
    return replace(facts, attempts=facts.ops, **more)  # type: ignore[arg-type]


def verdict(facts: StageFacts) -> Cause:
    return attribute(facts).cause


def test_a_fleet_of_which_nothing_is_known_is_unclear() -> None:
    assert verdict(fleet({})) is Cause.UNCLEAR
    assert attribute(StageFacts(())) == Attribution(short=True)


def test_saturated_generators_are_the_client() -> None:
    found = attribute(fleet({"limited": "a worker process used 99 % of its core"}))
    assert found.cause is Cause.CLIENT
    assert found.confidence >= 0.8
    assert "99 %" in found.sentence


def test_one_saturated_generator_of_many_does_not_speak_for_the_fleet() -> None:
    found = attribute(fleet({"limited": "busy"}, {}, {}, {}))
    assert found.cause is Cause.UNCLEAR
    assert "1 of 4 agents limited themselves (a0: busy)" in found.sentence


def test_time_between_operations_is_the_client() -> None:
    facts = fleet({})
    idle = tuple(replace(each, ops=each.ops // 3) for each in facts.agents)
    facts = replace(facts, agents=idle, attempts=sum(each.ops for each in idle))
    assert verdict(facts) is Cause.CLIENT
    assert verdict(replace(facts, paced=True)) is Cause.UNCLEAR


def test_full_links_are_the_network() -> None:
    assert verdict(fleet({"nic_pct": 96.0})) is Cause.NETWORK
    assert verdict(fleet({"nic_pct": 96.0}, {}, {}, {})) is Cause.UNCLEAR


def test_segments_sent_again_are_the_network() -> None:
    facts = fleet({})
    lossy = tuple(replace(each, retransmits=int(each.bytes / 1448 * 0.03)) for each in facts.agents)
    assert verdict(replace(facts, agents=lossy)) is Cause.NETWORK
    a_few = tuple(replace(each, retransmits=int(each.bytes / 1448 * 0.0001)) for each in facts.agents)
    assert verdict(replace(facts, agents=a_few)) is Cause.UNCLEAR


def test_a_long_way_is_the_network() -> None:
    facts = fleet({"connect_us": 40_000.0, "mean_us": 45_000.0})
    assert verdict(replace(facts, get_us=45_000.0, ttfb_us=44_000.0)) is Cause.NETWORK


def test_throttling_is_the_server() -> None:
    facts = fleet({})
    assert verdict(replace(facts, throttled=facts.attempts // 20)) is Cause.SERVER
    assert verdict(replace(facts, throttled=3)) is Cause.UNCLEAR


def test_errors_of_the_server_are_the_server() -> None:
    facts = fleet({})
    assert verdict(replace(facts, server_errors=facts.attempts // 10)) is Cause.SERVER


def test_broken_connections_decide_where_segments_sent_again_are_not_enough() -> None:
    facts = fleet({"retransmits": 40_000})
    broken = replace(facts, broken=facts.attempts // 50)
    assert [evidence.weight for evidence in attribute(facts).facts] == [0.4]
    assert verdict(facts) is Cause.UNCLEAR
    assert verdict(broken) is Cause.NETWORK
    assert verdict(replace(fleet({}), broken=facts.attempts // 50)) is Cause.UNCLEAR


def test_stalls_of_all_decide_where_errors_could_be_the_network_too() -> None:
    facts = fleet({})
    torn = replace(facts, server_errors=facts.attempts // 50, broken=facts.attempts // 50)
    assert verdict(torn) is Cause.UNCLEAR
    assert verdict(replace(torn, stalls_together=5)) is Cause.SERVER
    assert verdict(replace(torn, stalls_together=5, stalls_alone=3)) is Cause.UNCLEAR
    assert verdict(replace(facts, stalls_together=5)) is Cause.UNCLEAR


def test_an_endpoint_that_is_slow_for_all_is_the_server() -> None:
    found = attribute(fleet({"slow": URIS[1]}))
    assert found.cause is Cause.SERVER
    assert URIS[1] in found.sentence


def test_an_agent_that_is_slow_everywhere_is_named_but_not_judged() -> None:
    found = attribute(fleet({"mean_us": 30_000.0}, {}, {}, {}))
    assert found.cause is Cause.UNCLEAR
    assert "a0 was slow at endpoints that were fast for others" in found.sentence


def test_waiting_for_the_first_byte_is_the_server_if_the_way_is_short() -> None:
    facts = replace(fleet({}), get_us=20_000.0, ttfb_us=19_000.0)
    assert verdict(facts) is Cause.SERVER
    unknown = tuple(replace(each, connect_us=None) for each in facts.agents)
    assert verdict(replace(facts, agents=unknown)) is Cause.UNCLEAR


def test_a_busy_generator_makes_times_worthless() -> None:
    facts = replace(fleet({"limited": "busy", "slow": URIS[0]}), get_us=20_000.0, ttfb_us=19_000.0)
    found = attribute(facts)
    assert found.cause is Cause.CLIENT
    assert all(fact.cause is Cause.CLIENT for fact in found.facts)


@pytest.mark.parametrize(
    "facts",
    [
        fleet({"limited": "busy"}, throttled=5000),
        fleet({"nic_pct": 99.0}, throttled=5000),
        fleet({"nic_pct": 99.0, "limited": "busy"}),
    ],
)
def test_contradictions_are_unclear_and_all_facts_are_told(facts: StageFacts) -> None:
    found = attribute(facts)
    assert (found.cause, found.confidence) == (Cause.UNCLEAR, 0.0)
    assert len(found.facts) == 2


def test_little_is_said_of_little() -> None:
    tiny = StageFacts((replace(agent("a"), ops=10, limited="busy"),))
    assert verdict(tiny) is Cause.UNCLEAR
    short = StageFacts((replace(agent("a"), seconds=2.0, limited="busy"),))
    assert verdict(short) is Cause.UNCLEAR


@given(
    st.builds(
        StageFacts,
        st.lists(
            st.builds(
                AgentFacts,
                st.sampled_from("abc"),
                st.floats(0, 100),
                st.integers(0, 10**6),
                st.integers(0, 10**9),
                st.floats(0, 1e6),
                st.integers(0, 64),
                st.sampled_from(("", "busy")),
                st.none() | st.floats(0, 100),
                st.none() | st.integers(0, 10**5),
                st.none() | st.floats(0, 1e6),
                st.dictionaries(
                    st.sampled_from(URIS), st.builds(Cell, st.integers(0, 100), st.floats(0, 1e6)), max_size=3
                ),
            ),
            max_size=4,
        ).map(tuple),
        st.integers(0, 10**6),
        st.integers(0, 10**5),
        st.integers(0, 10**5),
        st.integers(0, 10**5),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.booleans(),
        st.integers(0, 100),
        st.integers(0, 100),
    )
)
def test_whatever_was_measured_there_is_an_answer(facts: StageFacts) -> None:
    found = attribute(facts)
    assert 0 <= found.confidence <= 1
    assert (found.confidence >= 0.5) == (found.cause is not Cause.UNCLEAR)
    assert found.sentence


class Simulated:
    """Reports of a fleet, second by second, through the same tally as in a run."""

    def __init__(self, agents: int = 4) -> None:
        self.names = tuple(f"a{n}" for n in range(agents))
        self.tally = Tally((StageInfo(1, "execute", "execute"),), connections=dict.fromkeys(self.names, 8))
        for name in self.names:
            self.tally.apply(Finding(START, name, "connect", URIS[0], Level.OK, took_ms=0.2))
        self.tally.apply(BarrierReleased(START, "", 0, START, self.names))

    def play(self, seconds: int = 30, **how: object) -> Attribution:
        for second in range(seconds):
            for name in self.names:
                self.tally.apply(self.interval(name, second, **how))  # type: ignore[arg-type]
        (view,) = self.tally.views(START + seconds * SECOND_NS)
        if view.attribution.facts:
            assert any("limited by" in note for note in stage_notes([view]))
        return view.attribution

    def interval(
        self,
        name: str,
        second: int,
        *,
        mean_us: int = 5000,
        ttfb: float = 0.5,
        slow_uri: str = "",
        slow_agent: str = "",
        stalled: tuple[int, ...] = (),
        throttled: int = 0,
        vitals: Vitals | None = None,
        limited: str = "",
    ) -> Report:
        """One second of one agent."""
        endpoints, ops = [], 0
        service, first = Histogram(), Histogram()
        for number, uri in enumerate(URIS):
            latency = mean_us * (4 if uri == slow_uri else 1) * (4 if name == slow_agent else 1)
            count = int(8 / 3 * 1e6 / latency / (10 if second in stalled else 1))
            coarse = Histogram(COARSE)
            coarse.record([latency * 1000] * count)
            service.record([latency * 1000] * count)
            first.record([int(latency * 1000 * ttfb)] * count)
            endpoints.append(EndpointStats(number, uri, Op.GET, count, count * 1000, 0, count, coarse))
            ops += count
        whole = OpStats(Op.GET, 1, ops, ops * 1000, 0, ops + throttled, service, service.copy(), first)
        attempts = AttemptStats(ErrorKind.THROTTLED, "http_5xx", 0, URIS[0], Op.GET, throttled, throttled)
        begin = START + second * SECOND_NS
        return Report(
            name,
            1,
            begin,
            begin + SECOND_NS,
            (whole,),
            tuple(endpoints),
            Objects(),
            vitals or Vitals(),
            failed_attempts=(attempts,) if throttled else (),
            client_limited_reason=limited,
        )


def test_a_healthy_fleet_is_unclear() -> None:
    found = Simulated().play()
    assert (found.cause, found.facts) == (Cause.UNCLEAR, ())


def test_what_is_put_into_a_simulated_fleet_is_found() -> None:
    assert Simulated().play(ttfb=0.95).cause is Cause.SERVER
    assert Simulated().play(slow_uri=URIS[2]).cause is Cause.SERVER
    assert Simulated().play(throttled=60).cause is Cause.SERVER
    assert Simulated().play(vitals=Vitals(nic_pct=97.0)).cause is Cause.NETWORK
    assert Simulated().play(vitals=Vitals(tcp_retransmits=200)).cause is Cause.NETWORK
    assert Simulated().play(limited="a worker process used 98 % of its core").cause is Cause.CLIENT
    slow = Simulated().play(slow_agent="a2")
    assert slow.cause is Cause.UNCLEAR
    assert "a2 was slow" in slow.sentence


def test_stalls_of_all_at_once_are_told() -> None:
    found = Simulated().play(60, stalled=(20, 21, 22, 40, 41))
    assert "all agents were slow at once in 5 s" in found.sentence
