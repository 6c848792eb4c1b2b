"""Pictures of every screen, wide and narrow. `make snapshots` makes them anew; look at them then."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen

from sai3tui.app import Sai3App
from sai3tui.errors import ResourceError
from sai3tui.results.compared import Comparison
from sai3tui.results.reader import RunEntry
from sai3tui.screens.agent import AgentScreen
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.chooser import ChooserScreen
from sai3tui.screens.comparison import ComparisonScreen
from sai3tui.screens.confirm import ConfirmScreen, PathScreen, ReadScreen
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.help import HelpScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.jump import JumpScreen
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.preflight import PreflightScreen
from sai3tui.screens.recent import RecentConfigs
from sai3tui.screens.replay import ReplayScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.screens.run_log import LogScreen
from sai3tui.theme import LIGHT, SIXTEEN
from sai3tui.widgets.key_line import MOST, KeyLine
from sai3tui.widgets.run_views import RunReport
from tests import canned_runs as canned
from tests.canned_comparison import comparisons
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.test_ui_home_lists import AGENTS
from tests.ui_help import DEMO, NARROW, WIDE, on_screen, room, screen_text, settled, shows

Pictured = Callable[..., None]
SCREENS_PAGE = Path(__file__).resolve().parents[1] / "docs" / "screens.md"


@dataclass(frozen=True, slots=True)
class Picture:
    """`keys` are pressed on `first`, `then` on `screen` once that is drawn; there the picture is taken. `anew`: they do
    something else in a narrow window."""

    make: Callable[[], Sai3App]
    first: type[Screen[Any]]
    keys: tuple[str, ...] = ()
    screen: type[Screen[Any]] | None = None
    then: tuple[str, ...] = ()
    anew: bool = False


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


def _comparing() -> Sai3App:
    class Compared(ScriptedServices):
        def compare(self, first: Path, others: Sequence[Path]) -> tuple[Comparison, ...]:
            return comparisons()

    return Sai3App(Compared(runs=canned.runs(), report=canned.report()))


PICTURES = {
    "home": Picture(lambda: Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report())), HomeScreen),
    "home-lists": Picture(_home_with_lists, HomeScreen),
    "home-empty": Picture(lambda: Sai3App(ScriptedServices()), HomeScreen),
    "editor": Picture(lambda: room(started=False), EditorScreen),
    "editor-problems": Picture(_broken, EditorScreen, ("f8",)),
    "editor-plan": Picture(lambda: room(started=False), EditorScreen, ("f9",), anew=True),
    "editor-find": Picture(lambda: room(started=False), EditorScreen, ("ctrl+f", *"demo", "enter")),
    "editor-completion": Picture(lambda: room(started=False), EditorScreen, ("ctrl+n",), ChooserScreen),
    "templates": Picture(lambda: Sai3App(ScriptedServices()), HomeScreen, ("n",), ChooserScreen),
    "preflight-connecting": Picture(lambda: room(ScriptedSession(canned.connecting())), PreflightScreen),
    "preflight-checking": Picture(lambda: room(ScriptedSession(canned.checking())), PreflightScreen),
    "preflight-blocked": Picture(lambda: room(ScriptedSession(canned.blocked())), PreflightScreen),
    "preflight-ready": Picture(lambda: room(ScriptedSession(canned.ready())), PreflightScreen),
    "preflight-adopt": Picture(lambda: room(ScriptedSession(canned.foreign())), PreflightScreen, ("o",), PathScreen),
    "live": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen),
    "live-troubled": Picture(lambda: room(ScriptedSession(canned.troubled())), LiveScreen),
    "why": Picture(lambda: room(ScriptedSession(canned.judged())), LiveScreen, ("w",), ReadScreen),
    "palette": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("ctrl+p",), CommandPalette),
    "jump": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("ctrl+o",), JumpScreen),
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
    "live-endpoints": Picture(lambda: room(ScriptedSession(canned.running())), LiveScreen, ("p",), anew=True),
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
    "comparison": Picture(_comparing, HomeScreen, ("space", "down", "space", "c"), ComparisonScreen),
    "export": Picture(lambda: room(ScriptedSession(canned.finished())), ResultsScreen, ("w",), ConfirmScreen),
    "events": Picture(lambda: room(ScriptedSession(canned.finished())), ResultsScreen, ("l",), LogScreen),
}


MAY_BE_CUT = re.compile(
    r"s3://\S+…"  # of an object in an event: enter shows it whole
    r"|SlowDown: P…"  # of a cause: the pane below has it whole
    r"|sai3-\d\S*…|4node\S*…"  # names of directories and files
    r"|…\S+\.dat"  # of objects, whose ends tell them apart
    r"|Search for commands…"
)
WHOLE_BELOW = ("templates", "editor-completion")
"""Lists whose rows are cut: what is at the cursor stands below them, whole."""
NO_COLOUR = "no-colour"
LOOKS = (
    *((name, LIGHT.name) for name in ("home", "editor-problems", "preflight-checking", "live-troubled", "results")),
    *((name, SIXTEEN.name) for name in ("live-troubled", "results")),
    *((name, NO_COLOUR) for name in ("live-troubled", "preflight-blocked")),
)


async def show(pilot: Pilot[None], picture: Picture, theme: str = "") -> None:
    await on_screen(pilot, picture.first)
    if theme:
        pilot.app.theme = theme
    await pilot.press(*picture.keys)
    await on_screen(pilot, picture.screen or picture.first)
    if picture.then:
        await pilot.press(*picture.then)
        await settled(pilot)
    # Only what concerns this screen is worth a key: more are not read.
    for line in pilot.app.screen.query(KeyLine):
        assert len(line.keys) <= MOST


def cut_lines(app: Sai3App) -> list[str]:
    """Lines of the screen in which something is cut that has a meaning: a figure, a state, a sentence."""
    return [line for line in MAY_BE_CUT.sub("", screen_text(app)).splitlines() if "…" in line]


@pytest.mark.parametrize("name", PICTURES)
async def test_screen(name: str, pictured: Pictured) -> None:
    """Wide, and narrow after that: a window that is made smaller looks like one that always was."""
    picture = PICTURES[name]
    app = picture.make()
    async with app.run_test(size=WIDE) as pilot:
        await show(pilot, picture)
        pictured(app, "120x36")
        assert name in WHOLE_BELOW or not cut_lines(app)
        if not picture.anew:
            await pilot.resize_terminal(*NARROW)
            await settled(pilot)
            pictured(app, "80x24")
            assert name in WHOLE_BELOW or not cut_lines(app)
    if picture.anew:
        app = picture.make()
        async with app.run_test(size=NARROW) as pilot:
            await show(pilot, picture)
            pictured(app, "80x24")
            assert name in WHOLE_BELOW or not cut_lines(app)


def test_every_picture_is_in_the_documents() -> None:
    text = SCREENS_PAGE.read_text(encoding="utf-8")
    assert [name for name in PICTURES for size in ("120x36", "80x24") if f"[{name}][{size}]" not in unquote(text)] == []


@pytest.mark.parametrize(("name", "look"), LOOKS, ids=lambda value: value.removeprefix("sai3-"))
async def test_look(name: str, look: str, pictured: Pictured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other colours, or none."""
    if look == NO_COLOUR:
        monkeypatch.setenv("NO_COLOR", "1")
    app = PICTURES[name].make()
    async with app.run_test(size=WIDE) as pilot:
        await show(pilot, PICTURES[name], "" if look == NO_COLOUR else look)
        pictured(app)


