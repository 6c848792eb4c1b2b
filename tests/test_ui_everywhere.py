"""What is the same on every screen: keys of one's own, the palette, letters to jump, copying, clicks on keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from sai3tui.app import Sai3App
from sai3tui.errors import ConfigError
from sai3tui.screens.confirm import ReadScreen
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.jump import JumpScreen
from sai3tui.screens.keymap import read_keymap
from sai3tui.screens.live import LiveScreen
from sai3tui.widgets.key_line import KeyLine
from sai3tui.widgets.yaml_editor import YamlEditor
from tests import canned_runs as canned
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.ui_help import DEMO, NARROW, WIDE, on_screen, room, screen_text, settled, shows, until


async def test_a_key_of_ones_own_takes_the_place_of_ours(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("live.freeze: f\n")
    app = Sai3App(
        ScriptedServices(ScriptedSession(canned.running())),
        (DEMO, DEMO.read_bytes()),
        start=True,
        keys=read_keymap(keys),
    )
    async with app.run_test(size=NARROW) as pilot:
        live = await on_screen(pilot, LiveScreen)
        await shows(pilot, "f Freeze")
        await pilot.press("space")
        await settled(pilot)
        assert isinstance(live, LiveScreen)
        assert not live.frozen
        await pilot.press("f")
        assert live.frozen


@pytest.mark.parametrize("text", ["- f\n", "live.freeze: [f]\n", "a: b: c\n", "\x00"])
def test_a_keymap_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    assert read_keymap(keys) == {}
    keys.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_keymap(keys)
    assert str(keys) in caught.value.message
    assert "id: key" in caught.value.hint


async def test_what_stands_everywhere() -> None:
    """The palette has what makes sense now, a letter goes to a pane, a click on a key is the key, y copies."""
    session = ScriptedSession(canned.judged())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        live = await on_screen(pilot, LiveScreen)
        titles = {command.title for command in app.get_system_commands(live)}
        assert {"live: freeze", "live: abort", "run: why: who limits this stage", "app: quit"} <= titles
        assert "live: results" not in titles

        await pilot.press("ctrl+o")
        await on_screen(pilot, JumpScreen)
        await pilot.press("s")
        await on_screen(pilot, LiveScreen)
        assert app.focused is live.query_one("#thresholds")

        await pilot.press("w")
        await on_screen(pilot, ReadScreen)
        await shows(pilot, "10.9.0.22:9000 is 2.1 times slower than its peers for all agents")
        await pilot.press("y")
        assert "2.1 times slower" in app.clipboard
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)

        line = screen_text(app).splitlines()[-1]
        await pilot.click(KeyLine, offset=(line.index("Freeze"), 0))
        await until(lambda: isinstance(live, LiveScreen) and live.frozen)


async def test_an_older_form_is_converted_in_one_step() -> None:
    text = DEMO.read_text().replace(
        "completion: duration, duration: 20s", "completion: duration, config: {duration: 20s}"
    )
    assert "config: {duration" in text
    app = Sai3App(ScriptedServices(), (Path("old.yaml"), text.encode()))
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        editor = await on_screen(pilot, EditorScreen)
        area = editor.query_one(YamlEditor)
        await pilot.press("f3")
        await until(lambda: "config: {duration" not in area.text)
        assert "duration: 20s" in area.text
        await settled(pilot)
        await pilot.press("ctrl+z")
        assert area.text == text
