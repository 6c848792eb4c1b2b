"""Driving the control room in tests: waiting for screens, reading what they show."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from textual.pilot import Pilot
from textual.screen import Screen

from sai3tui.app import Sai3App
from sai3tui.screens.editor import EditorScreen
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.waiting import wait_until_async

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo.yaml"
WIDE = (120, 36)
NARROW = (80, 24)
LOADING = frozenset({"agents", "card", "check", "list", "open"})


def room(*sessions: ScriptedSession, services: ScriptedServices | None = None, started: bool = True) -> Sai3App:
    """A control room on the demo's configuration, with canned sessions; started, or with the editor open."""
    data = DEMO.read_bytes()
    return Sai3App(services or ScriptedServices(*sessions), (Path("examples/demo.yaml"), data), start=started)


async def on_screen(pilot: Pilot[None], kind: type[Screen]) -> Screen:
    """The screen of this kind, once it is shown and has drawn. Fails after ten seconds."""
    assert await wait_until_async(lambda: isinstance(pilot.app.screen, kind)), (
        f"{kind.__name__} was not shown, {type(pilot.app.screen).__name__} was"
    )
    await settled(pilot)
    return pilot.app.screen


async def settled(pilot: Pilot[None]) -> None:
    """Wait until nothing is being read any more, and for one drawing."""
    screen = pilot.app.screen
    if isinstance(screen, EditorScreen):
        await until(lambda: screen.checked)
    await until(lambda: all(w.is_finished for w in pilot.app.workers if w.group in LOADING))
    await pilot.pause()


async def shows(pilot: Pilot[None], text: str) -> None:
    """Wait until `text` is on the screen; fails after ten seconds, with the screen."""
    assert await wait_until_async(lambda: text in screen_text(pilot.app)), f"no {text!r} on\n{screen_text(pilot.app)}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails after ten seconds."""
    assert await wait_until_async(condition)


def screen_text(app: object) -> str:
    """The characters on the screen, line by line."""
    assert isinstance(app, Sai3App)
    width, height = app.size
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, record=True, legacy_windows=False
    )
    picture = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    console.print(picture)
    return console.export_text()
