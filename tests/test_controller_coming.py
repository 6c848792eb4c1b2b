"""Whoever is told to go before it has come to a run leaves it as it is, and says who leads it then."""

from __future__ import annotations

import asyncio
import signal
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from sai3tui import batch
from sai3tui.batch import BatchOptions
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.request import AttachOrder
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import Outcome, Phase
from sai3tui.handover import led_words
from tests.agents import agent_in_process
from tests.test_controller_attach import CONFIG, attached, finished, going, in_stage, session_for
from tests.waiting import wait_until_async


async def test_who_is_to_go_while_it_comes_leaves_the_run_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    async with agent_in_process(tmp_path, target) as (address, _):
        agent = f'    - {{id: a1, address: "{address}"}}\n'
        text = CONFIG.format(target=target, objects=10, agents=agent, seconds=600, timeout=600).encode()
        first = session_for(tmp_path, text, preflight=False)
        async with going(first) as leading:
            assert await wait_until_async(in_stage(first, 2), 60)

            # Before it has reached anybody.
            early = attached(tmp_path, address, take_over=True)
            early.request_abort("SIGINT", 130)
            outcome, snapshot = await finished(early)
            assert (outcome.status, outcome.exit_code, outcome.failure) == ("detached", 130, None)
            words = f"the run goes on as it was; to watch it: sai3tui attach --view {address}\n"
            assert led_words(snapshot, (address,)) == words
            assert not leading.done()

            # When it has the agents already, and the one that led is displaced.
            late = attached(tmp_path, address, take_over=True)
            late.listen(lambda _: late.request_abort("SIGTERM", 143))
            outcome, snapshot = await finished(late)
            assert (outcome.status, outcome.exit_code, outcome.failure) == ("detached", 143, None)
            where = snapshot.results_dir
            words = led_words(snapshot, (address,))
            assert words.startswith("nobody leads this run since ")
            assert words.endswith(f"to lead it: sai3tui attach {where}; to end it: sai3tui attach --abort {where}\n")
            await asyncio.wait_for(leading, 60)

        # A terminal that goes away leaves another controller in its place, if the run's directory is here.
        directory = first.snapshot().results_dir
        started: list[tuple[Path, list[str]]] = []

        def start(path: Path, options: list[str]) -> int:
            started.append((path, options))
            return 7

        monkeypatch.setattr(batch, "hand_over", start)
        for where, words in ((directory, "process 7"), (address, "nobody leads this run since ")):
            order = AttachOrder((where,), take_over=True)
            session, outcome = await _hung_up(tmp_path, order)
            assert outcome.exit_code == 0
            assert batch._parted(session, outcome, BatchOptions(Path(), attach=order)) == 0
            assert words in capsys.readouterr().err
        assert started == [(Path(directory), ["--take-over"])]

        last = attached(tmp_path, address)
        async with going(last) as ending:
            assert await wait_until_async(in_stage(last, 2), 60)
            last.request_abort("enough")
            assert (await asyncio.wait_for(ending, 60)).resume.startswith("sai3tui resume ")


async def _hung_up(tmp_path: Path, order: AttachOrder) -> tuple[RunSession, Outcome]:
    session = attached(tmp_path, *order.targets, take_over=order.take_over)
    session.listen(lambda _: batch._on_signal(session, signal.SIGHUP))
    outcome, _ = await finished(session)
    return session, outcome


async def test_of_two_who_take_a_run_over_at_once_one_leads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comes to another agent first."""
    target = tmp_path / "target"
    who: ContextVar[str] = ContextVar("who", default="")
    slow = {("x", "a2"), ("y", "a1")}
    seated = [asyncio.Event(), asyncio.Event()]
    follow = AgentLink.follow

    async def in_turn(link: AgentLink, *rest: Any) -> None:
        if (who.get(), link.id) in slow:
            await asyncio.gather(*(each.wait() for each in seated))
        elif who.get():
            asyncio.get_running_loop().create_task(_tell(link, seated["xy".index(who.get())]))
        await follow(link, *rest)

    async def _tell(link: AgentLink, there: asyncio.Event) -> None:
        await link.seated.wait()
        there.set()

    monkeypatch.setattr(AgentLink, "follow", in_turn)
    async with agent_in_process(tmp_path / "a1", target) as one, agent_in_process(tmp_path / "a2", target) as other:
        agents = "".join(f'    - {{id: a{n}, address: "{at}"}}\n' for n, (at, _) in enumerate((one, other), 1))
        text = CONFIG.format(target=target, objects=10, agents=agents, seconds=600, timeout=600).encode()
        first = session_for(tmp_path, text, preflight=False)
        async with going(first) as displaced:
            assert await wait_until_async(in_stage(first, 2), 60)
            sessions = {name: attached(tmp_path, one[0], take_over=True) for name in "xy"}
            tasks = {}
            for name, session in sessions.items():
                who.set(name)
                tasks[name] = asyncio.create_task(session.run())
            who.set("")
            outcome = await asyncio.wait_for(displaced, 60)
            assert (outcome.status, outcome.exit_code) == ("detached", 0)
            gone, _ = await asyncio.wait(tasks.values(), timeout=60, return_when=asyncio.FIRST_COMPLETED)
            (loser,) = gone
            refused = loser.result()
            assert refused.failure is not None
            assert "led by" in refused.failure.message
            (winner,) = (name for name, task in tasks.items() if task is not loser)
            leading = sessions[winner]
            assert await wait_until_async(lambda: leading.snapshot().phase is Phase.RUNNING, 60)
            for address, _ in (one, other):
                link = AgentLink("a", address)
                hello = await link.reach()
                await link.close()
                assert (hello.orphaned, hello.leader in refused.failure.message) == (False, True)
            leading.request_abort("enough")
            assert (await asyncio.wait_for(tasks[winner], 60)).status == "aborted"
