"""What a configuration may touch on an agent's host: what whoever started the agent allows, and nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sai3tui.agent.setup import AgentLimits, RunSetup, check_allowed, make_setup
from sai3tui.errors import ErrorKind, Sai3Error
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.storage.fileops import path_below

PREPARE = "prepare: {ensure_objects: [{base_uri: BASE, count: 1, size_distribution: 1}]}"


def setup_of(config: str, tmp_path: Path, *allowed: Path, custom: bool = False) -> RunSetup:
    limits = AgentLimits(tmp_path / "data", allowed, allow_custom=custom)
    return make_setup(pb.RunSpec(run_id="r", config_name="c.yaml", config_yaml=config.encode()), limits, {})


def config_of(target: Path, *, base: str = "data/", path: str = "data/*", cache: str = "") -> str:
    lines = [f'target: "file://{target}/"', PREPARE.replace("BASE", f'"{base}"')]
    lines += [f'workload: [{{op: get, path: "{path}", weight: 1}}]']
    if cache:
        lines += [f'distributed: {{agents: [{{address: "127.0.0.1:1"}}], kv_cache_dir: "{cache}"}}']
    return "\n".join(lines)


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    (tmp_path / "allowed" / "deep").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    return tmp_path / "allowed"


def refused(config: str, tmp_path: Path, *allowed: Path) -> Sai3Error:
    with pytest.raises(Sai3Error) as caught:
        setup_of(config, tmp_path, *allowed)
    assert caught.value.kind is ErrorKind.PERMISSION
    assert caught.value.hint
    return caught.value


def test_what_is_allowed_is_used(allowed: Path, tmp_path: Path) -> None:
    assert setup_of(config_of(allowed / "deep"), tmp_path, allowed).is_files
    (tmp_path / "link").symlink_to(allowed)
    assert setup_of(config_of(tmp_path / "link"), tmp_path, allowed).is_files
    assert setup_of(config_of(allowed), tmp_path, tmp_path / "link").is_files


def test_nothing_is_allowed_by_itself(allowed: Path, tmp_path: Path) -> None:
    assert "allowed: none" in refused(config_of(allowed), tmp_path).message


@pytest.mark.parametrize("place", ["", "secret", "allowedx", "allowed/../secret", "."])
def test_places_beside_it_are_refused(allowed: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "allowedx").mkdir()
    with pytest.raises(Sai3Error):
        setup_of(config_of(tmp_path / place), tmp_path, allowed)


def test_a_link_that_leads_out_is_refused_wherever_it_stands(allowed: Path, tmp_path: Path) -> None:
    (allowed / "out").symlink_to(tmp_path / "secret")
    (allowed / "deep" / "out").symlink_to("../../secret")
    assert str(tmp_path / "secret") in refused(config_of(allowed / "out"), tmp_path, allowed).message
    # Below the target: where the objects would go, and where they would be read.
    refused(config_of(allowed, base="deep/out/", path="deep/out/*"), tmp_path, allowed)
    refused(config_of(allowed, base="fine/", path="out/x/*"), tmp_path, allowed)
    (allowed / "later").symlink_to(tmp_path / "secret" / "not-yet-there")
    refused(config_of(allowed, base="later/", path="later/*"), tmp_path, allowed)


def test_a_state_cache_elsewhere_needs_leave(allowed: Path, tmp_path: Path) -> None:
    elsewhere = config_of(allowed, cache=str(tmp_path / "secret"))
    assert "--allow-path" in refused(elsewhere, tmp_path, allowed).hint
    assert setup_of(elsewhere, tmp_path, allowed, tmp_path / "secret").cache_dir.is_relative_to(tmp_path / "secret")
    inside = config_of(allowed, cache=str(tmp_path / "data" / "fast"))
    assert setup_of(inside, tmp_path, allowed).cache_dir.is_relative_to(tmp_path / "data" / "fast")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a/.", "x\0y", "..", "a/.."])
def test_no_key_leads_out_of_the_directory(key: str) -> None:
    with pytest.raises(Sai3Error, match="lead out"):
        path_below("/allowed/", key)


@pytest.mark.parametrize("base", ["../secret/", "a/../../secret/", "a\\u0000b/", "a\\nb/", "a\\u001b[2Jb/"])
def test_no_configuration_names_a_key_that_leads_out(allowed: Path, tmp_path: Path, base: str) -> None:
    with pytest.raises(Sai3Error):
        setup_of(config_of(allowed, base=base, path=f"{base}*"), tmp_path, allowed)


def test_check_allowed_follows_the_allowed_side_too(allowed: Path, tmp_path: Path) -> None:
    os.symlink(tmp_path / "secret", tmp_path / "alias")
    check_allowed(str(tmp_path / "secret" / "x"), (tmp_path / "alias",), "file:///")
    with pytest.raises(Sai3Error):
        check_allowed(str(tmp_path / "secret" / "x"), (allowed,), "file:///")


def test_what_is_named_outright_may_be_no_link_to_elsewhere(allowed: Path, tmp_path: Path) -> None:
    (allowed / "data").mkdir()
    (allowed / "data" / "away").symlink_to(tmp_path / "secret")
    (tmp_path / "secret" / "file").write_text("x")
    (allowed / "data" / "file").symlink_to(tmp_path / "secret" / "file")
    for entry in ("{op: rmdir, path: data/away, recursive: true, weight: 1}", "{op: get, path: data/file, weight: 1}"):
        error = refused(f'target: "file://{allowed}/"\nworkload: [{entry}]', tmp_path, allowed)
        assert "secret" in error.message
