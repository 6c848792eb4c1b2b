"""Steady state: where the beginning is cut, how sure the mean is, and that a stage ends once it is sure enough."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.lease import MixJob, MixOp
from sai3tui.agent.pool import WorkerPool
from sai3tui.config.load import load_config
from sai3tui.config.ops import Op
from sai3tui.config.problems import Level
from sai3tui.events import BarrierReleased, StageFinished
from sai3tui.results.compare import t_quantile
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.status import stage_notes
from sai3tui.results.steady import known_to, settle
from sai3tui.results.tally import Tally
from sai3tui.results.views import StageInfo, SteadyView
from tests.lease_sources import MemorySource
from tests.pools import SETS, null_setup
from tests.scripted_agent import Script, scripted_agent
from tests.test_batch_run import sai3tui, write
from tests.test_controller_session import config_text
from tests.test_results_figures import START, report, stats
from tests.waiting import wait_until_async


def noise(seed: int, count: int, deviation: float, memory: float = 0.0) -> np.ndarray:
    """A first-order autoregressive series around 1."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, deviation * np.sqrt(1 - memory**2), count)
    made = np.empty(count)
    at = rng.normal(0, deviation)
    for place, step in enumerate(steps):
        at = memory * at + step
        made[place] = 1 + at
    return made


@pytest.mark.parametrize("ramp", [0, 10, 30])
def test_the_ramp_is_cut_and_no_more(ramp: int) -> None:
    cuts = []
    for seed in range(20):
        series = 1000 * noise(seed, 120, 0.03)
        series[:ramp] *= np.linspace(0.2, 0.95, ramp) if ramp else 1
        found = settle(series)
        assert found is not None
        cuts.append(found.cut)
        assert found.mean == pytest.approx(1000, rel=0.03)
    assert abs(np.median(cuts) - ramp) <= 5


def test_a_series_that_drifts_to_its_end_has_not_settled() -> None:
    assert settle(np.linspace(100, 1000, 120) * noise(1, 120, 0.02)) is None
    half = np.concatenate([np.full(80, 100.0), np.full(40, 300.0)]) * noise(2, 120, 0.02)
    assert settle(half) is None


def test_nothing_is_said_of_a_short_series_or_of_nothing() -> None:
    assert settle([100.0] * 19) is None
    assert settle([0.0] * 50) is None
    constant = settle([100.0] * 50)
    assert constant is not None
    assert (constant.cut, constant.half_width) == (0, 0.0)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.7])
def test_the_interval_holds_the_true_mean_about_as_often_as_it_says(memory: float) -> None:
    held = told = 0
    for seed in range(200):
        found = settle(noise(seed, 150, 0.05, memory))
        if found is not None:
            told += 1
            held += abs(found.mean - 1) <= found.half_width * found.mean
    assert told >= 180
    # 95 % is what is said; the cut and the estimate of the memory cost a little.
    assert held / told >= 0.85


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=20, max_size=80), st.floats(0.001, 1e6))
def test_scale_does_not_matter(values: list[float], scale: float) -> None:
    one, other = settle(values), settle([value * scale for value in values])
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert other.cut == one.cut
        assert other.half_width == pytest.approx(one.half_width, rel=1e-6, abs=1e-9)


def test_quantiles_of_student_are_those_of_the_tables() -> None:
    for freedom, value in ((4, 2.776), (10, 2.228), (30, 2.042), (1000, 1.962)):
        assert t_quantile(0.975, freedom) == pytest.approx(value, rel=0.01)


def test_a_stage_says_over_which_part_its_mean_was_taken() -> None:
    tally = Tally((StageInfo(1, "execute", "execute", half_width=0.0001),))
    tally.apply(BarrierReleased(START, "", 0, START, ("a",)))
    series = [20, 40, 60, 80, *(100 + (n * 7) % 5 for n in range(60))]
    for number, count in enumerate(series):
        tally.apply(report("a", number, 1.0, stats(Op.GET, count)))
    tally.apply(StageFinished(START + len(series) * SECOND_NS, "", 1, "execute"))
    (view,) = tally.views(START + len(series) * SECOND_NS)
    assert view.steady is not None
    assert 3 <= view.steady.from_s <= 8
    assert view.steady.ops == pytest.approx(102, rel=0.01)
    assert view.steady.from_s + view.steady.seconds == pytest.approx(len(series), abs=2)
    assert [at for at, _ in view.steady.history] == sorted(at for at, _ in view.steady.history)
    notes = stage_notes([view])
    assert any("steady from" in note and "(95 %)" in note for note in notes)
    assert any("was not known to ± 0.01%" in note for note in notes)


