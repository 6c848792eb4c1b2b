"""`sai3tui validate` and `sai3tui plan`: what can be said of a configuration without running it."""

from __future__ import annotations

import json as json_format
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sai3tui.config.model import NOWHERE, Stage, StageType
from sai3tui.config.problems import ProblemList
from sai3tui.config.resolve import Resolution, load_resolved, strictly
from sai3tui.config.resolved import NamespaceFrom, Resolved
from sai3tui.config.stage_choice import StageChoice
from sai3tui.config.units import format_bytes_both, format_count, format_duration
from sai3tui.config.yaml12 import MAX_BYTES
from sai3tui.errors import ConfigError

if TYPE_CHECKING:
    from sai3tui.workload.plan import Plan, PlannedObject

EXIT_OK = 0
EXIT_INVALID = 2
MAX_ENDPOINTS_SHOWN = 8


def read_resolved(path: str, *, agents_override: Sequence[str] = (), only: StageChoice = StageChoice.ALL) -> Resolution:
    """Read, load and resolve the file at `path`; what keeps it from being read is a problem too."""
    try:
        with Path(path).open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        problems = ProblemList(path)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.error(NOWHERE, "unreadable", f"cannot read the file: {reason}", "check its name and permissions")
        return Resolution(None, problems.sorted(), read=False)
    return load_resolved(source, path, agents_override=agents_override, only=only)


def validate_files(
    paths: Sequence[str], json: bool, out: TextIO, *, strict: bool = False, agents_override: Sequence[str] = ()
) -> int:
    """Check every file and write all problems to `out`. 0 if none has an error, or with `strict` a warning, else 2."""
    resolutions = [(path, read_resolved(path, agents_override=agents_override)) for path in paths]
    if strict:
        resolutions = [(path, strictly(found)) for path, found in resolutions]
    if json:
        files = [
            {"path": path, "ok": found.ok, "problems": [problem.to_json() for problem in found.problems]}
            for path, found in resolutions
        ]
        _write_json({"files": files}, out)
    else:
        for path, found in resolutions:
            for problem in found.problems:
                out.write(f"{problem}\n")
            if found.ok:
                out.write(f"{path}: ok\n")
    return EXIT_OK if all(found.ok for _, found in resolutions) else EXIT_INVALID


def plan_file(
    path: str,
    json: bool,
    objects: Sequence[int],
    out: TextIO,
    *,
    agents_override: Sequence[str] = (),
    only: StageChoice = StageChoice.ALL,
) -> int:
    """Write the plan of a file to `out`. 0, or 2 if the file has errors or an object of `objects` does not exist."""
    # Arrays take longer to import than a file to validate.
    from sai3tui.workload.plan import look_up, make_plan

    found = read_resolved(path, agents_override=agents_override, only=only)
    if found.resolved is None:
        sys.stderr.writelines(f"{problem}\n" for problem in found.problems)
        return EXIT_INVALID
    plan = make_plan(found.resolved.config, found.resolved, found.problems)
    looked_up: list[PlannedObject] | None = None
    if objects:
        try:
            looked_up = look_up(found.resolved, objects)
        except ConfigError as error:
            sys.stderr.write(f"{path}: {error.message} ({error.hint})\n")
            return EXIT_INVALID
    if json:
        _write_json(plan.to_json(looked_up), out)
        return EXIT_OK
    out.write("\n".join(plan_lines(plan)) + "\n")
    out.writelines(f"{line}\n" for line in _generator_lines(found.resolved))
    for each in looked_up or ():
        size = format_bytes_both(each.size)
        out.write(f"object {each.index}: {each.uri}  {size}, made by {each.agent} at {each.endpoint}\n")
    return EXIT_OK


def _generator_lines(resolved: Resolved) -> list[str]:
    """What one worker of this host could create of the workload, if `bench-engine` has measured it."""
    from sai3tui.storage.ceiling import load_ceiling, mix_ops_per_s, workload_mix
    from sai3tui.workload.objects import object_sets

    ceiling = load_ceiling()
    if ceiling is None or resolved.scheme != "s3":
        return []
    rate = mix_ops_per_s(ceiling, workload_mix(resolved.ops, object_sets(resolved)), 1)
    if rate is None:
        return []
    asked = resolved.config.io_rate.iops if resolved.config.io_rate else 0
    share = f", io_rate asks each agent for {asked:,.0f}" if asked else ""
    return [
        "",
        f"generator    one worker of this host: at most about {rate:,.0f} GET and PUT a second{share} "
        f"(bench-engine, {ceiling.time})",
    ]


