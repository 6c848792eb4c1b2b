"""Credentials: where they come from, whom they are handed to, and that they are nowhere to be found afterwards."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import psutil
import pytest

from sai3tui.access import Role
from sai3tui.certificates import issue, make_authority
from sai3tui.cli import main
from sai3tui.config.load import load_config
from sai3tui.errors import ConfigError, ErrorKind, Sai3Error
from sai3tui.forwarding import allowed, read_env_file, received
from tests.agents import running_agent
from tests.e2e import environment, started
from tests.leaks import files_with, processes_with
from tests.servers import ServerUnderTest

SECRET = "s3cr3t-" + "x9" * 12
PAIR = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET}


def test_only_what_is_on_the_list_is_handed_out() -> None:
    environ = PAIR | {"AWS_REGION": "eu-central-1", "HOME": "/root", "LD_PRELOAD": "x", "AWS_PROFILE": "p"}
    assert allowed(environ) == PAIR | {"AWS_REGION": "eu-central-1"}
    with pytest.raises(ConfigError, match="no credentials"):
        allowed({"AWS_ACCESS_KEY_ID": "half"})


def test_a_key_pair_of_a_file_is_not_mixed_with_the_environment() -> None:
    file = PAIR | {"AWS_REGION": "file", "AWS_ENDPOINT_URL": "http://file:1"}
    environ = {"AWS_REGION": "own", "AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": ""}
    assert allowed(environ, file) == PAIR | {"AWS_REGION": "own", "AWS_ENDPOINT_URL": "http://file:1"}
    own = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "mine too"}
    assert allowed(own, file | {"AWS_SESSION_TOKEN": "theirs"}) == own | {
        "AWS_REGION": "file",
        "AWS_ENDPOINT_URL": "http://file:1",
    }
    with pytest.raises(ConfigError, match="no credentials"):
        allowed({"AWS_SESSION_TOKEN": "old"}, file)


def test_an_agent_takes_what_it_lacks_and_names_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sai3tui")
    sent = PAIR | {"AWS_REGION": "r", "LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp", "x\x1b[2J": "y"}
    assert received({}, sent, encrypted=True) == PAIR | {"AWS_REGION": "r"}
    assert received({"AWS_REGION": "own"}, sent, encrypted=True) == PAIR
    for own in ({"AWS_ACCESS_KEY_ID": "own"}, {"AWS_PROFILE": "own"}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}):
        assert received(own, sent, encrypted=True) == {"AWS_REGION": "r"}
    assert "AWS_SECRET_ACCESS_KEY" in caplog.text
    assert SECRET not in caplog.text
    assert "\x1b" not in caplog.text


def test_nothing_is_taken_from_a_channel_that_others_read() -> None:
    with pytest.raises(Sai3Error) as caught:
        received({}, PAIR, encrypted=False)
    assert caught.value.kind is ErrorKind.PERMISSION
    assert received({}, {}, encrypted=False) == {}


def test_a_controller_without_tls_hands_out_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PAIR.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "c.yaml").write_text("target: s3://b/\nworkload: [{op: put, path: x/, object_size: 1, weight: 1}]\n")
    assert main(["--batch", str(tmp_path / "c.yaml"), "--forward-credentials"]) == 2
    shown = capsys.readouterr().err
    assert "encrypted" in shown
    assert SECRET not in shown


def test_an_env_file_for_nobody_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--batch", str(tmp_path / "c.yaml"), "--env-file", str(tmp_path / ".env")]) == 2
    assert "--forward-credentials" in capsys.readouterr().err


def test_env_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "sai3tui")
    file = tmp_path / ".env"
    file.touch(0o600)
    file.write_text(f"# comment\n\nexport AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY='{SECRET}'\nA = \"b c\"\n")
    assert read_env_file(file) == PAIR | {"A": "b c"}
    assert not caplog.messages
    file.chmod(0o644)
    assert read_env_file(file)
    assert "chmod 600" in caplog.text
    file.write_text(f"fine=1\n{SECRET}\n")
    with pytest.raises(ConfigError, match=r"\.env:2:") as caught:
        read_env_file(file)
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot read"):
        read_env_file(tmp_path / "none")


def test_secrets_in_a_configuration_are_refused_with_advice() -> None:
    base = "target: s3://b/\nworkload: [{op: put, path: x/, object_size: 1, weight: 1}]\n"
    loaded = load_config(base + f'distributed_env: {{AWS_SECRET_ACCESS_KEY: "{SECRET}", AWS_REGION: r}}', "c.yaml")
    (problem,) = [problem for problem in loaded.problems if problem.code == "secret"]
    assert not loaded.ok
    assert "--forward-credentials" in problem.hint
    assert SECRET not in str(problem)
    assert load_config(base + "distributed_env: {AWS_REGION: r}", "c.yaml").ok


@pytest.mark.parametrize(
    "lines",
    [
        f"aws_secret_access_key: {SECRET}",
        f"s3: {{access-key: a, secretKey: {SECRET}}}",
        f"distributed: {{agents: [{{address: 'h:1', env: {{AWS_SESSION_TOKEN: {SECRET}}}}}]}}",
        f"x: &all {{MINIO_ROOT_PASSWORD: {SECRET}}}\ny: [*all, *all]",
    ],
)
def test_secrets_are_refused_wherever_they_stand(lines: str) -> None:
    base = "target: s3://b/\nworkload: [{op: put, path: x/, object_size: 1, weight: 1}]\n"
    loaded = load_config(base + lines, "c.yaml")
    assert not loaded.ok
    assert [problem for problem in loaded.problems if problem.code == "secret"]
    assert SECRET not in "".join(map(str, loaded.problems))


def test_a_run_on_forwarded_credentials_leaves_no_trace_of_them(s3_server: ServerUnderTest, tmp_path: Path) -> None:
    """Agents without credentials do a whole run with those that the controller has from a file; then everything is
    searched for the secret: files, logs, events, output, command lines and environments of the agents and their
    workers."""
    bucket = s3_server.bucket("forwarded")
    make_authority(tmp_path / "ca")
    issue(tmp_path / "ca", tmp_path / "agent-certs", Role.AGENT, ["127.0.0.1"])
    issue(tmp_path / "ca", tmp_path / "controller-certs", Role.CONTROLLER)
    bare = {name: "" for name in s3_server.environ() if name.startswith("AWS_")}
    work = tmp_path / "work"
    work.mkdir()
    secret = s3_server.secret_key
    env_file = tmp_path / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in s3_server.environ().items()))
    seen: list[int] = []
    exposed: list[str] = []
    stop = threading.Event()

    def watch(agent: int) -> None:
        while not stop.wait(0.1):
            seen.extend(processes_with(secret))
            for process in [psutil.Process(agent), *psutil.Process(agent).children(recursive=True)]:
                try:
                    exposed.extend(name for name, value in process.environ().items() if secret in value)
                except psutil.Error:
                    continue

    arguments = ["--certs", str(tmp_path / "agent-certs"), "-v", "--allow-custom"]
    with running_agent(work, *arguments, environ=bare) as agent:
        config = work / "run.yaml"
        config.write_text(f"""
