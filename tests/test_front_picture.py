"""The README's picture is what the program draws."""

from __future__ import annotations

from pathlib import Path

from tests.front_picture import draw


async def test_the_front_picture_is_current() -> None:
    picture = Path(__file__).resolve().parents[1] / "docs" / "live.svg"
    assert picture.read_text(encoding="utf-8") == await draw(), "run `make docs`"