def namespace_words(plan: Plan) -> str:
    words = "one namespace" if plan.shared else "a namespace for every agent"
    return f"{words}, until preflight has looked" if plan.namespace_from is NamespaceFrom.ASSUMED else words


def _deleted(plan: Plan) -> str:
    if not any(stage.type is StageType.CLEANUP for stage in plan.stages):
        return "nothing"
    return f"{format_count(plan.deleted)} objects of this layout and those of its PUTs, as on record; no others"


def plan_lines(plan: Plan) -> list[str]:
    """The plan for people, one line each."""
    lines = [
        f"layout       {plan.layout_hash}, {namespace_words(plan)}",
        f"directories  {format_count(plan.directories)}",
        f"objects      {format_count(plan.objects)}",
        f"bytes        {format_bytes_both(plan.bytes_expected)} expected",
        f"deleted      {_deleted(plan)}",
        "",
    ]
    rows = [("agent", "address", "connections", "objects", "endpoint")]
    for agent in plan.agents:
        rows.append(
            (agent.id, agent.address or "started here", str(agent.concurrency), format_count(agent.objects), "")
        )
        rows += [
            ("", "", str(endpoint.connections), format_count(endpoint.objects), endpoint.uri)
            for endpoint in agent.endpoints
        ]
    lines += _table(rows, right=(2, 3))
    stages = [("stage", "name", "type", "ends by", "barrier")]
    for index, stage in enumerate(plan.stages, 1):
        stages.append((str(index), stage.name, stage.type.value, _end_of(stage), stage.barrier.type.value))
    lines += ["", *_table(stages, right=(0,))]
    lines += _first_and_last(plan)
    if plan.samples:
        samples = [("set", "index", "size", "object")]
        samples += [
            (str(sample.set_id), format_count(sample.index), format_bytes_both(sample.size), sample.uri)
            for sample in plan.samples
        ]
        lines += ["", *_table(samples, right=(0, 1))]
    lines += ["", *(f"notice: {notice}" for notice in plan.notices)] if plan.notices else []
    return lines


def _end_of(stage: Stage) -> str:
    """What ends a stage, and what it has of its own."""
    ends = stage.completion.value
    if stage.duration is not None:
        ends += f" {format_duration(stage.duration)}"
    if stage.until is not None and stage.until.operations is not None:
        ends += f", {format_count(stage.until.operations)} operations"
    if stage.until is not None and stage.until.bytes is not None:
        ends += f", {format_bytes_both(stage.until.bytes)}"
    if stage.concurrency is not None:
        ends += f"; {format_count(stage.concurrency)} connections"
    if stage.workload is not None:
        ends += "; a workload of its own"
    if stage.command:
        ends += f"; runs {shlex.join((stage.command, *stage.args))}"
    return ends


def _first_and_last(plan: Plan) -> list[str]:
    """The first and the last object of each endpoint, as far as a screen holds them; --json has all."""
    ends = [(agent, each) for agent in plan.agents for each in agent.endpoints if each.first is not None]
    rows = [("agent", "index", "first and last object of each endpoint")]
    rows += [
        (agent.id, format_count(found.index), found.uri)
        for agent, endpoint in ends[:MAX_ENDPOINTS_SHOWN]
        for found in (endpoint.first, endpoint.last)
        if found is not None
    ]
    if not ends:
        return []
    more = len(ends) - MAX_ENDPOINTS_SHOWN
    return ["", *_table(rows, right=(1,)), *([f"and those of {more} more endpoints: see --json"] if more > 0 else [])]


def _table(rows: Sequence[tuple[str, ...]], right: Sequence[int]) -> list[str]:
    """Rows as aligned lines, columns two blanks apart; those numbered in `right` are set to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _write_json(document: object, out: TextIO) -> None:
    json_format.dump(document, out, indent=2)
    out.write("\n")
