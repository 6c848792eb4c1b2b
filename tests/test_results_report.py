"""report.html: well-formed, self-contained, and with the run's own numbers; charts as pure functions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.cli import main
from sai3tui.events import (
    BarrierReleased,
    Event,
    Level,
    Note,
    Report,
    RunFinished,
    RunStarted,
    StageFinished,
)
from sai3tui.results.bands import Band, StageBand, read_bands
from sai3tui.results.baseline import BaselineView, LiveDifference
from sai3tui.results.html_charts import (
    BROAD,
    LABEL_WIDTH,
    MOST_POINTS,
    NARROW,
    Line,
    Mark,
    Part,
    decade_steps,
    line_chart,
    mark_labels,
    nice_ceiling,
    percentile_chart,
    short,
    thinned,
)
from sai3tui.results.html_report import html_report
from sai3tui.results.report_data import load_report_data
from sai3tui.results.seconds import SECOND_NS
from sai3tui.results.tally import Tally
from sai3tui.results.thresholds import ThresholdStatus, ThresholdView
from sai3tui.results.views import Outcome, StageInfo
from sai3tui.results.writer import RunWriter
from tests.test_metrics_attribution import START, Simulated
from tests.test_results_files import FAILURE, META, written

MARKED = ("warn", "bad", "good", "good")
KEYS = st.sampled_from(["bands", "stage_index", "at_s", "get_bytes", "low", "high"])
VOID = {"meta", "br", "rect", "line", "circle", "path"}


class Checker(HTMLParser):
    """Fails on tags that do not match; collects text and what could reach the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(document: str) -> Checker:
    checker = Checker()
    checker.feed(document)
    checker.close()
    assert checker.open == []
    return checker


def test_every_run_leaves_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    directory, tally, _ = written(tmp_path, Outcome("success", 0))
    page = checked((directory / "report.html").read_text())
    text = " ".join(page.text)
    assert page.links == []
    assert "script" not in page.tags
    assert "svg" in page.tags
    assert not re.search(r"https?://", text)
    assert "Success" in text
    for stage in tally.stages.values():
        assert f"{stage.info.name}: {stage.figures.ops:,} operations" in text


def test_a_failure_is_told_with_its_cause_and_how_to_go_on(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("failed", 1, FAILURE, resume="sai3tui --batch x.yaml"))
    text = " ".join(checked((directory / "report.html").read_text()).text)
    assert "Failed, exit code 1" in text
    assert "because: HTTP 404" in text
    assert "sai3tui --batch x.yaml" in text
    assert "make it" in text


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    data = load_report_data(directory)
    evil = "<script>alert(1)</script>\"'"
    stages = tuple(replace(stage, name=evil) for stage in data.record.stages)
    data.record = replace(data.record, stages=stages, meta=replace(data.record.meta, config_name=evil, notices=(evil,)))
    page = checked(html_report(data))
    assert "script" not in page.tags
    assert evil in " ".join(page.text)


def test_a_run_that_broke_off_has_a_page_too(tmp_path: Path) -> None:
    directory, _, writer = written(tmp_path, None)
    writer.close()
    text = " ".join(checked(html_report(load_report_data(directory))).text)
    assert "never said how it ended" in text
    assert "the run log breaks off" in text


def test_the_command_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    target = tmp_path / "page.html"
    assert main(["results", "report", str(directory), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.read_text() == (directory / "report.html").read_text()
    assert main(["results", "report", str(tmp_path)]) != 0
    assert main(["results", "report", str(directory), "-o", str(tmp_path / "page.html" / "below")]) != 0


def test_lines_are_cut_between_stages_and_over_gaps() -> None:
    line = Line("GET", "a", [1, 2, 3, 4, 10, 11], [1.0] * 6)
    assert line_chart("x", "y", [line]).count('<path class="a"') == 1
    assert line_chart("x", "y", [line], gap=3).count('<path class="a"') == 2
    bands = [Part(0, 2, "one"), Part(2, 11, "two")]
    assert line_chart("x", "y", [line], bands).count('<path class="a"') == 2


def test_moments_that_are_close_together_share_a_label() -> None:
    marks = [
        Mark(at, str(number), css, "") for number, (at, css) in enumerate(zip([1, 1, 2, 50], MARKED, strict=True), 1)
    ]
    places = [(10.0 * mark.at, mark) for mark in marks]
    assert mark_labels(places) == [(10.0, "bad", "1-3"), (500.0, "good", "4")]


@given(st.lists(st.floats(0, 900), max_size=40))
def test_labels_of_marks_do_not_cover_each_other(places: list[float]) -> None:
    made = mark_labels([(x, Mark(x, str(n), "warn", "")) for n, x in enumerate(sorted(places))])
    at = [x for x, _, _ in made]
    assert all(b - a >= LABEL_WIDTH for a, b in pairwise(at))
    assert len(made) <= len(places)


def test_nothing_to_draw_is_no_chart() -> None:
    assert line_chart("x", "y", []) == ""
    assert percentile_chart([Line("GET", "a", [], [])]) == ""


@given(st.floats(1e-9, 1e15))
def test_axes_end_above_and_near_their_values(value: float) -> None:
    top = nice_ceiling(value)
    assert value * (1 - 1e-9) <= top <= value * 2.1
    assert float(short(value)) == pytest.approx(value, rel=0.006)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=2000))
