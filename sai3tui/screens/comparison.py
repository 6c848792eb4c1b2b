"""Two runs side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from sai3tui.results.compared import Comparison
from sai3tui.screens.base import Pane, RoomScreen
from sai3tui.widgets.comparison_lines import VERDICTS, comparison_lines
from sai3tui.widgets.text_rows import TextRows


class ComparisonScreen(RoomScreen):
    """Shows one comparison."""

    HELP = (
        "Two runs, stage by stage and operation by operation. A change counts only if its confidence interval does "
        "not include zero; what cannot be told from noise is no difference. Below stands what else differs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Back")]

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._comparison = comparison

    def body(self) -> Iterable[Widget]:
        rows = TextRows(lambda width, palette: comparison_lines(self._comparison, width, palette), id="comparison")
        yield Pane("Comparison", rows, id="comparison-pane")

    def on_mount(self) -> None:
        look = VERDICTS[self._comparison.verdict]
        self.status.say(("comparison", "muted"), (f"{look.glyph} {look.word.upper()}", look.role))
        self.query_one(TextRows).focus()
