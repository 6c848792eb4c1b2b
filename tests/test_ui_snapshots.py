"""Pictures of every screen, wide and narrow. `pytest --snapshot-update` makes them anew; look at them then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from sai3tui.app import Sai3App
from sai3tui.screens.agent import AgentScreen
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.confirm import ConfirmScreen, PathScreen
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.help import HelpScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.preflight import PreflightScreen
from sai3tui.screens.recent import RecentConfigs
from sai3tui.screens.replay import ReplayScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.screens.run_log import LogScreen
from sai3tui.theme import LIGHT
from tests import scripted_session as canned
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.test_ui_home_lists import AGENTS
from tests.ui_help import DEMO, NARROW, WIDE, on_screen, room, settled

# The pictures are made on one Python: highlighting and wrapping may differ elsewhere.
SIZES = {"120x36": WIDE, "80x24": NARROW}


@dataclass(frozen=True, slots=True)
class Picture:
    """`keys` are pressed on `first`, `then` on `screen` once that is drawn; there the picture is taken."""

    make: Callable[[], Sai3App]
    first: type[Screen[Any]]
    keys: tuple[str, ...] = ()
    screen: type[Screen[Any]] | None = None
    then: tuple[str, ...] = ()


def _broken() -> Sai3App:
    text = DEMO.read_bytes().replace(b"op: get,", b"op: gett,").replace(b"seed: 1", b"sead: 1")
    text = text.replace(b"concurrency: 8", b"concurrency: x")
    return Sai3App(ScriptedServices(), (Path("examples/broken.yaml"), text))


def _home_with_lists() -> Sai3App:
    class Kept(RecentConfigs):
        """Files of another host."""

        def existing(self) -> tuple[Path, ...]:
            return tuple(Path("/srv/bench/configs") / f"{name}.yaml" for name in ("4node-mixed", "unet3d-epoch"))

    recent = Kept()
    return Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report(), agents=AGENTS), recent=recent)


PICTURES = {
    "home": Picture(lambda: Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report())), HomeScreen),
    "home-lists": Picture(_home_with_lists, HomeScreen),
    "home-empty": Picture(lambda: Sai3App(ScriptedServices()), HomeScreen),
    "editor": Picture(lambda: room(started=False), EditorScreen),
    "editor-problems": Picture(_broken, EditorScreen, ("f8",)),
    "preflight-connecting": Picture(lambda: room(ScriptedSession(canned.connecting())), PreflightScreen),
    "preflight-checking": Picture(lambda: room(ScriptedSession(canned.checking())), PreflightScreen),
    "preflight-blocked": Picture(lambda: room(ScriptedSession(canned.blocked())), PreflightScreen),
    "preflight-ready": Picture(lambda: room(ScriptedSession(canned.ready())), PreflightScreen),
    "preflight-adopt": Picture(lambda: room(ScriptedSession(canned.foreign())), PreflightScreen, ("o",), PathScreen),
    "live": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen),
    "live-troubled": Picture(lambda: room(ScriptedSession(canned.troubled())), LiveScreen),
    "live-256-agents": Picture(lambda: room(ScriptedSession(canned.running(count=256))), LiveScreen, ("end",)),
    "live-judged": Picture(lambda: room(ScriptedSession(canned.judged())), LiveScreen),
    "live-by-host": Picture(lambda: room(ScriptedSession(canned.troubled())), LiveScreen, ("h", "m")),
    "live-frozen": Picture(
        lambda: room(ScriptedSession(canned.troubled())), LiveScreen, ("space", "shift+left", "shift+left", "left")
    ),
    "live-zoomed": Picture(lambda: room(ScriptedSession(canned.troubled())), LiveScreen, ("z",)),
    "replay": Picture(
        lambda: room(ScriptedSession(canned.finished())), ResultsScreen, ("t",), ReplayScreen, ("right_square_bracket",)
    ),
    "live-endpoints": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("p",)),
    "agent": Picture(lambda: room(ScriptedSession(canned.troubled())), LiveScreen, ("enter",), AgentScreen),
    "barriers": Picture(lambda: room(ScriptedSession(canned.troubled())), LiveScreen, ("b",), BarrierScreen),
    "barriers-without": Picture(
        lambda: room(ScriptedSession(canned.troubled())), LiveScreen, ("b", *["down"] * 6, "o"), ConfirmScreen
    ),
    "quit": Picture(
        lambda: room(ScriptedSession(replace(canned.running(), detachable=True))), LiveScreen, ("q",), ConfirmScreen
    ),
    "failures": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("e",), FailuresScreen),
    "abort": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("x",), ConfirmScreen),
    "help": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("f1",), HelpScreen),
    "results": Picture(lambda: room(ScriptedSession(canned.finished())), ResultsScreen),
    "results-failed": Picture(lambda: room(ScriptedSession(canned.failed())), ResultsScreen),
    **{
        f"results-{name}": Picture(lambda: room(ScriptedSession(canned.finished())), ResultsScreen, (str(n),))
        for n, name in enumerate(("latency", "agents", "endpoints", "thresholds", "passport"), 2)
    },
    "export": Picture(lambda: room(ScriptedSession(canned.finished())), ResultsScreen, ("w",), ConfirmScreen),
    "events": Picture(lambda: room(ScriptedSession(canned.finished())), ResultsScreen, ("l",), LogScreen),
}


def _steps(picture: Picture, theme: str = "") -> Callable[[Pilot[None]], Awaitable[None]]:
    async def steps(pilot: Pilot[None]) -> None:
        await on_screen(pilot, picture.first)
        if theme:
            pilot.app.theme = theme
        await pilot.press(*picture.keys)
        await on_screen(pilot, picture.screen or picture.first)
        await settled(pilot)
        if picture.then:
            await pilot.press(*picture.then)
            await settled(pilot)

    return steps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PICTURES)
def test_screen(name: str, size: str, snap_compare: Callable[..., bool]) -> None:
    picture = PICTURES[name]
    assert snap_compare(picture.make(), terminal_size=SIZES[size], run_before=_steps(picture))


@pytest.mark.parametrize("name", ["home", "editor-problems", "preflight-checking", "live-troubled", "results"])
def test_light(name: str, snap_compare: Callable[..., bool]) -> None:
    picture = PICTURES[name]
    assert snap_compare(picture.make(), terminal_size=WIDE, run_before=_steps(picture, LIGHT.name))


def test_too_small(snap_compare: Callable[..., bool]) -> None:
    picture = PICTURES["live"]
    assert snap_compare(picture.make(), terminal_size=(52, 14), run_before=_steps(picture))
