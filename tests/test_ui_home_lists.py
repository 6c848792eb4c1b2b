"""Home beside the runs: recent configurations, agents of one's own, and the way to the demo."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.access import NO_ACCESS
from sai3tui.app import Sai3App
from sai3tui.controller.reachability import AgentAnswer, ask_agents
from sai3tui.errors import ConfigError
from sai3tui.events import AgentState
from sai3tui.local_agents import LocalAgents
from sai3tui.processes import free_port
from sai3tui.screens.agents_file import read_agents
from sai3tui.screens.editor import EditorScreen
from sai3tui.screens.home import HomeScreen
from sai3tui.screens.recent import MOST, RecentConfigs
from sai3tui.widgets.home_lists import ConfigList, KnownAgents
from tests import canned_runs as canned
from tests.scripted_session import ScriptedServices
from tests.ui_help import DEMO, NARROW, WIDE, on_screen, screen_text, shows, until

AGENTS = (
    AgentAnswer("load01", "10.9.0.11:7167", AgentState.IDLE),
    AgentAnswer("load02", "10.9.0.12:7167", AgentState.RUNNING, "01JDEMO"),
    AgentAnswer("load03", "10.9.0.13:7167", problem="cannot reach agent load03 at 10.9.0.13:7167: connection refused"),
)


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_a_recent_configuration_is_opened_from_home(size: tuple[int, int], tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_bytes(DEMO.read_bytes())
    recent = RecentConfigs()
    recent.note(config)
    app = Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report()), recent=recent)
    async with app.run_test(size=size) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "mine.yaml")
        app.screen.query_one(ConfigList).focus()
        await pilot.press("enter")
        await on_screen(pilot, EditorScreen)


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_agents_are_listed_with_what_they_answer(size: tuple[int, int]) -> None:
    app = Sai3App(ScriptedServices(runs=canned.runs(), report=canned.report(), agents=AGENTS))
    async with app.run_test(size=size, notifications=True) as pilot:
        await on_screen(pilot, HomeScreen)
        for text in ("· idle", "● running", "○ no answer", "10.9.0.13:7167", "1 without an answer"):
            await shows(pilot, text)
        app.screen.query_one(KnownAgents).focus()
        await pilot.press("end", "enter")
        await until(lambda: any("connection refused" in told.message for told in app._notifications))


async def test_without_lists_home_is_the_runs_alone_and_the_demo_is_one_key_away() -> None:
    app = Sai3App(ScriptedServices())
    async with app.run_test(size=WIDE) as pilot:
        await on_screen(pilot, HomeScreen)
        await shows(pilot, "shows a whole run in a minute")
        assert "Configurations" not in screen_text(app)
        assert "Agents" not in screen_text(app)
        await pilot.press("d")
    assert app.wants_demo
    assert app.return_code == 0


def test_recent_configurations_are_kept_newest_first_and_without_those_that_are_gone(tmp_path: Path) -> None:
    store = tmp_path / "state" / "recent.json"
    configs = [tmp_path / f"{number}.yaml" for number in range(MOST + 3)]
    for config in configs:
        config.touch()
        RecentConfigs(store).note(config)
    RecentConfigs(store).note(configs[5])
    configs[-1].unlink()
    found = RecentConfigs(store).existing()
    assert found[:2] == (configs[5], configs[-2])
    assert len(found) == MOST - 1


@given(
    st.one_of(
        st.binary(max_size=40), st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
    )
)
def test_any_list_of_recent_configurations_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = tmp_path_factory.getbasetemp() / "recent.json"
    store.write_bytes(data)
    RecentConfigs(store).existing()


@pytest.mark.parametrize("text", ["- a", "a: 1", "a: [b:1]", "a: host", "a: host:0", "a: 'x y:7'", "{", "[" * 5000])
def test_a_list_of_agents_that_is_none_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"agents\.yaml"):
        read_agents(path)


def test_a_list_of_agents_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "agents.yaml"
    assert read_agents(path) == {}
    path.write_text("# mine\nb: h2:7167\na: '[::1]:7168'\n")
    assert list(read_agents(path).items()) == [("b", "h2:7167"), ("a", "[::1]:7168")]
    path.write_text("")
    assert read_agents(path) == {}


async def test_agents_that_run_answer_and_others_are_named_with_a_cause(tmp_path: Path) -> None:
    with LocalAgents.start(1, tmp_path) as agents:
        known = {"here": agents.addresses[0], "nobody": f"127.0.0.1:{free_port()}"}
        here, nobody = await ask_agents(known, agents.access, lambda: False, 30.0)
        stranger, _ = await ask_agents(known, NO_ACCESS, lambda: False, 30.0)
    assert here.state is AgentState.IDLE
    assert "connection refused" in nobody.problem
    assert stranger.state is None
    assert "token" in stranger.problem or "refused" in stranger.problem


async def test_who_asks_no_more_does_not_wait() -> None:
    # Takes connections and says nothing: only `unwanted` ends the question before the bound.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        known = {"mute": f"127.0.0.1:{mute.getsockname()[1]}"}
        assert await asyncio.wait_for(ask_agents(known, NO_ACCESS, lambda: True, 600.0), 60) == ()
