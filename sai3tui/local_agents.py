"""Agents on this host, started and ended by the front that needs them: the demo's, and the one that a configuration
without `distributed` runs on."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sai3tui.access import CERTS_VARIABLE, TOKEN_VARIABLE, Access
from sai3tui.processes import (
    Child,
    end_all,
    free_port,
    listens,
    start_child,
    start_with_retries,
    wait_ready,
)

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 30.0


class LocalAgents:
    """Agents that we run as processes on loopback. Make them with `start`; leave with `close` or a `with` block.

    They also end when the thread that started them does (see `sai3tui.processes`).
    """

    def __init__(self, agents: Sequence[tuple[Child, int]], access: Access) -> None:
        self._children = tuple(child for child, _ in agents)
        self.addresses = tuple(f"{LOOPBACK}:{port}" for _, port in agents)
        self.access = access
        self.logs = tuple(child.log for child in self._children)

    @classmethod
    def start(
        cls,
        count: int,
        directory: Path,
        *,
        environ: Mapping[str, str] | None = None,
        allow_path: Sequence[Path] = (),
        allow_custom: bool = False,
        verbose: bool = False,
    ) -> LocalAgents:
        """Start `count` agents with data and logs below `directory`, which must exist; all listen on return.

        `environ` replaces the environment if given. `access` has a token that only this process and the agents know:
        other people of this host reach loopback too. Raises ResourceError if one does not come up within 30 s; the
        others are ended then.
        """

        options = [word for path in allow_path for word in ("--allow-path", str(path))]
        options += ["--allow-custom"] if allow_custom else []
        options += ["-v"] if verbose else []
        access = Access(token=secrets.token_urlsafe(32))
        agents_environ = dict(os.environ if environ is None else environ)
        agents_environ.pop(CERTS_VARIABLE, None)
        agents_environ[TOKEN_VARIABLE] = access.token

        def attempt() -> LocalAgents:
            started: list[tuple[Child, int]] = []
            try:
                for number in range(1, count + 1):
                    started.append(_launch(number, directory, agents_environ, options))  # noqa: PERF401 what runs must be ended
                for child, port in started:
                    wait_ready(child, partial(listens, child, port), READY_TIMEOUT_S)
            except BaseException:
                end_all([child for child, _ in started])
                raise
            return cls(started, access)

        return start_with_retries(attempt)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(child.pid for child in self._children)

    def kill(self, number: int) -> None:
        """End agent `number` (from 0) with SIGKILL, as a crash of its host would."""
        self._children[number].process.kill()
        self._children[number].process.wait()

    def close(self) -> None:
        """End them all. Idempotent; returns when they are gone."""
        end_all(self._children)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _launch(number: int, directory: Path, environ: Mapping[str, str], options: Sequence[str]) -> tuple[Child, int]:
    name = f"agent-{number}"
    port = free_port(LOOPBACK)
    command = [sys.executable, "-m", "sai3tui", "agent", "--listen", f"{LOOPBACK}:{port}"]
    command += ["--data-dir", str(directory / name), *options]
    return start_child(name, command, directory / f"{name}.log", environ=environ), port
