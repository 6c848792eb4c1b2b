"""Which network interfaces of this host lead to the storage."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path

from sai3tui.host import network_interfaces
from sai3tui.storage.engine import Endpoint

_UP = 0x1


async def interfaces_used(endpoints: Iterable[Endpoint], root: Path = Path("/")) -> dict[str, int]:
    """Those that lead to the endpoints, with their speed in Mbit/s (0: unknown); loopback is none. All that are up,
    where that cannot be told: for names without address, and for IPv6."""
    found = network_interfaces(root)
    loop = asyncio.get_running_loop()
    addresses: set[str] = set()
    for endpoint in endpoints:
        try:
            answers = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return found
        addresses |= {str(answer[4][0]) for answer in answers}
    try:
        table = (root / "proc/net/route").read_text()
    except OSError:
        return found
    names = {interface_to(address, table) for address in addresses}
    return found if None in names else {name: speed for name, speed in found.items() if name in names}


def interface_to(address: str, table: str) -> str | None:
    """The interface that an address is reached by, out of /proc/net/route (which leaves loopback out); None if it does
    not say."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.is_loopback:
        return "lo"
    if parsed.version != 4:
        return None
    wanted = int(parsed)
    best: tuple[int, int, str] | None = None
    for line in table.splitlines()[1:]:
        fields = line.split()
        try:
            place, flags, metric, mask = (int(fields[n], base) for n, base in ((1, 16), (3, 16), (6, 10), (7, 16)))
        except (IndexError, ValueError):
            continue
        # The kernel shows addresses in the order of their bytes in memory.
        place, mask = _turned(place), _turned(mask)
        if flags & _UP and wanted & mask == place and (best is None or (mask, -metric) > best[:2]):
            best = (mask, -metric, fields[0])
    return best[2] if best is not None else None


def _turned(number: int) -> int:
    return int.from_bytes(number.to_bytes(4, "little"), "big")
