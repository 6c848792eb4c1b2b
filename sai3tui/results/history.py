"""What a results directory already holds of a run that goes on: whatever its controller had written before it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sai3tui.events import Event, Report
from sai3tui.results.events_log import read_events
from sai3tui.results.metrics_log import read_reports
from sai3tui.results.tally import Item


@dataclass(frozen=True, slots=True)
class History:
    """Events and reports as they are kept, and which messages of each agent they were."""

    events: tuple[Event, ...] = ()
    reports: tuple[Report, ...] = ()
    known: dict[str, set[int]] = field(default_factory=dict)

    def knows(self, item: Item) -> bool:
        return item.sequence in self.known.get(item.agent, ())

    def cursor(self, agent: str) -> int:
        """The first message of the agent that is not here."""
        known = self.known.get(agent, set())
        number = 1
        while number in known:
            number += 1
        return number


def read_history(directory: Path) -> History:
    """Raises OSError if a file cannot be read, ValueError if one is of another kind."""
    events: tuple[Event, ...] = ()
    reports: tuple[Report, ...] = ()
    if (directory / "events.jsonl").exists():
        events = tuple(read_events(directory / "events.jsonl"))
    if (directory / "metrics.zst").exists():
        reports = tuple(_settled(read_reports(directory / "metrics.zst")))
    known: dict[str, set[int]] = defaultdict(set)
    everything: list[Item] = [*events, *reports]
    for item in everything:
        if item.sequence:
            known[item.agent].add(item.sequence)
    return History(events, reports, dict(known))


def in_order(items: Iterable[Item]) -> list[Item]:
    """As they happened: an interval counts when it ends, before what happened at the same moment. What one agent has
    numbered stays in that order, as controllers that estimated its clock differently may have written the times."""
    placed: list[tuple[tuple[int, int], Item]] = []
    latest: dict[str, tuple[int, int]] = {}
    for item in sorted(items, key=lambda item: item.sequence):
        place = (item.end_ns, 0) if isinstance(item, Report) else (item.time_ns, 1)
        if item.sequence:
            place = latest[item.agent] = max(place, latest.get(item.agent, place))
        placed.append((place, item))
    return [item for _, item in sorted(placed, key=lambda each: each[0])]


def _settled(reports: Iterable[Report]) -> Iterable[Report]:
    """Reports whose histograms are here too: those of a rolled-up block come after its counts, or were never
    written. Then the block is as good as unknown."""
    waiting: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        block = waiting[report.agent]
        if report.end_ns == report.start_ns:
            yield from block
            block.clear()
            yield report
        elif any(stats.ops and not stats.service.count for stats in report.ops):
            block.append(report)
        else:
            yield report