def test_what_is_known_well_enough() -> None:
    view = SteadyView(0, 60, 100, 0, 0.01)
    assert known_to(view, 0.01)
    assert not known_to(view, 0.009)
    assert not known_to(None, 1.0)


STAGE = """\
target: s3://10.0.0.1/b/
prepare: {ensure_objects: [{base_uri: d/, count: 10, size_spec: 1KiB}]}
workload: [{op: get, path: "d/*", weight: 1}]
distributed:
  shared_filesystem: true
  agents: ["127.0.0.1:1"]
  stages: [{name: read, order: 1, type: execute, %s}]
"""


def test_a_longest_time_in_which_nothing_can_be_known_is_said() -> None:
    loaded = load_config(STAGE % "until_steady: {half_width: 5%, max: 12s}", "x.yaml")
    assert "until_steady.max of 12 s: nothing can be known of less than 20 s" in [p.message for p in loaded.problems]
    assert loaded.require().stages[-1].duration == 12


def test_until_steady_gives_a_stage_its_longest_time() -> None:
    config = load_config(STAGE % "until_steady: {half_width: 0.5%, max: 10m}", "x.yaml").require()
    (stage,) = config.stages
    assert stage.duration == 600
    assert stage.until_steady is not None
    assert stage.until_steady.half_width == pytest.approx(0.005)


@pytest.mark.parametrize(
    "text",
    [
        "until_steady: {half_width: 1%}",
        "until_steady: {max: 10m}",
        "until_steady: {half_width: 5, max: 10m}",
        "until_steady: {half_width: 80%, max: 10m}",
        "duration: 10s, until_steady: {half_width: 1%, max: 10m}",
    ],
)
def test_what_is_no_rule_is_an_error_of_the_file(text: str) -> None:
    assert [p for p in load_config(STAGE % text, "x.yaml").problems if p.level is Level.ERROR]


async def test_a_mix_ends_early_as_if_its_time_were_up() -> None:
    job = MixJob(ops=(MixOp(Op.PUT, 1, 0, leased=True),), sets=SETS, duration=3600.0, seed=1)
    async with WorkerPool(null_setup(delay=0.01), workers=2) as pool:
        running = asyncio.create_task(pool.run_mix(job, source := MemorySource(100_000, 2)))
        await wait_until_async(lambda: len(source.done) > 0)
        pool.end_mix()
        ended = await running
    assert not ended.stopped
    assert ended.failure is None
    assert ended.seconds < 60
    assert sum(stats.ops for stats in ended.totals.ops) > 0
    assert sum(stats.errors for stats in ended.totals.ops) == 0


@pytest.mark.slow
async def test_agents_stop_when_the_controller_says_so(tmp_path: Path) -> None:
    async with scripted_agent(Script(intervals=600, interval_s=0.5)) as agent:
        text = config_text([agent.address]).decode()
        text = text.replace("completion: duration, duration: 1s", "until_steady: {half_width: 5%, max: 10m}")
        text = text.replace("- {name: prepare, order: 1, type: prepare, completion: tasks_done}\n", "")
        agent.script.stages = (("execute", "execute", Op.GET),)
        ended = await sai3tui("--batch", write(tmp_path, text.encode()), "--results", str(tmp_path))
    assert ended.code == 0, ended.err
    assert "stage 1 execute ends, as its mean is known to ±5.000%" in ended.err
    document = json.loads(next(tmp_path.glob("sai3-*/metadata.json")).read_text())
    (stage,) = document["stages"]
    assert stage["steady"]["half_width"] <= 0.05
    assert stage["ops"] < 600 * 50
