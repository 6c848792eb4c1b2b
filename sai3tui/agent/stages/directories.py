"""Directories of trees, made before their files as `tree_creation_mode` says.

Only file systems have any. CONCURRENT makes none beforehand: whoever writes a file makes what is missing above it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from sai3tui.agent.stages.base import StageContext
from sai3tui.config.model import TreeCreationMode
from sai3tui.config.units import format_count
from sai3tui.errors import AgentLostError, ErrorContext, StorageError
from sai3tui.events import Level
from sai3tui.storage.stoppable import Stopped, stoppable


async def make(context: StageContext) -> None:
    """ISOLATED: this agent makes its own directories, those with number k where k mod N is its own. COORDINATOR: agent
    number 0 makes them all, the others wait for it. Where agents do not share files, each makes all of its own.

    Raises StorageError if one cannot be made.
    """
    setup, sharing = context.setup, context.sharing
    mode = setup.config.distributed.tree_creation_mode
    trees = [objects for objects in setup.sets if objects.tree is not None]
    if not setup.is_files or mode is TreeCreationMode.CONCURRENT or not trees:
        return
    topic = f"directories {context.index}"
    first, step = 0, 1
    if mode is TreeCreationMode.ISOLATED and setup.resolved.shared:
        first, step = setup.agent.index, len(setup.resolved.agents)
    elif not sharing.publishes:
        try:
            await sharing.wait(topic)
        except AgentLostError as error:
            context.note(Level.WARNING, f"{error.message}: this agent makes all directories", "directories")
        else:
            return
    made = await stoppable(partial(_make, context, first, step))
    context.note(Level.INFO, f"{format_count(made)} directories are there ({mode.value})", "directories")
    if mode is TreeCreationMode.COORDINATOR:
        sharing.publish(topic, b"")


def _make(context: StageContext, first: int, step: int, stopped: Stopped) -> int:
    made = 0
    endpoints = context.setup.endpoints[:1] if context.setup.resolved.shared else context.setup.endpoints
    for endpoint in endpoints:
        for objects in context.setup.sets:
            for number in range(first, objects.directories, step):
                if stopped():
                    return made
                path = Path(endpoint.prefix) / objects.directory(number)
                try:
                    os.makedirs(path, exist_ok=True)
                except OSError as error:
                    uri = f"{endpoint.uri}{objects.directory(number)}"
                    raise StorageError(
                        f"cannot make the directory {path}", context=ErrorContext(uri=uri, endpoint=endpoint.uri)
                    ) from error
                made += 1
    return made
