"""Whatever comes from outside is shown as what it is; what is shown fits: no number and no state is cut."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sai3tui.controller.frames import Frames
from sai3tui.controller.snapshot import AgentView, LogLine, RunSnapshot
from sai3tui.events import AgentState, Level
from sai3tui.results.reader import list_runs
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.theme import DARK_ROLES
from sai3tui.widgets.agent_grid import COLUMNS, AgentGrid, agent_look
from sai3tui.widgets.columns import fitting
from sai3tui.widgets.plain_charts import plain
from tests import canned_runs as canned
from tests.scripted_session import ScriptedSession
from tests.ui_help import NARROW, WIDE, on_screen, room, screen_text, settled

ABSURD = (
    "a" * 300,
    "\u202egnirts\u202c desrever",
    "名前がとても長いエージェント" * 4,
    "\x1b[31mred\x1b[0m\x07",
    "[bold]markup[/]",
    "💥" * 40,
    " ",
    "e\u0301" * 50,
)
BIG = (0.0, -1.0, 1e300, float("inf"), float("nan"))


def absurd() -> RunSnapshot:
    """A fleet of agents whose every word and number is out of bounds."""
    base = canned.running(count=len(ABSURD))
    agents = tuple(
        replace(
            agent,
            id=name,
            hostname=name,
            address=name,
            errors=10 ** (n * 3),
            heartbeat_age_s=-5.0 if n % 2 else 1e9,
            clock_offset_ms=(-1) ** n * 1e12,
            rates=replace(agent.rates, get_bytes=BIG[n % len(BIG)], get_p99_us=BIG[n % len(BIG)]),
            limit_used=BIG[n % len(BIG)] if n % len(BIG) < 3 else 9.0,
            cells=tuple(replace(cell, uri=f"s3://{name}/") for cell in agent.cells),
        )
        for n, (agent, name) in enumerate(zip(base.agents, ABSURD, strict=True))
    )
    long = LogLine(canned.START_NS, Level.ERROR, ABSURD[2], "x" * 10_000 + "\x1b[2J")
    return replace(base, agents=agents, log=(*base.log, long), log_total=8, config_name=ABSURD[1], notices=ABSURD)


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_absurd_input_is_shown_and_breaks_nothing(size: tuple[int, int]) -> None:
    session = ScriptedSession(absurd())
    app = room(session)
    async with app.run_test(size=size) as pilot:
        await on_screen(pilot, LiveScreen)
        for key in ("s", "h", "p", "p", "m", "space", "left", "escape", "h"):
            await pilot.press(key)
        text = screen_text(app)
        assert not set("\x1b\x07\u202e\u202c") & set(text)
        # Agents vanish and others appear; the clock goes backwards.
        session.put(replace(absurd(), agents=absurd().agents[:2], elapsed_s=-3.0))
        await settled(pilot)
        session.put(replace(canned.running(count=40), elapsed_s=1.0))
        await settled(pilot)
        session.put(replace(absurd(), agents=(), endpoints=(), stages=()))
        await settled(pilot)
        assert isinstance(app.screen, LiveScreen)


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("picture", ["running", "troubled", "judged"])
async def test_no_number_and_no_state_is_cut(picture: str, size: tuple[int, int]) -> None:
    snapshot = getattr(canned, picture)()
    app = room(ScriptedSession(snapshot))
    async with app.run_test(size=size) as pilot:
        screen = await on_screen(pilot, LiveScreen)
        grid = screen.query_one(AgentGrid)
        width = grid.scrollable_content_region.width
        for index in range(grid.row_count()):
            row = grid.row(index, width, DARK_ROLES).plain
            assert cell_len(row) <= width
            assert "…" not in row
            grid.cursor = index
            assert any(agent_look(agent).word in row for agent in snapshot.agents if agent.id in row)
        assert not re.search(r"\d…", screen_text(app).split("Events")[0])


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_no_number_of_the_results_is_cut(size: tuple[int, int]) -> None:
    app = room(ScriptedSession(canned.finished()))
    async with app.run_test(size=size) as pilot:
        await on_screen(pilot, ResultsScreen)
        for key in "12345":
            await pilot.press(key)
            await settled(pilot)
            assert not re.search(r"\d…", screen_text(app))


# The narrowest table: that of the smallest terminal that is drawn for.
@given(st.integers(54, 250))
def test_columns_that_are_shown_are_whole(width: int) -> None:
    columns = fitting(COLUMNS, width)
    for column, cells in columns:
        assert cells >= column.width
    words = max(len(f"● {look.word}") for look in map(agent_look, _in_all_states()))
    assert next(cells for column, cells in columns if column.key == "state") >= words


def _in_all_states() -> list[AgentView]:
    agent = canned.agents(1)[0]
    return [
        replace(agent, state=state, heartbeat_age_s=age) for state in AgentState for age in (0.0, 99.4, 5_999.0, 1e9)
    ]


def test_broken_and_strange_directories_are_listed_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "sai3-20260101-000000-empty").mkdir()
    (tmp_path / "sai3-20260101-000000-file").write_text("")
    loop = tmp_path / "sai3-20260101-000000-loop"
    loop.mkdir()
    (loop / "metadata.json").symlink_to(loop / "metadata.json")
    deep = tmp_path / "sai3-20260101-000000-deep"
    deep.mkdir()
    (deep / "metadata.json").write_text("[" * 100_000)
    for number in range(300):
        (tmp_path / f"sai3-20260102-000000-{number}").mkdir()
    found = list_runs(tmp_path)
    assert len(found) == 303
    assert all(entry.problem for entry in found)


@given(st.lists(st.floats(-10, 100), max_size=60))
def test_any_clock_leaves_the_past_in_order(times: list[float]) -> None:
    frames = Frames(1)
    for number, second in enumerate(times):
        frames.add(RunSnapshot(version=number, started_ns=1, elapsed_s=second))
    seen = [frames.at(second, RunSnapshot()).elapsed_s for second in sorted(times)]
    assert seen == sorted(seen)


def test_charts_in_ascii_have_nothing_else() -> None:
    assert plain("⣿⡇ ▕━━─ ▁▄█ ░ ▏").isascii()
    assert plain("".join(chr(0x2800 + bits) for bits in range(256))).isascii()
    assert plain("été 名") == "été 名"
