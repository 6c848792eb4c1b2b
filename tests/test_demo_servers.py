"""The S3 server that the demo and the tests start, and the leash that all children are on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from sai3tui.demo_servers import S3Server
from sai3tui.errors import ResourceError
from sai3tui.processes import OwnedDirectory, free_port, start_child, wait_ready
from tests.servers import ServerUnderTest
from tests.waiting import gone, wait_until


def test_both_addresses_show_the_same_bucket(s3_server: ServerUnderTest) -> None:
    bucket = s3_server.bucket("two-addresses")
    s3_server.client(0).put_object(Bucket=bucket, Key="data/a", Body=b"12345")
    answer = s3_server.client(1).get_object(Bucket=bucket, Key="data/a")
    assert answer["Body"].read() == b"12345"
    assert s3_server.keys(bucket) == {"data/a": 5}
    assert len(set(s3_server.ports)) == 2


def test_a_wrong_key_is_refused(s3_server: ServerUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_server, "secret_key", "not-the-secret")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_server.client().list_buckets()


def test_the_secret_is_on_no_command_line(s3_server: ServerUnderTest) -> None:
    command_line = " ".join(psutil.Process(s3_server.server.child.pid).cmdline())
    assert "rclone" in command_line
    assert s3_server.secret_key not in command_line
    assert s3_server.secret_key not in repr(s3_server.server.credentials)


def test_closing_ends_the_server_and_keeps_the_data(tmp_path: Path) -> None:
    with S3Server.start(tmp_path, buckets=["kept"], addresses=1) as server:
        pid = server.child.pid
        assert not gone(pid)
    assert gone(pid)
    assert (tmp_path / "data" / "kept").is_dir()


def test_a_child_that_ends_early_is_reported_with_what_it_said(tmp_path: Path) -> None:
    child = start_child("thing", [sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(ResourceError, match=r"thing ended with code 3 .*no luck"):
        wait_ready(child, lambda: False, 10.0)


def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    child = start_child("thing", ["sleep", "60"], tmp_path / "log")
    try:
        with pytest.raises(ResourceError, match="not ready after"):
            wait_ready(child, lambda: False, 0.1)
    finally:
        child.end()
    assert gone(child.pid)


PARENT = """
import sys, time
from pathlib import Path
from sai3tui.processes import OwnedDirectory, start_child
owned = OwnedDirectory()
child = start_child("sleeper", ["sleep", "300"], owned.path / "log")
print(owned.path, child.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_and_directory_are_gone_when_the_parent_is_killed(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        directory, pid = parent.stdout.readline().split()
        assert Path(directory).is_dir()
        assert not gone(int(pid))
        os.kill(parent.pid, how)
        parent.wait(10)
    assert wait_until(lambda: gone(int(pid)))
    assert wait_until(lambda: not Path(directory).exists())


def test_an_owned_directory_goes_with_its_owner() -> None:
    with OwnedDirectory() as owned:
        (owned.path / "sub").mkdir()
        (owned.path / "sub" / "file").write_text("x")
    assert not owned.path.exists()


def test_free_ports_can_be_listened_on() -> None:
    port = free_port()
    assert 1024 < port < 65536
