"""An earlier run beside a live one: aligned by stage, compared over the same time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.config.ops import Op
from sai3tui.config.thresholds import Bound, Threshold
from sai3tui.controller.fleet import Fleet, LiveAgent
from sai3tui.events import BarrierReleased, Event, Report, RunFinished, RunStarted, StageFinished
from sai3tui.results.baseline import Baseline, difference_lines, load_baseline
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.tally import Tally
from sai3tui.results.views import Outcome, StageInfo
from sai3tui.results.writer import RunWriter
from tests.scripted_agent import scripted_agent
from tests.test_batch_run import sai3tui, write
from tests.test_controller_session import config_text
from tests.test_results_figures import STAGES, START, report, stats
from tests.test_results_files import META


def finished(root: Path, rates: list[int], latency_us: int = 1000, warmup: int = 0) -> Path:
    """A run whose execute stage did so many GETs in each second."""
    tally = Tally(STAGES)
    writer = RunWriter.create(root, META, tally, b"", None)
    reports: list[Report] = []
    for number, rate in enumerate(rates):
        each = report("a", number, 1.0, stats(Op.GET, rate, latency_us), stage=2)
        reports.append(replace(each, warmup=number < warmup))
    end = START + len(rates) * SECOND_NS
    items: list[Event | Report] = [
        RunStarted(START, "", "r1", "tiny.yaml", "abc", ("a",)),
        BarrierReleased(START, "", 1, START, ("a",)),
        *reports,
        StageFinished(end, "", 2, "execute"),
        RunFinished(end + 1, "", "success"),
    ]
    for item in items:
        writer.write(item, tally.apply(item))
    writer.finish(Outcome("success", 0), end + 1)
    return writer.directory


def live(baseline: Baseline, stages: tuple[StageInfo, ...] = STAGES, layout: str = "abc") -> Fleet:
    fleet = Fleet("tiny.yaml")
    fleet.plan("r2", stages, (LiveAgent("a", "127.0.0.1:1", 4),))
    fleet.compare_with(baseline, layout)
    fleet.apply(RunStarted(START, "", "r2", "tiny.yaml", layout, ("a",)))
    return fleet


def test_the_band_spans_most_seconds_of_the_same_stage(tmp_path: Path) -> None:
    baseline = load_baseline(finished(tmp_path, [100, 110] * 20))
    view = live(baseline).snapshot(START).baseline
    assert view is not None
    (band,) = view.bands
    assert band.stage_index == 2
    assert band.at_s == tuple(float(n) for n in range(1, 41))
    assert all(100 <= low <= high <= 110 for low, high in zip(band.ops.low, band.ops.high, strict=True))
    assert max(band.ops.high) - min(band.ops.low) >= 9
    assert set(band.put_bytes.high) == {0.0}
    assert view.caveats == ("the baseline measured nothing in a stage prepare",)


def test_differences_are_of_the_same_time_of_the_stage(tmp_path: Path) -> None:
    # The baseline was slow for ten seconds, then fast: the live run, always at 100, is first faster, then slower.
    baseline = load_baseline(finished(tmp_path, [50] * 10 + [350] * 10))
    fleet = live(baseline)
    fleet.apply(BarrierReleased(START, "", 1, START, ("a",)))
    shares = []
    for number in range(20):
        fleet.apply(report("a", number, 1.0, stats(Op.GET, 100, 2000), stage=2))
        view = fleet.snapshot(START + (number + 1) * SECOND_NS).baseline
        assert view is not None
        shares.append({each.metric: each.share for each in view.differences})
    assert shares[1] == {}
    assert shares[9]["ops_per_s"] == pytest.approx(1.0)
    assert shares[19]["ops_per_s"] == pytest.approx(-0.5)
    assert shares[19]["p99_us"] == pytest.approx(1.0, rel=0.03)
    view = fleet.snapshot(START + 20 * SECOND_NS).baseline
    assert view is not None
    assert "  execute get: ops/s -50.0%, MiB/s -50.0%, p50 +100.0%, p99 +100.0%" in difference_lines(view)


def test_warm_up_of_the_baseline_is_left_out(tmp_path: Path) -> None:
    baseline = load_baseline(finished(tmp_path, [1] * 5 + [100] * 5, warmup=5))
    threshold = Threshold("vs_baseline.get.ops", Bound(-0.05), None)
    assert baseline.figures([threshold]) == {("get.ops", "execute", "execute"): 100.0}


def test_unlike_runs_are_said_to_be_unlike(tmp_path: Path) -> None:
    view = live(load_baseline(finished(tmp_path, [1])), layout="other").snapshot(START).baseline
    assert view is not None
    assert any("objects differ" in caveat for caveat in view.caveats)


def test_a_damaged_baseline_is_said_to_be_one(tmp_path: Path) -> None:
    directory = finished(tmp_path, [100] * 10)
    (directory / "perf_log.tsv").write_text("agent_id\n")
    view = live(load_baseline(directory)).snapshot(START).baseline
    assert view is not None
    assert view.caveats[0].startswith("the baseline is damaged: perf_log.tsv was changed after the run")


def test_a_stage_of_another_name_has_no_baseline(tmp_path: Path) -> None:
    baseline = load_baseline(finished(tmp_path, [100] * 10))
    fleet = live(baseline, (StageInfo(1, "measure", "execute"),))
    view = fleet.snapshot(START).baseline
    assert view is not None
    assert view.bands == ()
    assert view.caveats == ("the baseline measured nothing in a stage measure",)


async def test_a_run_is_compared_with_the_one_before(tmp_path: Path) -> None:
    async with scripted_agent() as agent:
        text = config_text([agent.address])
        first = await sai3tui("--batch", write(tmp_path, text), "--results", str(tmp_path))
        assert first.code == 0
        (directory,) = tmp_path.glob("sai3-*")
        text += b"\nthresholds: [{metric: vs_baseline.get.ops, stage: execute, min: -5%}]\n"
        config = write(tmp_path, text)
        second = await sai3tui("--batch", config, "--results", str(tmp_path / "2"), "--baseline", str(directory))
        refused = await sai3tui("--batch", config, "--results", str(tmp_path / "3"))
        missing = await sai3tui("--batch", config, "--results", str(tmp_path / "4"), "--baseline", str(tmp_path / "x"))
    assert second.code == 0, second.err
    (compared,) = (tmp_path / "2").glob("sai3-*")
    document = json.loads((compared / "metadata.json").read_bytes())["baseline_differences"]
    assert document["directory"] == directory.name
    status = (compared / "STATUS.txt").read_text()
    page = (compared / "report.html").read_text()
    assert f"against {directory.name}:" in status
    assert "Against the baseline" in page
    line = next(line for line in second.out.splitlines() if line.startswith("vs_baseline.get.ops"))
    assert line.split() == ["vs_baseline.get.ops", ">=", "-5%", "execute", "met", "0%", "+100.0%", "0%"]
    assert (refused.code, missing.code) == (2, 2)
    assert "--baseline RUN" in refused.err
    assert "cannot compare with" in missing.err
    assert not list((tmp_path / "3").glob("*"))
