"""Figures of the host: read where there are any, absent where there are none."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from sai3tui.agent.network import NetworkMeter, NetworkUse, moved_bytes, retransmitted
from sai3tui.agent.vitals import VitalsMeter, share

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: {lo} 1 0 0 0 0 0 0 {lo} 1 0 0 0 0 0 0
  eth0: {received} 12 0 0 0 0 0 0 {sent} 9 0 0 0 0 0 0
"""
SNMP = """Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin InSegs OutSegs RetransSegs InErrs
Tcp: 1 200 10 20 {again} 0
"""


class Times(NamedTuple):
    """As psutil has them."""

    user: float
    system: float
    idle: float
    steal: float
    guest: float
    guest_nice: float


def host(
    root: Path, *, received: int = 0, sent: int = 0, lo: int = 0, again: int = 0, speed: str | None = "1000"
) -> None:
    for path, text in (
        ("proc/net/dev", DEV.format(received=received, sent=sent, lo=lo)),
        ("proc/net/snmp", SNMP.format(again=again)),
        ("sys/class/net/eth0/speed", speed),
    ):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            file.write_text(text)


def test_use_is_that_of_the_busiest_direction_against_the_link(tmp_path: Path) -> None:
    meter = NetworkMeter(tmp_path)
    host(tmp_path, received=1000, sent=5000, again=7)
    assert meter.read(10.0) == NetworkUse()
    host(tmp_path, received=125_001_000, sent=25_005_000, lo=10**12, again=19)
    found = meter.read(12.0)
    # 125 MB in two seconds are 500 Mbit/s; loopback is no link.
    assert found == NetworkUse(62_500_000.0, 50.0, 12)


@pytest.mark.parametrize("speed", ["-1", "", None, "unknown"])
def test_a_link_without_speed_has_no_share(tmp_path: Path, speed: str | None) -> None:
    meter = NetworkMeter(tmp_path)
    host(tmp_path, speed=speed)
    meter.read(0.0)
    host(tmp_path, received=1000, speed=speed)
    assert meter.read(1.0) == NetworkUse(1000.0, None, 0)


def test_a_host_that_tells_nothing_is_not_guessed_at(tmp_path: Path) -> None:
    meter = NetworkMeter(tmp_path)
    meter.read(0.0)
    assert meter.read(1.0) == NetworkUse()


@pytest.mark.parametrize("text", ["", "Tcp: A B\n", "Tcp: RetransSegs\nTcp: x\n", "Tcp: RetransSegs A\nTcp: 1\n"])
def test_what_is_no_counter_is_absent(text: str) -> None:
    assert retransmitted(text) is None
    assert moved_bytes(text) == {}


def test_guests_are_part_of_user_time_already() -> None:
    before, after = Times(0, 0, 0, 0, 0, 0), Times(60, 10, 20, 10, 30, 0)
    assert share(before, after, "user") == pytest.approx(60.0)
    assert share(before, after, "steal") == pytest.approx(10.0)
    assert share(before, before, "user") == 0.0


def test_this_host_has_vitals() -> None:
    meter = VitalsMeter()
    meter.read([os.getpid()], time.monotonic())
    begin = time.process_time()
    while time.process_time() - begin < 0.2:
        pass
    found = meter.read([os.getpid(), 2**22 + 1], time.monotonic())
    assert found.workers == 1
    assert found.worker_cpu_pct > 0
    assert found.rss_bytes > 2**20
    assert found.cpu_user_pct > 0
    assert found.worker_lag_p99_us is None
    assert found.softirq_pct is None or 0 <= found.softirq_pct <= 100
