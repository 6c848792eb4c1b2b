"""The figures as they stand in docs/performance.md."""

from __future__ import annotations

from typing import Any

from benchmarks.budgets import UNMADE, Row, rows

KIB = 1024
CELLS = (("get", KIB), ("put", KIB), ("get", 64 * KIB), ("put", 64 * KIB), ("get", 8 * KIB**2), ("put", 8 * KIB**2))
CONNECTIONS = 16
DELAY_S = 0.005
DELAY_CONNECTIONS = 64
YARDSTICK_NAMES = {"agent": "**agent, a worker**", "payload": "of that, making bodies"}
NO_MEMORY = frozenset({"wrk"})

Found = dict[str, Any]


def cell_name(op: str, size: int) -> str:
    """Such as `GET 64 KiB`."""
    shown = f"{size // KIB} KiB" if size < KIB**2 else f"{size // KIB**2} MiB"
    return f"{op.upper()} {shown}"


NAMES = [cell_name(op, size) for op, size in CELLS]


def markdown(found: Found) -> str:
    """All tables; parts that were not measured are left out."""
    lines = [
        f"{found['time']}, {found['machine']}; load {found['load']:.1f} at the end (the machine was not ours alone). "
        f"Medians of {found['rounds']} interleaved rounds, {CONNECTIONS} connections, best in brackets.",
    ]
    lines += _budgets(rows(found))
    lines += _agent(found.get("agent", {}))
    lines += _clients(found.get("clients", {}))
    lines += _limit(found.get("limit", {}))
    lines += _delayed(found.get("delayed", {}))
    if "tls" in found:
        lines += ["", "The wire engine with TLS 1.3, against another minimal server, CPU µs per operation:", ""]
        lines += ["| op | bytes | plain, µs | TLS, µs | ratio |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {row['op'].upper()} | {row['size']:,} | {row['plain']:,.1f} | {row['tls']:,.1f} "
            f"| {row['tls'] / row['plain']:.1f} |"
            for row in found["tls"]
        ]
    lines += [f"\nNot measured in every round: {name} ({why})." for name, why in found.get("missing", {}).items()]
    return "\n".join(lines)


def _header(first: str, columns: list[str]) -> list[str]:
    return [f"| {first} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]


def _budgets(found: list[Row]) -> list[str]:
    if not found:
        return []
    lines = ["", "The agent with all its work, against what it may cost:", ""]
    lines += ["| what | measured | required | goal | |", "|---|---:|---:|---:|---|"]
    return lines + [f"| {row.what} | {row.shown} | {row.required} | {row.goal} | {row.verdict} |" for row in found]


def _agent(found: dict[str, dict[str, Found]]) -> list[str]:
    if not found:
        return []
    names = [name for name in NAMES if name in found]
    lines = ["", "CPU µs per operation (user + system) of the agent and, in the same rounds, of its yardsticks:", ""]
    lines += _header("client", names)
    clients = ("agent", UNMADE, "payload", "wire", "minio-go", "wrk", "c")
    for client in clients:
        shown = [_cost(found[name].get(client)) for name in names]
        if any(each != "–" for each in shown):
            lines.append(f"| {YARDSTICK_NAMES.get(client, client)} | {' | '.join(shown)} |")
    shown = [f"{found[name]['agent']['rest_us']:,.1f}" for name in names]
    lines.append(f"| agent, all other processes | {' | '.join(shown)} |")
    shown = [f"{found[name]['agent']['ops_per_s']:,.0f}" for name in names]
    lines.append(f"| agent, operations a second | {' | '.join(shown)} |")
    return lines


def _cost(found: Found | None) -> str:
    return f"{found['cpu_us']:,.1f} ({found['best_cpu_us']:,.1f})" if found is not None else "–"


def _clients(found: dict[str, dict[str, Found]]) -> list[str]:
    if not found:
        return []
    lines = ["", "Clients, CPU µs per operation (all threads):", "", *_header("client", [*NAMES, "memory, MiB"])]
    measured = {client: by_cell for client, by_cell in found.items() if by_cell}
    for client, by_cell in measured.items():
        shown = [
            f"{by_cell[cell]['cpu_us']:,.0f} ({by_cell[cell]['best_cpu_us']:,.0f})" if cell in by_cell else "–"
            for cell in NAMES
        ]
        memory = max(each["rss_mib"] for each in by_cell.values())
        lines.append(f"| {client} | {' | '.join(shown)} | {f'{memory:.0f}' if client not in NO_MEMORY else '–'} |")
    lines += ["", "Clients, operations a second:", "", *_header("client", NAMES)]
    for client, by_cell in measured.items():
        shown = [f"{by_cell[cell]['ops_per_s']:,.0f}" if cell in by_cell else "–" for cell in NAMES]
        lines.append(f"| {client} | {' | '.join(shown)} |")
    return lines


def _limit(found: dict[str, dict[str, Found]]) -> list[str]:
    if not found:
        return []
    lines = ["", "GETs of 1 KiB from the null server and from nginx, operations a second (CPU µs of the client):", ""]
    lines += _header("client", ["null server", "nginx"])
    for client, by_server in found.items():
        shown = [
            f"{each['ops_per_s']:,.0f} ({each['cpu_us']:,.0f})" if (each := by_server.get(server)) else "–"
            for server in ("null", "nginx")
        ]
        lines.append(f"| {client} | {' | '.join(shown)} |")
    return lines


def _delayed(found: dict[str, Found]) -> list[str]:
    if not found:
        return []
    title = f"What each sees of a server that answers after {DELAY_S * 1e3:g} ms (GET 1 KiB, {DELAY_CONNECTIONS} "
    lines = ["", f"{title}connections):", "", *_header("client", ["p50, ms", "p99, ms", "ops/s"])]
    return lines + [
        f"| {YARDSTICK_NAMES['agent'] if name == 'agent' else name} | {each['p50_ms']:.2f} | {each['p99_ms']:.2f} "
        f"| {each['ops_per_s']:,.0f} |"
        for name, each in found.items()
    ]
