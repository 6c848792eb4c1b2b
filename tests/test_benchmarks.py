"""What `make bench` says of the budgets, and that its yardsticks measure what they say."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import programs
from benchmarks.budgets import UNMADE, Row, rows
from benchmarks.job import Job
from benchmarks.table import markdown
from sai3tui.storage.null_sink import null_sink


def cell(**cpu_us: float) -> dict[str, dict[str, float]]:
    return {
        name.replace("_", "-"): {"cpu_us": each, "best_cpu_us": each, "rest_us": 1.0, "ops_per_s": 9.0}
        for name, each in cpu_us.items()
    }


FOUND: Mapping[str, Any] = {
    "time": "2026-01-01T00:00:00+00:00",
    "machine": "2 cores",
    "load": 0.0,
    "rounds": 3,
    "agent": {
        "GET 1 KiB": cell(agent=30.0, wrk=10.0, minio_go=100.0),
        "PUT 64 KiB": cell(agent=60.0, payload=9.0, wire=20.0),
        "GET 8 MiB": cell(agent=1000.0, c=700.0),
        "PUT 8 MiB": cell(agent=2500.0, payload=500.0, c=1900.0, wire=1800.0) | {UNMADE: cell(agent=2000.0)["agent"]},
    },
    "delayed": {"wrk": {"p50_ms": 5.0, "p99_ms": 9.0, "ops_per_s": 9.0}, "agent": cell(agent=1.0)["agent"]},
    "workers": {"get": {"1": 30.0, "2": 39.0}},
    "tls": [{"op": "get", "size": 1024, "plain": 10.0, "tls": 20.0}],
}


def test_budgets_are_held_missed_or_reached() -> None:
    found = dict(FOUND)
    found["delayed"] = found["delayed"] | {"agent": {"p50_ms": 5.3, "p99_ms": 9.0, "ops_per_s": 9.0}}
    verdicts = {row.what: (row.shown, row.verdict) for row in rows(found)}
    assert verdicts == {
        "CPU of a worker per GET of 1 KiB": ("30.0 µs", "goal"),
        "the same, times that of wrk (which does not sign), GET": ("3.00", "held"),
        "the same, so many times less than minio-go, GET": ("3.33", "held"),
        "bytes per CPU second of GETs of 8 MiB, times those of a plain C loop": ("0.70", "**not held**"),
        "bytes per CPU second of PUTs of 8 MiB, times those of a plain C loop (bodies that take no making)": (
            "0.95",
            "goal",
        ),
        "making a body of 64 KiB, times what the wire engine needs to send it": ("0.45", "held"),
        "making a body of 8 MiB, times what the wire engine needs to send it": ("0.28", "goal"),
        "p50 with a server that takes 5 ms, 64 connections, above that of wrk": ("6.0 %", "held"),
        "CPU per GET of 1 KiB with two workers, times that with one": ("1.30", "**not held**"),
        "CPU of the wire engine per GET of 1 KiB with TLS, times that without": ("2.00", "held"),
    }
    table = markdown(found)
    assert all(what in table for what in verdicts)


def test_no_figure_no_budget() -> None:
    assert rows({}) == []
    assert rows({"agent": {"GET 1 KiB": cell(agent=30.0)}}) == [
        Row("CPU of a worker per GET of 1 KiB", 30.0, 45, 33, " µs")
    ]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("op", ["get", "put"])
@pytest.mark.parametrize("size", [1024, 3_000_000])
def test_the_plain_c_loop_moves_what_it_says(op: str, size: int) -> None:
    assert programs.build("c") == ""
    with null_sink() as port:
        found = programs.run_program("c", Job(op, size, 4, 0.3, port))
    assert found.ops > 1
    assert found.cpu_us > 0
    assert 0 < found.p50_ms <= found.p99_ms
