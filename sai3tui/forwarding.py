"""Credentials that a controller hands to agents which have none: by name from a list, over TLS only, never kept.

An agent's own values win, and a key pair is one thing: where the agent has any source of its own, no part of another
one is mixed in. Names are logged, values never.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from sai3tui.access import warn_of_readers
from sai3tui.errors import ConfigError, ErrorContext, ErrorKind, Sai3Error

logger = logging.getLogger(__name__)

KEY_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
PLACES = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
ALLOWED = frozenset((*KEY_PAIR, *PLACES))
OWN_SOURCES = (*KEY_PAIR, "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
MAX_FILE_BYTES = 64 * 1024
MAX_VALUE = 8192

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.ASCII)


def read_env_file(file: Path) -> dict[str, str]:
    """The variables of a `.env` file: NAME=VALUE lines, with or without quotes, `#` begins a comment line.

    Raises ConfigError for a file that cannot be read, naming the line but never its text.
    """
    try:
        with file.open("rb") as source:
            warn_of_readers(source)
            text = source.read(MAX_FILE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {file}: {reason}", context=ErrorContext(uri=str(file))) from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise ConfigError(f"{file}:{number}: this is no NAME=VALUE line", context=ErrorContext(uri=str(file)))
        value = matched[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[matched[1]] = value
    return found


def allowed(environ: Mapping[str, str], from_file: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of `environ`, and where that says nothing of `from_file`, may be forwarded. A key pair comes from one of the
    two whole. Raises ConfigError if there is none."""
    file = from_file or {}
    pair = environ if any(environ.get(name) for name in KEY_PAIR) else file
    found = {name: pair[name] for name in KEY_PAIR if pair.get(name)}
    found |= {name: value for name in PLACES if (value := environ.get(name) or file.get(name))}
    if not all(found.get(name) for name in KEY_PAIR[:2]):
        raise ConfigError(
            "there are no credentials to forward",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY here, or name a file that has them: --env-file FILE",
        )
    return dict(sorted(found.items()))


def received(own: Mapping[str, str], forwarded: Mapping[str, str], *, encrypted: bool) -> dict[str, str]:
    """What an agent with the environment `own` takes of what was forwarded to it.

    Raises Sai3Error of kind PERMISSION if it came over a channel that others can read.
    """
    if not forwarded:
        return {}
    if not encrypted:
        raise Sai3Error(
            "credentials came over a channel that is not encrypted, and are not taken",
            hint="start the agent with --certs, or give it credentials of its own",
            kind=ErrorKind.PERMISSION,
        )
    has_own = any(own.get(name) for name in OWN_SOURCES)
    taken, left = {}, []
    for name, value in sorted(forwarded.items()):
        usable = name in ALLOWED and not own.get(name) and not (has_own and name in KEY_PAIR)
        if usable and len(value) <= MAX_VALUE and value.isprintable():
            taken[name] = value
        else:
            left.append(name[:64] if name.isidentifier() else "(no name)")
    logger.info(
        "credentials of the controller: takes %s%s",
        ", ".join(taken) or "none",
        f"; not {', '.join(left[:16])}" if left else "",
    )
    return taken
