"""Home: finding a run among many, and comparing two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sai3tui.app import Sai3App
from sai3tui.results.reader import list_runs
from sai3tui.results.views import Outcome
from sai3tui.screens.comparison import ComparisonScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.widgets.run_list import RunList
from tests import canned_runs as canned
from tests.scripted_session import ScriptedServices
from tests.test_results_files import written
from tests.ui_help import WIDE, on_screen, screen_text, shows


async def test_a_filter_keeps_the_runs_with_all_words() -> None:
    app = Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "unet3d-epoch")
        await pilot.press("slash", *"mixed success")
        await shows(pilot, "1 of 5")
        runs = app.screen.query_one(RunList)
        assert runs.row_count() == 1
        assert "unet3d" not in screen_text(app)
        await pilot.press("enter")
        assert runs.has_focus
        assert runs.current is not None
        assert runs.current.status == "success"
        await pilot.press("slash", *" nothing")
        await shows(pilot, "No run matches.")
        await pilot.press("escape")
        await shows(pilot, "unet3d-epoch")
        assert runs.row_count() == 5
        assert runs.has_focus


async def test_two_marked_runs_are_compared_the_newer_with_the_older(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, Outcome("success", 0))
    (older,), (newer,) = list_runs(tmp_path / "one"), list_runs(tmp_path / "two")
    newer = replace(newer, started_ns=older.started_ns + 1)
    app = Sai3App(ScriptedServices(runs=(newer, older), report=canned.report()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "success")
        await pilot.press("space", "c")
        assert isinstance(app.screen, HomeScreen)
        await pilot.press("down", "space")
        assert app.screen.query_one(RunList).marked == (older, newer)
        assert screen_text(app).count("◆") == 2
        await pilot.press("c")
        screen = await on_screen(pilot, ComparisonScreen)
        assert isinstance(screen, ComparisonScreen)
        await shows(pilot, "1 prepare  PUT")
        await shows(pilot, "? too few intervals")
        (comparison,) = screen.comparisons
        assert "/one/" in str(comparison.first.path)
        assert "/two/" in str(comparison.second.path)
        await pilot.press("escape")
        await on_screen(pilot, HomeScreen)
        await pilot.press("space")
        assert app.screen.query_one(RunList).marked == (newer,)


async def test_several_runs_are_marked_and_one_that_cannot_be_read_is_not() -> None:
    app = Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "unet3d-epoch")
        await pilot.press("space", "down", "space", "down", "space", "end", "space")
        marked = app.screen.query_one(RunList).marked
        assert [run.config_name for run in marked] == ["unet3d-epoch.yaml", "4node-mixed.yaml", "4node-mixed.yaml"]
