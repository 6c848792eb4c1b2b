"""When figures are the load generator's own limit, the rules say so, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.metrics.saturation import SHARE, Sample, SaturationMeter

CALM = Sample(1.0, 40.0, 50.0, 5000.0, 300.0, 20.0, 10.0, 0.5)


def why(sample: Sample) -> str:
    return SaturationMeter().add(sample)


def test_a_calm_host_limits_nothing() -> None:
    meter = SaturationMeter()
    assert [meter.add(CALM) for _ in range(10)] == [""] * 10
    assert meter.reason() == ""
    assert SaturationMeter().reason() == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"worker_cpu_pct": 93.0}, "a worker process used 93 % of its core"),
        ({"lag_p99_us": 2500.0}, "answers waited up to 2.5 ms (p99) for a worker process"),
        ({"host_cpu_pct": 99.0}, "the host's CPUs were 99 % busy"),
        ({"nic_pct": 95.0}, "a network link was 95 % full"),
        ({"softirq_pct": 90.0}, "a core spent 90 % on the network's interrupts"),
        ({"steal_pct": 12.0}, "other guests of this machine took 12 % of its CPUs"),
    ],
)
def test_each_limit_is_named_alone(change: dict[str, float], words: str) -> None:
    assert why(replace(CALM, **change)) == words


def test_too_short_a_stage_has_no_verdict() -> None:
    meter = SaturationMeter()
    assert meter.add(replace(CALM, seconds=0.1, worker_cpu_pct=100.0))
    assert meter.reason() == ""
    meter.add(replace(CALM, seconds=0.5, worker_cpu_pct=100.0))
    assert meter.reason() == "a worker process used 100 % of its core (in 0.6 of 0.6 s)"


def test_several_limits_are_all_named() -> None:
    found = why(replace(CALM, worker_cpu_pct=100.0, nic_pct=99.0))
    assert "worker process" in found
    assert "network link" in found


def test_lag_counts_only_beside_short_operations() -> None:
    assert why(replace(CALM, lag_p99_us=4000.0, service_p50_us=1000.0))
    assert not why(replace(CALM, lag_p99_us=4000.0, service_p50_us=2_000_000.0))


@given(st.lists(st.sampled_from(["lag_p99_us", "nic_pct", "softirq_pct", "steal_pct"]), unique=True))
def test_what_is_not_known_is_never_a_reason(absent: list[str]) -> None:
    assert why(replace(CALM, **dict.fromkeys(absent))) == ""  # type: ignore[arg-type]


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_stage_is_limited_if_enough_of_its_time_was(limited: int, calm: int) -> None:
    meter = SaturationMeter()
    for _ in range(limited):
        meter.add(replace(CALM, worker_cpu_pct=90.0))
    for _ in range(calm):
        meter.add(CALM)
    reason = meter.reason()
    assert bool(reason) == (limited >= SHARE * (limited + calm) and limited > 0)
    if reason:
        tenths = ".0" if limited + calm < 10 else ""
        share = f"in {limited}{tenths} of {limited + calm}{tenths} s"
        assert reason == f"a worker process used 90 % of its core ({share})"
