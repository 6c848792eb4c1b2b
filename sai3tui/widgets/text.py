"""Text for cells: clean, cut to a width, with the units of `config.units`.

Everything that comes from outside (file names, error messages, what an agent said) passes `clean` before it is drawn:
control characters would move the cursor, and direction marks would reorder the line.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sai3tui.config.units import format_duration

KIB = 1024.0
ELLIPSIS = "…"
NOTHING = "–"
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of bytes per second, chosen once for a table or chart so that its numbers can be compared."""

    name: str
    bytes: float

    def show(self, value: float) -> str:
        return number(value / self.bytes)


UNITS = (Unit("B/s", 1.0), Unit("KiB/s", KIB), Unit("MiB/s", KIB**2), Unit("GiB/s", KIB**3), Unit("TiB/s", KIB**4))


def unit_for(peak: float) -> Unit:
    """The unit in which `peak` bytes per second is a number from 1 up; MiB/s for nothing at all."""
    if peak <= 0:
        return UNITS[2]
    return next((unit for unit in reversed(UNITS) if peak >= unit.bytes), UNITS[0])


def number(value: float) -> str:
    """About three significant digits, with a minus sign and no exponent: 0.35, 8.12, 24.8, 9,120."""
    if not math.isfinite(value):
        return NOTHING
    if value < 0:
        return "−" + number(-value)
    if value == 0:
        return "0"
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def share(part: float, whole: float) -> float:
    """`part / whole` between 0 and 1; 0 where there is no whole."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def millis(microseconds: float) -> str:
    """Microseconds as milliseconds; a dash where nothing was measured."""
    return number(microseconds / 1000) if microseconds > 0 else NOTHING


def rate(bytes_per_second: float) -> str:
    """A rate with its own unit: 24.8 MiB/s; a dash for none."""
    if bytes_per_second <= 0:
        return NOTHING
    unit = unit_for(bytes_per_second)
    return f"{unit.show(bytes_per_second)} {unit.name}"


def clock(seconds: float) -> str:
    """02:54, and 1:02:54 from an hour up."""
    whole = max(0, int(seconds))
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes:02d}:{secs:02d}"


def span(seconds: float) -> str:
    """A duration in words of the formatter; tenths of a second below ten, whole seconds above."""
    if 0.95 <= seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return format_duration(seconds)


def time_of_day(time_ns: int) -> str:
    """HH:MM:SS, UTC."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%H:%M:%S")


def date_and_time(time_ns: int) -> str:
    """YYYY-MM-DD HH:MM, UTC; a dash for 0."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M") if time_ns else NOTHING


def clean(text: str) -> str:
    """`text` on one line, without characters that do something to a terminal."""
    if text.isascii() and text.isprintable():
        return text
    visible = (c for c in text if c.isspace() or unicodedata.category(c) not in _DROPPED)
    return " ".join("".join(visible).split())


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells, cut with an ellipsis where it is too long."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + ELLIPSIS
    pad = " " * (width - length)
    return pad + text if right else text + pad


def fit_path(path: str, width: int) -> str:
    """A path of at most `width` cells: what is cut is its beginning, since the end says more."""
    if cell_len(path) <= width:
        return path
    kept = path[-width:] if width > 0 else ""
    while kept and cell_len(kept) > width - 1:
        kept = kept[1:]
    return ELLIPSIS + kept if width > 0 else ""


def plural(count: int, singular: str, several: str = "") -> str:
    """1 agent, 2 agents."""
    return f"{count:,} {singular if count == 1 else several or singular + 's'}"


def short_count(count: int) -> str:
    """A count in four cells: 9999, 12k, 3M."""
    if count < 10_000:
        return str(count)
    return f"{count // 1000}k" if count < 1_000_000 else f"{count // 1_000_000}M"


def sparkline(values: tuple[float, ...], width: int, top: float) -> str:
    """The last `width` values as blocks of eight heights, right-aligned; `top` is the full height."""
    shown = values[-width:] if width > 0 else ()
    cells = [_BLOCKS[0 if v <= 0 else max(1, min(8, round(share(v, top) * 8)))] for v in shown]
    return "".join(cells).rjust(max(0, width))


def bar(fraction: float, width: int) -> tuple[str, str]:
    """A progress bar in two parts, done and left, together `width` cells."""
    done = max(0, min(width, round(fraction * width)))
    if fraction > 0 and done == 0 and width:
        done = 1
    if fraction < 1 and done == width and width > 1:
        done = width - 1
    return "━" * done, "━" * (width - done)


def cut(text: Text, width: int) -> Text:
    """`text` cut to `width` cells with an ellipsis, in place; returned for chaining."""
    text.no_wrap = True
    text.truncate(max(0, width), overflow="ellipsis")
    return text
