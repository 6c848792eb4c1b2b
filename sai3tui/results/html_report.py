"""`report.html`: one file that tells a run to somebody who was not there. No network, no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sai3tui.metrics.attribution import Cause
from sai3tui.results.caveats import Weight, caveats
from sai3tui.results.details import StageDetail
from sai3tui.results.figures import MIB, per_second
from sai3tui.results.files import utc_text
from sai3tui.results.html_charts import BROAD, NARROW, Line, legend, percentile_chart
from sai3tui.results.html_glance import glance
from sai3tui.results.html_over_time import COLOURS, over_time
from sai3tui.results.html_parts import bullets, figure, section, table
from sai3tui.results.html_style import STYLE
from sai3tui.results.passport import clock_text
from sai3tui.results.report_data import ReportData
from sai3tui.results.threshold_text import threshold_cells
from sai3tui.results.thresholds import ThresholdStatus, ThresholdView
from sai3tui.results.views import StageView

MOST_CAUSES = 30
MOST_CELLS = 64
SHARES = (0.0, *(1 - 10 ** (-step / 10) for step in range(1, 51)))
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_report(data: ReportData) -> str:
    """The whole document."""
    record = data.record
    name = record.meta.config_name
    body = [
        f"<h1>{escape(name)}</h1>",
        glance(record),
        section("Thresholds", _thresholds(record.thresholds)),
        section("Against the baseline", _baseline(record.baseline)),
        section("Stages", _stage_table(record.stages)),
        section("What limited it", _attributions(record.stages)),
        section("Throughput and latency over time", over_time(record)),
        section("Latency distribution", _distributions(data)),
        section("Agents by endpoints", _heat_maps(data)),
        section("Errors", _errors(data)),
        section("To be known about these figures", _caveats(data)),
        section("Passport", _passport(data)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(name)}: sai3tui</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _thresholds(views: Sequence[ThresholdView]) -> str:
    if not views:
        return ""
    header = ("Threshold", "Stage", "Verdict", "Value", "Margin", "Worst", "Where")
    ordered = sorted(views, key=lambda view: not view.failed)
    css = [("bad" if view.failed else "good" if view.status is ThresholdStatus.MET else "dim") for view in ordered]
    return f'<div class="verdicts">{table(header, map(threshold_cells, ordered), text=3, css=css, wide=6)}</div>'


def _baseline(compared: Mapping[str, Any] | None) -> str:
    """What each stage differed by when it was over; latencies in ms, bytes in MiB."""
    if not compared:
        return ""
    words = {"ops_per_s": "ops/s", "bytes_per_s": "MiB/s", "p50_us": "p50 ms", "p99_us": "p99 ms"}
    units = {"bytes_per_s": MIB, "p50_us": 1e3, "p99_us": 1e3}
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for each in compared["differences"]:
        metric = each["metric"]
        then, now = (f"{each[name] / units.get(metric, 1):,.2f}" for name in ("then", "now"))
        place = f"{each['stage_index']} {each['stage']}", str(each["group"]).upper()
        cells.setdefault(place, {})[metric] = f"{then} → {now}, {each['share']:+.1%}"
    rows = [(*place, *(found.get(metric, "–") for metric in words)) for place, found in cells.items()]
    told = f"<p>Compared with {escape(str(compared['directory']))}: that → this run, difference.</p>"
    told += bullets([str(caveat) for caveat in compared["caveats"]])
    return told + (table(("Stage", "Operations", *words.values()), rows, text=2) if rows else "")


def _stage_table(stages: Sequence[StageView]) -> str:
    header = ("Stage", "Status", "Objects", "Seconds", "Operations", "ops/s", "MiB", "MiB/s", "p50 ms", "p99 ms")
    rows = [
        (
            f"{s.index} {s.name}",
            s.status.value,
            f"{s.done:,}",
            f"{s.elapsed_s:.2f}",
            f"{s.total_ops:,}",
            f"{per_second(s.total_ops, s.elapsed_s):,.1f}" if s.total_ops else "–",
            f"{s.total_bytes / MIB:,.1f}" if s.total_bytes else "–",
            f"{per_second(s.total_bytes, s.elapsed_s) / MIB:,.1f}" if s.total_bytes else "–",
            f"{s.p50_us / 1000:.2f}" if s.p50_us else "–",
            f"{s.p99_us / 1000:.2f}" if s.p99_us else "–",
            f"{s.errors:,}",
            f"{s.retries:,}",
        )
        for s in stages
    ]
    return table((*header, "Errors", "Retries"), rows, text=2)


def _attributions(stages: Sequence[StageView]) -> str:
    """Each stage that measured anything: the verdict, and the facts behind it."""
    parts, short = [], []
    for stage in stages:
        if not stage.total_ops:
            continue
        found = stage.attribution
        if found.short:
            short.append(f"{stage.index} {stage.name}")
            continue
        verdict = found.cause.value
        if found.cause is not Cause.UNCLEAR:
            verdict += f", confidence {found.confidence:.0%}"
        told = [f"{fact.text} ({fact.cause.value}, weight {fact.weight:.2f})" for fact in found.facts]
        if stage.client_limited and found.cause is not Cause.CLIENT:
            told.append(f"an agent was at a limit of its own: {stage.client_limited}")
        parts.append(f"<h3>{stage.index} {escape(stage.name)}: {escape(verdict)}</h3>{bullets(told)}")
        if not told:
            parts.append('<p class="dim">Nothing stands out.</p>')
    if short:
        parts.append(f'<p class="dim">Too short to say: {escape(", ".join(short))}.</p>')
    return "".join(parts)


def _distributions(data: ReportData) -> str:
    parts = []
    for stage in data.record.stages:
        detail = data.details.get(stage.index)
        if detail is None or not any(figures.service.count for figures in detail.figures.values()):
            continue
        parts.append(_distribution(f"{stage.index} {stage.name}: ms by share of operations", detail))
    return "".join(parts)


def _distribution(title: str, detail: StageDetail) -> str:
    lines, rows = [], []
    for op, figures in sorted(detail.figures.items()):
        histogram = figures.service
        count = histogram.count
        if not count:
            continue
        shares = [share for share in SHARES if share == 0.0 or count * (1 - share) >= 0.99]
        values = [histogram.percentile_us(share) / 1000 for share in shares]
        lines.append(Line(op.name, COLOURS[int(op) % len(COLOURS)], shares, values))
        quantiles = [histogram.percentile_us(q) / 1000 for q in (0.5, 0.9, 0.95, 0.99, 0.999)]
        columns = [histogram.mean_us / 1000, *quantiles, histogram.max_us / 1000]
        rows.append((op.name, f"{count:,}", *(f"{value:.3f}" for value in columns)))
    header = ("Operation", "Count", "mean ms", "p50", "p90", "p95", "p99", "p99.9", "max")
    broad, narrow = (percentile_chart(lines, size) for size in (BROAD, NARROW))
    return figure(title, broad, narrow, legend(lines) + table(header, rows, text=1))


def _heat_maps(data: ReportData) -> str:
    parts = []
    for stage in data.record.stages:
        detail = data.details.get(stage.index)
        if detail is None or not detail.cells or not stage.total_ops:
            continue
        agents = sorted({agent for agent, _ in detail.cells})
        endpoints = sorted({uri for _, uri in detail.cells})
        if len(agents) * len(endpoints) < 2:
            continue
        use_bytes = any(size for _, size in detail.cells.values())
        unit = "MiB/s" if use_bytes else "ops/s"
        drawn = _heat_map(detail, agents, endpoints, stage.elapsed_s, use_bytes)
        parts.append(f"<figure><h3>{stage.index} {escape(stage.name)}, {unit}</h3>{drawn}</figure>")
    return "".join(parts)


def _heat_map(
    detail: StageDetail, agents: Sequence[str], endpoints: Sequence[str], seconds: float, use_bytes: bool
) -> str:
    shown, columns = agents[:MOST_CELLS], endpoints[:MOST_CELLS]
    values = {
        key: per_second(size / MIB if use_bytes else float(ops), seconds) for key, (ops, size) in detail.cells.items()
    }
    highest = max(values.values(), default=0.0) or 1.0
    rows = []
    for agent in shown:
        cells = []
        for uri in columns:
            value = values.get((agent, uri), 0.0)
            cells.append(f'<td style="background:rgba(var(--heat),{0.5 * value / highest:.3f})">{value:,.1f}</td>')
        rows.append(f'<tr><td class="t">{escape(agent)}</td>{"".join(cells)}</tr>')
    head = "".join(f"<th>{escape(uri)}</th>" for uri in columns)
    more = len(agents) - len(shown) + len(endpoints) - len(columns)
    note = f'<p class="dim">{more} more agents or endpoints are not shown</p>' if more else ""
    return f'<div class="wide"><table><tr><th class="t">Agent</th>{head}</tr>{"".join(rows)}</table></div>{note}'


def _errors(data: ReportData) -> str:
    groups = data.record.failures
    if not groups:
        return "<p>None.</p>"
    rows = [
        (
            group.sample.sentence(),
            f"{group.count:,}",
            ", ".join(group.agents[:6]) + ("…" if len(group.agents) > 6 else "") or "controller",
            utc_text(group.first_ns),
            utc_text(group.last_ns),
        )
        for group in groups[:MOST_CAUSES]
    ]
    told = table(("Cause", "Count", "Agents", "First", "Last"), rows, text=1, wide=0)
    more = len(groups) - len(rows)
    return told + (f"<p>and {more} more causes</p>" if more > 0 else "")


def _caveats(data: ReportData) -> str:
    css = {Weight.DAMAGE: "bad", Weight.WARNING: "warn"}
    told = [(css.get(each.weight, ""), each.text) for each in caveats(data.record)]
    return "<ul>" + "".join(f'<li class="{kind}">{escape(text)}</li>' for kind, text in told) + "</ul>"


def _passport(data: ReportData) -> str:
    meta = data.record.meta
    passport = meta.passport
    facts: list[tuple[str, str]] = [
        ("Configuration", f"{meta.config_path}, SHA-256 {passport.get('config_sha256', 'unknown')}"),
        ("Layout", meta.layout_hash),
        ("Seed", str(passport.get("seed", "unknown"))),
        ("Command", " ".join(meta.command_line)),
        ("Controller", _host(passport.get("controller", {})) or meta.hostname),
    ]
    known = passport.get("agents", {})
    facts += [
        (f"Agent {agent.id}", _agent(agent.address, known.get(agent.id, {})) or agent.hostname) for agent in meta.agents
    ]
    packages = ", ".join(f"{name} {version}" for name, version in passport.get("packages", {}).items())
    if packages:
        facts.append(("Packages", packages))
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts) + "</dl>"


def _agent(address: str, known: Mapping[str, Any]) -> str:
    parts = [address, _host(known.get("host", {}))]
    if known:
        parts += [f"sai3tui {known.get('package_version', '?')}", clock_text(known)]
    return ", ".join(part for part in parts if part)


def _host(host: Mapping[str, Any]) -> str:
    if not host:
        return ""
    nics = ", ".join(f"{nic} {f'{speed} Mbit/s' if speed else '?'}" for nic, speed in host["nics_mbit_s"].items())
    parts = (
        host["hostname"],
        f"{host['cores']} cores {host['cpu_model']}".strip(),
        f"{host['memory_bytes'] / MIB / 1024:.1f} GiB",
        f"kernel {host['kernel']}",
        f"Python {host['python']}",
        nics,
    )
    return ", ".join(part for part in parts if part)
