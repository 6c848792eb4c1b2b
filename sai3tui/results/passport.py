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


def agent_passport(
    hello: pb.HelloReply | None, address: str, clock_offset_ns: int, clock_uncertainty_ns: int
) -> dict[str, Any]:
    """One agent; its clock as seen from the controller's."""
    known = hello if hello is not None else pb.HelloReply()
    return {
        "address": address,
        "package_version": known.package_version,
        "protocol_version": known.protocol_version,
        "clock_offset_ms": round(clock_offset_ns / 1e6, 6),
        "clock_uncertainty_ms": round(clock_uncertainty_ns / 1e6, 6),
        "host": host_json(known.host),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
