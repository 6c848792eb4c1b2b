"""Coming to a run in progress: who and where it is, and what has happened so far.

The run is named by its results directory or by addresses of its agents. What happened comes from both: the directory
has what its last controller wrote, the agents' logs have the rest. What a controller says itself and no file has
(barriers that opened, stages that ended) is made again from what the agents were told.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sai3tui.config.model import Namespace
from sai3tui.config.stage_choice import StageChoice
from sai3tui.controller.agent_link import AgentLink
from sai3tui.controller.request import AttachOrder
from sai3tui.errors import ConfigError, Sai3Error
from sai3tui.event_codec import agent_event_from_proto
from sai3tui.events import BarrierReleased, ReleaseSeen, RunStarted, StageFinished
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.history import History, in_order
from sai3tui.results.metadata import RunMeta, parse_metadata
from sai3tui.results.tally import Item
from sai3tui.results.views import StageInfo

STATUS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class RunningRun:
    """What is known of a run before its agents were asked for their logs. `directory` None: no results directory of it
    is here. `addresses` by agent, where the configuration does not have them."""

    run_id: str
    config_name: str
    config_text: bytes
    agents_override: tuple[str, ...]
    started_ns: int
    preflight: bool
    addresses: Mapping[str, str]
    only: StageChoice = StageChoice.ALL
    namespace: Namespace = Namespace.AUTO
    """What preflight found, where the configuration leaves it open."""
    directory: Path | None = None
    meta: RunMeta | None = None


def controller_name() -> str:
    """Who we are, for the people at other controllers; each name is given once."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, pid {os.getpid()}, {secrets.token_hex(2)}"


def results_directory(order: AttachOrder) -> Path | None:
    """The results directory that is meant, if it is one."""
    path = Path(order.targets[0])
    return path if len(order.targets) == 1 and path.is_dir() else None


def find_by_directory(directory: Path) -> RunningRun:
    """Raises ConfigError if it is no results directory, or that of a run that is over."""
    hint = "name the results directory of a run that goes on, or the address of one of its agents"
    try:
        read = parse_metadata((directory / "metadata.json").read_bytes())
        text = (directory / "config.yaml").read_bytes()
        only, namespace = StageChoice(read.meta.only), Namespace(read.meta.namespace_found)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{directory} is not the results directory of a run", hint=hint) from error
    if read.outcome is not None:
        shown = f"`sai3tui results show {directory}` shows it"
        raise ConfigError(f"the run in {directory} is over ({read.outcome.status})", hint=shown)
    meta = read.meta
    return RunningRun(
        meta.run_id,
        meta.config_name,
        text,
        meta.agents_override,
        meta.started_ns,
        meta.preflight,
        {agent.id: agent.address for agent in meta.agents},
        only,
        namespace,
        directory,
        meta,
    )


async def find_by_agent(link: AgentLink) -> RunningRun:
    """The run that this agent is at, or was at last. Raises AgentLostError, or ConfigError if it knows none."""
    await link.reach()
    status = await link.status(STATUS_TIMEOUT_S, with_spec=True)
    if status is None or not status.HasField("spec"):
        raise ConfigError(
            f"the agent at {link.address} is at no run", hint="`sai3tui --batch CONFIG` starts one", context=None
        )
    spec = status.spec
    return RunningRun(
        spec.run_id,
        spec.config_name,
        spec.config_yaml,
        tuple(spec.agents_override),
        spec.started_ns,
        spec.preflight,
        {},
        StageChoice(spec.only),
        Namespace(spec.namespace or Namespace.AUTO),
    )


Messages = Mapping[tuple[str, int], pb.AgentMessage]
"""What agents have kept, by agent and sequence number."""


async def fetch_history(links: Sequence[AgentLink], run_id: str) -> tuple[Messages, dict[str, Sai3Error]]:
    """What the agents' logs have of a run, and who could not be asked. All are asked at once: one that is silent holds
    nobody up longer than it takes to give it up."""

    async def told(link: AgentLink) -> list[pb.AgentMessage] | Sai3Error:
        try:
            return await link.fetch(run_id)
        except Sai3Error as error:
            return error

    messages: dict[tuple[str, int], pb.AgentMessage] = {}
    failed: dict[str, Sai3Error] = {}
    for link, answer in zip(links, await asyncio.gather(*map(told, links)), strict=True):
        if isinstance(answer, Sai3Error):
            failed[link.id] = answer
        else:
            messages |= {(link.id, message.sequence): message for message in answer}
    return messages, failed


def unknown_messages(agent: str, messages: Messages, history: History) -> int:
    """How many of the messages that an agent has numbered are neither here nor on file."""
    kept = {sequence for name, sequence in messages if name == agent}
    return len(set(range(1, max(kept, default=0))) - kept - history.known.get(agent, set()))


def events_of(messages: Messages, links: Iterable[AgentLink]) -> list[Item]:
    """The messages as events and reports on our clock."""
    offsets = {link.id: link.clock.offset_ns for link in links}
    found = (agent_event_from_proto(message, agent, offsets[agent]) for (agent, _), message in messages.items())
    return [item for item in found if item is not None]


def as_said(messages: Messages, offsets: Mapping[str, int]) -> list[tuple[str, pb.AgentMessage]]:
    """The messages in the order in which agents said them: each one's own is exact, and what happened before and after
    a barrier stands before and after it for all. `offsets` are what to add to agents' clocks, in nanoseconds."""
    placed: list[tuple[int, str, int]] = []
    latest: dict[str, int] = {}
    for agent, sequence in sorted(messages):
        time_ns = messages[agent, sequence].agent_time_ns + offsets[agent]
        latest[agent] = max(time_ns, latest.get(agent, time_ns))
        placed.append((latest[agent], agent, sequence))
    return [(agent, messages[agent, sequence]) for _, agent, sequence in sorted(placed)]


def started_again(items: Iterable[Item], run: RunningRun, layout: str) -> list[Item]:
    """The start of the run, if `items` lack it."""
    if any(isinstance(item, RunStarted) for item in items):
        return []
    ids = tuple(run.addresses)
    return [RunStarted(run.started_ns, "", run.run_id, run.config_name, layout, ids, run.preflight)]


def made_again(items: Iterable[Item], stages: tuple[StageInfo, ...]) -> list[Item]:
    """Barriers that opened and stages that ended by what agents were told, where `items` lack what a controller says of
    them itself."""
    items = list(items)
    opened = {item.stage_index for item in items if isinstance(item, BarrierReleased)}
    finished = {item.stage_index for item in items if isinstance(item, StageFinished)}
    names = {stage.index: stage.name for stage in stages}
    made: list[Item] = []
    for item in in_order(items):
        if not isinstance(item, ReleaseSeen) or item.stage_index in opened:
            continue
        opened.add(item.stage_index)
        if item.stage_index in names and item.stage_index not in finished:
            made.append(StageFinished(item.time_ns - 1, "", item.stage_index, names[item.stage_index]))
        made.append(
            BarrierReleased(item.time_ns, "", item.stage_index, item.start_ns, item.arrived, item.missing, item.reason)
        )
    return made
