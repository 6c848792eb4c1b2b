"""Charts in ASCII, for fonts without braille and blocks: every line of the screen is rewritten as it is drawn."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

SHADES = " .:-=+*#%"
"""Nothing to all of a cell's eight dots."""
_BLOCKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = "▏▎▍▌▋▊▉"
_TABLE = (
    {0x2800 + bits: SHADES[bits.bit_count()] for bits in range(256)}
    | {ord(block): SHADES[n] for n, block in enumerate(_BLOCKS)}
    | {ord(block): "-" if n < 3 else "=" for n, block in enumerate(_EIGHTHS)}
    | str.maketrans({"█": "#", "░": ".", "━": "=", "─": "-", "▕": "|", "▐": "|", "╵": "'"})
)


def plain(text: str) -> str:
    """`text` with ASCII instead of braille and blocks; lines around panes become dashes with them."""
    return text if text.isascii() else text.translate(_TABLE)


class PlainCharts(LineFilter):
    """Put it among an app's filters."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(plain(text), style, control) for text, style, control in segments]
