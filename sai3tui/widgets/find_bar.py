"""Find and replace above a text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static, TextArea


class FindBar(Horizontal):
    """Two lines to type in. enter in the first finds the next place, in the second it replaces that place."""

    DEFAULT_CSS = """
    FindBar { height: 1; display: none; background: $bar; }
    FindBar.-open { display: block; }
    FindBar Input { width: 1fr; background: $bar; }
    FindBar Static { width: auto; padding: 0 1; color: $role-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("up", "again(-1)", show=False),
        Binding("down", "again(1)", show=False),
        Binding("ctrl+r", "all", "Replace all"),
    ]

    class Asked(Message):
        """`replace`: None to find only, else what to put there; `everywhere` replaces all."""

        def __init__(self, text: str, replace: str | None, *, back: bool = False, everywhere: bool = False) -> None:
            super().__init__()
            self.text = text
            self.replace = replace
            self.back = back
            self.everywhere = everywhere

    class Closed(Message):
        """Nobody looks for anything any more."""

    def compose(self) -> ComposeResult:
        yield Input(compact=True, placeholder="find", id="find")
        yield Input(compact=True, placeholder="replace by", id="replace")
        yield Static("enter next, ctrl+r all", id="find-hint", markup=False)

    def open(self, text: str) -> None:
        """Show it, looking for `text`."""
        self.add_class("-open")
        box = self.query_one("#find", Input)
        if text:
            box.value = text
        box.focus()

    def say(self, text: str) -> None:
        """Tell what was found."""
        self.query_one("#find-hint", Static).update(text)

    @property
    def _wanted(self) -> str:
        return self.query_one("#find", Input).value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        replace = event.value if event.input.id == "replace" else None
        self.post_message(self.Asked(self._wanted, replace))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()

    def action_again(self, step: int) -> None:
        self.post_message(self.Asked(self._wanted, None, back=step < 0))

    def action_all(self) -> None:
        self.post_message(self.Asked(self._wanted, self.query_one("#replace", Input).value, everywhere=True))

    def action_close(self) -> None:
        self.remove_class("-open")
        self.post_message(self.Closed())


def find_in(area: TextArea, text: str, *, back: bool = False) -> tuple[int, int]:
    """Select the next place of `text` after the cursor, going round; returns its number and how many there are, (0, 0)
    if there is none. Upper and lower case are the same unless `text` has upper case letters."""
    whole = "\n".join(area.document.lines)
    if text == text.lower():
        whole = whole.lower()
    places = _places(whole, text)
    if not places:
        return (0, 0)
    row, column = min(area.selection) if back else max(area.selection)
    here = sum(len(line) + 1 for line in whole.split("\n")[:row]) + column
    if back:
        number = max((n for n, place in enumerate(places) if place < here), default=len(places) - 1)
    else:
        number = min((n for n, place in enumerate(places) if place >= here), default=0)
    start = _location(whole, places[number])
    end = _location(whole, places[number] + len(text))
    area.move_cursor(start, center=True)
    area.move_cursor(end, select=True)
    return (number + 1, len(places))


def replace_all(area: TextArea, text: str, by: str) -> int:
    """Replace every place as one step that can be undone; returns how many there were."""
    whole = "\n".join(area.document.lines)
    places = _places(whole.lower() if text == text.lower() else whole, text)
    if places:
        parts, at = [], 0
        for place in places:
            parts += [whole[at:place], by]
            at = place + len(text)
        parts.append(whole[at:])
        area.replace("".join(parts), (0, 0), area.document.end)
    return len(places)


def _location(whole: str, index: int) -> tuple[int, int]:
    """Row and column of a character."""
    return whole.count("\n", 0, index), index - (whole.rfind("\n", 0, index) + 1)


def _places(whole: str, text: str) -> list[int]:
    places: list[int] = []
    at = whole.find(text) if text else -1
    while at >= 0:
        places.append(at)
        at = whole.find(text, at + len(text))
    return places
