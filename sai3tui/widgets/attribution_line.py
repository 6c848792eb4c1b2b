"""Who limits the current stage, in one line: the verdict, then the three strongest facts for it."""

from __future__ import annotations

from rich.text import Text

from sai3tui.controller.snapshot import RunSnapshot
from sai3tui.metrics.attribution import Attribution, Cause
from sai3tui.theme import Palette
from sai3tui.widgets.painted import Painted
from sai3tui.widgets.states import Look
from sai3tui.widgets.text import clean

CAUSES = {
    Cause.CLIENT: Look("▲", "limited by the load generators", "warn"),
    Cause.NETWORK: Look("▲", "limited by the network", "warn"),
    Cause.SERVER: Look("●", "limited by the storage", "info"),
    Cause.UNCLEAR: Look("·", "limit unclear", "muted"),
}
FACTS = 3


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
        look = CAUSES[self._verdict.cause]
        line = Text(f"{look.glyph} {look.word}", style=f"bold {look.colour(palette)}")
        if self._verdict.confidence:
            line.append(f" {self._verdict.confidence:.0%}", style=palette.muted)
        for fact in self._verdict.facts[:FACTS]:
            line.append(f"  · {clean(fact.text)}", style=palette.text)
        return (line,)
