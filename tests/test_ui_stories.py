"""What a person does in the control room, from the first key to the last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sai3tui.app import Sai3App
from sai3tui.controller.snapshot import Lead, Outcome, Phase
from sai3tui.screens import editor
from sai3tui.screens.agent import AgentScreen
from sai3tui.screens.barriers import BarrierScreen
from sai3tui.screens.chooser import ChooserScreen
from sai3tui.screens.confirm import ConfirmScreen, PathScreen, ReadScreen
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.failures import FailuresScreen
from sai3tui.screens.help import HelpScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.live import LiveScreen
from sai3tui.screens.preflight import PreflightScreen
from sai3tui.screens.results import ResultsScreen
from sai3tui.screens.run_log import LogScreen
from sai3tui.widgets.agent_grid import AgentGrid
from sai3tui.widgets.check_matrix import CheckMatrix
from sai3tui.widgets.event_log import EventLog
from sai3tui.widgets.filter_box import FilterBox
from sai3tui.widgets.yaml_editor import YamlEditor
from tests import canned_runs as canned
from tests.scripted_session import ScriptedServices, ScriptedSession
from tests.ui_help import DEMO, NARROW, WIDE, on_screen, room, screen_text, settled, shows, until


async def test_from_a_broken_configuration_to_results(tmp_path: Path) -> None:
    """Home, open, see the problem at its line, fix it, preflight, start, live, results, home."""
    path = tmp_path / "run.yaml"
    path.write_text(DEMO.read_text().replace("op: get,", "op: gett,"))
    session = ScriptedSession(canned.checking())
    services = ScriptedServices(session, report=canned.report())
    app = Sai3App(services)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await on_screen(pilot, HomeScreen)
        await pilot.press("o")
        await on_screen(pilot, PathScreen)
        await pilot.press(*str(path), "enter")
        await on_screen(pilot, EditorScreen)
        await shows(pilot, "✗ 1 error")

        await pilot.press("f5")
        await shows(pilot, "fix this first")
        assert services.orders == []
        editor = app.screen.query_one(YamlEditor)
        line = editor.cursor_location[0]
        assert "gett" in editor.document.get_line(line)
        assert "✗ is 'gett'" in editor.get_line(line).plain

        text = editor.document.get_line(line)
        editor.replace("get", (line, text.index("gett")), (line, text.index("gett") + 4))
        await shows(pilot, "✓ valid")
        await shows(pilot, "● modified")
        await shows(pilot, "400 in 20 directories")

        await pilot.press("f5")
        await on_screen(pilot, PreflightScreen)
        assert path.read_text() == DEMO.read_text()
        assert services.orders[0].text == DEMO.read_bytes()
        assert services.orders[0].hold
        await shows(pilot, "2 of 4 agents done")
        await shows(pilot, "403")

        session.put(canned.blocked())
        await shows(pilot, "the run cannot start")
        await pilot.press("f5")
        assert "proceed" not in session.calls
        await pilot.press("r")
        await shows(pilot, "All checks passed")
        await pilot.press("f5")
        await on_screen(pilot, LiveScreen)
        assert session.calls == ["start", "recheck", "proceed"]
        await shows(pilot, "45 s of 1m 00s")

        session.put(canned.finished())
        await on_screen(pilot, ResultsScreen)
        await shows(pilot, "done in 30 s: 64,000 of 64,000 objects")
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)
        await pilot.press("q")
        await until(lambda: app.return_code is not None)
    assert app.return_code == 0


async def test_aborting_shows_what_was_done() -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("x")
        await on_screen(pilot, ConfirmScreen)
        await shows(pilot, "Stop this run on 4 agents?")
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)
        await pilot.press("x")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("left", "enter")
        await on_screen(pilot, ResultsScreen)
        await shows(pilot, "■ aborted")
        await shows(pilot, "64,000 of 64,000 objects")


async def test_freezing_keeps_the_picture_and_not_the_run() -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("space")
        session.put(canned.troubled())
        await shows(pilot, "FROZEN 27 s")
        assert "agent-11" not in screen_text(app)
        session.put(canned.finished())
        await shows(pilot, "SUCCESS")
        assert isinstance(app.screen, LiveScreen)
        await pilot.press("space")
        await shows(pilot, "results in /srv/bench")
        await pilot.press("v")
        await on_screen(pilot, ResultsScreen)


async def test_somebody_intervenes_at_a_barrier() -> None:
    """More time, opening without an agent (asked), a pause and its end, an abort (asked)."""
    session = ScriptedSession(canned.troubled())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("b")
        await on_screen(pilot, BarrierScreen)
        await pilot.press("w")
        await until(lambda: session.calls[-1:] == ["wait_longer 60"])
        # Nobody waits for agent-1, which is at the cursor: there is nothing to ask.
        await pilot.press("o")
        await settled(pilot)
        assert isinstance(app.screen, BarrierScreen)
        await pilot.press(*["down"] * 6, "o")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("escape")
        await on_screen(pilot, BarrierScreen)
        assert session.calls[-1] == "wait_longer 60"
        await pilot.press("o")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("o")
        await until(lambda: session.calls[-1] == "release_without agent-7")
        await on_screen(pilot, BarrierScreen)
        # Twice before anything is seen of it: the second takes back the first.
        await pilot.press("p", "p")
        await until(lambda: session.calls[-2:] == ["pause", "go_on"])
        await pilot.press("p")
        await until(lambda: session.calls[-1] == "pause")
        snapshot = session.snapshot()
        assert snapshot.barrier is not None
        session.put(replace(snapshot, barrier=replace(snapshot.barrier, pausing=True)))
        await shows(pilot, "it will stay shut when all are here")
        await pilot.press("p")
        await until(lambda: session.calls[-1] == "go_on")
        await pilot.press("x")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("a")
        await until(lambda: session.calls[-1].startswith("abort 130"))


async def test_who_only_watches_cannot_intervene() -> None:
    session = ScriptedSession(replace(canned.troubled(), lead=Lead()))
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("b")
        await on_screen(pilot, BarrierScreen)
        for key in "wopx":
            app.clear_notifications()
            await pilot.press(key)
            await until(lambda: len(app._notifications) == 1)
            (told,) = app._notifications
            assert "and this is a view of it: t takes it over" in told.message
            assert isinstance(app.screen, BarrierScreen)
        assert session.calls == ["start"]


async def test_who_is_displaced_watches_on_is_told_by_whom_and_takes_over_again() -> None:
    session, successor = ScriptedSession(canned.running()), ScriptedSession(canned.connecting())
    session.next = successor
    app = room(session)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("t")
        assert isinstance(app.screen, LiveScreen)
        lead = Lead("bert@lab, pid 7, 3f0a", 1_764_158_591_000_000_000)
        session.put(replace(session.snapshot(), lead=lead, notices=(f"{lead.sentence}: read-only",)))
        await shows(pilot, "bert@lab, pid 7 leads this run since 12:03:11 UTC: read-only")
        await shows(pilot, "VIEW ONLY")
        await shows(pilot, "t Take over")
        await pilot.press("x")
        await shows(pilot, "this is a view of it: t takes it over")
        await pilot.press("t")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("enter")
        await on_screen(pilot, LiveScreen)
        assert session.calls == ["start"]

        # It cannot be had: what is watched is watched on.
        successor.on_start = lambda _snapshot: canned.failed()
        await pilot.press("t", "t")
        await shows(pilot, "the run was not taken over")
        assert isinstance(app.screen, LiveScreen)
        assert app.snapshot() is session.snapshot()

        successor.on_start = canned.running
        await pilot.press("b")
        await on_screen(pilot, BarrierScreen)
        await pilot.press("t", "t")
        await until(lambda: app.snapshot() is successor.snapshot())
        await on_screen(pilot, LiveScreen)
        await pilot.press("x", "a")
        await until(lambda: successor.calls[-1].startswith("abort 130"))
        assert session.calls == ["start", "successor", "successor", "stop"]


async def test_the_live_run_in_depth() -> None:
    """Problems first, sorting, an agent, an event, errors, barriers, endpoints, zoom."""
    session = ScriptedSession(canned.troubled())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        grid = app.screen.query_one(AgentGrid)
        assert grid.current is not None
        assert grid.current.id == "agent-11"
        await shows(pilot, "waiting 12 s for agent-7, agent-12")
        await pilot.press("enter")
        await on_screen(pilot, AgentScreen)
        await shows(pilot, "Please reduce your request rate.")
        await pilot.press("escape", "down", "s")
        await shows(pilot, "sort: name")
        assert "agent-7" in str(grid.current)
        await pilot.press("e")
        await on_screen(pilot, FailuresScreen)
        await shows(pilot, "9Z0A1B2C3D")
        await pilot.press("escape", "b")
        await on_screen(pilot, BarrierScreen)
        await shows(pilot, "▲ silent 12 s")
        await shows(pilot, "◌ out 12 s")
        await shows(pilot, "agent-7 holds it up for 12 s, silent for 12 s, slowest on 10.9.0.22:9000")
        await shows(pilot, "in 4m 48s it opens without agent-7, agent-12")
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)
        await pilot.press("z")
        await until(lambda: "Endpoints" not in screen_text(app).rsplit("\n", 2)[0] and "agent-12" in screen_text(app))
        await pilot.press("z")
        await shows(pilot, "Agents × endpoints")
        await pilot.press("tab", "tab", "tab", "enter")
        await on_screen(pilot, ReadScreen)
        await shows(pilot, "file_00000121.dat")


async def test_the_log_follows_until_somebody_reads_it() -> None:
    session = ScriptedSession(canned.running())
    app = room(session)
    async with app.run_test(size=NARROW) as pilot:
        await on_screen(pilot, LiveScreen)
        log = app.screen.query_one(EventLog)
        assert "following" in screen_text(app)
        log.focus()
        await pilot.press("up")
        assert not log.following
        lines = canned.log_lines()
        snapshot = canned.running()
        session.put(replace(snapshot, log=lines + lines[:3], log_total=10))
        await shows(pilot, "3 new below")
        await pilot.press("end")
        await shows(pilot, "following")


async def test_the_matrix_explains_the_cell_under_the_cursor() -> None:
    app = room(ScriptedSession(canned.checking()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, PreflightScreen)
        matrix = app.screen.query_one(CheckMatrix)
        assert (matrix.current.agent, matrix.current.check) == ("agent-3", "write")
        await shows(pilot, "give the key s3:PutObject")
        await pilot.press("enter")
        assert (matrix.current.agent, matrix.current.check) == ("agent-2", "clock")
        await shows(pilot, "run chrony or ntpd")
        await pilot.press("right")
        assert matrix.current.check == "plan"
        await pilot.press("p")
        assert matrix.row_count() == 2
        await pilot.press("escape")
        await on_screen(pilot, HomeScreen)


async def test_preflight_that_ended_can_be_made_again() -> None:
    over = replace(
        canned.blocked(), phase=Phase.FINISHED, outcome=Outcome("preflight_failed", 3, canned.DENIED, "", "")
    )
    first, second = ScriptedSession(over), ScriptedSession(canned.running())
    app = room(first, second)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, PreflightScreen)
        await shows(pilot, "was refused. r checks again.")
        await pilot.press("r")
        await on_screen(pilot, LiveScreen)
        assert "stop" in first.calls
        assert second.calls == ["start"]


async def test_runs_are_listed_opened_and_run_again(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(DEMO.read_bytes())
    report = replace(canned.report(), config=tmp_path / "config.yaml", config_path=str(tmp_path / "mine.yaml"))
    app = Sai3App(ScriptedServices(runs=canned.runs(), report=report))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "unet3d-epoch")
        await shows(pilot, "14 errors, most of them")
        await pilot.press("end")
        await shows(pilot, "metadata.json: no such file")
        await pilot.press("enter")
        assert isinstance(app.screen, HomeScreen)
        await pilot.press("home", "enter")
        await on_screen(pilot, ResultsScreen)
        await pilot.press("5")
        await shows(pilot, "✗ missed")
        await pilot.press("l")
        await on_screen(pilot, LogScreen)
        await pilot.press("escape", "r")
        await on_screen(pilot, EditorScreen)
        await shows(pilot, "mine.yaml")
        await shows(pilot, "not saved yet")


async def test_a_new_configuration_is_valid_and_saved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = Sai3App(ScriptedServices())
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "No runs here yet.")
        await pilot.press("n")
        await on_screen(pilot, ChooserScreen)
        await pilot.press("enter")
        await on_screen(pilot, EditorScreen)
        await shows(pilot, "✓ valid")
        await pilot.press("ctrl+s")
        await until(lambda: (tmp_path / "new.yaml").exists())
        assert (tmp_path / "new.yaml").read_text() == app.screen.query_one(YamlEditor).text
        assert [path.name for path in tmp_path.iterdir()] == ["new.yaml"]


async def test_saving_asks_before_it_replaces_what_somebody_else_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Saving is what notices here, not the look at the disk every few seconds.
    monkeypatch.setattr(editor, "LOOK_S", 3600)
    path = tmp_path / "run.yaml"
    path.write_bytes(DEMO.read_bytes())
    app = Sai3App(ScriptedServices(), (path, DEMO.read_bytes()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, EditorScreen)
        path.write_text("# theirs\n")
        await pilot.press("#", "ctrl+s")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("escape")
        await on_screen(pilot, EditorScreen)
        assert path.read_text() == "# theirs\n"
        await pilot.press("ctrl+s")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("y")
        await until(lambda: path.read_text().startswith("##"))


async def test_leaving_a_changed_file_asks(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(DEMO.read_bytes())
    app = Sai3App(ScriptedServices(), (path, DEMO.read_bytes()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, EditorScreen)
        await pilot.press("#", "escape")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("n")
        await on_screen(pilot, EditorScreen)
        await pilot.press("escape")
        await on_screen(pilot, ConfirmScreen)
        await pilot.press("d")
        await on_screen(pilot, HomeScreen)
    assert path.read_bytes() == DEMO.read_bytes()


async def test_help_lists_the_keys_of_the_screen_beneath() -> None:
    app = room(ScriptedSession(canned.running()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.press("f1")
        await on_screen(pilot, HelpScreen)
        await shows(pilot, "Freeze")
        await shows(pilot, "Abort")
        await pilot.press("escape")
        await on_screen(pilot, LiveScreen)


async def test_text_from_outside_is_neither_markup_nor_control() -> None:
    evil = "[bold]x[/nope] \x1b[2J\x07 \u202eabc"
    snapshot = canned.running()
    agent = replace(snapshot.agents[0], id=evil)
    stage = replace(snapshot.stages[2], name=evil)
    snapshot = replace(
        snapshot,
        config_name=evil,
        agents=(agent,),
        stages=(*snapshot.stages[:2], stage),
        notices=(evil,),
        log=(replace(snapshot.log[0], text=evil),),
    )
    app = room(ScriptedSession(snapshot))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await shows(pilot, "[bold]x[/nope] [2J abc")
        text = screen_text(app)
        assert not set("\x1b\x07\u202e") & set(text)
        await pilot.press("enter")
        await on_screen(pilot, AgentScreen)
        assert not set("\x1b\x07\u202e") & set(screen_text(app))
        await pilot.press("escape", "x")
        await on_screen(pilot, ConfirmScreen)


async def test_a_window_that_is_too_small_says_so_and_comes_back() -> None:
    app = room(ScriptedSession(canned.running()))
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, LiveScreen)
        await pilot.resize_terminal(52, 14)
        await shows(pilot, "Terminal 52x14, needs 60x16")
        assert "agent-1" not in screen_text(app)
        await pilot.resize_terminal(*NARROW)
        await settled(pilot)
        await shows(pilot, "agent-1")


async def test_a_checker_that_breaks_does_not_take_the_text_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    services = ScriptedServices()

    def broken(text: str, path: str) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(services, "check", broken)
    app = room(services=services, started=False)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, EditorScreen)
        await shows(pilot, "cannot check this: ZeroDivisionError: boom")
        await pilot.press("f5")
        await settled(pilot)
        assert services.orders == []
        assert app.screen.query_one(YamlEditor).text == DEMO.read_text()


async def test_a_failed_check_is_accepted_for_a_reason_only() -> None:
    session = ScriptedSession(canned.blocked())
    app = room(session)
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, PreflightScreen)
        await shows(pilot, "the run cannot start")
        await pilot.press("o")
        await on_screen(pilot, PathScreen)
        await pilot.press("escape")
        await on_screen(pilot, PreflightScreen)
        await pilot.press("o")
        await on_screen(pilot, PathScreen)
        await pilot.press(*"known", "enter")
        await on_screen(pilot, PreflightScreen)
        await until(lambda: any(call.startswith("accept ") for call in session.calls))
    (accepted,) = [call for call in session.calls if call.startswith("accept ")]
    assert accepted.endswith(" known")


async def test_a_prefix_of_others_is_taken_over_by_typing_where_it_is_only() -> None:
    session = ScriptedSession(canned.foreign())
    app = room(session)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await on_screen(pilot, PreflightScreen)
        await shows(pilot, "the run cannot start")
        for typed in ("bench", "yes", ""):
            await pilot.press("o")
            await on_screen(pilot, PathScreen)
            await shows(pilot, "Take over what belongs to others?")
            await pilot.press(*typed, "enter")
            await on_screen(pilot, PreflightScreen)
            if typed:
                await shows(pilot, "nothing is taken over")
                app.clear_notifications()
        assert session.calls == ["start"]
        await pilot.press("o")
        await on_screen(pilot, PathScreen)
        await pilot.press(*"bench", "slash", *"run", "slash", "enter")
        await on_screen(pilot, PreflightScreen)
        await until(lambda: "accept owner s3+http://10.9.0.21:9000/bench/run/" in session.calls)


async def test_a_filter_that_is_not_open_takes_no_keys() -> None:
    app = room(ScriptedSession(canned.running()))
    async with app.run_test(size=NARROW) as pilot:
        live = await on_screen(pilot, LiveScreen)
        box = live.query_one(FilterBox)
        live.set_focus(box)
        live.focus_next()
        assert live.focused is not box
        await pilot.press("slash", "3")
        await shows(pilot, "Agents  1 of 4")
        await pilot.press("escape")
        await shows(pilot, "Agents  4")
