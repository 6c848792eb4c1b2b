"""`metrics.zst`: every report of every agent, so that a finished run can be opened again with all its histograms.

Two records each (results/record_file.py): the name of the agent and a `Report` message. Times are on the controller's
clock. Counts are those of each report; histograms of a run older than ten minutes are rolled up (results/rollup.py) and
stand in records that span no time. The number of its seals is that of the lines of events.jsonl at the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from sai3tui.event_codec import report_from_proto, report_to_proto
from sai3tui.events import Report
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.files import OnError
from sai3tui.results.record_file import Condition, RecordFile, read_records
from sai3tui.results.rollup import RollUp

MAGIC = b"sai3tui-metrics-2\n"


class MetricsLog:
    """Writes it. A file that exists is gone on with: it is first written anew with what `kept` says of it."""

    def __init__(self, path: Path, on_error: OnError, kept: Sequence[Report] = ()) -> None:
        self._rollup = RollUp(kept[0].start_ns if kept else 0)
        known = (part for report in kept for part in _record(report)) if path.is_file() else None
        self._file = RecordFile(path, on_error, MAGIC, known)

    def write(self, report: Report) -> None:
        for agent, message in self._rollup.add(report):
            self._file.add(agent.encode(), message)

    def flush(self, events: int = 0) -> None:
        """Make all so far readable, but histograms of a block that has begun. `events` is how many lines of
        events.jsonl are readable by then."""
        self._file.flush(events)

    def end_frame(self, events: int = 0) -> int:
        """All so far is on the disk; returns where reading on can begin."""
        self._end_blocks()
        return self._file.end_frame(events)

    def close(self) -> None:
        """Idempotent."""
        self._end_blocks()
        self._file.close()

    def _end_blocks(self) -> None:
        for agent, message in self._rollup.flush():
            self._file.add(agent.encode(), message)


def read_reports(path: Path, start: int = 0, condition: Condition | None = None) -> Iterator[Report]:
    """Reports in the order written, up to where the file is whole; from byte `start` on, where a frame begins.

    `condition` gets how the file was found. Raises OSError if it cannot be read, ValueError if it is another kind of
    file.
    """
    records = read_records(path, MAGIC, start, condition=condition)
    for name in records:
        body = next(records, None)
        if body is None:
            return
        try:
            report = report_from_proto(pb.Report.FromString(body), name.decode())
        except (DecodeError, ValueError, OverflowError):
            if condition is not None:
                condition.damage.append(f"{path.name} holds something that is no report: what follows it is left out")
            return
        yield report


def _record(report: Report) -> tuple[bytes, bytes]:
    """One that was read from the file, as it stands there."""
    return report.agent.encode(), report_to_proto(report).SerializeToString()
