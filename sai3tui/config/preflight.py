"""Preflight's checks by name, and what a configuration can say about them."""

from __future__ import annotations

from dataclasses import dataclass

from sai3tui.config.fields import Block
from sai3tui.config.model import Placed, PreflightRules
from sai3tui.config.problems import ProblemList


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One column of the matrix. `overridable`: a run can begin although it found an error, if somebody wants that."""

    name: str
    text: str
    overridable: bool = True


CHECKS = (
    CheckSpec("agent", "can be reached, lets us in, and is idle", overridable=False),
    CheckSpec("version", "versions and protocol of both sides", overridable=False),
    CheckSpec("clock", "clocks of agent, controller and storage agree well enough for signatures"),
    CheckSpec("plan", "both sides understand the configuration alike", overridable=False),
    CheckSpec("memory", "memory against the plan"),
    CheckSpec("disk", "the data directory is written and read back, and has room for the state cache"),
    CheckSpec("descriptors", "open files against connections"),
    CheckSpec("ports", "ephemeral ports against connections"),
    CheckSpec("nic", "speed and MTU of the network interfaces that lead to the endpoints"),
    CheckSpec("command", "what custom stages run is there"),
    CheckSpec("idle", "other load on the host, and when the last run here ended"),
    CheckSpec("generator", "what this host can create against what is asked of it"),
    CheckSpec("dns", "the name has an address here"),
    CheckSpec("connect", "a TCP connection"),
    CheckSpec("tls", "the certificate: who signed it, its names, its dates"),
    CheckSpec("latency", "round trip of a connection"),
    CheckSpec("keepalive", "a second request on the same connection"),
    CheckSpec("auth", "the credentials open the bucket"),
    CheckSpec("region", "the region that requests are signed for"),
    CheckSpec("write", "a probe is written"),
    CheckSpec("read", "it is read back and compared, or what a GET needs exists"),
    CheckSpec("range", "a part of it is read"),
    CheckSpec("stat", "its size is asked for"),
    CheckSpec("list", "a list shows it"),
    CheckSpec("multipart", "an upload in parts is begun, filled and taken back"),
    CheckSpec("delete-many", "several are deleted with one request"),
    CheckSpec("delete", "it is deleted, and gone"),
    CheckSpec("namespace", "what is written at one endpoint is there at the others"),
    CheckSpec("bucket", "versioning, object lock and lifecycle rules that would surprise"),
    CheckSpec("owner", "whose the objects are that are there already", overridable=False),
    CheckSpec("data", "what is there already, and what of it cleanup would delete"),
    CheckSpec("path", "a directory that exists or can be made, and is no system directory", overridable=False),
    CheckSpec("mount", "file system and mount of a file target"),
    CheckSpec("space", "room for the bytes of the plan: of a file system, or of a bucket whose store tells it"),
    CheckSpec("direct", "O_DIRECT where direct:// asks for it"),
    CheckSpec("rate", "what this agent reaches at the endpoint for two seconds, against the plan"),
)
BY_NAME = {check.name: check for check in CHECKS}
OVERRIDABLE = frozenset(check.name for check in CHECKS if check.overridable)


def read_preflight(top: Block) -> PreflightRules:
    block = top.block("preflight")
    if block is None:
        return PreflightRules()
    found = PreflightRules(
        _names(block.texts("skip"), top.problems),
        _names(block.texts("warn_only"), top.problems),
        block.boolean("rate", default=False),
    )
    block.finish()
    return found


def _names(texts: list[Placed], problems: ProblemList) -> frozenset[str]:
    for text in texts:
        if text.text not in BY_NAME:
            problems.error(text.at, "choice", f"there is no check {text.text[:60]!r}", f"one of {', '.join(BY_NAME)}")
        elif text.text not in OVERRIDABLE:
            problems.error(text.at, "choice", f"the check {text.text!r} cannot be overridden", "correct what it finds")
    return frozenset(text.text for text in texts)
