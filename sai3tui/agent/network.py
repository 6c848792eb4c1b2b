"""What the kernel tells about the host's network: how full its links are, and TCP segments sent again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """Since the last look. `bytes_per_s` is the busiest direction of the busiest interface but loopback, `pct` how much
    of its link speed an interface uses at most, `retransmits` TCP segments sent again. None: not known."""

    bytes_per_s: float | None = None
    pct: float | None = None
    retransmits: int | None = None


class NetworkMeter:
    """Reads /proc and /sys below `root`, of this process's network namespace."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before: tuple[float, dict[str, tuple[int, int]], int | None] | None = None

    def read(self, now_s: float) -> NetworkUse:
        """The use since the last call, nothing the first time. `now_s` is a monotonic time in seconds."""
        moved = moved_bytes(self._text("proc/net/dev"))
        retransmits = retransmitted(self._text("proc/net/snmp"))
        before, self._before = self._before, (now_s, moved, retransmits)
        if before is None or now_s <= before[0]:
            return NetworkUse()
        seconds = now_s - before[0]
        rates = {
            name: max(after - old for after, old in zip(counts, before[1][name], strict=True)) / seconds
            for name, counts in moved.items()
            if name in before[1] and name != LOOPBACK
        }
        shares = [
            100.0 * rate * 8 / (speed * 1e6) for name, rate in rates.items() if (speed := self._speed(name)) is not None
        ]
        again = retransmits - before[2] if retransmits is not None and before[2] is not None else None
        return NetworkUse(max(rates.values(), default=None), max(shares, default=None), again)

    def _speed(self, interface: str) -> int | None:
        """Link speed in Mbit/s; virtual interfaces have none, or say -1."""
        try:
            speed = int(self._text(f"sys/class/net/{interface}/speed"))
        except ValueError:
            return None
        return speed if speed > 0 else None

    def _text(self, path: str) -> str:
        """A file's text; empty where it cannot be read, as with the speed of an interface that is down."""
        try:
            return (self._root / path).read_text()
        except OSError:
            return ""


def moved_bytes(text: str) -> dict[str, tuple[int, int]]:
    """Bytes received and sent per interface, out of /proc/net/dev."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if colon and len(fields) >= 9 and fields[0].isdigit() and fields[8].isdigit():
            found[name.strip()] = int(fields[0]), int(fields[8])
    return found


def retransmitted(text: str) -> int | None:
    """TCP segments sent again since the host was started, out of /proc/net/snmp."""
    lines = [line.split() for line in text.splitlines() if line.startswith("Tcp:")]
    if len(lines) != 2 or "RetransSegs" not in lines[0]:
        return None
    value = lines[1][lines[0].index("RetransSegs")] if len(lines[1]) == len(lines[0]) else ""
    return int(value) if value.isdigit() else None
