"""The plan in a pane: what will run, on which agents, against which endpoints, how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from sai3tui.config.units import format_bytes
from sai3tui.theme import Palette
from sai3tui.widgets.endpoint_table import short_uri
from sai3tui.widgets.text import clean, fit, fit_path, plural
from sai3tui.widgets.wrapping import LABEL, labelled, wrapped

ENDINGS = {"validation_passed": "checks passed", "tasks_done": "all done"}
"""What ends a stage, in few words."""
Document = Mapping[str, Any]
"""A plan as `sai3tui plan --json` prints it."""


def plan_lines(document: Document | None, stale: str, width: int, palette: Palette) -> list[Text]:
    """The plan as lines. `stale` says why this is not the plan of what stands in the editor."""
    lines: list[Text] = []
    if stale:
        lines += wrapped(stale, width, palette.warn)
        lines.append(Text())
    if document is None:
        return [*lines, *wrapped("The plan appears here once the configuration is valid.", width, palette.muted)]
    lines += _stages(document.get("stages", ()), width, palette)
    lines += _barriers(document, width, palette)
    lines.append(Text())
    lines += _amounts(document, width, palette)
    lines.append(Text())
    lines += _agents(document.get("agents", ()), width, palette)
    notices: Sequence[str] = document.get("notices", ())
    if notices:
        lines.append(Text())
        for notice in notices:
            lines += _bullet(str(notice), width, palette)
    return lines


def _bullet(text: str, width: int, palette: Palette) -> list[Text]:
    lines = wrapped(text, width, palette.muted, 2)
    return [Text("· ", style=palette.muted).append_text(lines[0][2:]), *lines[1:]]


def _stages(stages: Sequence[Document], width: int, palette: Palette) -> list[Text]:
    name_width = max(10, min(18, width - 30))
    lines = [Text(f"#  {'stage':<{name_width}} {'type':<11} ends", style=palette.muted)]
    for stage in stages:
        line = Text(f"{stage.get('index', '')!s:<3}", style=palette.muted)
        line.append(fit(clean(str(stage.get("name", ""))), name_width) + " ", style=f"bold {palette.text}")
        line.append(fit(clean(str(stage.get("type", ""))), 12), style=palette.text)
        line.append(_ending(stage), style=palette.muted)
        lines.append(line)
    return lines


def _ending(stage: Document) -> str:
    duration = stage.get("duration")
    if isinstance(duration, int | float) and duration:
        return f"after {duration:g} s"
    completion = str(stage.get("completion", ""))
    return ENDINGS.get(completion, clean(completion.replace("_", " ")))


def _barriers(document: Document, width: int, palette: Palette) -> list[Text]:
    """Each kind of barrier once, with who must come in numbers, and after which stages it stands."""
    agents = len(document.get("agents", ()))
    stages: Sequence[Document] = document.get("stages", ())
    after: dict[str, list[str]] = {}
    for stage in stages:
        kind = str(stage.get("barrier", {}).get("type", ""))
        if kind:
            after.setdefault(kind, []).append(str(stage.get("name", "")))
    lines: list[Text] = []
    for kind, names in after.items():
        text = f"{clean(kind)}: {quorum(kind, agents)}"
        if len(after) > 1:
            text += f" (after {clean(', '.join(names))})"
        lines += labelled("barrier" if len(after) > 1 else "barriers", text, width, palette)
    return lines


def quorum(kind: str, agents: int) -> str:
    """Who must arrive at a barrier of this kind, in numbers."""
    match kind:
        case "all_or_nothing":
            return f"all {agents}" if agents > 1 else "the one agent"
        case "majority":
            return f"{agents // 2 + 1} of {agents} at its timeout"
        case _:
            return f"whoever of {agents} is there at its timeout"


def _amounts(document: Document, width: int, palette: Palette) -> list[Text]:
    objects = int(document.get("objects", 0))
    directories = int(document.get("directories", 0))
    counted = f"{objects:,}"
    if directories:
        counted += f" in {plural(directories, 'directory', 'directories')}"
    lines = labelled("objects", counted, width, palette)
    lines += labelled("bytes", format_bytes(float(document.get("bytes_expected", 0))), width, palette)
    deleted = document.get("deleted")
    if deleted:
        lines += labelled("cleanup", f"deletes {int(deleted):,} objects", width, palette, "warn")
    samples: Sequence[Document] = document.get("samples", ())
    for label, sample in zip(("first", "last"), (samples[0], samples[-1]) if samples else (), strict=False):
        lines += labelled(label, fit_path(clean(str(sample.get("uri", ""))), max(20, width - LABEL)), width, palette)
    lines += labelled("layout", str(document.get("layout_hash", "")), width, palette, "muted")
    return lines


def _agents(agents: Sequence[Document], width: int, palette: Palette) -> list[Text]:
    lines = [Text(plural(len(agents), "agent"), style=palette.muted)]
    for agent in agents:
        address = clean(str(agent.get("address", ""))) or "started on this host"
        line = Text.assemble((clean(str(agent.get("id", ""))), f"bold {palette.text}"))
        line.append(f"  {address}", style=palette.muted)
        line.append(f"  {plural(int(agent.get('concurrency', 0)), 'connection')}", style=palette.text)
        lines.append(line)
        for endpoint in agent.get("endpoints", ()):
            count = f" {int(endpoint.get('connections', 0))} × "
            uri = fit_path(short_uri(str(endpoint.get("uri", ""))), max(10, width - len(count) - 3))
            lines.append(Text("  " + count, style=palette.muted).append(uri, style=palette.text))
    return lines
