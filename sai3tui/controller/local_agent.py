"""The agent that a configuration without `distributed` runs on: ours to start and to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs

from sai3tui.access import NO_ACCESS
from sai3tui.errors import ResourceError
from sai3tui.local_agents import LocalAgents

CLOSE_TIMEOUT_S = 60.0


class LocalAgent:
    """Starts in a thread of its own, because starting blocks and the agent ends with the thread that started it."""

    def __init__(self, allow_path: tuple[Path, ...], environ: Mapping[str, str], *, verbose: bool) -> None:
        self._allow_path = allow_path
        self._environ = environ
        self._verbose = verbose
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-agent")
        self._starting: asyncio.Future[LocalAgents] | None = None
        self.access = NO_ACCESS

    async def start(self) -> str:
        """Start it; returns its address. Raises ResourceError."""
        self._starting = asyncio.get_running_loop().run_in_executor(self._thread, self._start)
        agents = await asyncio.shield(self._starting)
        self.access = agents.access
        return agents.addresses[0]

    async def close(self) -> None:
        """End it, even one that is still starting. Idempotent."""
        starting, self._starting = self._starting, None
        if starting is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    agents = await asyncio.shield(starting)
                await asyncio.get_running_loop().run_in_executor(self._thread, agents.close)
            except ResourceError as error:
                # It did not start, which `start` has said to whoever waited; nothing is left running.
                error.add_note("found again while closing")
        self._thread.shutdown(wait=True)

    def _start(self) -> LocalAgents:
        # Not per run: what an interrupted run has created must be found by the next one.
        directory = platformdirs.user_data_path("sai3tui") / "local"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(
                f"cannot make {directory}: {error.strerror}", hint="set XDG_DATA_HOME to a writable directory"
            ) from error
        return LocalAgents.start(
            1,
            directory,
            environ=self._environ,
            allow_path=self._allow_path,
            # Whoever runs the configuration here could run its commands as well.
            allow_custom=True,
            verbose=self._verbose,
        )
