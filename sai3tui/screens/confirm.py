"""One question with a safe answer under the cursor; a line of text to type; a text to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from sai3tui.theme import Palette
from sai3tui.widgets.text import clean
from sai3tui.widgets.text_rows import MakeLines, TextRows


@dataclass(frozen=True, slots=True)
class Answer:
    """One way out of a question: a key, and what it does."""

    key: str
    label: str
    value: str


class ConfirmScreen(ModalScreen[str]):
    """Asks; the result is the value of an answer. The last answer is the safe one: it has the focus, and escape
    means it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "safe", "Back", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, lines: Sequence[str], answers: Sequence[Answer], *, upright: bool = False) -> None:
        super().__init__()
        self._question = title
        self._lines = tuple(lines)
        self._answers = tuple(answers)
        self._upright = upright

    @property
    def lines(self) -> tuple[str, ...]:
        return self._lines

    def compose(self) -> ComposeResult:
        text = Text("\n".join(clean(line) for line in self._lines))
        buttons = [
            Button(Text(f" {answer.key}  {answer.label} "), id=f"answer-{i}", compact=True)
            for i, answer in enumerate(self._answers)
        ]
        shape = Vertical if self._upright else Horizontal
        answers = shape(*buttons, id="answers", classes="-upright" if self._upright else "")
        box = Vertical(Static(text, id="question"), answers, classes="dialog")
        box.border_title = Text(self._question)
        yield box

    def on_mount(self) -> None:
        self.query_one(f"#answer-{len(self._answers) - 1}", Button).focus()

    def on_key(self, event: events.Key) -> None:
        for answer in self._answers:
            if answer.key == event.key:
                # It must not reach the screen below as well, which may have a use for this key of its own.
                event.stop()
                event.prevent_default()
                self.dismiss(answer.value)
                return

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(self._answers[int((event.button.id or "answer-0").rsplit("-", 1)[1])].value)

    def action_safe(self) -> None:
        self.dismiss(self._answers[-1].value)


class PathScreen(ModalScreen[str]):
    """Asks for a path, or another line of text; the result is empty if there is none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "none", "Back", show=False)]

    def __init__(
        self, title: str, value: str = "", keys: str = "enter opens, esc leaves", lines: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._question = title
        self._value = value
        self._keys = keys
        self._lines = tuple(lines)

    def compose(self) -> ComposeResult:
        above = [Static(Text("\n".join(clean(line) for line in self._lines)), id="question")] if self._lines else []
        box = Vertical(*above, Input(self._value, compact=True, id="path"), classes="dialog")
        box.border_title = Text(self._question)
        box.border_subtitle = Text(self._keys)
        yield box

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_none(self) -> None:
        self.dismiss("")


class ReadScreen(ModalScreen[None]):
    """A text in a box: an agent, an event, a stage."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "Close"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self, title: str, make: MakeLines, plain: str = "") -> None:
        super().__init__()
        self._heading = title
        self._make = make
        self._plain = plain

    def compose(self) -> ComposeResult:
        box = Vertical(TextRows(self._make, id="text"), classes="dialog read")
        box.border_title = Text(clean(self._heading))
        box.border_subtitle = Text("y copies, esc closes" if self._plain else "esc closes")
        yield box

    def on_mount(self) -> None:
        self.query_one(TextRows).focus()

    def action_copy(self) -> None:
        plain = self._plain or "\n".join(line.plain for line in self._make(10_000, Palette.of(self.app)))
        self.app.copy_to_clipboard(plain)
        self.notify("copied", markup=False)
