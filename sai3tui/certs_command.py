"""`sai3tui certs`: a private CA and what it signs, in directories to copy to the hosts that need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import platformdirs

from sai3tui.access import Role
from sai3tui.certificates import issue, make_authority

EXIT_OK = 0


def default_authority() -> Path:
    return platformdirs.user_config_path("sai3tui") / "certs"


def make_ca(directory: Path | None, out: TextIO) -> int:
    """`certs init`. Raises ConfigError if there is a CA already."""
    directory = directory or default_authority()
    expires = make_authority(directory)
    out.write(
        f"{directory}: a private CA, valid until {expires:%Y-%m-%d}\n"
        "  ca.key signs: keep it here, and nowhere else\n"
        "next: sai3tui certs agent NAME..., once per agent, and sai3tui certs controller\n"
    )
    return EXIT_OK


def issue_certificates(
    role: str, authority: Path | None, output: Path | None, names: Sequence[str], days: int, out: TextIO
) -> int:
    """`certs agent` and `certs controller`. Raises ConfigError, see `certificates.issue`."""
    authority = authority or default_authority()
    output = output or authority / (names[0] if names else role)
    expires = issue(authority, output, Role(role), names, days=days)
    out.write(f"{output}: for {', '.join(names) or 'a controller'}, valid until {expires:%Y-%m-%d}\n")
    if role == Role.AGENT:
        out.write("next: copy the directory to that host and start: sai3tui agent --listen HOST:PORT --certs DIR\n")
    else:
        out.write(f"next: sai3tui --certs {output} CONFIG\n")
    return EXIT_OK
