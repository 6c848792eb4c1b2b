"""Who limits the current stage, in one line: the verdict, then as many facts for it as there is room for."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.metrics.attribution import Attribution, Cause
from sai3tui.theme import Palette
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.states import Look
from sai3tui.widgets.text import clean, cut, plural
from sai3tui.widgets.wrapping import wrapped

CAUSES = {
    Cause.CLIENT: Look("▲", "limited by the load generators", "warn"),
    Cause.NETWORK: Look("▲", "limited by the network", "warn"),
    Cause.SERVER: Look("●", "limited by the storage", "info"),
    Cause.UNCLEAR: Look("·", "limit unclear", "muted"),
}
FACTS = 3
MORE = "  w: all"


class AttributionLine(Painted):
    """Shown as long as there are facts."""

    DEFAULT_CSS = """
    AttributionLine { height: 1; padding: 0 1; display: none; }
    AttributionLine.-some { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._verdict = Attribution()

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the verdict on the stage of this snapshot."""
        stage = next((each for each in snapshot.stages if each.index == snapshot.stage_index), None)
        verdict = stage.attribution if stage is not None else Attribution()
        if verdict != self._verdict:
            self._verdict = verdict
            self.set_class(bool(verdict.facts), "-some")
            self.refresh()

    def paint(self, width: int, palette: Palette) -> tuple[Text, ...]:
        verdict = self._verdict
        look = CAUSES[verdict.cause]
        facts = [clean(fact.text) for fact in verdict.facts[:FACTS]]
        line = Text()
        line.append(f"{look.glyph} {look.word}", style=f"bold {look.colour(palette)}")
        if verdict.confidence:
            line.append(f" {verdict.confidence:.0%}", style=palette.muted)
        if facts and line.cell_len + cell_len(facts[0]) + 4 > width:
            # The strongest fact stands in any case, so the verdict becomes one word.
            line = Text().append(f"{look.glyph} {look.word.split()[-1]}:", style=f"bold {look.colour(palette)}")
            line.append(f" {facts[0]}", style=palette.text)
            if line.cell_len > width:
                cut(line, width - len(MORE)).append(MORE, style=palette.muted)
            return (line,)
        for number, fact in enumerate(facts):
            # A fact that would be cut is left out, not halved.
            left = f"  w: {plural(len(facts) - number, 'fact')} more"
            last = number == len(facts) - 1
            if line.cell_len + cell_len(fact) + 4 + (0 if last else cell_len(left)) > width:
                line.append(left, style=palette.muted)
                break
            line.append(f"  · {fact}", style=palette.text)
        return (line,)


def attribution_lines(verdict: Attribution, width: int, palette: Palette) -> list[Text]:
    """The verdict with all facts, whole."""
    look = CAUSES[verdict.cause]
    head = Text().append(f"{look.glyph} {look.word}", style=f"bold {look.colour(palette)}")
    if verdict.confidence:
        head.append(f"  {verdict.confidence:.0%} sure", style=palette.muted)
    if not verdict.facts:
        return [head, Text(), Text("nothing stands out so far", style=palette.muted)]
    lines = [head, Text()]
    for fact in verdict.facts:
        first, *others = wrapped(clean(fact.text), width, palette.text, 2)
        lines += [Text("· ", style=palette.muted).append_text(first[2:]), *others]
    return lines
