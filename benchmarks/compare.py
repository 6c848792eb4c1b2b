"""All clients against the null server, interleaved, each in a fresh process; and the whole agent.

    python -m benchmarks.compare [--rounds 3] [--seconds 0.3] [--others PYTHON] [--json FILE] [--docs FILE]

`--others` is the interpreter of an environment that has the other clients. Prints a table, writes JSON and the
table between the marks of the document. About three minutes. The server has the first core, clients share the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.agent import measure as measure_agent
from benchmarks.clients import CLIENTS, ENGINES
from benchmarks.null_s3 import CORES, null_s3
from benchmarks.tls import measure as measure_tls

KIB = 1024
CELLS = (("get", KIB), ("put", KIB), ("get", 64 * KIB), ("put", 64 * KIB), ("get", 8 * KIB**2), ("put", 8 * KIB**2))
AGENT_CELLS = (("get", KIB), ("put", KIB), ("get", 8 * KIB**2), ("put", 8 * KIB**2))
CONNECTIONS = 16
DELAY_S = 0.005
DELAY_CONNECTIONS = 64
AGENT_SECONDS = 5
AGENT = "agent"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

Found = dict[str, Any]


def cell_name(op: str, size: int) -> str:
    shown = f"{size // KIB} KiB" if size < KIB**2 else f"{size // KIB**2} MiB"
    return f"{op.upper()} {shown}"


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


def compare(args: argparse.Namespace, say: Callable[[str], None]) -> Found:
    missing: dict[str, str] = {}
    rounds: dict[tuple[str, str], list[Found]] = {}
    delayed: dict[str, list[Found]] = {}
    pythons = {name: sys.executable if name in (*ENGINES, "wrk") else args.others for name in CLIENTS}
    if shutil.which("wrk") is None:
        missing["wrk"] = "not installed"

    def run(into: dict[Any, list[Found]], key: object, client: str, *numbers: Any) -> None:
        if client in missing or (client == "wrk" and numbers[0] == "put"):
            return
        found = one(client, pythons[client], *numbers)
        if isinstance(found, str):
            missing[client] = found
        else:
            into.setdefault(key, []).append(found)

    with null_s3() as port, null_s3(DELAY_S) as slow:
        if len(CORES) > 1:
            os.sched_setaffinity(0, CORES[1:])
        for number in range(args.rounds):
            for op, size in CELLS:
                for client in CLIENTS:
                    run(rounds, (client, cell_name(op, size)), client, op, size, CONNECTIONS, args.seconds, port)
            say(f"round {number + 1} of {args.rounds}")
            for client in CLIENTS:
                run(delayed, client, client, "get", KIB, DELAY_CONNECTIONS, max(0.5, args.seconds), slow)
    agent = {}
    for op, size in AGENT_CELLS:
        say(f"agent: {cell_name(op, size)}")
        agent[cell_name(op, size)] = asdict(measure_agent(op, size, CONNECTIONS, AGENT_SECONDS))
    say("TLS")
    tls = measure_tls(args.rounds, args.seconds)
    say("agent: 5 ms server")
    agent_delayed = asdict(measure_agent("get", KIB, DELAY_CONNECTIONS, AGENT_SECONDS, DELAY_S))
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {_cpu_model()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "rounds": args.rounds,
        "seconds": args.seconds,
        "missing": missing,
        "clients": {
            client: {cell: _medians(found) for (name, cell), found in rounds.items() if name == client}
            for client in CLIENTS
        },
        "delayed": {client: _medians(found) for client, found in delayed.items()},
        "agent": agent,
        "agent_delayed": agent_delayed,
        "tls": tls,
    }


def _medians(found: Sequence[Found]) -> Found:
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    return medians | {"best_cpu_us": min(each["cpu_us"] for each in found)}


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def markdown(found: Found) -> str:
    cells = [cell_name(op, size) for op, size in CELLS]
    lines = [
        f"{found['time']}, {found['machine']}; load {found['load']:.1f} at the end (the machine was not ours alone). "
        f"Medians of {found['rounds']} interleaved rounds of {found['seconds']:g} s, best in brackets, "
        f"{CONNECTIONS} connections.",
        "",
        "CPU µs of the client per operation (user + system, all threads):",
        "",
        f"| client | {' | '.join(cells)} | memory, MiB |",
        "|---|" + "---:|" * (len(cells) + 1),
    ]
    for client, by_cell in found["clients"].items():
        if not by_cell:
            continue
        shown = [
            f"{by_cell[cell]['cpu_us']:,.0f} ({by_cell[cell]['best_cpu_us']:,.0f})" if cell in by_cell else "–"
            for cell in cells
        ]
        memory = max(each["rss_mib"] for each in by_cell.values())
        lines.append(f"| {client} | {' | '.join(shown)} | {memory:.0f} |")
    agent = found["agent"]
    shown = [f"{agent[cell]['worker_us']:,.0f}" if cell in agent else "–" for cell in cells]
    memory = max(each["worker_rss_mib"] for each in agent.values())
    lines.append(f"| **{AGENT}, a worker** | {' | '.join(shown)} | {memory:.0f} |")
    shown = [f"{agent[cell]['rest_us']:,.1f}" if cell in agent else "–" for cell in cells]
    lines += [f"| agent, all other processes | {' | '.join(shown)} | |", "", "Operations a second:", ""]
    lines += [f"| client | {' | '.join(cells)} |", "|---|" + "---:|" * len(cells)]
    for client, by_cell in found["clients"].items():
        if by_cell:
            shown = [f"{by_cell[cell]['ops_per_s']:,.0f}" if cell in by_cell else "–" for cell in cells]
            lines.append(f"| {client} | {' | '.join(shown)} |")
    shown = [f"{agent[cell]['ops_per_s']:,.0f}" if cell in agent else "–" for cell in cells]
    lines += [
        f"| **{AGENT}** | {' | '.join(shown)} |",
        "",
        f"What each sees of a server that answers after {DELAY_S * 1e3:g} ms (GET 1 KiB, {DELAY_CONNECTIONS} "
        "connections):",
        "",
        "| client | p50, ms | p99, ms | ops/s |",
        "|---|---:|---:|---:|",
    ]
    rows = {**found["delayed"], f"**{AGENT}**": found["agent_delayed"]}
    lines += [
        f"| {name} | {each['p50_ms']:.2f} | {each['p99_ms']:.2f} | {each['ops_per_s']:,.0f} |"
        for name, each in rows.items()
    ]
    lines += [
        "",
        "The wire engine with TLS 1.3, against another minimal server, CPU µs per operation:",
        "",
        *found["tls"],
    ]
    lines += [f"\nNot measured: {name} ({why})." for name, why in found["missing"].items()]
    return "\n".join(lines)


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--others", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--docs", type=Path, metavar="FILE")
    args = parser.parse_args()
    found = compare(args, lambda text: print(text, file=sys.stderr, flush=True))
    table = markdown(found)
    print(table)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.docs is not None:
        write_docs(args.docs, table)


if __name__ == "__main__":
    main()
