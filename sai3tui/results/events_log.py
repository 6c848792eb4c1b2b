"""`events.jsonl`: everything that happened, one JSON object a line, readable by people, programs and ourselves.

The last field of a line, `crc32`, is the CRC-32 of what stands before it: a line that was changed is no event any more.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
import zlib
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from sai3tui import events
from sai3tui.config.ops import Op
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.events import Event, event_json
from sai3tui.results.files import OutputFile, cut_half_line, utc_text

_CRC = b', "crc32": "'


class EventsFile(OutputFile):
    """Grows by a line for each event. One that exists is gone on with by `resume`, once it is locked."""

    lines = 0
    """How many it has, once it is flushed."""

    def resume(self) -> None:
        """Half a line at its end goes. Raises OSError."""
        self.lines = cut_half_line(self.path)

    def add(self, event: Event) -> None:
        self.write(event_line(event))
        self.lines += 1


def event_line(event: Event) -> bytes:
    document = {"time": utc_text(event.time_ns), **event_json(event)}
    body = json.dumps(document, ensure_ascii=False).encode()[:-1]
    return b'%b%b%08x"}\n' % (body, _CRC, zlib.crc32(body))


def read_events(path: Path) -> Iterator[Event]:
    """Events in the order written. Lines that are no event (a cut-off last one, one of a later version) are skipped.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        for line in file:
            event = parse_event(line)
            if event is not None:
                yield event


def parse_event(line: bytes) -> Event | None:
    """None for what is no event that this version knows, or not as it was written."""
    body, found, crc = line.rpartition(_CRC)
    if not found or crc.rstrip(b"\n") != b'%08x"}' % zlib.crc32(body):
        return None
    try:
        document = json.loads(line)
        kind = document.get("type", "")
        cls = getattr(events, kind, None) if isinstance(kind, str) else None
        if not (isinstance(cls, type) and issubclass(cls, Event)):
            return None
        made = _value(cls, document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return made if isinstance(made, Event) else None


def _value(annotation: Any, value: Any) -> Any:
    """`value` as JSON has it, as the type `annotation` says."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _value(next(a for a in typing.get_args(annotation) if a is not type(None)), value)
    if origin is tuple:
        inner = typing.get_args(annotation)[0]
        # Histograms are not kept here, so statistics are not either: metrics.zst has them.
        if inner in (events.OpStats, events.EndpointStats):
            return ()
        return tuple(_value(inner, item) for item in value)
    if isinstance(annotation, type) and issubclass(annotation, IntEnum):
        return annotation[str(value).upper()]
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        known = _fields(annotation)
        return annotation(**{name: _value(known[name], item) for name, item in value.items() if name in known})
    if annotation in (int, str, float, bool):
        if annotation is float and isinstance(value, int):
            return float(value)
        if type(value) is not annotation:
            raise TypeError(f"{value!r} where {annotation.__name__} is meant")
    return value


@functools.cache
def _fields(cls: type) -> Mapping[str, Any]:
    """The fields of a dataclass and their types: to find them out takes longer than to read the line."""
    hints = typing.get_type_hints(cls, _NAMES)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


_NAMES = {**vars(events), "Failure": Failure, "ErrorContext": ErrorContext, "ErrorKind": ErrorKind, "Op": Op}
