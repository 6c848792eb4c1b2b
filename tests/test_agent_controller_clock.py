"""What an agent knows of the controller's clock, however its own drifts, and however long the run is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.controller_clock import ClockReading, ClockReadings
from sai3tui.controller.clock import ROUNDING_NS, ClockFilter
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.oplog import read_oplog
from tests.agents import Driver, agent_in_process, stub_of
from tests.waiting import wait_until_async

US = 1000
MS = 1_000_000
SECOND = 1000 * MS
START = 10**18


@dataclass
class Host:
    """An agent's clocks as functions of the controller's time, and the pings that tell it what the controller knows."""

    offset_ns: int
    ppm: float
    clock: ClockFilter = field(default_factory=ClockFilter)
    readings: ClockReadings = field(default_factory=ClockReadings)
    reading: ClockReading | None = None

    def wall(self, at_ns: int) -> int:
        return at_ns - self.offset_ns - round((at_ns - START) * self.ppm / 1e6)

    def mono(self, at_ns: int) -> int:
        # Slewed as the other one is, since the host was started.
        return self.wall(START) - START + at_ns - START - round((at_ns - START) * self.ppm / 1e6) + 10**15

    def echo(self, at_ns: int, there: int, back: int) -> None:
        self.clock.add(at_ns - there, self.wall(at_ns), at_ns + back)

    def ping(self, at_ns: int) -> ClockReading | None:
        """One that arrives at `at_ns`."""
        known = self.clock.estimate
        told = self.readings.told(self.mono(at_ns), self.wall(at_ns), known.offset_ns, known.drift_ppm)
        self.reading = told or self.reading
        return told

    def off_by(self, at_ns: int) -> int:
        """How wrong the time of a row is that is written at `at_ns`."""
        assert self.reading is not None
        mono = self.mono(at_ns)
        return mono + self.reading.offset_ns(mono) - at_ns


GAPS = st.lists(st.tuples(st.integers(1, 600), st.integers(0, 5 * MS), st.integers(0, 5 * MS)), min_size=1, max_size=60)


@given(st.integers(-(10**15), 10**15), st.floats(-300, 300), GAPS, st.integers(0, SECOND), st.integers(0, 7200))
def test_rows_have_the_times_of_the_controller_as_far_as_it_knows_them(
    offset: int, ppm: float, gaps: list[tuple[int, int, int]], later: int, away_s: int
) -> None:
    host = Host(offset, ppm)
    at = START
    for gap_s, there, back in gaps:
        at += gap_s * SECOND
        host.echo(at, there, back)
        pinged = at + back + later
        assert host.ping(pinged) is not None
        known = host.clock.estimate
        # The next ping comes after a second, or does not for as long as no controller is there.
        for row in (pinged, pinged + SECOND, pinged + away_s * SECOND):
            aged = (pinged - at + there) * abs(ppm) + (row - pinged) * known.drift_uncertainty_ppm
            # Drift is that of the agent's clock, which is not quite as long as the controller's time.
            second_order = (row - START) * (ppm / 1e6) ** 2 + (row - START) * abs(ppm) * 1e-12
            assert abs(host.off_by(row)) <= known.uncertainty_ns + aged / 1e6 + ROUNDING_NS + second_order + 300


@settings(max_examples=5)
@given(st.sampled_from([-20.0, 20.0, 150.0]), st.integers(2, 8))
def test_hours_at_a_drift_are_as_good_as_the_first_minute(ppm: float, hours: int) -> None:
    host = Host(3 * SECOND, ppm)
    for second in (*range(60), *range(60, hours * 3600, 60)):
        host.echo(START + second * SECOND, 100 * US, 100 * US)
        host.ping(START + second * SECOND + MS)
    end = START + hours * 3600 * SECOND
    assert abs(host.off_by(end)) < MS
    # By what was known at the start alone, it would be this much.
    first = ClockReading(host.mono(START), START)
    assert abs(host.mono(end) + first.offset_ns(host.mono(end)) - end) > 100 * MS
    # Nobody has to be there to say it.
    assert abs(host.off_by(end + 3600 * SECOND)) < 2 * MS


def test_what_is_said_of_a_clock_before_its_host_slept_is_not_believed() -> None:
    readings = ClockReadings()
    assert readings.told(SECOND, START, 7 * SECOND, 0.0) == ClockReading(SECOND, START + 7 * SECOND)
    # It sleeps for 5 s, and what the controller says may be of before.
    assert readings.told(2 * SECOND, START + 6 * SECOND, 7 * SECOND, 0.0) is None
    known = readings.told(3 * SECOND, START + 7 * SECOND, 7 * SECOND, 0.0)
    assert known == ClockReading(3 * SECOND, START + 14 * SECOND)


CONFIG = """\
target: file://DIR/data/
concurrency: 1
op_log_path: log
prepare: {ensure_objects: [{base_uri: d/, count: 20, size_spec: 1KiB}]}
workload: []
distributed:
  stages: [{name: prepare, order: 1, type: prepare}]
  agents: [{id: a1, address: "127.0.0.1:7167"}]
"""


async def test_op_logs_follow_what_the_controller_says_of_the_clock(tmp_path: Path) -> None:
    (tmp_path / "data" / "d").mkdir(parents=True)
    hour = 3600 * SECOND
    async with agent_in_process(tmp_path, tmp_path / "data") as (address, _), stub_of(address) as stub:
        driver = Driver(stub, CONFIG.replace("DIR", str(tmp_path)), hold=(0,))
        running = asyncio.ensure_future(driver.run())
        assert await wait_until_async(lambda: bool(driver.pongs) and "at_barrier 0" in driver.states, 60)
        assert driver.call is not None
        told = pb.Ping(controller_time_ns=time.time_ns(), clock_offset_ns=hour)
        await driver.call.write(pb.ControllerMessage(ping=told))
        assert await wait_until_async(lambda: len(driver.pongs) == 2, 60)
        await driver.release(0)
        await running
    assert driver.failure is None, driver.failure
    logs = list((tmp_path / "data").rglob("log*.zst"))
    rows = [row for log in logs for row in read_oplog(log, lambda problem: None)]
    assert len(rows) >= 20
    assert all(abs(row.start_ns - hour - time.time_ns()) < hour // 6 for row in rows)
