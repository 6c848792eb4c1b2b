"""Sizes, durations and counts as people write them: one tolerant grammar each, and the formatters that show them."""

from __future__ import annotations

import math
import re

from sai3tui.errors import ConfigError

Number = int | float | str
MAX_VALUE = 2**63 - 1

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}{tail}": 1000**power for power, letter in enumerate("kmgtp", 1) for tail in ("", "b")},
    **{f"{letter}i{tail}": 1024**power for power, letter in enumerate("kmgtp", 1) for tail in ("", "b")},
}
_DURATION_UNITS = {
    **dict.fromkeys(("ns", "nsec"), 1e-9),
    **dict.fromkeys(("us", "usec", "\u00b5s", "\u03bcs"), 1e-6),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_NUMBER = r"\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+(?:_\d+)*"
_SIZE = re.compile(rf"({_NUMBER})(\.\d+)?\s*([A-Za-z]*)", re.ASCII)
_COUNT = re.compile(rf"({_NUMBER})", re.ASCII)
_DURATION_PART = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z\u00b5\u03bc]+)")
_PLAIN = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)
_SEPARATORS = str.maketrans("", "", ",_ ")


class UnitError(ConfigError):
    """A size, duration or count that cannot be read."""


def parse_count(value: Number) -> int:
    """A number of things: 64000, "64,000", "64_000", "64 000", 1e6. Raises UnitError."""
    if isinstance(value, str):
        match = _COUNT.fullmatch(value.strip())
        if match is None or len(value) > 40:
            raise _bad(value, "a count", 'write digits, such as 64000 or "64,000"')
        return _bounded(int(match[1].translate(_SEPARATORS)), value, "a count")
    return _whole(value, "a count")


def parse_size(value: Number) -> int:
    """A number of bytes: 1048576, "1,048,576", "8MiB", "1.5 GB", "64k" (K is 1000, Ki is 1024). Raises UnitError."""
    if not isinstance(value, str):
        return _whole(value, "a size")
    hint = "write bytes, or a number with KB, MB, GB, TB (1000) or KiB, MiB, GiB, TiB (1024)"
    match = _SIZE.fullmatch(value.strip())
    if match is None or len(value) > 40:
        raise _bad(value, "a size", hint)
    unit = _SIZE_UNITS.get(match[3].lower())
    if unit is None:
        raise _bad(value, "a size", f"unknown unit {match[3]!r}: {hint}")
    whole = int(match[1].translate(_SEPARATORS)) * unit
    part = round(float(match[2]) * unit) if match[2] else 0
    return _bounded(whole + part, value, "a size")


def parse_duration(value: Number) -> float:
    """Seconds: 30, "30", 1.5, "500ms", "10m", "1m 30s", "1h30m". Raises UnitError."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not math.isfinite(value) or not 0 <= value <= MAX_VALUE:
            raise _bad(value, "a duration", "write seconds, or a text such as 30s, 5m or 1h 30m")
        return float(value)
    text = value.strip()
    hint = "write seconds, or numbers with ms, s, m, h, d, such as 30s, 5m or 1h 30m"
    if _PLAIN.fullmatch(text):
        return float(text)
    seconds, position = 0.0, 0
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None or len(value) > 80:
            raise _bad(value, "a duration", hint)
        unit = _DURATION_UNITS.get(match[2])
        if unit is None:
            raise _bad(value, "a duration", f"unknown unit {match[2]!r}: {hint}")
        seconds += float(match[1]) * unit
        position = match.end()
    if not text:
        raise _bad(value, "a duration", hint)
    return seconds


def format_bytes(count: float) -> str:
    """Bytes with a binary unit: "512 B", "8.00 MiB", "488 GiB"."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def format_bytes_decimal(count: float) -> str:
    """Bytes with a decimal unit: "512 B", "8.39 MB", "524 GB"."""
    return _scaled(count, 1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def format_bytes_both(count: float) -> str:
    """Both: "8.00 MiB (8.39 MB)"; one where they agree."""
    binary, decimal = format_bytes(count), format_bytes_decimal(count)
    return binary if binary == decimal else f"{binary} ({decimal})"


def format_duration(seconds: float) -> str:
    """Seconds for people: "350 us", "12.5 ms", "2.50 s", "2m 54s", "1h 02m", "3d 04h"."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 0.9995:
        return f"{_three(seconds * 1e3)} ms"
    if seconds < 59.995:
        return f"{_three(seconds)} s"
    whole = round(seconds)
    minutes, secs = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {secs:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}h"


def format_count(count: float) -> str:
    """A number with separators: "64,000"."""
    return f"{count:,.0f}"


def format_count_short(count: float) -> str:
    """A number in at most six characters: "999", "64.0k", "1.25M"."""
    text = _scaled(count, 1000, ("", "k", "M", "G", "T", "P", "E"))
    return text.replace(" ", "")


def _three(value: float) -> str:
    """About three significant digits, never an exponent."""
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"


def _scaled(count: float, base: int, units: tuple[str, ...]) -> str:
    if not math.isfinite(count):
        return "-"
    value, step = float(count), 0
    while abs(value) >= base - 0.5 and step < len(units) - 1:
        value /= base
        step += 1
    number = f"{value:.0f}" if step == 0 and value == int(value) else _three(value)
    return f"{number} {units[step]}".rstrip()


def _whole(value: int | float, what: str) -> int:
    if isinstance(value, bool) or not math.isfinite(value) or value != int(value):
        raise _bad(value, what, "write a whole number")
    return _bounded(int(value), value, what)


def _bounded(number: int, value: Number, what: str) -> int:
    if not 0 <= number <= MAX_VALUE:
        raise _bad(value, what, "it must be between 0 and 2^63 - 1")
    return number


def _bad(value: Number, what: str, hint: str) -> UnitError:
    shown = str(value)
    return UnitError(f"{shown[:60]!r} is not {what}", hint=hint)
