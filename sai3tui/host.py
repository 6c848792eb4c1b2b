"""What is known of this host without asking anybody: processor, network, kernel. Nothing here raises."""

from __future__ import annotations

import os
import platform
import resource
import socket
from pathlib import Path

import psutil

from sai3tui.proto import sai3tui_pb2 as pb

SYSCTLS = (
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/somaxconn",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_tw_reuse",
)


def host_facts(root: Path = Path("/")) -> pb.HostFacts:
    """Facts of this host; what cannot be found out is empty or 0."""
    return pb.HostFacts(
        hostname=socket.gethostname(),
        cores=os.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        kernel=platform.release(),
        python=platform.python_version(),
        pid=os.getpid(),
        descriptor_limit=max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        cpu_model=cpu_model(root),
        nics=network_interfaces(root),
        sysctls=sysctls(root),
    )


def cpu_model(root: Path = Path("/")) -> str:
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def network_interfaces(root: Path = Path("/")) -> dict[str, int]:
    """Interfaces that are up but loopback, with their speed in Mbit/s (0: unknown, as of virtual ones)."""
    found = {}
    try:
        names = sorted(path.name for path in (root / "sys/class/net").iterdir())
    except OSError:
        return {}
    for name in names:
        if name == "lo" or _text(root / "sys/class/net" / name / "operstate").strip() == "down":
            continue
        speed = _text(root / "sys/class/net" / name / "speed").strip()
        found[name] = max(0, int(speed)) if speed.lstrip("-").isdigit() else 0
    return found


def sysctls(root: Path = Path("/")) -> dict[str, str]:
    """Kernel settings that decide about throughput, as far as they can be read."""
    read = {name.replace("/", "."): " ".join(_text(root / "proc/sys" / name).split()) for name in SYSCTLS}
    return {name: value for name, value in read.items() if value}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
