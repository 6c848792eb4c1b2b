"""How a person or a signal leaves the control room, and what becomes of the run."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Button

from sai3tui.controller.snapshot import Lead, Phase
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.confirm import ConfirmScreen
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.preflight import PreflightScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.screens.services import ShowReport
from sai3tui.widgets.states import title_of
from tests import canned_runs as canned
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.ui_help import NARROW, WIDE, on_screen, room, screen_text, settled, shows, until


async def test_a_started_room_goes_to_the_run_and_ends_with_its_code() -> None:
    session = ScriptedSession(canned.connecting())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, PreflightScreen)
        session.put(canned.running())
        await on_screen(pilot, LiveScreen)
        session.put(canned.failed())
        await on_screen(pilot, ResultsScreen)
        await shows(pilot, "lower concurrency for this agent")
        await shows(pilot, "sai3tui --batch 4node-mixed.yaml")
        await pilot.press("q")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 1
    assert session.calls[-1] == "stop"


async def test_results_wait_for_somebody_who_reads_something_else() -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("b")
        board = await on_screen(pilot, BarrierScreen)
        session.put(canned.finished())
        await shows(pilot, "SUCCESS")
        assert app.screen is board
        await pilot.press("escape")
        await on_screen(pilot, ResultsScreen)


@pytest.mark.parametrize("key", ["q", "ctrl+q", "ctrl+c"])
async def test_quitting_a_live_run_asks_and_stays(key: str) -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press(key)
        await on_screen(pilot, ConfirmScreen)
        focused = app.focused
        assert isinstance(focused, Button)
        assert "stay" in str(focused.label)
        await pilot.press("enter")
        await on_screen(pilot, LiveScreen)
        assert not [call for call in session.calls if call.startswith("abort")]
        assert app.return_code is None


async def test_quitting_a_live_run_aborts_it_when_told_so() -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("q")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("a")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 130
    assert session.calls == ["start", "abort 130 aborted in the control room", "stop"]


async def test_leaving_a_run_that_can_go_on_hands_it_over() -> None:
    session = ScriptedSession(replace(canned.running(), detachable=True))
    services = ScriptedServices(session)
    app = room(services=services)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("q")
        await on_screen(pilot, ConfirmScreen)
        focused = app.focused
        assert isinstance(focused, Button)
        assert "stay" in str(focused.label)
        await pilot.press("d")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 0
    assert session.calls == ["start", "detach detached in the control room", "stop"]
    assert services.handed_over == [Path(canned.running().results_dir)]
    assert app.parting == "it goes on"


async def test_a_viewer_leaves_without_a_question() -> None:
    session = ScriptedSession(replace(canned.running(), detachable=True, lead=Lead()))
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        foot = screen_text(app).splitlines()[-1]
        assert "t Take over" in foot
        assert "f1 Help" in foot
        await pilot.press("b")
        await on_screen(pilot, BarrierScreen)
        assert "f1 Help" in screen_text(app).splitlines()[-1]
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)
        await pilot.press("q")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 0
    assert session.calls == ["start", "detach the viewer left", "stop"]


async def test_an_abort_that_agents_refuse_ends_nothing_and_is_said_so() -> None:
    session = ScriptedSession(canned.running())
    session.on_abort = lambda snapshot: replace(snapshot, lead=Lead("bert@lab, pid 7, 3f0a", 1_764_158_591 * 10**9))
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("q", "a")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 130
    assert app.parting == ("sai3tui: the run was not aborted: bert@lab, pid 7 leads this run since 12:03:11 UTC\n")


async def test_who_quits_while_the_run_is_taken_over_is_asked_how_once_it_is() -> None:
    session, successor = ScriptedSession(replace(canned.running(), lead=Lead())), ScriptedSession(canned.connecting())
    session.next = successor
    app = room(session)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("t", "t")
        await until(lambda: successor.calls == ["start"])
        await pilot.press("q")
        await until(lambda: any("asked how to leave once it is" in told.message for told in app._notifications))
        successor.put(replace(canned.running(), detachable=True))
        await shows(pilot, "Leave this run, or stop it?")
        await pilot.press("d")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 0
    assert successor.calls == ["start", "detach detached in the control room", "stop"]
    assert app.parting == "it goes on"


async def test_a_run_that_was_just_taken_over_when_the_program_is_ended_is_handed_over() -> None:
    session, successor = ScriptedSession(replace(canned.running(), lead=Lead())), ScriptedSession(canned.connecting())
    session.next = successor
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("t", "t")
        await until(lambda: successor.calls == ["start"])
        app._on_signal(signal.SIGTERM)
        successor.put(replace(canned.running(), results_dir="/srv/bench/results/x"))
        await until(lambda: app.return_code is not None)
    app.end_session()
    assert app.return_code == 143
    assert successor.calls == ["start", "detach left while the run was taken over", "stop"]
    assert app.parting == "it goes on"


async def test_an_abort_that_does_not_end_is_left_after_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sai3tui.run_keeper.ABORT_LIMIT_S", 0.3)
    session = ScriptedSession(canned.running())
    session.on_abort = lambda snapshot: snapshot
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("q", "a")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 130
    assert session.calls[-1] == "stop"


async def test_a_session_that_died_is_told_and_ends_with_a_failure() -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await on_screen(pilot, LiveScreen)
        session.failure = RuntimeError("boom")
        await shows(pilot, "the controller stopped")
        await pilot.press("q")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 1


async def test_the_end_of_a_run_rings_once_and_is_in_the_title(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    session = ScriptedSession(canned.running())
    app = room(session)
    monkeypatch.setattr(app, "bell", lambda: rung.append(title_of(app.snapshot())))
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        app.tell_terminal()
        assert rung == []
        assert title_of(app.snapshot()) == "● running execute: 4node-mixed.yaml - sai3tui"
        session.put(canned.finished())
        await on_screen(pilot, ResultsScreen)
        await until(lambda: bool(rung))
        app.tell_terminal()
        assert rung == ["✓ success: 4node-mixed.yaml - sai3tui"]


def test_a_title_cannot_steer_the_terminal() -> None:
    evil = replace(canned.running(), config_name="\x1b]2;x\x07\x9b2J" + "y" * 500)
    assert title_of(evil).isprintable()
    assert len(title_of(evil)) < 140


async def test_a_run_that_writes_its_last_files_is_waited_for_without_a_question() -> None:
    session = ScriptedSession(replace(canned.running(), phase=Phase.WRITING))
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await shows(pilot, "the last files are being written")
        await pilot.press("x", "q")
        await settled(pilot)
        assert isinstance(app.screen, LiveScreen)
        session.put(canned.failed())
        await until(lambda: app.return_code is not None)
    assert app.return_code == 1
    assert session.calls == ["start", "stop"]


@pytest.mark.parametrize("answer", ["a", "d"])
async def test_a_run_that_ends_while_its_question_stands_keeps_its_code(answer: str) -> None:
    session = ScriptedSession(replace(canned.running(), detachable=True))
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("q")
        await on_screen(pilot, ConfirmScreen)
        session.put(canned.failed())
        await pilot.press(answer)
        await until(lambda: app.return_code is not None)
    assert app.return_code == 1
    assert session.calls == ["start", "stop"]


async def test_leaving_while_results_are_about_to_be_shown_is_no_crash() -> None:
    """A screen that is composed when the app ends would be mounted without its widgets."""
    session = ScriptedSession(canned.finished())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        app.on_show_report(ShowReport(canned.report()))
        assert not app.screen.is_mounted
        await app.action_quit()
        app.on_show_report(ShowReport(canned.report()))
        await until(lambda: app.return_code is not None)
    assert app.return_code == 0
