"""The past of a run: bounded, never forgetting its beginning, and the same again when it is read from the run log."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.controller.fleet import LiveAgent
from sai3tui.controller.frames import LEAST_FRAMES, Frames, lines_until
from sai3tui.controller.hosts import by_host
from sai3tui.controller.journal import Journal
from sai3tui.controller.snapshot import AgentView, LogLine, Phase, Rates, RunSnapshot, Series
from sai3tui.events import BarrierReleased, Level, Objects, Report, RunStarted, Vitals
from sai3tui.metrics.saturation import Sample, nearest_limit
from sai3tui.results.views import StageInfo

START_NS = 1_764_000_000_000_000_000
FLEET = tuple(AgentView(f"agent-{n}", f"10.0.0.{n}:7167") for n in range(1, 5))


def at(second: float, **more: Any) -> RunSnapshot:
    agents = tuple(replace(agent, rates=Rates(get_bytes=second * 10)) for agent in FLEET)
    base = RunSnapshot(version=int(second * 4), started_ns=START_NS, elapsed_s=second, agents=agents)
    return replace(base, **more)


@given(st.integers(1, 3000), st.integers(4, 4000))
def test_the_past_is_bounded_and_keeps_its_beginning_and_its_end(seconds: int, room: int) -> None:
    frames = Frames(room)
    for second in range(seconds):
        frames.add(at(second))
    assert len(frames) <= max(LEAST_FRAMES, room // len(FLEET))
    assert frames.span == (0.0, float(seconds - 1))
    latest = at(seconds)
    for second in (0, seconds // 2, seconds - 1):
        found = frames.at(second, latest)
        assert found.elapsed_s <= second
        assert found.agents[0].rates.get_bytes == found.elapsed_s * 10
    assert frames.at(seconds + 5, latest).elapsed_s == seconds - 1


def test_what_is_recent_stays_second_by_second() -> None:
    frames = Frames(800)
    for second in range(2000):
        frames.add(at(second))
    assert [frames.at(s, at(2000)).elapsed_s for s in range(1970, 2000)] == list(range(1970, 2000))


def test_a_moment_has_the_curves_and_events_that_were_known_then() -> None:
    frames = Frames()
    for second in range(1, 6):
        frames.add(at(second))
    seconds = tuple(float(n) for n in range(1, 6))
    series = Series(at_s=seconds, get_bytes=seconds, stage_index=(1, 1, 1, 2, 2))
    log = tuple(LogLine(START_NS + n * 10**9, Level.INFO, "", f"{n}") for n in range(1, 6))
    then = frames.at(3.4, at(6, series=series, log=log, log_total=5))
    assert then.series.at_s == (1.0, 2.0, 3.0)
    assert then.series.stage_index == (1, 1, 1)
    assert [line.text for line in then.log] == ["1", "2", "3"]
    assert then.log_total == 3


def test_the_first_operations_are_found_after_seconds_without_any() -> None:
    quiet = Series(at_s=(1.0, 2.0), ops=(0.0, 0.0))
    assert quiet.first_ops_s(0.5) == 0.5
    assert Series().first_ops_s(0.5) == 0.5
    busy = Series(at_s=(1.0, 2.0, 3.0), ops=(0.0, 7.0, 0.0))
    assert busy.first_ops_s(0.5) == 2.0


def test_a_clock_that_goes_backwards_adds_nothing_and_breaks_nothing() -> None:
    frames = Frames()
    for second in (1.0, 2.0, 1.5, 0.2, 2.9, 3.0):
        frames.add(at(second))
    assert frames.span == (1.0, 3.0)
    assert len(frames) == 3
    lines = tuple(LogLine(START_NS + n, Level.INFO, "", str(n)) for n in (1, 9, 3))
    assert [line.text for line in lines_until(lines, START_NS + 4)] == ["1", "9", "3"]


def test_an_agent_that_came_late_has_a_short_past() -> None:
    frames = Frames()
    for second in range(1, 11):
        known = FLEET if second > 5 else FLEET[:2]
        frames.add(at(second, agents=tuple(replace(a, rates=Rates(put_bytes=1.0 * second)) for a in known)))
    assert frames.agent_series("agent-4").put_bytes == (6, 7, 8, 9, 10)
    assert frames.agent_series("agent-1", 3).at_s == (1, 2, 3)
    assert frames.agent_series("nobody").at_s == ()


def test_agents_of_a_host_are_summed_up() -> None:
    fleet = (
        AgentView("a", "h1:1", hostname="one", rates=Rates(get_bytes=5, get_p99_us=10), errors=1),
        AgentView("b", "h2:1", rates=Rates(get_bytes=7), vitals=Vitals(cpu_user_pct=40, cpu_system_pct=2)),
        AgentView("c", "h1:2", hostname="one", rates=Rates(get_bytes=6, get_p99_us=30), errors=2),
    )
    one, two = by_host(fleet)
    assert (one.name, one.get_bytes, one.p99_us, one.errors) == ("one", 11, 30, 3)
    assert (two.name, two.get_bytes, two.cpu_pct) == ("h2", 7, 42)


def test_the_nearest_limit_is_the_one_that_is_most_used() -> None:
    assert nearest_limit(Sample(1.0)) == (0.0, "")
    assert nearest_limit(Sample(1.0, worker_cpu_pct=35, host_cpu_pct=19)) == (0.5, "worker")
    used, name = nearest_limit(Sample(1.0, worker_cpu_pct=35, nic_pct=99))
    assert name == "network"
    assert used == 1.1


def test_snapshots_are_made_for_who_reads_them_and_of_what_happens() -> None:
    now_ns = time.time_ns()
    journal = Journal("fleet.yaml")
    journal.fleet.plan("r", (StageInfo(1, "load", "execute"),), (LiveAgent("a", "10.0.0.1:7167"),))
    journal.emit(RunStarted(now_ns, agents=("a",)))
    journal.phase(Phase.RUNNING)
    journal.emit(BarrierReleased(now_ns, start_ns=now_ns, arrived=("a",)))
    journal.tick()
    said = journal.snapshot
    assert (said.run_id, said.started_ns) == ("r", now_ns)
    journal.tick()
    read_again = journal.snapshot
    assert read_again.version > said.version
    journal.tick()
    assert journal.snapshot.version > read_again.version
    journal.tick()
    # From here on nobody looks, until `version`.
    journal.emit(Report("a", 1, now_ns, now_ns + 10**9, (), (), Objects(done=7), Vitals()))
    before = journal.fleet.snapshot(now_ns).version
    journal.tick()
    assert journal.fleet.snapshot(now_ns).version == before + 1
    journal.note(Level.INFO, "something happens")
    journal.tick()
    assert journal.fleet.snapshot(now_ns).version == before + 3
    assert journal.snapshot.agents[0].done == 7
    assert journal.snapshot.log[-1].text == "something happens"
    assert not len(journal.frames)


def test_the_past_is_kept_for_a_front_that_goes_back_in_time_whether_it_reads_or_not() -> None:
    journal = Journal("fleet.yaml", keeps_past=True)
    journal.fleet.plan("r", (StageInfo(1, "load", "execute"),), (LiveAgent("a", "10.0.0.1:7167"),))
    journal.emit(RunStarted(time.time_ns() - 5 * 10**9, agents=("a",)))
    journal.phase(Phase.RUNNING)
    journal.tick()
    journal.tick()
    assert journal.frames.span[0] >= 5.0
