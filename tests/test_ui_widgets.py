"""What widgets make of their data, without a screen."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sai3tui.config.problems import Level as ProblemLevel
from sai3tui.config.problems import Problem
from sai3tui.controller.snapshot import BarrierView, Known, Phase, RunSnapshot
from sai3tui.events import AgentState, Level
from sai3tui.screens.preflight import start_verdict
from sai3tui.theme import DARK_ROLES
from sai3tui.widgets import braille
from sai3tui.widgets.agent_grid import Sort, agent_look, sorted_agents
from sai3tui.widgets.barrier_board import barrier_words
from sai3tui.widgets.check_matrix import Cell, Findings, cell_look
from sai3tui.widgets.columns import Column, fitting
from sai3tui.widgets.endpoint_table import endpoint_names
from sai3tui.widgets.labels import Label, placed
from sai3tui.widgets.plot import Line, PlotData, draw
from sai3tui.widgets.problem_list import problem_lines
from sai3tui.widgets.run_views import report_of
from sai3tui.widgets.stage_line import detail_line, strip_line
from sai3tui.widgets.stage_table import stage_words, verdict_lines
from sai3tui.widgets.text import bar, clean, clock, fit, fit_path, millis, number, rate, span, sparkline, unit_for
from tests import canned_runs as canned

positive = st.one_of(st.just(0.0), st.floats(1e-6, 1e12))


# --- text ----------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(0, 40))
def test_fitted_text_has_exactly_its_width(text: str, width: int) -> None:
    assert cell_len(fit(clean(text), width)) == width
    assert cell_len(fit(clean(text), width, right=True)) == width
    assert cell_len(fit_path(clean(text), width)) <= width


@given(st.text())
def test_clean_text_cannot_move_the_cursor(text: str) -> None:
    cleaned = clean(text)
    assert all(character.isprintable() for character in cleaned)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.354, "0.35"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (24.81, "24.8"),
        (99.96, "100"),
        (9120, "9,120"),
        (-3.2, "−3.20"),
        (float("inf"), "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, shown: str) -> None:
    assert number(value) == shown


@given(positive)
def test_a_rate_is_a_number_from_one_up_in_its_unit(value: float) -> None:
    unit = unit_for(value)
    assert value < 1 or value / unit.bytes >= 1
    assert value / unit.bytes < 1024 or unit.name == "TiB/s"


def test_words_for_amounts() -> None:
    assert rate(0) == "–"
    assert rate(844 * 1024**2) == "844 MiB/s"
    assert millis(0) == "–"
    assert millis(350) == "0.35"
    assert (clock(0), clock(174), clock(3774)) == ("00:00", "02:54", "1:02:54")
    assert (span(0.4), span(1.4), span(12.3), span(174)) == ("400 ms", "1.4 s", "12 s", "2m 54s")


@given(st.floats(0, 1), st.integers(2, 60))
def test_a_bar_is_full_only_when_all_is_done(fraction: float, width: int) -> None:
    done, left = bar(fraction, width)
    assert len(done) + len(left) == width
    assert (len(left) == 0) == (fraction == 1)
    assert (len(done) == 0) == (fraction == 0)


@given(st.lists(positive, max_size=80), st.integers(0, 60))
def test_a_sparkline_fills_its_width_and_shows_what_is_not_nothing(values: list[float], width: int) -> None:
    line = sparkline(tuple(values), width, max(values, default=0))
    assert len(line) == width
    shown = values[-width:] if width else []
    assert [character != " " for character in line[width - len(shown) :]] == [value > 0 for value in shown]


# --- charts --------------------------------------------------------------------------------------------------------


@given(positive)
def test_a_nice_ceiling_is_above_and_near(value: float) -> None:
    ceiling = braille.nice_ceiling(value)
    assert value <= ceiling * (1 + 1e-6)
    assert value < 1e-300 or ceiling <= value * 1.5001


@given(positive, positive, st.integers(2, 40))
def test_both_series_fit_into_their_rows_on_one_scale(up: float, down: float, rows: int) -> None:
    split = braille.split_rows(up, down, rows)
    assert split.up + split.down == rows
    assert min(split.up, split.down) >= 1
    assert split.top >= up * (1 - 1e-6)
    assert split.bottom >= down * (1 - 1e-6)


@given(st.lists(positive, max_size=300), st.integers(1, 60), st.integers(1, 12))
def test_an_area_is_as_wide_and_high_as_its_place(values: list[float], cells: int, rows: int) -> None:
    view = braille.window(len(values), cells)
    columns = braille.spread(values, view, cells)
    assert len(columns) == 2 * cells
    per_dot = max(1e-9, max(columns) / (rows * braille.DOTS))
    for area in (braille.area_up(columns, rows, per_dot), braille.area_down(columns, rows, per_dot)):
        assert [len(line) for line in area] == [cells] * rows


def test_areas_hang_and_stand_on_the_axis() -> None:
    assert braille.area_up([1, 2, 4, 0], 1, 1.0) == ["⣠⡇"]
    assert braille.area_down([1, 2, 4, 0], 1, 1.0) == ["⠙⡇"]
    assert braille.area_up([8, 8], 3, 1.0) == [" ", "⣿", "⣿"]
    assert braille.area_down([8, 8], 3, 1.0) == ["⣿", "⣿", " "]


def test_a_chart_shows_everything_until_it_is_full_then_the_end() -> None:
    assert braille.window(5, 40) == braille.Window(0, 5, 30)
    assert braille.window(80, 40) == braille.Window(0, 80, 80)
    assert braille.window(100, 40) == braille.Window(20, 80, 80)


@given(st.lists(st.builds(Label, st.integers(-5, 60), st.text("abc", min_size=1, max_size=9), positive)))
def test_labels_never_touch(labels: list[Label]) -> None:
    kept = placed(labels, 50)
    for before, after in pairwise(kept):
        assert before.end < after.start
    assert all(label.start >= 0 and label.end <= 50 for label in kept)
    inside = [label for label in labels if label.start >= 0 and label.end <= 50]
    assert not inside or max(label.weight for label in inside) in {label.weight for label in kept}


def test_a_plot_has_the_size_it_is_given_however_often_it_is_drawn() -> None:
    series = canned.series()
    data = PlotData(series.at_s, (Line("GET", "get", series.get_bytes),), ((1.0, "prepare"), (31.0, "execute")))
    pictures = [draw(data, 100, 14, DARK_ROLES) for _ in range(5)]
    assert len({picture.plain for picture in pictures}) == 1
    lines = pictures[0].plain.split("\n")
    assert len(lines) == 14
    assert max(map(len, lines)) <= 100
    assert "execute" in lines[-1]
    assert "no interval" in draw(PlotData(), 100, 14, DARK_ROLES).plain


# --- tables --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5), st.booleans()), min_size=1, max_size=10),
    st.integers(1, 150),
)
def test_columns_that_are_needed_stay(specs: list[tuple[int, int, bool]], width: int) -> None:
    columns = [Column(str(i), "", w, need=need) for i, (w, need, _) in enumerate(specs)]
    kept = fitting(columns, width)
    total = sum(cell for _, cell in kept) + 2 * (len(kept) - 1)
    left_out = [column for column in columns if column not in [c for c, _ in kept]]
    assert total <= width or all(column.need == 0 for column, _ in kept) or len(kept) == 1
    assert all(column.need > 0 for column in left_out)


def test_agents_with_problems_come_first() -> None:
    fleet = canned.troubled().agents
    names = [agent.id for agent in sorted_agents(fleet, Sort.PROBLEMS)]
    assert names[:2] == ["agent-11", "agent-7"]
    assert agent_look(fleet[6]).word == "silent 12 s"
    assert sorted(names) == sorted(agent.id for agent in fleet)


def test_endpoints_are_named_by_what_tells_them_apart() -> None:
    hosts = ("s3://10.9.0.21:9000/bench/", "s3://10.9.0.22:9000/bench/")
    assert list(endpoint_names(hosts).values()) == ["10.9.0.21:9000", "10.9.0.22:9000"]
    paths = ("file:///mnt/a/", "file:///mnt/b/")
    assert list(endpoint_names(paths).values()) == ["/mnt/a", "/mnt/b"]
    one_host = ("s3://h/a/", "s3://h/b/")
    assert list(endpoint_names(one_host).values()) == ["h/a", "h/b"]


# --- preflight -----------------------------------------------------------------------------------------------------


def test_the_verdict_of_a_row_is_its_worst_finding() -> None:
    findings = Findings(canned.checking())
    words = {name: findings.verdict(name, agent).word for name, agent in findings.agents}
    assert words == {"agent-1": "ready", "agent-2": "1 warning", "agent-3": "1 error", "agent-4": "running"}
    assert findings.cell("agent-3", "write").level is Level.ERROR
    assert findings.passed_by_all("plan")
    assert not findings.passed_by_all("clock")


def test_what_a_cell_of_the_matrix_says_can_be_told_by_its_glyph() -> None:
    finding = canned.ready().findings[0]
    cells = [Cell("a", "list", (replace(finding, level=level, failure=None),)) for level in Level]
    looks = [cell_look(cell, running=False) for cell in (*cells, Cell("a", "list"))]
    looks.append(cell_look(Cell("a", "list"), running=True))
    assert len({look.glyph for look in looks}) == len(Level) + 2


def test_a_lost_agent_is_lost_whatever_it_had_found() -> None:
    snapshot = canned.ready()
    lost = replace(snapshot.agents[0], state=AgentState.LOST)
    findings = Findings(replace(snapshot, agents=(lost, *snapshot.agents[1:])))
    assert findings.verdict("agent-1", lost).word == "lost"


def test_an_agent_that_never_answered_is_told_from_one_that_was_not_checked() -> None:
    snapshot = replace(canned.connecting(), phase=Phase.FINISHED)
    known, silent = snapshot.agents[0], replace(snapshot.agents[1], version="")
    findings = Findings(replace(snapshot, agents=(known, silent)))
    assert findings.verdict(silent.id, silent).word == "no answer"
    assert findings.verdict(known.id, replace(known, version="0.1.0")).word == "not checked"


@pytest.mark.parametrize(
    ("snapshot", "allowed", "words"),
    [
        (canned.connecting(), False, "0 of 4 agents done"),
        (canned.checking(), False, "2 of 4 agents done"),
        (canned.blocked(), False, "1 error"),
        (canned.ready(), True, "f5 starts: preflight, prepare, execute, cleanup"),
    ],
)
def test_a_run_starts_only_when_every_agent_has_passed(snapshot: RunSnapshot, allowed: bool, words: str) -> None:
    verdict = start_verdict(snapshot)
    assert verdict.allowed is allowed
    assert words in verdict.reason


# --- words ---------------------------------------------------------------------------------------------------------


def test_the_stage_line_says_what_is_waited_for() -> None:
    snapshot = canned.troubled()
    assert strip_line(snapshot, 120, DARK_ROLES).plain == "✓ preflight 1.4 s › ✓ prepare 30 s › ◆ execute › · cleanup"
    detail = detail_line(snapshot, 120, DARK_ROLES).plain
    assert "9/12 arrived" in detail
    assert "waiting 12 s for agent-7, agent-12" in detail
    assert snapshot.barrier is not None
    held = replace(snapshot, barrier=replace(snapshot.barrier, held=True))
    assert "kept shut" in detail_line(held, 120, DARK_ROLES).plain


@given(st.integers(1, 12), st.integers(0, 11), st.integers(30, 160))
def test_the_current_stage_stays_in_sight(count: int, current: int, width: int) -> None:
    snapshot = canned.running()
    stages = tuple(replace(snapshot.stages[0], index=n, name=f"phase-{n:02d}") for n in range(1, count + 1))
    at = min(current, count - 1) + 1
    line = strip_line(replace(snapshot, stages=stages, stage_index=at), width, DARK_ROLES).plain
    assert f"phase-{at:02d}" in line
    assert cell_len(line) <= width or line.count("phase-") == 1
    before, more = re.search(r"^(\d+) before › ", line), re.search(r" › (\d+) more$", line)
    left_out = sum(int(found[1]) for found in (before, more) if found)
    assert line.count("phase-") + left_out == count


def test_as_many_are_named_as_there_is_room_for() -> None:
    snapshot = canned.troubled()
    names = tuple(f"load-generator-{n:02d}" for n in range(40))
    stages = tuple(replace(stage, waiting_for=names if stage.waiting_for else ()) for stage in snapshot.stages)
    for width in (80, 120, 200):
        line = detail_line(replace(snapshot, stages=stages), width, DARK_ROLES).plain
        assert cell_len(line) <= width
        named = line.count("load-generator-")
        assert f"load-generator-{named - 1:02d} and {40 - named} more" in line


@given(st.text(min_size=1, max_size=300), st.text(max_size=200), st.integers(20, 140))
def test_a_problem_is_on_as_many_lines_as_it_takes(message: str, hint: str, width: int) -> None:
    problem = Problem("a.yaml", 12, 7, ProblemLevel.ERROR, "x", message, hint)
    lines = [line.plain for line in problem_lines(problem, width, DARK_ROLES)]
    assert lines[0].startswith("✗ 12:7   ")
    assert all(line.startswith(" " * 9) for line in lines[1:])
    said = "".join("".join(line[9:].split()) for line in lines)
    assert said == "".join(f"{clean(message)} {clean(hint)}".split())
    if (message + hint).isascii():
        assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase.CONNECTING, "connecting to 4 agents"),
        (Phase.PREFLIGHT, "checks are running"),
        (Phase.READY, "f5 starts"),
        (Phase.ABORTING, "results are kept"),
        (Phase.WRITING, "the last files are being written"),
    ],
)
def test_the_stage_line_says_what_goes_on_outside_of_stages(phase: Phase, words: str) -> None:
    snapshot = replace(canned.running(), phase=phase)
    assert words in detail_line(snapshot, 120, DARK_ROLES).plain


def test_results_in_words_claim_nothing_that_was_not_done() -> None:
    stages = canned.failed().stages
    assert stage_words(stages[1]) == "done in 30 s: 64,000 of 64,000 objects, 64,000 operations, 18.8 GiB"
    assert stage_words(stages[2]) == "failed in 45 s: 812,400 operations, 49.2 GiB, 14 errors"
    assert stage_words(stages[3]) == "pending"


def test_the_verdict_names_cause_hint_and_how_to_go_on() -> None:
    text = "\n".join(line.plain for line in verdict_lines(report_of(canned.failed()), 100, DARK_ROLES))
    for words in ("✗ failed", "Please reduce your request rate.", "lower concurrency", "sai3tui --batch"):
        assert words in text
    doubtful = replace(report_of(canned.failed()), doubts=("perf_log.tsv was changed",))
    assert verdict_lines(doubtful, 100, DARK_ROLES)[1].plain.strip() == "! damaged: perf_log.tsv was changed"


@pytest.mark.parametrize(
    ("barrier", "viewing", "words"),
    [
        (BarrierView(1, "1 (x)", "majority", left_s=75.0, at_end="the run fails"), True, "in 1m 15s the run fails"),
        (BarrierView(1, "1 (x)", "majority", known=Known.BY_LEADER), True, "is known to the leader only"),
        (BarrierView(1, "1 (x)", "majority", known=Known.NOBODY), True, "stays shut until somebody does"),
        (BarrierView(1, "1 (x)", "majority", held=True, pausing=True), True, "until the leader lets it open"),
        (BarrierView(1, "1 (x)", "majority", held=True, pausing=True), False, "until p lets it open"),
        (BarrierView(1, "1 (x)", "majority"), True, ""),
    ],
)
def test_the_barrier_board_says_what_is_not_known(barrier: BarrierView, viewing: bool, words: str) -> None:
    assert "; ".join(text for text, _ in barrier_words(barrier, viewing=viewing)).endswith(words)
    assert bool(barrier_words(barrier, viewing=viewing)) == bool(words)
