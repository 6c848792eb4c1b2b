"""All clients against the null server, interleaved, each in a fresh process; and the whole agent beside yardsticks.

    python -m benchmarks.compare [--parts clients,limit,delay,agent,worker,tls] [--rounds 3] [--seconds 0.3]
                                 [--others PYTHON] [--json FILE] [--docs FILE]

`--others` is the interpreter of an environment that has the other clients. Prints tables, writes JSON and the tables
between the marks of the document. All parts take about ten minutes; with some of them only, the others' figures are
taken from the JSON file. The server has the first core, clients share the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.agent import measure as measure_agent
from benchmarks.budgets import UNMADE as UNMADE_ROW
from benchmarks.clients import CLIENTS, LIBRARIES
from benchmarks.nginx import available as nginx_available
from benchmarks.nginx import nginx
from benchmarks.null_s3 import CORES, null_s3
from benchmarks.payload import payload_us
from benchmarks.pool import cost_by_workers
from benchmarks.programs import PROGRAMS, build
from benchmarks.table import CELLS, CONNECTIONS, DELAY_CONNECTIONS, DELAY_S, KIB, Found, cell_name, markdown
from benchmarks.tls import measure as measure_tls

YARDSTICKS = ("wire", *PROGRAMS)
"""Measured beside the agent, in the same rounds."""
AGENT_SECONDS = 4
YARDSTICK_S = 0.5
UNMADE = ("put", 8 * KIB**2)
"""Measured with bodies that take no making as well: what making them costs beside sending cannot be had otherwise, as
they compete for caches."""
MEMORY_CONNECTIONS = 256
MEMORY_S = 12
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def one(client: str, python: str, op: str, size: int, connections: int, seconds: float, port: int) -> Found | str:
    """One measurement in a process of its own, or why there is none."""
    numbers = [str(number) for number in (size, connections, seconds, port)]
    ended = subprocess.run(
        [python, "-m", "benchmarks.clients", client, op, *numbers], capture_output=True, text=True, timeout=120
    )
    if ended.returncode != 0:
        return (ended.stderr.strip().splitlines() or ["no output"])[-1]
    found: Found = json.loads(ended.stdout)
    return found


class Comparison:
    """The parts; `found` collects what they bring. `say` tells how far it is."""

    def __init__(self, args: argparse.Namespace, found: Found, say: Callable[[str], None]) -> None:
        self._rounds: int = args.rounds
        self._seconds: float = args.seconds
        self._others: str = args.others
        self._found = found
        self._say = say
        self._missing: dict[str, str] = {name: why for name in PROGRAMS if (why := build(name))}
        found.setdefault("missing", {}).update(self._missing)

    def _one(self, client: str, *numbers: Any) -> Found | None:
        if client in self._missing:
            return None
        python = self._others if client in LIBRARIES else sys.executable
        found = one(client, python, *numbers)
        if isinstance(found, str):
            self._missing[client] = self._found["missing"][client] = found
            return None
        return found

    def clients(self) -> None:
        rounds: dict[tuple[str, str], list[Found]] = {}
        with null_s3() as port:
            for number in range(self._rounds):
                for op, size in CELLS:
                    for client in CLIENTS:
                        found = self._one(client, op, size, CONNECTIONS, self._seconds, port)
                        if found is not None:
                            rounds.setdefault((client, cell_name(op, size)), []).append(found)
                self._say(f"clients: round {number + 1} of {self._rounds}")
        self._found["clients"] = {
            client: {cell: _medians(found) for (name, cell), found in rounds.items() if name == client}
            for client in CLIENTS
        }

    def limit(self) -> None:
        """GETs of 1 KiB from the null server and from nginx, whichever is the limit."""
        if not nginx_available():
            self._found["missing"]["nginx"] = "nginx is not installed"
            return
        servers: dict[str, Callable[[], AbstractContextManager[int]]] = {"null": null_s3, "nginx": lambda: nginx(KIB)}
        rounds: dict[tuple[str, str], list[Found]] = {}
        for number in range(self._rounds):
            for server, start in servers.items():
                with start() as port:
                    for client in YARDSTICKS:
                        found = self._one(client, "get", KIB, CONNECTIONS, YARDSTICK_S, port)
                        if found is not None:
                            rounds.setdefault((client, server), []).append(found)
            self._say(f"nginx: round {number + 1} of {self._rounds}")
        self._found["limit"] = {
            client: {server: _medians(found) for (name, server), found in rounds.items() if name == client}
            for client in YARDSTICKS
        }

    def delay(self) -> None:
        rounds: dict[str, list[Found]] = {}
        for number in range(self._rounds):
            with null_s3(DELAY_S) as port:
                for client in CLIENTS:
                    found = self._one(client, "get", KIB, DELAY_CONNECTIONS, max(1.0, self._seconds), port)
                    if found is not None:
                        rounds.setdefault(client, []).append(found)
            agent = measure_agent("get", KIB, DELAY_CONNECTIONS, AGENT_SECONDS, delay_s=DELAY_S)
            rounds.setdefault("agent", []).append(asdict(agent))
            self._say(f"5 ms server: round {number + 1} of {self._rounds}")
        self._found["delayed"] = {client: _medians(found) for client, found in rounds.items()}

    def agent(self, cells: Sequence[tuple[str, int]] = CELLS) -> None:
        """The whole agent, and right after it, cell by cell, what it is compared with."""
        into: dict[str, dict[str, Found]] = self._found.setdefault("agent", {})
        for op, size in cells:
            rounds: dict[str, list[Found]] = {}
            for _ in range(self._rounds):
                rounds.setdefault("agent", []).append(asdict(measure_agent(op, size, CONNECTIONS, AGENT_SECONDS)))
                if (op, size) == UNMADE:
                    cost = measure_agent(op, size, CONNECTIONS, AGENT_SECONDS, fill="zero")
                    rounds.setdefault(UNMADE_ROW, []).append(asdict(cost))
                with null_s3() as port:
                    for client in YARDSTICKS:
                        found = self._one(client, op, size, CONNECTIONS, YARDSTICK_S, port)
                        if found is not None:
                            rounds.setdefault(client, []).append(found)
                if op == "put":
                    rounds.setdefault("payload", []).append({"cpu_us": payload_us(size, YARDSTICK_S / 2)})
            into[cell_name(op, size)] = {client: _medians(found) for client, found in rounds.items()}
            self._say(f"agent: {cell_name(op, size)}")

    def worker(self) -> None:
        self._say("one worker and two")
        self._found["workers"] = cost_by_workers(self._rounds, max(1.0, self._seconds))
        memory = {}
        for op in ("get", "put"):
            self._say(f"memory: {op}, {MEMORY_CONNECTIONS} connections of 8 MiB")
            memory[op] = asdict(measure_agent(op, 8 * KIB**2, MEMORY_CONNECTIONS, MEMORY_S))
        self._found["memory"] = memory

    def tls(self) -> None:
        self._say("TLS")
        self._found["tls"] = measure_tls(self._rounds, self._seconds)


PARTS: dict[str, Callable[[Comparison], None]] = {
    "clients": Comparison.clients,
    "limit": Comparison.limit,
    "delay": Comparison.delay,
    **{
        f"agent-{op}-{size // KIB}": lambda each, cell=(op, size): each.agent([cell])  # type: ignore[misc]
        for op, size in CELLS
    },
    "worker": Comparison.worker,
    "tls": Comparison.tls,
}


def _medians(found: Sequence[Found]) -> Found:
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    return medians | {"best_cpu_us": min(each["cpu_us"] for each in found)}


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def write_docs(path: Path, table: str) -> None:
    """Put the table between the marks of the document."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} ... {END}")
    path.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}, or their beginnings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--others", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--docs", type=Path, metavar="FILE")
    args = parser.parse_args()
    asked = args.parts.split(",")
    parts = [name for name in PARTS if any(name.startswith(each) for each in asked)]
    found: Found = {}
    if args.json is not None and args.json.exists() and len(parts) < len(PARTS):
        found = json.loads(args.json.read_text())
    comparison = Comparison(args, found, lambda text: print(text, file=sys.stderr, flush=True))
    if len(CORES) > 1:
        os.sched_setaffinity(0, CORES[1:])
    for name in parts:
        PARTS[name](comparison)
        found |= {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{len(CORES)} cores, {_cpu_model()}, Linux {platform.release()}, "
            f"Python {platform.python_version()}",
            "load": os.getloadavg()[0],
            "rounds": args.rounds,
            "seconds": args.seconds,
        }
        if args.json is not None:
            args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table = markdown(found)
    print(table)
    if args.docs is not None:
        write_docs(args.docs, table)


if __name__ == "__main__":
    main()
