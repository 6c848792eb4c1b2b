"""The agent process: addresses, locks, and one clear message for each thing that cannot be."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from sai3tui.agent.main import AgentOptions, run_agent
from sai3tui.errors import ConfigError
from sai3tui.events import PROTOCOL_VERSION
from sai3tui.processes import start_child
from sai3tui.proto import sai3tui_pb2 as pb
from tests.agents import running_agent, stub_of


def run_to_end(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of an agent that is expected not to start."""
    log = tmp_path / "failed.log"
    child = start_child("agent", [sys.executable, "-m", "sai3tui", "agent", *arguments], log)
    try:
        code = child.process.wait(30)
    finally:
        child.end()
    return code, log.read_text()


async def test_hello_says_who_it_is(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent:
        async with stub_of(agent) as stub:
            reply = await stub.Hello(pb.HelloRequest(package_version="x", protocol_version=PROTOCOL_VERSION))
            assert reply.protocol_version == PROTOCOL_VERSION
            assert reply.host.pid == agent.child.pid
            assert reply.host.hostname == socket.gethostname()
            assert reply.state == pb.IDLE
            assert not reply.insecure
        assert len(agent.log.splitlines()) == 1


def test_a_port_in_use_is_named_and_exits_1(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent:
        code, output = run_to_end(tmp_path, "--listen", agent.address, "--data-dir", str(tmp_path / "other"))
    assert code == 1
    assert agent.address in output
    assert "in use" in output
    assert "--listen" in output
    assert "Traceback" not in output


def test_a_data_directory_in_use_is_named_and_exits_1(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent:
        code, output = run_to_end(tmp_path, "--listen", "127.0.0.1:0", "--data-dir", str(agent.data_dir))
    assert code == 1
    assert str(agent.data_dir) in output
    assert "Traceback" not in output


def test_an_address_that_others_reach_needs_leave(tmp_path: Path) -> None:
    code, output = run_to_end(tmp_path, "--listen", "0.0.0.0:0", "--data-dir", str(tmp_path / "data"))
    assert code == 2
    assert "--insecure" in output
    assert "0.0.0.0 can be reached" in output


@pytest.mark.parametrize("listen", ["", "7167", "host", "127.0.0.1:x", "127.0.0.1:70000", "::1:7167", ":7167"])
def test_what_is_no_address_is_an_error(listen: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="address"):
        run_agent(AgentOptions(listen, tmp_path))
