"""The editor: fixes that problems offer, text that survives a crash, another editor."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.app import Sai3App
from sai3tui.config.problems import Level, Problem
from sai3tui.screens.confirm import ConfirmScreen
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.quick_fix import Fix, fix_of
from sai3tui.screens.recovery import Recovery
from sai3tui.terminal import log_file
from sai3tui.widgets.yaml_editor import YamlEditor
from tests.scripted_session import ScriptedServices
from tests.ui_help import DEMO, WIDE, on_screen, shows, until


def problem(line: int, column: int, hint: str) -> Problem:
    return Problem("x.yaml", line, column, Level.ERROR, "choice", "wrong", hint)


@pytest.mark.parametrize(
    ("text", "column", "fixed"),
    [
        ("  - {op: gett, path: x}", 10, "  - {op: get, path: x}"),
        ("gett: 1", 1, "get: 1"),
        ("op: 'gett' # why", 5, "op: 'get' # why"),
    ],
)
def test_a_fix_replaces_the_word_and_nothing_else(text: str, column: int, fixed: str) -> None:
    fix = fix_of(problem(1, column, "did you mean 'get'?"), text)
    assert fix is not None
    assert text[: fix.start] + fix.text + text[fix.end :] == fixed


@given(st.text(max_size=60), st.integers(-2, 9), st.integers(-2, 90))
def test_a_fix_is_within_the_text_or_none(text: str, line: int, column: int) -> None:
    assert fix_of(problem(line, column, "it has no effect"), text) is None
    fix = fix_of(problem(line, column, "did you mean 'get'?"), text)
    if fix is not None:
        assert 0 <= fix.start < fix.end <= len(text.split("\n")[fix.line])
        assert isinstance(fix, Fix)


async def test_one_key_fixes_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    text = DEMO.read_text().replace("op: get,", "op: gett,")
    app = Sai3App(ScriptedServices(), (path, text.encode()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, EditorScreen)
        await shows(pilot, "✗ 1 error")
        await pilot.press("f8", "f2")
        await shows(pilot, "✓ valid")
        assert app.screen.query_one(YamlEditor).text == DEMO.read_text()


async def test_what_was_not_saved_comes_back_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(DEMO.read_bytes())
    kept = Recovery(log_file().parent / "recovery", path)
    first = Sai3App(ScriptedServices(), (path, DEMO.read_bytes()))
    async with first.run_test(size=WIDE) as pilot:
        await on_screen(pilot, EditorScreen)
        await pilot.press("#", "m", "i", "n", "e")
        await until(lambda: (kept.found() or "").startswith("#mine"))
    assert path.read_bytes() == DEMO.read_bytes()
    assert kept.path.stat().st_mode & 0o077 == 0

    second = Sai3App(ScriptedServices(), (path, DEMO.read_bytes()))
    async with second.run_test(size=WIDE) as pilot:
        await on_screen(pilot, ConfirmScreen)
        await shows(pilot, "Unsaved text was found")
        await pilot.press("enter")
        await on_screen(pilot, EditorScreen)
        await shows(pilot, "● modified")
        editor = second.screen.query_one(YamlEditor)
        assert editor.text == "#mine" + DEMO.read_text()
        await pilot.press("ctrl+z")
        assert editor.text == DEMO.read_text()
        await pilot.press("ctrl+y", "ctrl+s")
        await until(lambda: path.read_text().startswith("#mine"))
        await until(lambda: kept.found() is None)
        await pilot.press("escape")
        await on_screen(pilot, HomeScreen)


async def test_text_that_is_discarded_is_not_offered_again(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(DEMO.read_bytes())
    kept = Recovery(log_file().parent / "recovery", path)
    assert kept.keep("# older\n")
    app = Sai3App(ScriptedServices(), (path, DEMO.read_bytes()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("d")
        await on_screen(pilot, EditorScreen)
        await until(lambda: kept.found() is None)
        assert app.screen.query_one(YamlEditor).text == DEMO.read_text()


def test_a_directory_that_cannot_be_had_costs_the_recovery_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Recovery(tmp_path / "file" / "below", tmp_path / "x.yaml")
    assert not kept.keep("a: 1\n")
    assert kept.found() is None
    kept.drop()
