"""The rows of an op-log as text: 13 columns, TSV, those that warp and sai3-bench write and read."""

from __future__ import annotations

from datetime import UTC, datetime

COLUMNS = (
    "idx",
    "thread",
    "op",
    "client_id",
    "n_objects",
    "bytes",
    "endpoint",
    "file",
    "error",
    "start",
    "first_byte",
    "end",
    "duration_ns",
)
HEADER = "\t".join(COLUMNS) + "\n"
FRAME_BYTES = 4 << 20
"""Of rows in one compressed frame with a checksum: a reader can hold them until they are known to be right."""
_BREAKS = {code: " " for code in (9, 10, 13)}


class OplogLines:
    """Makes rows. The text of a second is made once: neighbouring rows are mostly of the same one."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def time(self, time_ns: int) -> str:
        """RFC 3339, UTC, nanoseconds; `time_ns` counts from the Unix epoch."""
        second, nanoseconds = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}."
        return f"{self._text}{nanoseconds:09d}Z"

    def row(
        self,
        idx: int,
        thread: str,
        op: str,
        client_id: str,
        n_objects: int,
        size: int,
        endpoint: str,
        file: str,
        error: str,
        start_ns: int,
        first_byte_ns: int,
        end_ns: int,
    ) -> str:
        """One line. `first_byte_ns` 0: there was none; `error` empty: it succeeded."""
        first = self.time(first_byte_ns) if first_byte_ns else ""
        return (
            f"{idx}\t{thread}\t{op}\t{client_id}\t{n_objects}\t{size}\t{endpoint}\t{without_breaks(file)}\t"
            f"{without_breaks(error) if error else ''}\t{self.time(start_ns)}\t{first}\t{self.time(end_ns)}\t"
            f"{max(0, end_ns - start_ns)}\n"
        )


def without_breaks(text: str) -> str:
    """Without what would break a row."""
    return text if text.isprintable() else text.translate(_BREAKS)