concurrency: 2
target: s3+http://{s3_server.host_port}/{bucket}/run/
distributed:
  agents: [{{id: a1, address: "{agent.address}"}}]
  stages:
    - {{name: prepare, order: 1, type: prepare, completion: tasks_done}}
    - {{name: told, order: 2, type: custom, command: env, completion: script_exit}}
    - {{name: execute, order: 3, type: execute, completion: duration, duration: 1s}}
cache_checkpoint_interval_secs: 1
prepare: {{ensure_objects: [{{base_uri: data/, count: 20, size_distribution: 1000}}]}}
workload: [{{op: get, path: "data/*", weight: 1}}]
""")
        s3_server.make_directories(bucket, config.read_text())
        watching = threading.Thread(target=watch, args=(agent.child.pid,))
        watching.start()
        try:
            options = ["--batch", str(config), "--json", "-v", "--results", str(work), "--forward-credentials"]
            options += ["--certs", str(tmp_path / "controller-certs"), "--env-file", str(env_file)]
            with started(options, environ=environment(s3_server) | bare) as process:
                out, err = process.communicate(timeout=90)
        finally:
            stop.set()
            watching.join()
        assert process.returncode == 0, err
        log = agent.log
    lines = [json.loads(line) for line in out.splitlines()]
    assert any("forwards to agents that have none: AWS_ACCESS_KEY_ID" in json.dumps(line) for line in lines)
    # Also a command that tells its whole environment, and it did.
    assert any("told: SAI3_STAGE=told" in json.dumps(line) for line in lines)
    assert "credentials of the controller: takes AWS_ACCESS_KEY_ID" in log
    assert secret not in out + err + log
    # The search is worth something: it finds what is put there for it to find.
    (work / "control").write_text(secret)
    assert files_with(secret.encode(), work) == [work / "control"]
    user_data = Path(os.environ["XDG_DATA_HOME"])
    assert files_with(secret.encode(), user_data, s3_server.data_dir) == []
    assert seen == []
    assert exposed == []
