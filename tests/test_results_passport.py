"""What a host tells of itself, and that the passport reaches metadata.json and comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sai3tui.host import cpu_model, host_facts, network_interfaces, sysctls
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.metadata import metadata_json, parse_metadata
from sai3tui.results.passport import agent_passport, clock_passport, clock_text, passport, with_clocks
from tests.test_results_files import META


def fake_root(root: Path) -> Path:
    for name, text in {
        "proc/cpuinfo": "processor : 0\nmodel name\t: Some CPU @ 3 GHz\n",
        "sys/class/net/eth0/speed": "25000\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/virtual/speed": "-1\n",
        "sys/class/net/gone/operstate": "down\n",
        "sys/class/net/lo/operstate": "unknown\n",
        "proc/sys/net/core/rmem_max": "212992\n",
        "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_facts_are_read_from_the_kernel(tmp_path: Path) -> None:
    root = fake_root(tmp_path)
    assert cpu_model(root) == "Some CPU @ 3 GHz"
    assert network_interfaces(root) == {"eth0": 25000, "virtual": 0}
    assert sysctls(root) == {"net.core.rmem_max": "212992", "net.ipv4.tcp_rmem": "4096 131072 6291456"}


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert network_interfaces(tmp_path) == {}
    assert sysctls(tmp_path) == {}
    assert host_facts(tmp_path).cores >= 1


def test_the_passport_is_written_and_read_back(tmp_path: Path) -> None:
    host = host_facts(fake_root(tmp_path))
    hello = pb.HelloReply(package_version="1.2.3", protocol_version=1, host=host)
    clock = clock_passport(1_500_000, 20_000, 2.5, 0.25)
    made = passport(b"seed: 7\n", "abc", 7, host, {"a": agent_passport(hello, "127.0.0.1:1", clock)})
    read = parse_metadata(metadata_json(replace(META, passport=made), (), None, 0))
    assert read.meta.passport == made
    agent = made["agents"]["a"]
    assert (agent["clock_offset_ms"], agent["clock_uncertainty_ms"]) == (1.5, 0.02)
    assert clock_text(agent) == "clock off by -1.500 ms (± 0.020), drift -2.5 ppm (± 0.2)"
    assert agent["host"]["nics_mbit_s"] == {"eth0": 25000, "virtual": 0}
    assert made["config_sha256"] != passport(b"seed: 8\n", "abc", 8, host, {})["config_sha256"]


def test_clocks_are_as_known_at_the_end() -> None:
    made: dict[str, Any] = {
        "seed": 1,
        "agents": {"a": {"clock_offset_ms": 1.0, "address": "x"}, "b": {"clock_offset_ms": 2.0}},
    }
    renewed = with_clocks(made, {"a": clock_passport(-3_000_000, 10, 1.0, 0.5)})
    assert renewed["agents"]["a"] == {"address": "x", **clock_passport(-3_000_000, 10, 1.0, 0.5)}
    assert renewed["agents"]["b"] == {"clock_offset_ms": 2.0}
    assert made["agents"]["a"]["clock_offset_ms"] == 1.0
    assert with_clocks({}, {"a": clock_passport(1, 1, 1.0, 1.0)}) == {}
    assert clock_text({}) == ""


def test_a_file_of_before_has_no_passport() -> None:
    assert parse_metadata(metadata_json(META, (), None, 0)).meta.passport == {}