def test_thinning_keeps_peaks_and_bounds(values: list[float]) -> None:
    x, y = thinned(list(range(len(values))), values, peaks=True)
    assert len(x) == len(y) <= MOST_POINTS
    assert max(y) == max(values)


@given(st.lists(st.tuples(st.floats(0, 0.99999), st.floats(0, 1e6)), min_size=1, max_size=50))
def test_percentile_plots_stay_in_their_frame(points: list[tuple[float, float]]) -> None:
    lines = [Line("GET", "a", [x for x, _ in points], [y for _, y in points])]
    for size in (BROAD, NARROW):
        for path in re.findall(r' d="M([^"]+)"', percentile_chart(lines, size)):
            for x, y in (pair.split() for pair in path.split("L")):
                assert 0 <= float(x) <= size.width
                assert 0 <= float(y) <= size.height


def test_what_was_to_be_met_what_limited_it_and_what_happened_when_are_on_the_page(tmp_path: Path) -> None:
    names = ("a0", "a1", "a2", "a3")
    stages = (StageInfo(1, "execute", "execute"),)
    tally = Tally(stages, connections=dict.fromkeys(names, 8))
    writer = RunWriter.create(tmp_path, replace(META, stages=stages), tally, b"", None)
    simulated = Simulated()
    items: list[Event | Report] = [
        RunStarted(START, "", "r1", "tiny.yaml", "abc", names),
        BarrierReleased(START, "", 0, START, names),
    ]
    for second in range(60):
        # It fills its caches in the first ten seconds.
        latency = 20_000 - 1500 * second if second < 10 else 5000 + 40 * (second * 7 % 11)
        items += [simulated.interval(name, second, mean_us=latency, throttled=60) for name in names]
        if second == 30:
            items.append(Note(START + 30 * SECOND_NS, "a2", Level.WARNING, "something <odd> happened"))
    items += [
        StageFinished(START + 60 * SECOND_NS, "", 1, "execute"),
        RunFinished(START + 61 * SECOND_NS, "", "threshold_missed", 4),
    ]
    for item in items:
        writer.write(item, tally.apply(item))
    missed = ThresholdView(
        "get.p99 <= 5 ms",
        "get.p99",
        "fleet",
        1,
        "execute",
        "s",
        None,
        0.005,
        status=ThresholdStatus.MISSED,
        failed=True,
        value=0.02,
        margin=-3.0,
    )
    at_s = tuple(float(second) for second in range(1, 61))
    band = Band((1e6,) * 60, (3e6,) * 60)
    bands = (StageBand(1, at_s, band, Band((0.0,) * 60, (0.0,) * 60), band, band),)
    differences = (LiveDifference(1, "execute", "get", "ops_per_s", 900.0, 1000.0),)
    baseline = BaselineView("sai3-before", "r0", START, bands, differences, ("8 connections, the baseline had 9",))
    writer.finish(Outcome("threshold_missed", 4), START + 61 * SECOND_NS, (missed,), baseline)
    assert read_bands(writer.directory) == bands
    document = (writer.directory / "report.html").read_text()
    text = " ".join(checked(document).text)
    assert "Threshold missed, exit code 4" in text
    assert "get.p99 <= 5 ms" in text
    assert "-300.0%" in text
    assert re.search(r"execute: server, confidence 9\d%", text)
    assert "of the attempts were throttled (server, weight 0.90)" in text
    assert "30 s: a2: something <odd> happened" in text
    assert re.search(r"execute is steady from here on", text)
    # In each of four charts, for a screen and for a phone.
    assert document.count('class="mark') == 2 * 4 * 2
    # Under the curves of rates and latency; none where the baseline has no PUTs.
    assert re.findall(r'<path class="area (\w)"', document) == ["a", "a", "d", "d", "g", "g"]
    assert "GET of the baseline" in text
    assert "PUT of the baseline" not in text
    row = re.search(r"<tr><td[^>]*>1 execute</td><td[^>]*>GET</td>(.*?)</tr>", document)
    assert row is not None
    assert re.findall(r">([^<]+)</td>", row[1]) == ["1,000.00 → 900.00, -10.0%", "–", "–", "–"]
    assert "8 connections, the baseline had 9" in text
    curve = document.split('aria-label="Half-width of the 95 % interval of the mean (% of it) over time"')[1]
    assert '<path class="b" d="M' in curve.split("</svg>")[0]
    # Five answers at the top.
    assert "missed: get.p99 <= 5 ms in execute: 20.0 ms" in text
    assert re.search(r"execute: steady from \d+ s on: over these \d+ s .* ops/s, .* ± \d", text)
    assert re.search(r"execute: server \(high confidence\): \d+\.\d% of the attempts were throttled", text)


@given(st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_a_band_that_was_edited_is_none(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    directory = tmp_path_factory.mktemp("band")
    (directory / "baseline.json").write_text(json.dumps(document))
    assert read_bands(directory) == () or isinstance(document, dict)
    (directory / "baseline.json").write_bytes(b'{"bands": [{"stage_index": 1, "at_s": [1.0]')
    assert read_bands(directory) == ()


@given(st.floats(1e-5, 1e6), st.floats(1, 1e9))
def test_logarithmic_axes_hold_their_values_with_few_ticks(low: float, ratio: float) -> None:
    ticks = decade_steps(low, low * ratio)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] >= low * ratio * (1 - 1e-9)
    assert len(ticks) >= 2
    assert ticks == sorted(set(ticks))
