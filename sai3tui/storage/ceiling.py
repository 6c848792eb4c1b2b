"""What this host's generator can do at most, as `sai3tui bench-engine` measured it: kept, read, and asked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import platformdirs

from sai3tui.config.ops import Op
from sai3tui.config.resolved import ResolvedOp
from sai3tui.errors import ResourceError
from sai3tui.workload.objects import ObjectSet

FILE_NAME = "bench-engine.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One operation and size (bytes): CPU of the client in µs per operation, and what one connection set reached."""

    op: str
    size: int
    cpu_us: float
    ops_per_s: float

    @property
    def ops_per_core(self) -> float:
        """Operations a second of a core that does nothing else."""
        return 1e6 / self.cpu_us if self.cpu_us > 0 else 0.0

    @property
    def bytes_per_core(self) -> float:
        return self.ops_per_core * self.size


@dataclass(frozen=True, slots=True)
class Ceiling:
    """All cells, and what they were measured with. `time` is UTC, in ISO 8601."""

    time: str
    host: str
    python: str
    package: str
    cells: tuple[Cell, ...] = field(default_factory=tuple)

    def ops_per_core(self, op: Op, size: int) -> float | None:
        """The estimate for any size, between and beyond the measured ones: a cost per operation and one per byte.

        None for operations that were not measured.
        """
        cells = sorted((cell for cell in self.cells if cell.op == op.word), key=lambda cell: cell.size)
        if not cells:
            return None
        below = [cell for cell in cells if cell.size <= size]
        above = [cell for cell in cells if cell.size > size]
        if not below:
            cost = cells[0].cpu_us
        elif not above:
            cost = below[-1].cpu_us * size / max(1, below[-1].size)
        else:
            low, high = below[-1], above[0]
            share = (size - low.size) / (high.size - low.size)
            cost = low.cpu_us + share * (high.cpu_us - low.cpu_us)
        return 1e6 / cost if cost > 0 else None


def ceiling_path() -> Path:
    return platformdirs.user_data_path("sai3tui") / FILE_NAME


def save_ceiling(ceiling: Ceiling, path: Path | None = None) -> Path:
    """Raises ResourceError if it cannot be written."""
    path = path or ceiling_path()
    document = {"version": VERSION, **asdict(ceiling)}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(f"cannot write {path}", hint="make room there, or set XDG_DATA_HOME") from error
    return path


def load_ceiling(path: Path | None = None) -> Ceiling | None:
    """None if nothing was measured yet, or not by a version that we understand."""
    try:
        document = json.loads((path or ceiling_path()).read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            return None
        return Ceiling(
            str(document["time"]),
            str(document["host"]),
            str(document["python"]),
            str(document["package"]),
            tuple(
                Cell(str(cell["op"]), int(cell["size"]), float(cell["cpu_us"]), float(cell["ops_per_s"]))
                for cell in document["cells"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mix_ops_per_s(ceiling: Ceiling, ops: Sequence[tuple[Op, int, float]], workers: int) -> float | None:
    """Operations a second that `workers` workers can do of a mix of (operation, mean size, weight), None if the
    ceiling knows none of them. Costs add up, so the mean is harmonic."""
    known = [(ceiling.ops_per_core(op, size), weight) for op, size, weight in ops if weight > 0]
    costs = [(weight / rate, weight) for rate, weight in known if rate]
    total = sum(weight for _, weight in costs)
    return workers * total / sum(cost for cost, _ in costs) if costs else None


def workload_mix(ops: Sequence[ResolvedOp], sets: Sequence[ObjectSet]) -> list[tuple[Op, int, float]]:
    """The GET and PUT of a workload as (operation, mean size in bytes, weight); other operations are about as cheap as
    the smallest of these."""
    sizes = {each.set_id: each.bytes_expected // max(1, each.count) for each in sets}
    mix: list[tuple[Op, int, float]] = []
    for op in ops:
        if op.op in (Op.GET, Op.PUT):
            known = [sizes[set_id] for set_id in op.set_ids if set_id in sizes]
            if known:
                mean = sum(known) // len(known)
            else:
                mean = (op.size.mean or (op.size.minimum + op.size.maximum) // 2) if op.size is not None else 0
            mix.append((op.op, mean, float(op.weight)))
    return mix
