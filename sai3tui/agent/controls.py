"""Control planes of a run's endpoints, opened when they are first needed and kept: opening one costs CPU time that
would be missed between stages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from sai3tui.config.storage_options import S3Options
from sai3tui.storage.control import Control, open_control
from sai3tui.storage.engine import Endpoint


class Controls:
    """An async context manager; leaving it closes what was opened."""

    def __init__(
        self, endpoints: Sequence[Endpoint], environ: Mapping[str, str], options: S3Options | None = None
    ) -> None:
        self._endpoints = endpoints
        self._environ = environ
        self._options = options
        self._opened: dict[int, Control] = {}
        self._opening = [asyncio.Lock() for _ in endpoints]

    async def of(self, number: int) -> Control:
        """The control plane of endpoint `number`. Raises StorageError if there are no credentials."""
        async with self._opening[number]:
            known = self._opened.get(number)
            if known is None:
                known = await open_control(self._endpoints[number], self._environ, options=self._options).__aenter__()
                self._opened[number] = known
            return known

    async def all(self) -> list[Control]:
        """Those of all endpoints, in order."""
        return [await self.of(number) for number in range(len(self._endpoints))]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._opened:
            _, control = self._opened.popitem()
            await control.__aexit__(kind, value, trace)
