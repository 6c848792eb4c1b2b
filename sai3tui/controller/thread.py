"""A session on a thread and loop of its own, for fronts whose own loop can stand still (a terminal nobody reads)."""

from __future__ import annotations

import asyncio
import threading

from sai3tui.controller.frames import Frames
from sai3tui.controller.request import EXIT_SIGINT
from sai3tui.controller.session import RunSession
from sai3tui.controller.snapshot import RunSnapshot


class SessionThread:
    """The only thread that touches gRPC. All methods may be called from any other thread."""

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="run-session", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def snapshot(self) -> RunSnapshot:
        return self._session.snapshot()

    @property
    def frames(self) -> Frames:
        return self._session.frames

    def proceed(self) -> None:
        self._session.proceed()

    def recheck(self) -> None:
        self._session.recheck()

    def accept(self, check: str, reason: str) -> None:
        self._session.accept(check, reason)

    def abort(self, reason: str, exit_code: int = EXIT_SIGINT) -> None:
        self._session.request_abort(reason, exit_code)

    def detach(self, reason: str) -> None:
        self._session.request_detach(reason)

    def wait_longer(self, seconds: float) -> None:
        self._session.wait_longer(seconds)

    def release_without(self, agent: str) -> None:
        self._session.release_without(agent)

    def pause_at_barrier(self) -> None:
        self._session.pause_at_barrier()

    def go_on(self) -> None:
        self._session.go_on()

    def successor(self) -> SessionThread:
        return SessionThread(self._session.successor())

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def failure(self) -> BaseException | None:
        """What ended the thread other than an outcome: always a defect of ours."""
        return self._failure

    def stop(self, timeout_s: float) -> bool:
        """Abort what still runs and wait; returns whether the thread has ended within `timeout_s` seconds."""
        if self._thread.is_alive():
            self._session.request_abort("the front was closed", EXIT_SIGINT)
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            asyncio.run(self._session.run())
        except BaseException as error:
            self._failure = error
