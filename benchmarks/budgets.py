"""What the load generator may cost, beside what it was measured to cost. Pure: figures in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Found = dict[str, Any]
UNMADE = "agent, bodies not made"
SMALL, MIDDLE, LARGE = "1 KiB", "64 KiB", "8 MiB"


@dataclass(frozen=True, slots=True)
class Row:
    """One budget. `at_most`: less is better."""

    what: str
    value: float
    required_value: float
    goal_value: float | None = None
    unit: str = ""
    at_most: bool = True

    @property
    def shown(self) -> str:
        return self._text(self.value)

    @property
    def required(self) -> str:
        return ("≤ " if self.at_most else "≥ ") + self._text(self.required_value)

    @property
    def goal(self) -> str:
        return self._text(self.goal_value) if self.goal_value is not None else ""

    @property
    def verdict(self) -> str:
        if self.goal_value is not None and self._reaches(self.goal_value):
            return "goal"
        return "held" if self._reaches(self.required_value) else "**not held**"

    def _reaches(self, limit: float) -> bool:
        return self.value <= limit if self.at_most else self.value >= limit

    def _text(self, value: float) -> str:
        digits = 0 if abs(value) >= 100 else 1 if self.unit else 2
        return f"{value:.{digits}f}{self.unit}"


def rows(found: Found) -> list[Row]:
    """The budgets for which there are figures."""
    made: list[Row] = []
    cells: dict[str, dict[str, Found]] = found.get("agent", {})
    for op in ("GET", "PUT"):
        cell = cells.get(f"{op} {SMALL}")
        if cell is None:
            continue
        cost = cell["agent"]["cpu_us"]
        made.append(Row(f"CPU of a worker per {op} of {SMALL}", cost, 45, 33, " µs"))
        if "wrk" in cell:
            made.append(
                Row(f"the same, times that of wrk (which does not sign), {op}", cost / cell["wrk"]["cpu_us"], 3.5, 2.5)
            )
        if "minio-go" in cell:
            less = cell["minio-go"]["cpu_us"] / cost
            made.append(Row(f"the same, so many times less than minio-go, {op}", less, 3, 4, at_most=False))
    made += _large(cells)
    made += _payload(cells)
    delayed = found.get("delayed", {})
    if "wrk" in delayed and "agent" in delayed:
        over = 100 * (delayed["agent"]["p50_ms"] / delayed["wrk"]["p50_ms"] - 1)
        made.append(Row("p50 with a server that takes 5 ms, 64 connections, above that of wrk", over, 8, 4, " %"))
    memory = found.get("memory", {})
    if memory:
        worker = max(each["worker_rss_mib"] for each in memory.values())
        main = max(each["main_rss_mib"] for each in memory.values())
        made.append(Row(f"memory of a worker, 256 connections of {LARGE}", worker, 80, 60, " MiB"))
        made.append(Row("memory of the agent's main process meanwhile", main, 150, 100, " MiB"))
    for op, costs in found.get("workers", {}).items():
        ratio = costs["2"] / costs["1"]
        made.append(Row(f"CPU per {op.upper()} of {SMALL} with two workers, times that with one", ratio, 1.2))
    for row in found.get("tls", ()):
        if row["size"] == 1024:
            what = f"CPU of the wire engine per {row['op'].upper()} of {SMALL} with TLS, times that without"
            made.append(Row(what, row["tls"] / row["plain"], 2))
    return made


def _large(cells: dict[str, dict[str, Found]]) -> list[Row]:
    made = []
    for op, required, goal in (("GET", 0.75, 0.9), ("PUT", 0.85, 0.95)):
        cell = cells.get(f"{op} {LARGE}", {})
        agent = UNMADE if op == "PUT" else "agent"
        if "c" in cell and agent in cell:
            cost = cell[agent]["cpu_us"]
            what = f"bytes per CPU second of {op}s of {LARGE}, times those of a plain C loop"
            if op == "PUT":
                what += " (bodies that take no making)"
            made.append(Row(what, cell["c"]["cpu_us"] / cost, required, goal, at_most=False))
    return made


def _payload(cells: dict[str, dict[str, Found]]) -> list[Row]:
    made = []
    for size in (SMALL, MIDDLE, LARGE):
        cell = cells.get(f"PUT {size}", {})
        if "payload" not in cell:
            continue
        cost = cell["payload"]["cpu_us"]
        if size == SMALL:
            made.append(Row(f"making a body of {size}", cost, 3, None, " µs"))
        elif "wire" in cell:
            what = f"making a body of {size}, times what the wire engine needs to send it"
            made.append(Row(what, cost / cell["wire"]["cpu_us"], 0.5, 1 / 3))
    return made
