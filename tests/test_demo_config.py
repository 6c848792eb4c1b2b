"""The demo's configuration and how addresses get into it."""

from __future__ import annotations

import yaml

from sai3tui import demo


def test_addresses_replace_those_of_the_example_and_nothing_else() -> None:
    before = demo.example().read_text()
    after = demo.fill_in(before, ["s3+http://127.0.0.1:5/demo/"], ["127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13"])
    expected = yaml.safe_load(before)
    expected["multi_endpoint"]["endpoints"] = ["s3+http://127.0.0.1:5/demo/"]
    expected["distributed"]["agents"] = [
        {"id": f"agent-{number}", "address": f"127.0.0.1:{10 + number}"} for number in (1, 2, 3)
    ]
    assert yaml.safe_load(after) == expected
    assert after.count("#") == before.count("#")


def test_filling_in_the_same_addresses_changes_nothing() -> None:
    text = demo.example().read_text()
    loaded = yaml.safe_load(text)
    agents = [agent["address"] for agent in loaded["distributed"]["agents"]]
    assert demo.fill_in(text, loaded["multi_endpoint"]["endpoints"], agents) == text


def test_the_example_is_a_run_of_under_a_minute() -> None:
    loaded = yaml.safe_load(demo.example().read_text())
    stages = loaded["distributed"]["stages"]
    assert [stage["type"] for stage in stages] == ["validation", "prepare", "execute", "cleanup"]
    assert stages[2]["duration"] == "20s"
    assert {entry["op"]: entry["weight"] for entry in loaded["workload"]} == {
        "get": 70,
        "put": 20,
        "stat": 5,
        "list": 5,
    }
