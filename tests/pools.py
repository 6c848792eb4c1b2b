"""Worker pools without storage for tests."""

from __future__ import annotations

from collections.abc import Sequence

from sai3tui.agent.lease import LeasedJob, SetSpec, lease_size
from sai3tui.agent.stages.names import new_names
from sai3tui.agent.worker.messages import WorkerSetup
from sai3tui.config.model import fixed_size
from sai3tui.config.ops import Op
from sai3tui.events import OpStats
from sai3tui.state.names import NamePool
from sai3tui.storage.engine import Endpoint

OBJECTS = new_names(NamePool("data/", 1, 1, 0), fixed_size(1024))
SETS = (SetSpec(0, OBJECTS),)
NOWHERE = (Endpoint("s3://a/b/", "s3"), Endpoint("s3://c/b/", "s3"))


def null_setup(connections: tuple[int, int] = (4, 4), delay: float = 0.0) -> WorkerSetup:
    """Connections of the null engine to two endpoints; each operation takes `delay` seconds."""
    return WorkerSetup(NOWHERE, connections, engine="null", null_delay=delay)


def put_job(count: int, connections: int = 8, **changes: object) -> LeasedJob:
    """PUT `count` objects of `SETS`."""
    return LeasedJob(Op.PUT, SETS, lease_size(count, connections), **changes)  # type: ignore[arg-type]


def total(stats: Sequence[OpStats], op: Op) -> int:
    """Operations of a kind that succeeded."""
    return sum(each.ops for each in stats if each.op is op)
