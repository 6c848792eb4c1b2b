"""Where what the coordinator knows is kept on the controller's host: by layout, and there by whose objects they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sai3tui.config.resolved import Resolved

SHARED_SPACE = "0"
"""Where the objects are kept on record that all agents share, in the directory of a layout."""


def space_of_agent(resolved: Resolved, agent: str) -> str:
    """Likewise those of one agent, which has objects of its own: whose they are follows from its name and its
    endpoints, not from its place among the agents of one configuration or another."""
    found = next(each for each in resolved.agents if each.id == agent)
    places = [endpoint.location for endpoint in found.endpoints]
    roots = [[each.scheme, each.host, each.port, each.bucket, each.prefix] for each in places]
    return hashlib.sha256(json.dumps([found.id, roots]).encode()).hexdigest()[:16]


def coordinator_directory(data_dir: Path, layout_hash: str) -> Path:
    """Where the coordinator cache of a layout stands in the controller's data directory."""
    return data_dir / "coordinator" / layout_hash
