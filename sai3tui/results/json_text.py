"""JSON for a terminal as well as for a program."""

from __future__ import annotations

import json
import re

_ODD = re.compile("[^ -~\n]")


def json_text(document: object, indent: int | None = None) -> str:
    """The document with names as they are written; but characters that do something to a terminal are escaped."""
    return _ODD.sub(_escaped, json.dumps(document, indent=indent, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]
