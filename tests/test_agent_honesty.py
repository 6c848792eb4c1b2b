"""What an agent says of itself over real gRPC: warm-up, vitals of its workers, limits of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import Driver, running_agent, stub_of

CONFIG = """
concurrency: 4
warmup_period: 20s
prepare:
  ensure_objects: [{base_uri: data/, count: 40, size_spec: 2KiB}]
workload:
  - {op: get, path: "data/*", weight: 50, concurrency: 1}
  - {op: stat, path: "data/*", weight: 50}
distributed:
  stages:
    - {name: prepare, order: 1, type: prepare}
    - {name: execute, order: 2, type: execute, duration: 2s, warmup_period: 1s}
    - {name: cleanup, order: 3, type: cleanup}
  agents: [{id: agent-1, address: "127.0.0.1:7167"}]
"""


async def test_warm_up_is_reported_but_no_part_of_the_stage(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with running_agent(tmp_path, "--allow-path", str(target)) as agent:
        async with stub_of(agent) as stub:
            driver = Driver(stub, CONFIG + f"target: file://{target}/\n")
            await driver.run()
    assert driver.failure is None, driver.failure
    assert not any(report.warmup for index in (1, 3) for report in driver.reports(index))
    reports, summary = driver.reports(2), driver.summary("execute")
    # The stage's own warm-up counts, not the file's; it ends with an interval.
    flags = [report.warmup for report in reports]
    assert flags[0]
    assert flags == sorted(flags, reverse=True)
    measured = [report for report in reports if not report.warmup]
    warm = [report for report in reports if report.warmup]
    counts = [sum(stats.ops for report in part for stats in report.ops) for part in (warm, measured)]
    assert counts[0] > 0
    assert sum(stats.ops for stats in summary.ops) == counts[1] > 0
    assert sum(stats.ops for stats in summary.endpoints) == counts[1]
    assert summary.start_ns == warm[-1].end_ns == measured[0].start_ns
    assert summary.seconds == pytest.approx((summary.end_ns - summary.start_ns) / 1e9)
    vitals = measured[0].vitals
    assert vitals.workers >= 1
    assert vitals.worker_cpu_pct > 0
    assert 0 < vitals.worker_lag_p99_us <= vitals.worker_lag_max_us
    assert vitals.HasField("tcp_retransmits")
    assert bool(summary.client_limited_reason) == summary.client_limited