async def test_too_small(pictured: Pictured) -> None:
    app = PICTURES["live"].make()
    async with app.run_test(size=(52, 14)) as pilot:
        await on_screen(pilot, LiveScreen)
        pictured(app)


async def test_a_controller_that_stopped(pictured: Pictured) -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await on_screen(pilot, LiveScreen)
        session.failure = RuntimeError("the session's loop has ended")
        await shows(pilot, "CONTROLLER STOPPED")
        await shows(pilot, "loop has ended")
        pictured(app, "120x36")
        await pilot.resize_terminal(*NARROW)
        await settled(pilot)
        pictured(app, "80x24")


async def test_a_directory_that_is_being_read(pictured: Pictured) -> None:
    go_on = threading.Event()

    class Slow(ScriptedServices):
        def list_runs(self) -> tuple[RunEntry, ...]:
            go_on.wait(60)
            return super().list_runs()

    app = Sai3App(Slow(runs=canned.runs()))
    async with app.run_test(size=WIDE) as pilot:
        try:
            await shows(pilot, "reading the runs")
            pictured(app)
        finally:
            go_on.set()
        await shows(pilot, "warp-put")


async def test_a_run_that_cannot_be_read(pictured: Pictured) -> None:
    class Broken(ScriptedServices):
        def load_run(self, path: Path) -> RunReport:
            raise ResourceError(f"cannot read {path.name}: metadata.json is cut", hint="copy the directory again")

    app = Sai3App(Broken(runs=canned.runs()))
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await on_screen(pilot, HomeScreen)
        await pilot.press("enter")
        await shows(pilot, "copy the directory again")
        pictured(app)
