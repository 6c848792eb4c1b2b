"""`sai3tui serve`: the control room in a browser. Whoever knows its address commands the agents: it has a key in it,
which keeps out other users of this host and pages that the browser has open, and it is loopback unless somebody says
otherwise."""

from __future__ import annotations

import ipaddress
import secrets
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

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


def public_host(host: str) -> str:
    """What stands for `host` in an address that a browser can use."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host


def run_serve(options: ServeOptions) -> int:
    """Serve until SIGINT or SIGTERM."""
    from aiohttp import web
    from textual_serve.server import Server

    key = secrets.token_urlsafe(16)
    origin = f"http://{public_host(options.host)}:{options.port}"

    class KeyedServer(Server):
        """Has all that it serves below the key."""

        async def _make_app(self) -> web.Application:
            whole = web.Application()
            whole.add_subapp(f"/{key}/", await super()._make_app())
            whole.on_response_prepare.append(_tell_nobody)
            return whole

    sys.stderr.write(f"sai3tui: the control room is at {origin}/{key}/ (ctrl+c ends)\n")
    if not is_loopback(options.host):
        sys.stderr.write("sai3tui: everybody who learns that address can command your agents; it is not encrypted\n")
    command = command_line(options.arguments)
    KeyedServer(command, options.host, options.port, title="sai3tui", public_url=origin).serve()
    return EXIT_OK


async def _tell_nobody(_request: web.Request, response: web.StreamResponse) -> None:
    """Links of the page do not take its address along."""
    response.headers["Referrer-Policy"] = "no-referrer"
