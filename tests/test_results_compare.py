"""Comparison: the statistics as pure functions, and two directories side by side."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.cli import main
from sai3tui.compare_command import compare_results
from sai3tui.config.ops import Op
from sai3tui.errors import Sai3Error
from sai3tui.events import BarrierReleased, Event, Report, RunFinished, RunStarted, StageFinished
from sai3tui.metrics.histogram import FINE, bin_indices
from sai3tui.results.compare import Intervals, Verdict, block_length, block_weights, compare, independent, overall
from sai3tui.results.compared import passport_differences
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.tally import Tally
from sai3tui.results.views import Outcome
from sai3tui.results.writer import RunWriter
from tests.test_results_figures import STAGES, START, report, stats
from tests.test_results_files import META


def series(rates: list[float], latency_us: float = 1000.0) -> Intervals:
    count = len(rates)
    ops = np.array(rates)
    bins = bin_indices(np.full(count, int(latency_us * 1000)), FINE)
    return Intervals(ops, ops * 10, np.ones(count), np.arange(count), bins, ops)


def noisy(seed: int, scale: float = 1.0, count: int = 60, noise: float = 0.02) -> Intervals:
    rng = np.random.default_rng(seed)
    return series(list(1000 * scale * rng.normal(1, noise, count)), 1000 / scale)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1, 1e6), min_size=8, max_size=80), st.integers(0, 5))
def test_a_run_does_not_differ_from_itself(rates: list[float], seed: int) -> None:
    same = series(rates)
    for difference in compare([same], [same], seed=seed):
        assert difference.share == 0
        assert difference.verdict is Verdict.SAME


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60), st.floats(0.2, 5))
def test_a_scaled_run_differs_by_its_scale_and_lies_in_the_interval(rates: list[float], scale: float) -> None:
    found = compare([series(rates)], [series([rate * scale for rate in rates])])
    assert found[0].share == pytest.approx(scale - 1, abs=1e-6)
    assert found[0].low <= found[0].share <= found[0].high


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 1000))
def test_every_resample_has_as_many_intervals_as_there_are(count: int, length: int, seed: int) -> None:
    weights = block_weights(count, length, 20, np.random.default_rng(seed))
    assert weights.shape == (20, count)
    assert (weights.sum(axis=1) == count).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=400), st.integers(1, 50))
def test_adding_up_neighbours_loses_nothing(rates: list[float], most: int) -> None:
    whole = series(rates)
    short = whole.shortened(most)
    assert short.count <= most
    assert short.ops.sum() == pytest.approx(whole.ops.sum())
    assert short.seconds.sum() == whole.count
    assert short.rows.max() < short.count


def test_better_and_worse_are_seen_both_ways() -> None:
    fast, slow = noisy(1), noisy(2, 0.9)
    assert overall(compare([fast], [slow])) is Verdict.WORSE
    assert overall(compare([slow], [fast])) is Verdict.BETTER
    metrics = {d.metric: d for d in compare([fast], [slow])}
    assert metrics["p99"].share == pytest.approx(1 / 0.9 - 1, abs=0.02)
    assert metrics["p99"].verdict is Verdict.WORSE


def test_what_is_sure_but_tiny_is_no_difference() -> None:
    assert overall(compare([noisy(1, noise=1e-4)], [noisy(2, 1.003, noise=1e-4)])) is Verdict.SAME


def test_few_intervals_get_no_verdict() -> None:
    found = compare([noisy(1, count=5)], [noisy(2, 0.5, count=60)])
    assert {d.verdict for d in found} == {Verdict.UNKNOWN}
    assert all(math.isinf(d.low) for d in found)


def test_blocks_grow_with_memory() -> None:
    rng = np.random.default_rng(3)
    white = rng.normal(size=400)
    level = np.zeros(400)
    for n in range(1, 400):
        level[n] = 0.9 * level[n - 1] + white[n]
    assert block_length(level) > 3 * block_length(white)
    assert block_length(np.ones(50)) == 2


def test_facts_that_differ_are_named() -> None:
    a = {"seed": 1, "agents": {"a": {"clock_offset_ms": 1, "host": {"kernel": "6.1"}}}}
    b = {"seed": 1, "agents": {"a": {"clock_offset_ms": 2, "host": {"kernel": "6.8"}}}}
    assert passport_differences(a, b) == [("agents.a.host.kernel", "6.1", "6.8")]
    assert passport_differences({}, b) == [("passport", "", "known")]


def run(
    root: Path,
    rates: list[int],
    *,
    op: Op = Op.GET,
    layout: str = "abc",
    config: bytes = b"a: 1\n",
    started_ns: int = START,
    passport: dict[str, object] | None = None,
) -> Path:
    """A directory of a run whose second stage did so many operations a second."""
    meta = replace(META, layout_hash=layout, started_ns=started_ns, passport=passport or META.passport)
    tally = Tally(STAGES)
    writer = RunWriter.create(root, meta, tally, config, None)
    end = START + (len(rates) + 4) * SECOND_NS
    items: list[Event | Report] = [
        RunStarted(START, "", "r1", "tiny.yaml", layout, ("a",)),
        BarrierReleased(START + SECOND_NS, "", 1, START + 2 * SECOND_NS, ("a",)),
        *(report("a", 2.0 + n, 1.0, stats(op, rate, 1000), stage=2) for n, rate in enumerate(rates)),
        StageFinished(end, "", 2, "execute"),
        RunFinished(end, "", "success", 0, None),
    ]
    for item in items:
        writer.write(item, tally.apply(item))
    writer.finish(Outcome("success", 0), end)
    return writer.directory


def wobbling(rate: int, seed: int) -> list[int]:
    return [int(x) for x in np.random.default_rng(seed).normal(rate, rate * 0.02, 40)]


def test_two_directories_are_compared_with_what_could_explain_it(tmp_path: Path) -> None:
    fast = run(tmp_path, wobbling(1000, 1))
    again = run(tmp_path, wobbling(1000, 2))
    slow = run(tmp_path, wobbling(900, 3), layout="other", config=b"a: 2\n")
    out = io.StringIO()
    assert compare_results([fast], [[again], [slow]], True, out) == 0
    same, worse = json.loads(out.getvalue())["comparisons"]
    assert (same["verdict"], worse["verdict"]) == ("no difference", "worse")
    assert same["caveats"] == same["config_difference"] == []
    assert any("objects differ" in caveat for caveat in worse["caveats"])
    assert "+a: 2" in worse["config_difference"]
    ops = worse["stages"][0]["metrics"][0]
    assert ops["metric"] == "ops_per_s"
    assert ops["first"] == pytest.approx(1000, rel=0.02)
    assert ops["low"] < -0.1 < ops["high"] or ops["difference"] == pytest.approx(-0.1, abs=0.02)


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = run(tmp_path, wobbling(1000, 1)), run(tmp_path, wobbling(800, 3))
    assert main(["results", "compare", str(fast), str(slow)]) == 0
    text = capsys.readouterr().out
    assert "verdict: the second is worse" in text
    assert "2 execute" in text
    assert "ops/s" in text


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    gets, puts = run(tmp_path, wobbling(100, 1)), run(tmp_path, wobbling(100, 1), op=Op.PUT)
    with pytest.raises(Sai3Error, match="no stage in common"):
        compare_results([gets], [[puts]], False, io.StringIO())


def test_runs_that_are_apart_from_each_other_widen_the_interval() -> None:
    """Each of them is sure of itself, but they are 11 % apart on the one side: 4 % between the sides say nothing."""
    apart = [noisy(n, scale, noise=0.001) for n, scale in enumerate((0.96, 1.07, 1.03))]
    alike = [noisy(10 + n, scale, noise=0.001) for n, scale in enumerate((0.97, 0.98, 0.975))]
    alone = compare(apart[1:2], alike[:1])[0]
    sides = compare(apart, alike)[0]
    assert alone.verdict is Verdict.WORSE
    assert sides.verdict is Verdict.SAME
    assert sides.low < sides.share < 0 < sides.high
    # The same difference between runs that are alike is found.
    assert compare([noisy(n, 1.03, noise=0.001) for n in range(3)], alike)[0].verdict is Verdict.WORSE


def test_earlier_runs_tell_how_far_runs_are_apart() -> None:
    first, second = noisy(1, noise=0.001), noisy(2, 0.97, noise=0.001)
    before = [noisy(3 + n, scale, noise=0.001) for n, scale in enumerate((0.95, 1.04, 0.99, 1.02))]
    assert compare([first], [second])[0].verdict is Verdict.WORSE
    known = compare([first], [second], before=before)[0]
    assert known.verdict is Verdict.SAME
    assert known.share == pytest.approx(-0.03, abs=0.002)
    # One that was too short tells nothing, and takes nothing away.
    assert compare([first], [second], before=[*before, noisy(9, count=5)])[0] == known


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_sides_swapped_differ_the_other_way(a: int, b: int, seed: int) -> None:
    first = [noisy(seed + n, count=20) for n in range(a)]
    second = [noisy(seed + 50 + n, 0.9, count=20) for n in range(b)]
    there, back = compare(first, second)[0], compare(second, first)[0]
    assert (1 + there.share) * (1 + back.share) == pytest.approx(1)
    assert there.low <= there.share <= there.high
    assert {there.verdict, back.verdict} in ({Verdict.WORSE, Verdict.BETTER}, {Verdict.SAME})


def test_metrics_that_say_the_same_count_once() -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(1000, 3))
    assert independent(columns) == pytest.approx(3, abs=0.05)
    assert independent(np.column_stack((columns[:, 0], columns[:, 0] * 2, -columns[:, 0]))) == pytest.approx(
        1, abs=0.01
    )
    assert independent(np.zeros((10, 2))) == 1


def test_sides_of_several_runs_and_earlier_ones_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passport = {"config_sha256": "abc", "seed": 1}
    earlier = [
        run(tmp_path, wobbling(rate, n), started_ns=START + n * 60 * SECOND_NS, passport=passport)
        for n, rate in enumerate((900, 1100, 1000))
    ]
    first = run(tmp_path, wobbling(1000, 5), started_ns=START + 1000 * SECOND_NS, passport=passport)
    other = run(tmp_path, wobbling(1000, 6), started_ns=START, passport={**passport, "config_sha256": "d"})
    second = run(tmp_path, wobbling(930, 7), started_ns=START + 2000 * SECOND_NS, passport=passport)

    assert main(["results", "compare", str(first), str(second), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert "3 earlier runs of the first configuration" in alone["basis"]
    assert alone["verdict"] == "no difference"

    assert (
        main(["results", "compare", str(earlier[0]), str(earlier[1]), "--with", str(second), str(other), "--json"]) == 0
    )
    sides = json.loads(capsys.readouterr().out)["comparisons"]
    assert len(sides) == 1
    assert sides[0]["also"] == [str(earlier[1]), str(other)]
    assert "the runs of each side" in sides[0]["basis"]

    assert main(["results", "compare", str(first)]) == 2
    assert "nothing to compare" in capsys.readouterr().err
