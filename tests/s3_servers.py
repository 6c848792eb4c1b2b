"""S3 servers that differ from rclone: ministack (checks no signatures, knows versions and conditions) and moto, which
closes every connection. Each is a process of the test's own, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sai3tui.processes import Child, free_port, listens, start_child, start_with_retries, wait_ready
from tests.fault_server import CREDENTIALS

READY_S = 30.0


def program(name: str) -> str | None:
    """The server's program: from the environment that `make venv` makes for servers, else from PATH."""
    scripts = Path(sysconfig.get_path("scripts"))
    beside = scripts.parent / "servers" / scripts.name / name
    return str(beside) if beside.is_file() else shutil.which(name)


@contextmanager
def _serving(name: str, command: list[str], environ: dict[str, str], log: Path) -> Iterator[int]:
    def attempt() -> tuple[Child, int]:
        port = free_port("127.0.0.1")
        filled = [word.replace("PORT", str(port)) for word in command]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        child = start_child(name, filled, log, environ=kept | environ | {"GATEWAY_PORT": str(port)})
        try:
            wait_ready(child, lambda: listens(child, port), READY_S)
        except BaseException:
            child.end()
            raise
        return child, port

    child, port = start_with_retries(attempt)
    try:
        yield port
    finally:
        child.end()


@contextmanager
def ministack() -> Iterator[int]:
    """The port of a new ministack that keeps nothing."""
    with tempfile.TemporaryDirectory(prefix="sai3tui-test-", ignore_cleanup_errors=True) as directory:
        environ = {"MINISTACK_HOST": "127.0.0.1", "SERVICES": "s3", "S3_PERSIST": "0", "LOG_LEVEL": "WARNING"}
        environ |= CREDENTIALS | {"S3_DATA_DIR": directory, "HOME": directory}
        found = program("ministack")
        assert found is not None
        with _serving("ministack", [found], environ, Path(directory) / "ministack.log") as port:
            yield port


@contextmanager
def moto() -> Iterator[int]:
    """The port of a new moto server."""
    with tempfile.TemporaryDirectory(prefix="sai3tui-test-", ignore_cleanup_errors=True) as directory:
        found = program("moto_server")
        assert found is not None
        with _serving(
            "moto", [found, "-H", "127.0.0.1", "-p", "PORT"], dict(CREDENTIALS), Path(directory) / "moto.log"
        ) as port:
            yield port
