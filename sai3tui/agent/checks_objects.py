"""Preflight: the objects that operations use and that no stage of the run makes before them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from functools import partial

from sai3tui.agent.finding import Checks, Told
from sai3tui.agent.setup import RunSetup
from sai3tui.config.coverage import finds_any
from sai3tui.config.model import StageType
from sai3tui.config.ops import Op
from sai3tui.config.patterns import compile_pattern, literal_prefix
from sai3tui.config.resolved import OpSource, ResolvedOp
from sai3tui.config.units import format_bytes
from sai3tui.errors import ErrorKind, StorageError
from sai3tui.events import Level
from sai3tui.storage.control import Control
from sai3tui.workload.objects import ObjectSet
from sai3tui.workload.partition import endpoint_of

SAMPLE = 8
"""So many objects of each set are asked for at an endpoint."""
SCANNED = 256
"""So many names are looked at to find one of them."""


async def check_objects(setup: RunSetup, number: int, control: Control, checks: Checks) -> None:
    """A finding for each operation and pattern that must find objects at endpoint `number`, all looked for at once."""
    needed = {("read" if op.op is Op.GET else op.op.word, op.pattern): op for op in relied_on(setup)}
    async with asyncio.TaskGroup() as group:
        for (name, pattern), op in needed.items():
            if op.source is OpSource.LISTED:
                look = partial(_first, op, control)
            else:
                look = partial(_sampled, op, list(_samples(setup, number, op)), control)
            # Not of the endpoint alone: what is found of the probe there is another finding.
            group.create_task(checks.run(name, f"{control.endpoint.uri}{pattern}", look))


def relied_on(setup: RunSetup) -> Iterator[ResolvedOp]:
    """Entries of the workload whose objects must be there before the run."""
    prepared = False
    for stage in setup.stages:
        if stage.type is StageType.PREPARE:
            prepared = True
        elif stage.type in (StageType.EXECUTE, StageType.HYBRID):
            for op in setup.resolved.ops_of(stage):
                if op.weight and _uses_objects(op) and not (prepared and _is_prepared(op, setup)):
                    yield op


def _uses_objects(op: ResolvedOp) -> bool:
    if op.source is OpSource.LISTED:
        return not op.fresh
    return op.source is OpSource.SETS and op.op is not Op.PUT


def _is_prepared(op: ResolvedOp, setup: RunSetup) -> bool:
    return op.source is OpSource.SETS or any(finds_any(op.pattern, each) for each in setup.resolved.sets)


async def _first(op: ResolvedOp, control: Control) -> Told:
    prefix = literal_prefix(op.pattern)
    async for key, size in control.list(prefix):
        return Told(f"there are objects below {prefix!r}", f"{key}, {format_bytes(size)}")
    raise StorageError(
        f"there is nothing below {prefix!r} for {op.op.word} to use",
        hint="add a prepare section, or correct the path",
        kind=ErrorKind.NOT_FOUND,
    )


async def _sampled(op: ResolvedOp, sample: list[tuple[ObjectSet, int]], control: Control) -> Told:
    if not sample:
        return Told(f"no object that {op.op.word} uses was looked for", "none was found to be kept here", Level.INFO)
    found = [(objects.size(index), await control.head(objects.key(index))) for objects, index in sample]
    there = [(planned, size) for planned, size in found if size is not None]
    evidence = f"{len(there)} of {len(sample)} that were looked for are there"
    if not there:
        raise StorageError(
            f"the objects of prepare that {op.op.word} uses are not there: none of {len(sample)} that were looked for",
            hint="run prepare first",
            kind=ErrorKind.NOT_FOUND,
        )
    if len(there) < len(sample):
        text = f"not all objects of prepare that {op.op.word} uses are there"
        return Told(text, evidence, Level.WARNING, "run prepare first: it makes those that are missing")
    if other := sum(planned != size for planned, size in there):
        text = f"objects that {op.op.word} uses are of other sizes than this configuration gives them"
        return Told(text, f"{other} of {len(sample)}", Level.WARNING, "run prepare with this configuration, or --fresh")
    return Told(f"the objects that {op.op.word} uses are there", evidence)


def _samples(setup: RunSetup, number: int, op: ResolvedOp) -> Iterator[tuple[ObjectSet, int]]:
    """Objects that the operation may use at endpoint `number`, spread over their sets."""
    regex = compile_pattern(op.pattern)
    endpoints = len(setup.endpoints)
    for set_id in op.set_ids:
        objects = setup.sets[set_id]
        taken = -1
        for begin in range(0, objects.count, max(1, math.ceil(objects.count / SAMPLE))):
            for index in range(max(begin, taken + 1), min(objects.count, begin + SCANNED)):
                at_home = setup.resolved.shared or endpoint_of(index, endpoints) == number
                if at_home and regex.fullmatch(objects.key(index)):
                    taken = index
                    yield objects, index
                    break
