"""Whether agents answer, asked without a run: for a list of agents that somebody keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc

from sai3tui.access import Access
from sai3tui.controller.channel import open_channel, open_stub
from sai3tui.controller.grpc_errors import link_error
from sai3tui.events import AgentState
from sai3tui.proto import sai3tui_pb2 as pb

ANSWER_S = 3.0
AT_ONCE = 32
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """What an agent said: its state and the run it has, or in `problem` why it said nothing. `state` is None as long as
    it has not been asked."""

    name: str
    address: str
    state: AgentState | None = None
    run_id: str = ""
    problem: str = ""


async def ask_agents(
    addresses: Mapping[str, str], access: Access, unwanted: Callable[[], bool], answer_s: float = ANSWER_S
) -> tuple[AgentAnswer, ...]:
    """Ask all agents (name -> HOST:PORT), some at a time, each for at most `answer_s` seconds.

    No error is raised for one that does not answer. Once `unwanted` says so the rest is not waited for.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(name: str, address: str) -> AgentAnswer:
        async with gate:
            return await _ask(name, address, access, answer_s)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(name, address)) for name, address in addresses.items()]
        pending = set(tasks)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=LOOK_S)
            if unwanted():
                for task in pending:
                    task.cancel()
                break
    return tuple(task.result() for task in tasks if not task.cancelled())


async def _ask(name: str, address: str, access: Access, answer_s: float) -> AgentAnswer:
    channel = open_channel(address, access)
    try:
        reply = await open_stub(channel, access).Status(pb.StatusRequest(), timeout=answer_s)
    except grpc.aio.AioRpcError as error:
        return AgentAnswer(name, address, problem=link_error(error, name, address, "status").message)
    finally:
        await channel.close()
    return AgentAnswer(name, address, AgentState(reply.state), reply.run_id)
