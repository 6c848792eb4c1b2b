"""One agent in full."""

from __future__ import annotations

from rich.text import Text

from sai3tui.config.units import format_bytes
from sai3tui.controller.snapshot import AgentView
from sai3tui.events import Vitals
from sai3tui.theme import Palette
from sai3tui.widgets.text import NOTHING, millis, number, plural, rate, span, sparkline
from sai3tui.widgets.wrapping import LABEL, labelled

BUSY_PCT = 70
"""From here on a worker process limits what is measured."""


def _network(vitals: Vitals) -> str:
    """What is known of the host's network."""
    parts = []
    if vitals.nic_bytes_per_s is not None:
        full = f" ({vitals.nic_pct:.0f} % of the link)" if vitals.nic_pct is not None else ""
        parts.append(rate(vitals.nic_bytes_per_s) + full)
    if vitals.tcp_retransmits:
        parts.append(f"{plural(vitals.tcp_retransmits, 'segment')} sent again")
    return ", ".join(parts)


def agent_lines(agent: AgentView, width: int, palette: Palette) -> list[Text]:
    """What is known about an agent."""
    rates, vitals = agent.rates, agent.vitals
    lines = labelled("address", agent.address, width, palette)
    host = " ".join(part for part in (agent.hostname, plural(agent.cores, "core") if agent.cores else "") if part)
    lines += labelled("host", host, width, palette)
    lines += labelled("version", agent.version, width, palette)
    lines += labelled("heard", f"{span(agent.heartbeat_age_s)} ago" if agent.heartbeat_age_s else "now", width, palette)
    clock = f"{agent.clock_offset_ms:+.2f} ms, uncertain by {agent.clock_uncertainty_ms:.2f} ms"
    lines += labelled("clock", clock.replace("-", "−"), width, palette)
    lines.append(Text())
    lines.append(Text(f"{'':<5}{'rate':>11}{'ops/s':>9}{'p50 ms':>9}{'p99 ms':>9}", style=palette.muted))
    for name, speed, ops, p50, p99, role in (
        ("GET", rates.get_bytes, rates.get_ops, rates.get_p50_us, rates.get_p99_us, "get"),
        ("PUT", rates.put_bytes, rates.put_ops, rates.put_p50_us, rates.put_p99_us, "put"),
        ("META", 0.0, rates.meta_ops, rates.meta_p50_us, rates.meta_p99_us, "meta"),
    ):
        figures = f"{rate(speed):>11}{number(ops) if ops else NOTHING:>9}{millis(p50):>9}{millis(p99):>9}"
        lines.append(Text.assemble((name.ljust(5), palette.muted), (figures, str(getattr(palette, role)))))
    top = max(agent.history, default=0.0)
    lines += labelled(
        "last 60 s", sparkline(agent.history, min(60, width - LABEL), top).strip() or "–", width, palette, "get"
    )
    lines.append(Text())
    if agent.limit_used:
        used = f"{agent.limit_used:.0%} of what its {agent.limit_name} can do"
        lines += labelled("limit", used, width, palette, "warn" if agent.limit_used >= 1 else "text")
    if agent.planned:
        lines += labelled("objects", f"{agent.done:,} of {agent.planned:,}", width, palette)
    lines += labelled("connections", str(agent.concurrency or ""), width, palette)
    lines += labelled("errors", f"{agent.errors:,}", width, palette, "bad" if agent.errors else "text")
    if vitals.workers:
        cpu = (
            f"user {vitals.cpu_user_pct:.0f} %, system {vitals.cpu_system_pct:.0f} %, "
            f"waiting for disks {vitals.cpu_iowait_pct:.0f} %"
        )
        lines += labelled("host cpu", cpu, width, palette)
        workers = (
            f"{plural(vitals.workers, 'process', 'processes')}, busiest at {vitals.worker_cpu_pct:.0f} % of a core"
        )
        lines += labelled("workers", workers, width, palette, "warn" if vitals.worker_cpu_pct >= BUSY_PCT else "text")
        if vitals.worker_lag_p99_us is not None:
            lag = f"answers wait {millis(vitals.worker_lag_p99_us)} ms (p99)"
            lines += labelled("", lag, width, palette)
        network = _network(vitals)
        if network:
            lines += labelled("network", network, width, palette)
        lines += labelled("memory", format_bytes(vitals.rss_bytes), width, palette)
    return lines
