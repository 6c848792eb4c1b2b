"""The run passport: what besides the storage could explain a figure, as far as it is known when the run begins."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sai3tui.events import PROTOCOL_VERSION
from sai3tui.proto import sai3tui_pb2 as pb

PACKAGES = ("grpcio", "numpy", "protobuf", "uvloop", "zstandard")


def host_json(host: pb.HostFacts) -> dict[str, Any]:
    """What a host said of itself. Speeds are in Mbit/s, 0 where unknown; memory in bytes."""
    return {
        "hostname": host.hostname,
        "cores": host.cores,
        "cpu_model": host.cpu_model,
        "memory_bytes": host.memory_bytes,
        "kernel": host.kernel,
        "python": host.python,
        "descriptor_limit": host.descriptor_limit,
        "nics_mbit_s": dict(sorted(host.nics.items())),
        "sysctls": dict(sorted(host.sysctls.items())),
    }


def passport(
    config: bytes, layout_hash: str, seed: int, controller: pb.HostFacts, agents: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """`agents`: of each what `agent_passport` makes."""
    return {
        "config_sha256": hashlib.sha256(config).hexdigest(),
        "layout_hash": layout_hash,
        "seed": seed,
        "protocol_version": PROTOCOL_VERSION,
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "controller": host_json(controller),
        "agents": dict(sorted(agents.items())),
    }


def clock_passport(
    offset_ns: int, uncertainty_ns: int, drift_ppm: float, drift_uncertainty_ppm: float
) -> dict[str, Any]:
    """An agent's clock as seen from the controller's: what to add to it, by how much that grows, and how far each may
    be off."""
    return {
        "clock_offset_ms": round(offset_ns / 1e6, 6),
        "clock_uncertainty_ms": round(uncertainty_ns / 1e6, 6),
        "clock_drift_ppm": round(drift_ppm, 3),
        "clock_drift_uncertainty_ppm": round(drift_uncertainty_ppm, 3),
    }


def clock_text(agent: Mapping[str, Any]) -> str:
    """The clock of an agent's passport, in words. Empty for one of before."""
    if "clock_offset_ms" not in agent:
        return ""
    text = f"clock off by {-agent['clock_offset_ms']:+.3f} ms (± {agent['clock_uncertainty_ms']:.3f})"
    if "clock_drift_ppm" in agent:
        text += f", drift {-agent['clock_drift_ppm']:+.1f} ppm (± {agent['clock_drift_uncertainty_ppm']:.1f})"
    return text


def with_clocks(passport: Mapping[str, Any], clocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`passport` with what is known of the clocks of these agents by now; each as `clock_passport` makes it."""
    known = passport.get("agents", {})
    agents = {agent: {**facts, **clocks.get(agent, {})} for agent, facts in known.items()}
    return {**passport, **({"agents": agents} if agents else {})}


def agent_passport(hello: pb.HelloReply | None, address: str, clock: Mapping[str, Any]) -> dict[str, Any]:
    """One agent; `clock` as `clock_passport` makes it."""
    known = hello if hello is not None else pb.HelloReply()
    return {
        "address": address,
        "package_version": known.package_version,
        "protocol_version": known.protocol_version,
        **clock,
        "host": host_json(known.host),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
