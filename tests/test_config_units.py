from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.config.units import (
    UnitError,
    format_bytes,
    format_bytes_both,
    format_bytes_decimal,
    format_count,
    format_count_short,
    format_duration,
    parse_count,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("8MiB", 8 * 2**20),
        ("8 MiB", 8 * 2**20),
        ("8mib", 8 * 2**20),
        ("8M", 8_000_000),
        ("8Mi", 8 * 2**20),
        ("64k", 64_000),
        ("64KB", 64_000),
        ("1.5GiB", 3 * 2**29),
        ("0.1 KB", 100),
        ("2TiB", 2 * 2**40),
        ("1,048,576", 1048576),
        ("524_288", 524288),
        ("262 144", 262144),
        ("512B", 512),
        (1048576, 1048576),
        (1e6, 1_000_000),
        ("0", 0),
    ],
)
def test_sizes(value: int | float | str, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value", ["", "MiB", "8XB", "-1", -1, "1,5MiB", "1 2", 1.5, float("nan"), float("inf"), "8MiB 3", "9" * 30, True]
)
def test_what_is_no_size(value: int | float | str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size(value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("10m", 600.0),
        ("1m 30s", 90.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("30", 30.0),
        (30, 30.0),
        (1.5, 1.5),
        ("1.5s", 1.5),
        ("2h", 7200.0),
        ("1day", 86400.0),
        ("1week", 604800.0),
        ("250us", 0.00025),
        ("0", 0.0),
    ],
)
def test_durations(value: int | float | str, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "s", "10x", "-5", -5, "5 minutes ago", float("nan"), "m10", True, "1:30"])
def test_what_is_no_duration(value: int | float | str) -> None:
    with pytest.raises(UnitError):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "count"), [("64,032,768", 64032768), ("64_032_768", 64032768), ("250 000", 250000), (7, 7), (1e6, 10**6)]
)
def test_counts(value: int | float | str, count: int) -> None:
    assert parse_count(value) == count


@given(st.integers(0, 2**62))
def test_separators_change_nothing(number: int) -> None:
    assert (
        parse_count(f"{number:,}")
        == parse_count(f"{number:_}")
        == parse_size(f"{number:,}".replace(",", " "))
        == number
    )


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_count, parse_size, parse_duration):
        with suppress(UnitError):
            assert parse(text) >= 0


@given(st.floats(-1e20, 1e20))
def test_formatters_take_any_number(value: float) -> None:
    for shown in (format_bytes(value), format_bytes_decimal(value), format_duration(value), format_count_short(value)):
        assert shown
        assert "e+" not in shown


def test_formatted() -> None:
    assert format_bytes(8 * 2**20) == "8.00 MiB"
    assert format_bytes_decimal(8 * 2**20) == "8.39 MB"
    assert format_bytes_both(512) == "512 B"
    assert format_bytes_both(8 * 2**20) == "8.00 MiB (8.39 MB)"
    assert format_bytes(1023.9) == "1.00 KiB"
    assert format_duration(174) == "2m 54s"
    assert format_duration(0.0123) == "12.3 ms"
    assert format_duration(0.00035) == "350 us"
    assert format_duration(3725) == "1h 02m"
    assert format_count(64000) == "64,000"
    assert format_count_short(64000) == "64.0k"
    assert format_count_short(999) == "999"
