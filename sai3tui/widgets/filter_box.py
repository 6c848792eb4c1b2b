"""A line to type words into, that is there only while somebody wants it."""

from __future__ import annotations

from textual.widgets import Input


class FilterBox(Input):
    """Has the focus only while it has the class `-open`: a hidden one would swallow keys."""

    def allow_focus(self) -> bool:
        return self.has_class("-open") and super().allow_focus()
