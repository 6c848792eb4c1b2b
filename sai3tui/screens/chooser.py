"""A list to choose from: typing narrows it, the text of the choice at the cursor stands below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from sai3tui.theme import Palette
from sai3tui.widgets.line_list import LineList
from sai3tui.widgets.text import clean, fit
from sai3tui.widgets.text_rows import TextRows
from sai3tui.widgets.wrapping import wrapped

Value = TypeVar("Value")
LABEL = 30


@dataclass(frozen=True, slots=True)
class Choice(Generic[Value]):
    """`label` is what it is called, `detail` stands beside it, `text` below the list."""

    label: str
    value: Value
    detail: str = ""
    text: str = ""


class ChoiceList(LineList):
    """The choices that fit what was typed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.choices: tuple[Choice[Any], ...] = ()
        self._longest = LABEL

    def measure(self, choices: Sequence[Choice[Any]]) -> None:
        """Keep room for the labels of all these, however few are shown."""
        self._longest = max((cell_len(clean(choice.label)) for choice in choices), default=LABEL)

    def show(self, choices: Sequence[Choice[Any]]) -> None:
        """Show these, with the cursor at the first."""
        self.choices = tuple(choices)
        self.cursor = 0
        self.redraw()

    def row_count(self) -> int:
        return len(self.choices)

    def empty(self, palette: Palette) -> tuple[Text, ...]:
        return (Text("nothing fits", style=palette.muted),)

    def row(self, index: int, width: int, palette: Palette) -> Text:
        choice = self.choices[index]
        label = min(LABEL, self._longest, max(12, width // 2))
        line = Text(fit(clean(choice.label), label), style=palette.key)
        return line.append("  " + clean(choice.detail), style=palette.muted)


class ChooserScreen(ModalScreen[Value | None], Generic[Value]):
    """Returns the value of a choice, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "none", "Back", show=False),
        Binding("up", "cursor(-1)", show=False, priority=True),
        Binding("down", "cursor(1)", show=False, priority=True),
        Binding("pageup", "cursor(-8)", show=False, priority=True),
        Binding("pagedown", "cursor(8)", show=False, priority=True),
        Binding("tab", "take", show=False, priority=True),
    ]

    def __init__(self, title: str, choices: Sequence[Choice[Value]], typed: str = "") -> None:
        super().__init__()
        self._heading = title
        self._all = tuple(choices)
        self._typed = typed

    def compose(self) -> ComposeResult:
        box = Vertical(
            Input(self._typed, compact=True, id="choice", select_on_focus=False),
            ChoiceList(id="choices"),
            TextRows(id="choice-text"),
            classes="dialog chooser",
        )
        box.border_title = Text(clean(self._heading))
        box.border_subtitle = Text("enter takes, esc leaves")
        yield box

    def on_mount(self) -> None:
        self.query_one("#choice-text", TextRows).can_focus = False
        self.query_one(ChoiceList).measure(self._all)
        self._narrow(self._typed)
        self.query_one(Input).focus()

    def _narrow(self, typed: str) -> None:
        words = typed.lower().split()
        fitting = [c for c in self._all if all(word in f"{c.label} {c.detail}".lower() for word in words)]
        fitting.sort(key=lambda c: not c.label.lower().startswith(typed.lower()))
        view = self.query_one(ChoiceList)
        view.show(fitting)
        self._tell()

    def _tell(self) -> None:
        view = self.query_one(ChoiceList)
        text = view.choices[view.cursor].text if view.cursor < len(view.choices) else ""
        self.query_one("#choice-text", TextRows).show(lambda width, palette: wrapped(text, width, palette.text))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._narrow(event.value)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.action_take()

    def on_line_list_moved(self, _event: LineList.Moved) -> None:
        self._tell()

    def on_line_list_chosen(self, _event: LineList.Chosen) -> None:
        self.action_take()

    def action_cursor(self, step: int) -> None:
        self.query_one(ChoiceList).cursor += step

    def action_take(self) -> None:
        view = self.query_one(ChoiceList)
        if view.cursor < len(view.choices):
            label = view.choices[view.cursor].label
            self.dismiss(next(choice.value for choice in self._all if choice.label == label))

    def action_none(self) -> None:
        self.dismiss(None)
