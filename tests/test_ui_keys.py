"""Every key of every screen, in both sizes: taken from the bindings themselves, so that a new one is pressed too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot

from sai3tui.app import Sai3App
from sai3tui.screens.help import KEY_WIDTH, HelpScreen
from sai3tui.terminal import log_file
from sai3tui.theme import DARK_ROLES
from sai3tui.widgets.key_line import MOST, KeyLine
from sai3tui.widgets.text_rows import TextRows
from tests.test_ui_snapshots import PICTURES, show
from tests.ui_help import DEMO, NARROW, WIDE, settled, until

DIALOGS = ("preflight-adopt", "abort", "help")
SCREENS = (
    *DIALOGS,
    "home-lists",
    "editor-problems",
    "preflight-blocked",
    "live-troubled",
    "replay",
    "agent",
    "barriers",
    "failures",
    "results",
    "events",
)
STEPS_BACK = 3


def bound(app: Sai3App) -> dict[str, str]:
    """Every key that is bound now, with the name of its action."""
    return {key: active.binding.description for key, active in app.screen.active_bindings.items()}


async def draws(app: Sai3App) -> None:
    """The screen has something on it; its foot has no more keys than are read, and has room for them."""
    await until(lambda: any(strip.text.strip() for strip in app.screen._compositor.render_strips()))
    for line in app.screen.query(KeyLine):
        assert len(line.keys) <= MOST
        (words,) = line.paint(app.size.width, DARK_ROLES)
        assert words.cell_len <= app.size.width, words.plain


async def back(pilot: Pilot[None], screen: object) -> bool:
    """Whether `screen` is shown, or is again after a few times escape."""
    for _ in range(STEPS_BACK):
        if not pilot.app.is_running or pilot.app.screen is screen:
            break
        await pilot.press("escape")
        await pilot.pause()
    return pilot.app.is_running and pilot.app.screen is screen


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys write files: where the configuration of the pictures is, there is a copy."""
    (tmp_path / "examples").mkdir()
    for name in ("demo.yaml", "broken.yaml"):
        shutil.copy(DEMO, tmp_path / "examples" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("EDITOR", "true")


async def press_all(name: str, size: tuple[int, int]) -> int:
    """Press every key of a screen; a screen that a key has left for good is opened again. Returns how many."""
    pressed: set[str] = set()
    while True:
        # What was typed and not saved is offered again otherwise.
        shutil.rmtree(log_file().parent / "recovery", ignore_errors=True)
        app = PICTURES[name].make()
        async with app.run_test(size=size) as pilot:
            await show(pilot, PICTURES[name])
            screen = app.screen
            await draws(app)
            keys = [key for key in bound(app) if key not in pressed]
            if not keys:
                return len(pressed)
            for key in keys:
                pressed.add(key)
                await pilot.press(key)
                await pilot.pause()
                if app.is_running:
                    await draws(app)
                if not await back(pilot, screen):
                    break
            assert app._exception is None


@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCREENS)
async def test_every_key_of_every_screen_can_be_pressed(name: str, size: tuple[int, int], files: None) -> None:
    assert await press_all(name, size) > 3


# A dialog says its keys itself.
@pytest.mark.parametrize("name", [name for name in SCREENS if name not in DIALOGS])
async def test_the_help_of_a_screen_has_its_keys(name: str, files: None) -> None:
    app = PICTURES[name].make()
    async with app.run_test(size=WIDE) as pilot:
        await show(pilot, PICTURES[name])
        screen = app.screen
        shown = [(app.get_key_display(a.binding), a.binding.description) for a in screen.query_one(KeyLine).keys]
        shown += [
            (app.get_key_display(active.binding), active.binding.description)
            for active in screen.active_bindings.values()
            if active.binding.id and active.binding.action != "zoom" and active.node is screen
        ]
        await pilot.press("f1")
        await until(lambda: isinstance(app.screen, HelpScreen))
        await settled(pilot)
        rows = app.screen.query_one(TextRows)
        lines = [rows.row(index, 80, DARK_ROLES).plain for index in range(rows.row_count())]
    for key, description in shown:
        assert any(key in line[:KEY_WIDTH].split() and description in line for line in lines), (key, description)
