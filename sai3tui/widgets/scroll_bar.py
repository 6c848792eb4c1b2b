"""How scrollbars look: half a cell, so that they keep clear of the text beside them."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment, Segments
from rich.style import Style
from textual.scrollbar import ScrollBarRender


class SlimScrollBar(ScrollBarRender):
    """The thumb as the right half of its cell."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "]

    @classmethod
    def render_bar(cls, size: int = 25, *, vertical: bool = True, **options: Any) -> Segments:  # type: ignore[override]
        drawn = super().render_bar(size, vertical=vertical, **options)
        if not vertical:
            return drawn
        return Segments([_slim(segment) for segment in drawn.segments], new_lines=True)


def _slim(segment: Segment) -> Segment:
    """A cell of the thumb is drawn in reverse; all others are as they were."""
    style = segment.style
    if style is None or not style.reverse:
        return segment
    return Segment("▐" * len(segment.text), Style(color=style.color, meta=style.meta))
