"""Why a cell of the matrix looks as it does: what was found, what it rests on, what to do."""

from __future__ import annotations

from rich.text import Text

from sai3tui.events import Level
from sai3tui.theme import Palette
from sai3tui.widgets.check_matrix import Cell
from sai3tui.widgets.states import LEVEL
from sai3tui.widgets.text import clean, span
from sai3tui.widgets.wrapping import labelled, wrapped


def finding_lines(cell: Cell, width: int, palette: Palette) -> list[Text]:
    """The findings of a cell in words."""
    if not cell.check:
        return [Text("Checks appear here as agents make them.", style=palette.muted)]
    if not cell.findings:
        return [
            Text(f"· {clean(cell.agent)}  {clean(cell.check)}", style=palette.muted),
            *wrapped("Not run: it has not had its turn yet, or an earlier check failed.", width, palette.muted, 2),
        ]
    lines: list[Text] = []
    for finding in cell.findings:
        look = LEVEL[finding.level]
        head = Text(f"{look.glyph} ", style=look.colour(palette))
        head.append(clean(finding.agent) or "controller", style=f"bold {palette.bright}")
        head.append(f"  {clean(finding.check)}", style=palette.text)
        head.append(f"  {clean(finding.subject)}", style=palette.muted)
        if finding.took_ms:
            head.append(f"  {span(finding.took_ms / 1000)}", style=palette.muted)
        lines.append(head)
        role = look.role if finding.level >= Level.WARNING else "text"
        lines += wrapped(finding.message, width, str(getattr(palette, role)), 2)
        if finding.failure is not None:
            for cause in finding.failure.causes:
                lines += labelled("  because", cause, width, palette)
        lines += labelled("  evidence", finding.evidence, width, palette)
        hint = finding.advice or (finding.failure.hint if finding.failure else "")
        lines += labelled("  what to do", hint, width, palette, "key")
    return lines


def cell_plain(cell: Cell) -> str:
    """A cell as text for the clipboard."""
    parts = []
    for finding in cell.findings:
        parts.append(f"{finding.level.word}: {finding.agent} {finding.check} {finding.subject}: {finding.message}")
        parts += [text for text in (finding.evidence, finding.advice) if text]
        if finding.failure is not None:
            parts.append(finding.failure.sentence())
    return "\n".join(clean(part) for part in parts)
