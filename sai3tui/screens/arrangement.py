"""Which panes of the live screen are shown, kept from run to run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.errors import Sai3Error
from sai3tui.screens.files import write_atomic

CHARTS = ("throughput", "latency")
TABLES = ("agents", "endpoints", "heat")
PANES = (*CHARTS, *TABLES, "events")
"""In the order of the digits that toggle them."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The panes that somebody has put away."""

    hidden: frozenset[str] = frozenset()

    def toggled(self, pane: str) -> Arrangement:
        """With `pane` shown or put away; the last table stays."""
        hidden = self.hidden ^ {pane}
        return self if hidden >= set(TABLES) else replace(self, hidden=frozenset(hidden))

    def shown(self, *, narrow: bool) -> frozenset[str]:
        """What stands on the screen; a narrow one has room for one chart and one table, the first of each."""
        wanted = [pane for pane in PANES if pane not in self.hidden]
        if not narrow:
            return frozenset(wanted)
        charts = [pane for pane in wanted if pane in CHARTS][:1]
        tables = [pane for pane in wanted if pane in TABLES][:1]
        return frozenset([*charts, *tables, *(pane for pane in wanted if pane == "events")])

    def next_table(self) -> Arrangement:
        """For a narrow screen: the table after the one that is shown."""
        now = next(pane for pane in TABLES if pane not in self.hidden)
        after = TABLES[(TABLES.index(now) + 1) % len(TABLES)]
        before = TABLES[: TABLES.index(after)]
        return replace(self, hidden=(self.hidden - set(TABLES)) | frozenset(before))


class Arrangements:
    """Keeps an arrangement in a file; without one, as long as the program runs."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.current = Arrangement(frozenset(_read(path)))

    def keep(self, arrangement: Arrangement) -> None:
        """A file that cannot be written costs nothing but the memory of it."""
        self.current = arrangement
        if self._path is not None:
            with suppress(OSError, Sai3Error):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self._path, json.dumps({"hidden": sorted(arrangement.hidden)}).encode())


def _read(path: Path | None) -> Iterable[str]:
    """What the file says, as far as it can be understood."""
    if path is None:
        return ()
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ()
    hidden = found.get("hidden") if isinstance(found, dict) else None
    known = [pane for pane in hidden if pane in PANES] if isinstance(hidden, list) else []
    return () if set(known) >= set(TABLES) else known
