"""Labelled blocks of wrapped text, for panes that explain something."""

from __future__ import annotations

import textwrap

from rich.text import Text

from sai3tui.errors import Failure
from sai3tui.theme import Palette
from sai3tui.widgets.text import clean

LABEL = 13


def wrapped(text: str, width: int, style: str = "", indent: int = 0) -> list[Text]:
    """`text`, cleaned, as lines of at most `width` cells behind `indent` spaces."""
    room = max(8, width - indent)
    parts = textwrap.wrap(clean(text), room, break_long_words=True, break_on_hyphens=False) or [""]
    return [Text(" " * indent + part, style=style) for part in parts]


def labelled(label: str, text: str, width: int, palette: Palette, role: str = "text") -> list[Text]:
    """A muted label with `text` beside it; nothing for an empty text."""
    if not text:
        return []
    lines = wrapped(text, width, str(getattr(palette, role)), LABEL)
    first = Text(label.ljust(LABEL), style=palette.muted)
    first.append_text(lines[0][LABEL:])
    return [first, *lines[1:]]


def failure_lines(failure: Failure, width: int, palette: Palette) -> list[Text]:
    """All that a failure knows, the sentence first, the hint last."""
    context = failure.context
    where = " ".join(part for part in (context.op, context.uri) if part)
    what = failure.kind.word.replace("_", " ")
    if context.subclass:
        what += f", {context.subclass}"
    if context.http_status:
        what += f", HTTP {context.http_status}"
    lines = wrapped(failure.message, width, f"bold {palette.bad}")
    lines += labelled("kind", what, width, palette)
    for cause in failure.causes:
        lines += labelled("because", cause, width, palette)
    lines += labelled("request", where, width, palette)
    lines += labelled("endpoint", context.endpoint, width, palette)
    if context.object_index >= 0:
        lines += labelled("object", f"{context.object_index:,}", width, palette)
    lines += labelled("agent", context.agent, width, palette)
    lines += labelled("stage", context.stage, width, palette)
    lines += labelled("request id", context.request_id, width, palette)
    lines += labelled("what to do", failure.what_next, width, palette, "key")
    return lines


def failure_plain(failure: Failure) -> str:
    """A failure as text for the clipboard."""
    context = failure.context
    parts = [failure.sentence()]
    parts += [
        f"{name}: {value}"
        for name, value in (
            ("uri", context.uri),
            ("endpoint", context.endpoint),
            ("agent", context.agent),
            ("stage", context.stage),
            ("request id", context.request_id),
            ("hint", failure.what_next),
        )
        if value
    ]
    return "\n".join(clean(part) for part in parts)
