"""How long it takes to validate, plan and list, and what memory that needs: `python -m benchmarks.plan`.

A file of 500 lines as a whole process, beside a Python that only parses it (PyYAML), which is the yardstick; plans of
10^6 to 10^12 objects; listings of a million keys and of four, which need the same memory; and draws of the execute
stage, with sizes that are alike, uniform and lognormal.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from sai3tui.agent.lease import SetSpec
from sai3tui.agent.stages.in_order import InOrder
from sai3tui.agent.worker.lane import SetRuntime
from sai3tui.config.model import ArrivalKind, PathSelection, Popularity
from sai3tui.config.resolve import load_resolved
from sai3tui.workload.choice import OpMix
from sai3tui.workload.drawing import Draw, Drawer
from sai3tui.workload.manifest import Sample
from sai3tui.workload.objects import object_sets
from sai3tui.workload.pacing import FleetSchedule
from sai3tui.workload.plan import look_up, make_plan
from sai3tui.workload.share import Paths

ROUNDS = 7
LISTED = (1_000_000, 4_000_000)
LISTED_MOST = 100_000
"""A tenth of what an agent keeps, so that one does not have to wait for a listing ten times as long."""
SIZES = {
    "fixed": "1MiB",
    "uniform": "{type: uniform, min: 1KiB, max: 1MiB}",
    "lognormal": "{type: lognormal, mean: 1MiB, std_dev: 1MiB}",
}
DRAWS = 30_000

TREE = """\
target: s3://bucket/
workload: [{{op: get, path: "data/**", weight: 1}}]
prepare:
  directory_structure: {{width: {width}, depth: {depth}, files_per_dir: {files}}}
  ensure_objects: [{{base_uri: data/, count: 0, size_spec: {{type: lognormal, mean: 1MiB, std_dev: 1MiB}}}}]
distributed:
  agents: ["node{{1...200}}"]
"""


def long_file() -> str:
    """500 lines as people write them."""
    lines = ["target: s3://bucket/", "prepare:", "  ensure_objects:"]
    while len(lines) < 300:
        lines += [f"    - base_uri: set{len(lines)}/", "      count: 1,000,000", "      size_spec: 1MiB"]
    lines.append("workload:")
    while len(lines) < 500:
        lines += ["  - op: get", "    path: 'set3/*'", "    weight: 1"]
    return "\n".join(lines[:499]) + "\n"


def median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def draw_us(draw: Callable[[], object]) -> float:
    """CPU time of one draw: the least of several rounds, because others may use the host meanwhile."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(DRAWS):
            draw()
        rounds.append((time.process_time() - begin) / DRAWS * 1e6)
    return min(rounds)


def process_ms(command: list[str]) -> tuple[float, float]:
    """The median of a process's time, and the least of its CPU time."""
    times, cpu = [], []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        times.append(time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times) * 1e3, min(cpu) * 1e3


def listed_mib(keys: int) -> tuple[float, float]:
    """Microseconds for each key of a listing, and what it has at most in memory."""
    tracemalloc.start()
    sample = Sample(LISTED_MOST)
    begin = time.process_time()
    for number in range(keys):
        sample.add(0, f"data/prepared-{number:012d}.dat", 1024)
    sample.manifest()
    took = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return took / keys * 1e6, peak / 2**20


class Taken:
    """What a lease source grants, one by one."""

    def __init__(self, source: InOrder) -> None:
        self._source = source
        self._indices: Iterator[int] = iter(())

    def next(self) -> int:
        for index in self._indices:
            return index
        granting = self._source.grant(0, 64)
        try:
            granting.send(None)
        except StopIteration as answer:
            self._indices = iter(answer.value.indices())
        return next(self._indices)


def _objects(*, tree: bool, size: str = "1MiB") -> str:
    shape = "directory_structure: {width: 100, depth: 3, files_per_dir: 1000}" if tree else "key_prefix_shards: 16"
    count = 0 if tree else 10**9
    return f"""\
target: s3://bucket/
workload: [{{op: get, path: "data/**", weight: 1}}]
prepare:
  {shape}
  ensure_objects: [{{base_uri: data/, count: {count}, size_spec: {size}}}]
"""


def plan_of(text: str) -> None:
    found = load_resolved(text, "bench")
    resolved = found.require()
    json.dumps(make_plan(resolved.config, resolved, found.problems).to_json())
    look_up(resolved, [0, 12_345, 999_999])


def main() -> None:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "long.yaml"
        path.write_text(long_file())
        command = [sys.executable, "-m", "sai3tui", "validate", str(path)]
        parse = [sys.executable, "-c", f"import yaml; list(yaml.parse(open({str(path)!r})))"]
        for what, words in (("validate", command), ("only parse", parse)):
            figures[f"{what} 500 lines, whole process, ms"], figures[f"{what} 500 lines, CPU, ms"] = process_ms(words)
    for name, width, depth, files in (("10^6", 10, 3, 1000), ("10^9", 10, 6, 1000), ("10^12", 100, 5, 100)):
        text = TREE.format(width=width, depth=depth, files=files)
        figures[f"plan {name} objects on 200 agents, ms"] = median_ms(lambda text=text: plan_of(text))  # type: ignore[misc]
        tracemalloc.start()
        plan_of(text)
        figures[f"plan {name} objects on 200 agents, peak MiB"] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    mix = OpMix([70, 20, 5, 5], 1)
    schedule = FleetSchedule(1e5, ArrivalKind.UNIFORM, 1, 0, 0, 16, 256)
    figures["draw an operation, us"] = draw_us(mix.next)
    figures["draw a due time, fleet of 256 connections, us"] = draw_us(schedule.next)
    for popularity in (Popularity.UNIFORM, Popularity.ZIPF):
        for selection in PathSelection:
            drawer = Drawer(Draw(count=10**9, popularity=popularity, paths=Paths(selection, 1, 4, 100, 0.3)), 1)
            figures[f"draw one of 10^9 objects, {popularity.value}, {selection.value}, us"] = draw_us(drawer.next)
    for (layout, tree), (spread, size) in product((("flat", False), ("tree", True)), SIZES.items()):
        objects = object_sets(load_resolved(_objects(tree=tree, size=size), "bench").require())[0]
        runtime = SetRuntime(SetSpec(0, objects), {})
        drawer = Drawer(Draw(count=objects.count), 1, runtime.expect)

        def whole(runtime: SetRuntime = runtime, drawer: Drawer = drawer) -> None:
            """What a worker does before it issues an operation at a rate."""
            mix.next()
            schedule.next()
            index = drawer.next()
            assert index is not None
            runtime.key(index)
            runtime.size(index)

        figures[f"draw an operation whole (entry, due time, object, key, {spread} size), {layout}, us"] = draw_us(whole)
    ordered = Taken(InOrder(0, [Draw(count=10**9)], once=False))
    figures["draw one of 10^9 objects, sequential, us"] = draw_us(ordered.next)
    for keys in LISTED:
        per_key, mib = listed_mib(keys)
        figures[f"list {keys:,} keys, of which {LISTED_MOST:,} are kept at most: each key (traced), us"] = per_key
        figures[f"list {keys:,} keys, of which {LISTED_MOST:,} are kept at most: peak MiB"] = mib
    for name, value in figures.items():
        print(f"{value:10.3f}  {name}")


if __name__ == "__main__":
    main()
