"""`metadata.json`: what ran, where, when, with which code, and how it ended.

`crc32` is that of the document without it, with sorted keys and no spaces: who edits a figure is found out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.results.coverage import CoverageSpan, coverage_json
from sai3tui.results.figures import stage_json
from sai3tui.results.files import utc_text
from sai3tui.results.threshold_text import threshold_from_json, threshold_json
from sai3tui.results.thresholds import ThresholdView
from sai3tui.results.views import Outcome, StageInfo, StageView

FORMAT = 1


@dataclass(frozen=True, slots=True)
class AgentMeta:
    id: str
    address: str
    version: str = ""
    hostname: str = ""
    cores: int = 0
    concurrency: int = 0


@dataclass(frozen=True, slots=True)
class RunMeta:
    """What is known of a run before its end. `started_ns`: nanoseconds since the epoch; `preflight`: whether it was
    run; `command_line` holds no secrets because we take none there; `baseline` is the name of the directory it was
    compared with."""

    run_id: str
    config_name: str
    config_path: str
    layout_hash: str
    started_ns: int
    version: str
    hostname: str
    agents: tuple[AgentMeta, ...]
    stages: tuple[StageInfo, ...]
    preflight: bool = True
    distributed: bool = True
    command_line: tuple[str, ...] = ()
    notices: tuple[str, ...] = field(default=())
    perf_interval_s: float = 1.0
    passport: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    agents_override: tuple[str, ...] = ()
    only: str = ""
    namespace: str = ""
    """`shared` or `independent`; `namespace_found` is the same where preflight had to find that out, else `auto`."""
    namespace_found: str = "auto"

    def with_agents(self, agents: tuple[AgentMeta, ...]) -> RunMeta:
        return replace(self, agents=agents)


def metadata_json(
    meta: RunMeta,
    stages: tuple[StageView, ...],
    outcome: Outcome | None,
    ended_ns: int,
    thresholds: tuple[ThresholdView, ...] = (),
    coverage: tuple[CoverageSpan, ...] = (),
    baseline: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> bytes:
    """The document. Without an outcome the run is still going, or its controller died; `baseline` is how it differs
    from one, `files` what the others are (results/manifest.py)."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": meta.version,
        "run_id": meta.run_id,
        "test_name": meta.config_name,
        "config_path": meta.config_path,
        "layout_hash": meta.layout_hash,
        "start_time": utc_text(meta.started_ns),
        "end_time": utc_text(ended_ns) if outcome else None,
        "duration_secs": round((ended_ns - meta.started_ns) / 1e9, 3) if outcome else None,
        "command_line": list(meta.command_line),
        "hostname": meta.hostname,
        "distributed": meta.distributed,
        "preflight": "run" if meta.preflight else "skipped",
        "agents": [f"{agent.id} ({agent.address})" for agent in meta.agents],
        "agent_details": [asdict(agent) for agent in meta.agents],
        "coverage": coverage_json(coverage),
        "notices": list(meta.notices),
        "perf_interval_secs": meta.perf_interval_s,
        "baseline": meta.baseline,
        "baseline_differences": dict(baseline) if baseline is not None else None,
        "agents_override": list(meta.agents_override),
        "only": meta.only,
        "namespace": meta.namespace,
        "namespace_found": meta.namespace_found,
        "passport": dict(meta.passport),
        "stages": [
            stage_json(stage)
            | {
                "barrier": stage.barrier,
                "duration_s": stage.duration_s,
                "until_half_width": stage.half_width,
                "paced": stage.paced,
            }
            for stage in stages
        ],
        "thresholds": [threshold_json(view) for view in thresholds],
        "status": outcome.status if outcome else "running",
        "exit_code": outcome.exit_code if outcome else None,
        "failure": failure_json(outcome.failure) if outcome and outcome.failure else None,
        "resume": outcome.resume if outcome else "",
        "start_ns": meta.started_ns,
        "end_ns": ended_ns if outcome else 0,
        "files": dict(files or {}),
    }
    document["crc32"] = _crc32(json.loads(json.dumps(document)))
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True, slots=True)
class ReadMeta:
    """A `metadata.json` read back. `outcome` is None for a run that never said how it ended."""

    meta: RunMeta
    outcome: Outcome | None
    ended_ns: int
    stages: tuple[dict[str, Any], ...]
    thresholds: tuple[ThresholdView, ...] = ()
    baseline: Mapping[str, Any] | None = None
    """How it differs from its baseline, as it was written."""
    files: Mapping[str, Any] = field(default_factory=dict)
    edited: bool = False
    """It is not as it was written."""


def parse_metadata(data: bytes) -> ReadMeta:
    """Raises ValueError for what is not such a document."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']} is not known")
        edited = document.pop("crc32", "") != _crc32(document)
        meta = RunMeta(
            run_id=str(document["run_id"]),
            config_name=str(document["test_name"]),
            config_path=str(document["config_path"]),
            layout_hash=str(document["layout_hash"]),
            started_ns=int(document["start_ns"]),
            version=str(document["version"]),
            hostname=str(document["hostname"]),
            agents=tuple(AgentMeta(**agent) for agent in document["agent_details"]),
            stages=tuple(_stage_info(s) for s in document["stages"]),
            preflight=document["preflight"] == "run",
            distributed=bool(document["distributed"]),
            command_line=tuple(document["command_line"]),
            notices=tuple(document["notices"]),
            perf_interval_s=float(document["perf_interval_secs"]),
            passport=dict(document.get("passport", {})),
            baseline=str(document.get("baseline", "")),
            agents_override=tuple(document.get("agents_override", ())),
            only=str(document.get("only", "")),
            namespace=str(document.get("namespace", "")),
            namespace_found=str(document.get("namespace_found", "auto")),
        )
        outcome = None
        if document["exit_code"] is not None:
            failure = failure_from_json(document["failure"]) if document["failure"] else None
            outcome = Outcome(
                str(document["status"]), int(document["exit_code"]), failure, resume=str(document.get("resume", ""))
            )
        thresholds = tuple(threshold_from_json(view) for view in document.get("thresholds", ()))
        return ReadMeta(
            meta,
            outcome,
            int(document["end_ns"]),
            tuple(document["stages"]),
            thresholds,
            document.get("baseline_differences"),
            dict(document.get("files", {})),
            edited,
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a metadata document: {type(error).__name__}: {error}") from error


def _crc32(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _stage_info(stage: Mapping[str, Any]) -> StageInfo:
    return StageInfo(
        int(stage["index"]),
        str(stage["name"]),
        str(stage["type"]),
        str(stage["barrier"]),
        float(stage["duration_s"]),
        float(stage.get("until_half_width", 0.0)),
        bool(stage.get("paced", False)),
    )


def failure_json(failure: Failure) -> dict[str, Any]:
    told = {"kind": failure.kind.word, "causes": list(failure.causes), "hint": failure.what_next}
    return asdict(failure) | told


def failure_from_json(document: dict[str, Any]) -> Failure:
    """Raises KeyError or TypeError for another document."""
    return Failure(
        ErrorKind[document["kind"].upper()],
        document["message"],
        tuple(document["causes"]),
        ErrorContext(**document["context"]),
        document["hint"],
    )
