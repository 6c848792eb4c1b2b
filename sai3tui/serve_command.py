"""`sai3tui serve`: the control room in a browser. Whoever reaches the port has the control room, so it is loopback
unless somebody says otherwise."""

from __future__ import annotations

import ipaddress
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """`arguments` are those of the control room that each browser gets."""

    host: str = "127.0.0.1"
    port: int = 8642
    remote: bool = False
    arguments: Sequence[str] = ()


def is_loopback(host: str) -> bool:
    """Whether only this host can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def command_line(arguments: Sequence[str]) -> str:
    """What is started for each browser."""
    return shlex.join([sys.executable, "-m", "sai3tui", *arguments])


def run_serve(options: ServeOptions) -> int:
    """Serve until SIGINT or SIGTERM."""
    from textual_serve.server import Server

    sys.stderr.write(f"sai3tui: the control room is at http://{options.host}:{options.port}/ (ctrl+c ends)\n")
    if not is_loopback(options.host):
        sys.stderr.write("sai3tui: everybody who reaches that address can command your agents\n")
    Server(command_line(options.arguments), options.host, options.port, title="sai3tui").serve()
    return EXIT_OK
