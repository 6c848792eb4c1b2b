"""Going back in time on the live screen, and playing a finished run."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.screens.agent import AgentScreen
from sai3tui.screens.arrangement import PANES, TABLES, Arrangement, Arrangements
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.replay import ReplayScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.widgets.agent_grid import AgentGrid, Sort, limit_bar, sorted_agents
from sai3tui.widgets.braille import line_over
from sai3tui.widgets.event_log import EventLog
from sai3tui.widgets.playhead import SPEEDS, Playhead
from tests import canned_runs as canned
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.ui_help import NARROW, WIDE, on_screen, room, screen_text, settled, shows

SPAN = (1.0, 75.0)


@given(st.lists(st.sampled_from([-60.0, -1.0, 1.0, 10.0, 1e9])), st.floats(0, 100))
def test_a_playhead_stays_within_what_is_known(moves: list[float], passed: float) -> None:
    head = Playhead()
    for move in moves:
        head = head.moved(move, SPAN)
        assert head.at_s is None or SPAN[0] <= head.at_s <= SPAN[1]
    played = head.toggled(SPAN).played(passed, SPAN)
    assert played.at_s is None or SPAN[0] <= played.at_s <= SPAN[1]


def test_a_playhead_finds_events_and_speeds() -> None:
    head = Playhead(10.0)
    assert head.to_next([3.0, 10.2, 40.0], 1, SPAN).at_s == 40.0
    assert head.to_next([3.0, 10.2, 40.0], -1, SPAN).at_s == 3.0
    assert head.to_next([], 1, SPAN) == head
    assert [head.faster(n).speed for n in (-99, 1, 99)] == [SPEEDS[0], 2.0, SPEEDS[-1]]


@given(st.lists(st.sampled_from(PANES), max_size=20))
def test_a_table_always_stays(keys: list[str]) -> None:
    arrangement = Arrangement()
    for key in keys:
        arrangement = arrangement.toggled(key)
    assert arrangement.shown(narrow=False) & set(TABLES)
    assert len(arrangement.shown(narrow=True) & set(TABLES)) == 1
    around = arrangement
    for _ in TABLES:
        around = around.next_table()
    assert around.shown(narrow=True) & {"throughput", "latency"} == arrangement.shown(narrow=True) & {
        "throughput",
        "latency",
    }


def test_a_line_is_drawn_only_above_the_area() -> None:
    assert line_over([8, 2], [1, 4], 2, 1.0) == ["⠁", " "]


def test_names_are_sorted_as_people_count() -> None:
    fleet = canned.agents(12)
    assert [a.id for a in sorted_agents(fleet[::-1], Sort.NAME)] == [a.id for a in fleet]
    assert limit_bar(6.6) == "━━━ 660"
    assert limit_bar(0.31) == "━──  31"


async def test_going_back_and_returning_to_the_present() -> None:
    session = ScriptedSession(canned.troubled())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        assert "waiting 12 s" in screen_text(app)
        await pilot.press("shift+left", "shift+left", "left")
        await shows(pilot, "FROZEN")
        await shows(pilot, "▮▮ 00:54")
        assert "agent-11  ✗" not in screen_text(app)
        await pilot.press("left_square_bracket")
        await shows(pilot, "▮▮ 00:32")
        session.put(canned.troubled())
        await pilot.press("enter")
        await on_screen(pilot, AgentScreen)
        await shows(pilot, "BACK THEN")
        await pilot.press("escape", "escape")
        await shows(pilot, "waiting 12 s")
        assert "FROZEN" not in screen_text(app)


async def test_a_finished_run_is_played() -> None:
    services = ScriptedServices(ScriptedSession(canned.finished()), report=canned.report())
    app = room(services=services)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, ResultsScreen)
        await pilot.press("t")
        screen = await on_screen(pilot, ReplayScreen)
        assert isinstance(screen, ReplayScreen)
        await shows(pilot, "▮▮ 00:01")
        await shows(pilot, "● prepare")
        await pilot.press("minus", "minus", "space")
        await shows(pilot, "PLAYING")
        await shows(pilot, "0.25×")
        await pilot.press(*["plus"] * 7)
        await shows(pilot, "▮▮ 01:15")
        await shows(pilot, "● execute")
        log = screen.query_one(EventLog)
        log.focus()
        await pilot.press("home", "down", "down", "enter")
        await shows(pilot, "▮▮ 00:31")
        assert screen.query_one(EventLog).row_count() == 3
        await pilot.press("escape")
        await on_screen(pilot, ResultsScreen)


async def test_agents_are_filtered_and_put_together_by_host() -> None:
    app = room(ScriptedSession(canned.troubled()))
    async with app.run_test(size=WIDE) as pilot:
        screen = await on_screen(pilot, LiveScreen)
        grid = screen.query_one(AgentGrid)
        await pilot.press("slash", *"silent", "enter")
        await shows(pilot, "1 of 12")
        assert "agent-7" in str(grid.current)
        await pilot.press("h")
        await shows(pilot, "load07")
        assert "agent-7" not in str(grid.current)
        await pilot.press("slash", "escape", "h")
        await shows(pilot, "Agents  12")


async def test_panes_are_put_away_and_stay_so() -> None:
    kept = Arrangements()
    app = room(ScriptedSession(canned.running()))
    app.arrangements = kept
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("1", "6", "5")
        await settled(pilot)
        text = screen_text(app)
        assert "Throughput" not in text
        assert "Events" not in text
        assert "Agents × endpoints" not in text
        assert "Latency ms" in text
    assert kept.current.hidden == {"throughput", "events", "heat"}
    app = room(ScriptedSession(canned.running()))
    app.arrangements = kept
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        assert "Latency ms" in screen_text(app)
        await pilot.press("p")
        await shows(pilot, "Endpoints")


def test_a_broken_arrangement_is_none(tmp_path: Path) -> None:
    path = tmp_path / "arrangement.json"
    for text in ("", "[1]", '{"hidden": 3}', '{"hidden": ["agents", "endpoints", "heat"]}', '{"hidden": ["x", 1]}'):
        path.write_text(text)
        assert Arrangements(path).current == Arrangement()
    Arrangements(path).keep(Arrangement(frozenset({"heat"})))
    assert Arrangements(path).current.hidden == {"heat"}
