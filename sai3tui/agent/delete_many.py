"""Several objects deleted with one request, once, on a connection of its own: for preflight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sai3tui.agent.setup import RunSetup
from sai3tui.storage.credentials import region_of
from sai3tui.storage.engine import Connection, Endpoint, EngineOptions
from sai3tui.storage.s3calls import S3Calls
from sai3tui.storage.s3wire import WireConnection, WireEngine

TIMEOUT_S = 5.0


async def delete_batch(endpoint: Endpoint, keys: Sequence[str], setup: RunSetup) -> dict[str, tuple[str, str]]:
    """Delete keys relative to the endpoint's prefix; returns those that were refused, with code and message. Raises
    StorageError."""
    options = EngineOptions(
        asyncio.get_running_loop(), op_timeout=TIMEOUT_S, region=region_of(setup.environ), s3=setup.config.s3
    )
    engine = WireEngine(options, setup.environ)
    await engine.open([endpoint], [1], _nothing)
    try:
        (connection,) = engine.connections
        assert isinstance(connection, WireConnection)
        return await S3Calls(connection).delete_batch(keys)
    finally:
        await engine.close()


def _nothing(connection: Connection, status: int, moved: int, t0: int, t_first: int, t_last: int) -> None:
    """What is awaited is told there."""
