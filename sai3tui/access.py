"""How an agent and a controller prove to each other who they are: certificates of a private CA, a token, or both.

Both sides read the same two things, each from a place that is no command line: a directory of certificates
(`--certs DIR` or SAI3TUI_CERTS) and a token (`--token-file FILE`, else SAI3TUI_TOKEN).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from sai3tui.errors import ConfigError, ErrorContext

logger = logging.getLogger(__name__)

AUTHORITY_CERTIFICATE = "ca.crt"
TOKEN_VARIABLE = "SAI3TUI_TOKEN"
CERTS_VARIABLE = "SAI3TUI_CERTS"
TOKEN_HEADER = "authorization"
MIN_TOKEN = 16
MAX_FILE_BYTES = 64 * 1024

_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)


class Role(StrEnum):
    """Who shows a certificate; the value is the stem of its files' names."""

    AGENT = "agent"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM: the authority that both sides trust, and what one of them shows."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """What one side shows and asks for. Empty: nothing, which is for loopback. `certs` and `token_file` are where it
    was read from, if anywhere."""

    identity: Identity | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    certs: Path | None = None
    token_file: Path | None = None
    forwarded: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Credentials for agents that have none, by variable; see `forwarding`."""

    @property
    def authenticates(self) -> bool:
        return self.identity is not None or bool(self.token)

    @property
    def encrypts(self) -> bool:
        return self.identity is not None

    def words(self) -> str:
        """What it is, for people."""
        shown = ["TLS, certificates of both sides"] if self.encrypts else ["not encrypted"]
        return ", ".join(shown + (["token"] if self.token else []))

    def options(self) -> list[str]:
        """The words of a command line that has the same access; a token of the environment stays there."""
        words = ["--certs", str(self.certs)] if self.certs is not None else []
        return words + (["--token-file", str(self.token_file)] if self.token_file is not None else [])


NO_ACCESS = Access()


def load_access(role: Role, certs: Path | None, token_file: Path | None, environ: Mapping[str, str]) -> Access:
    """What the options say, else the environment. Raises ConfigError for files that cannot be used."""
    if certs is None and environ.get(CERTS_VARIABLE):
        certs = Path(environ[CERTS_VARIABLE])
    identity = None if certs is None else _read_identity(certs.absolute(), role)
    token = _read_token(token_file) if token_file is not None else environ.get(TOKEN_VARIABLE, "")
    if token or token_file is not None:
        _check_token(token, str(token_file or TOKEN_VARIABLE))
    return Access(
        identity,
        token,
        None if certs is None else certs.absolute(),
        None if token_file is None else token_file.absolute(),
    )


def _read_identity(directory: Path, role: Role) -> Identity:
    # Only here: whoever uses no certificates need not wait for that library.
    from sai3tui.certificates import check_dates

    authority = _read(directory / AUTHORITY_CERTIFICATE)
    certificate = _read(directory / f"{role.value}.crt")
    check_dates(authority, directory / AUTHORITY_CERTIFICATE)
    check_dates(certificate, directory / f"{role.value}.crt")
    return Identity(authority, certificate, _read(directory / f"{role.value}.key", secret=True))


def _read_token(file: Path) -> str:
    try:
        return _read(file, secret=True).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} holds no token", context=ErrorContext(uri=str(file))) from error


def _check_token(token: str, source: str) -> None:
    if len(token) < MIN_TOKEN or len(token) > 1024 or not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"the token of {source} cannot be used: it is to have {MIN_TOKEN} to 1024 printable characters, no blanks",
            hint="make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )


def _read(file: Path, *, secret: bool = False) -> bytes:
    try:
        with file.open("rb") as source:
            content = source.read(MAX_FILE_BYTES)
            if secret:
                warn_of_readers(source)
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}",
            hint="sai3tui certs makes such directories",
            context=ErrorContext(uri=str(file)),
        ) from error
    return content


def warn_of_readers(file: BinaryIO) -> None:
    """Say so if others on this host can read a file that holds a secret."""
    if os.fstat(file.fileno()).st_mode & 0o077:
        logger.warning("%s can be read by others on this host: chmod 600 it", file.name)
