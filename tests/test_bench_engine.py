"""The ceiling of this host: measured against the sink, kept, read again, and compared with what is asked."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.cli import main
from sai3tui.config.ops import Op
from sai3tui.config.storage_options import S3Options
from sai3tui.errors import ResourceError
from sai3tui.events import Level
from sai3tui.storage.ceiling import Ceiling, Cell, ceiling_path, load_ceiling, mix_ops_per_s, save_ceiling
from sai3tui.storage.engine import Endpoint, Request
from sai3tui.storage.null_sink import null_sink
from tests.engine_harness import Collected, Harness, noise, put, run_on
from tests.fault_server import CREDENTIALS
from tests.servers import ServerUnderTest
from tests.test_agent_preflight import check, config_of

CEILING = Ceiling(
    "2026-01-01T00:00:00+00:00",
    "host",
    "3.11",
    "0.1",
    (Cell("get", 1024, 10.0, 5.0), Cell("get", 1_000_000, 110.0, 5.0), Cell("put", 1024, 20.0, 5.0)),
)


def test_the_sink_serves_what_clients_need() -> None:
    async def work(port: int) -> None:
        place = Endpoint("s3://sink/", "s3", "127.0.0.1", port, "bucket")
        for options in (S3Options(), S3Options(expect_above=0)):
            async with await Harness.open([place], CREDENTIALS, connections=[4], s3=options) as harness:
                for size in (0, 1, 1024, 300_000, 5_000_000):
                    sink = Collected()
                    outcome = await harness(Request(op=Op.GET, key=f"k/{size}", sink=sink))
                    assert (outcome.ok, outcome.moved, sink.ended) == (True, size, size)
                    outcome = await harness(put("k", noise(size)))
                    assert (outcome.ok, outcome.moved) == (True, size), outcome.failure
                for op in (Op.STAT, Op.DELETE, Op.LIST):
                    assert (await harness(Request(op=op, key="k"))).ok
                big = [harness.start(Request(op=Op.GET, key="k/3000000"), n) for n in range(4)]
                assert [outcome.moved for outcome in await asyncio.gather(*big)] == [3_000_000] * 4

    with null_sink() as port:
        run_on("uvloop", work(port))


def test_the_sink_waits_as_long_as_it_was_told() -> None:
    async def work(port: int) -> None:
        place = Endpoint("s3://sink/", "s3", "127.0.0.1", port, "bucket")
        async with await Harness.open([place], CREDENTIALS, connections=[4]) as harness:
            begin = time.monotonic()
            outcomes = await asyncio.gather(*(harness.start(Request(op=Op.GET, key="k/10"), n) for n in range(4)))
            assert all(outcome.t_first - outcome.t0 >= 50_000_000 for outcome in outcomes)
            # At once, not one after another.
            assert time.monotonic() - begin < 4 * 0.05 + 5

    with null_sink(0.05) as port:
        run_on("uvloop", work(port))


def test_a_ceiling_is_kept_and_read_again(tmp_path: Path) -> None:
    path = save_ceiling(CEILING, tmp_path / "deep" / "c.json")
    assert load_ceiling(path) == CEILING
    assert [entry.name for entry in path.parent.iterdir()] == ["c.json"]
    for broken in ("", "[]", "{}", '{"version": 1}', json.dumps({"version": 99}), path.read_text()[:-30]):
        path.write_text(broken)
        assert load_ceiling(path) is None
    assert load_ceiling(tmp_path / "none") is None
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        save_ceiling(CEILING, tmp_path / "file" / "c.json")


def test_estimates_lie_on_the_lines_between_what_was_measured() -> None:
    assert CEILING.ops_per_core(Op.GET, 1024) == pytest.approx(100_000)
    assert CEILING.ops_per_core(Op.GET, 0) == pytest.approx(100_000)
    assert CEILING.ops_per_core(Op.GET, 500_512) == pytest.approx(1e6 / 60)
    assert CEILING.ops_per_core(Op.GET, 2_000_000) == pytest.approx(1e6 / 220)
    assert CEILING.ops_per_core(Op.DELETE, 0) is None
    assert mix_ops_per_s(CEILING, [(Op.GET, 1024, 1.0), (Op.PUT, 1024, 1.0)], 2) == pytest.approx(2e6 / 15)
    assert mix_ops_per_s(CEILING, [(Op.LIST, 0, 1.0), (Op.GET, 1024, 0.0)], 2) is None


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_larger_is_never_faster(one: int, other: int) -> None:
    small, large = sorted((one, other))
    first, second = CEILING.ops_per_core(Op.GET, small), CEILING.ops_per_core(Op.GET, large)
    assert first is not None
    assert second is not None
    assert first >= second > 0


def test_the_command_measures_prints_and_keeps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["bench-engine", "--seconds", "0.05", "--json", "--no-save"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {(cell["op"], cell["size"]) for cell in document["cells"]} == {
        (op, size) for op in ("get", "put") for size in (1024, 65536, 1048576, 8388608)
    }
    assert all(cell["cpu_us"] > 0 and cell["ops_per_s"] > 0 for cell in document["cells"])
    monkeypatch.setattr("sai3tui.bench_engine.SIZES", (1024,))
    assert not ceiling_path().exists()
    try:
        assert main(["bench-engine", "--seconds", "0.05"]) == 0
        kept = load_ceiling()
        assert kept is not None
        assert {cell.size for cell in kept.cells} == {1024}
    finally:
        ceiling_path().unlink(missing_ok=True)
    assert "ops/s per core" in capsys.readouterr().out
    assert main(["bench-engine", "--seconds", "0"]) == 2


async def test_preflight_compares_the_workload_with_the_ceiling(
    s3_server: ServerUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3+http://{s3_server.host_port}/{s3_server.bucket('bench-ceiling')}/"
    base = config_of(place)
    monkeypatch.setattr("sai3tui.agent.checks_host.load_ceiling", lambda: CEILING)
    for text, level, said in [
        (base, Level.INFO, "at most about"),
        (base + "io_rate: {iops: 10}\n", Level.INFO, "at most about"),
        (base + "io_rate: {iops: 90000000}\n", Level.WARNING, "io_rate asks for 90,000,000"),
    ]:
        findings = await check(tmp_path, text, s3_server.environ())
        (finding,) = [each for each in findings if each.check == "generator"]
        assert (finding.level, said in finding.message) == (level, True), finding
        assert "2026-01-01" in finding.evidence


def test_the_plan_says_what_a_worker_could_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(config_of("s3+http://127.0.0.1:1/bucket/"))
    assert main(["plan", str(config)]) == 0
    assert "generator" not in capsys.readouterr().out
    monkeypatch.setattr("sai3tui.storage.ceiling.load_ceiling", lambda: CEILING)
    assert main(["plan", str(config)]) == 0
    assert "one worker of this host: at most about" in capsys.readouterr().out
