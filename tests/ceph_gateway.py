"""A Ceph cluster in a directory: one monitor, one manager, one OSD that keeps objects in memory, and its S3 gateway.

It is the one S3 here that people run in production, and the one whose answers settle a doubt. The programs are those
of Debian's packages radosgw, ceph-mon, ceph-mgr, ceph-osd and ceph-common; where they are missing, tests that want
them are skipped (`make test-ceph` says how to get them).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sai3tui.processes import Child, free_port, listens, start_child, wait_ready
from tests.fault_server import CREDENTIALS

PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool")
READY_S = 120.0
COMMAND_S = 120
MEMORY_BYTES = 2 * 1024**3
CAPABILITIES = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "mgr.x": {"mon": "allow profile mgr", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow rw"},
}

_CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}/0
public addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon pg warn min per osd = 0
osd objectstore = memstore
memstore device bytes = {memory}
osd memory target = 1073741824
log file = {directory}/$name.log
run dir = {directory}
admin socket = {directory}/$name.asok
pid file = {directory}/$name.pid
crash dir = {directory}
keyring = {directory}/keyring
mon data = {directory}/mon
mgr data = {directory}/mgr
osd data = {directory}/osd
ms bind ipv6 = false
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {directory}/rgw
"""


def missing() -> list[str]:
    """Which of the programs are not on PATH."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def _run(config: Path | None, *command: str) -> None:
    configured = ["-c", str(config)] if config is not None else []
    ended = subprocess.run([command[0], *configured, *command[1:]], capture_output=True, text=True, timeout=COMMAND_S)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr[-2000:] or ended.stdout[-2000:]}")


@contextmanager
def radosgw() -> Iterator[int]:
    """The port of a new gateway with the tests' keys, gone at the end with all that it kept. Takes half a minute."""
    with (
        tempfile.TemporaryDirectory(prefix="sai3tui-ceph-", ignore_cleanup_errors=True) as name,
        ExitStack() as children,
    ):
        directory = Path(name)
        for each in ("mon", "mgr", "osd", "rgw"):
            (directory / each).mkdir()
        keyring = str(directory / "keyring")
        for each, caps in CAPABILITIES.items():
            said = [word for what, allowed in caps.items() for word in ("--cap", what, allowed)]
            create = [] if Path(keyring).exists() else ["--create-keyring"]
            _run(None, "ceph-authtool", *create, keyring, "--gen-key", "-n", each, *said)
        fsid, osd, monitor, port = str(uuid.uuid4()), str(uuid.uuid4()), free_port("127.0.0.1"), free_port("127.0.0.1")
        config = directory / "ceph.conf"
        config.write_text(_CONFIG.format(fsid=fsid, mon=monitor, port=port, directory=directory, memory=MEMORY_BYTES))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}

        def serve(name: str, *command: str) -> Child:
            log = directory / f"{name}.out"
            child = start_child(name, [name, "-c", str(config), "-f", *command], log, environ=kept)
            children.callback(child.end)
            return child

        map_file = str(directory / "monmap")
        address = f"[v2:127.0.0.1:{monitor}]"
        _run(config, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, map_file)
        _run(config, "ceph-mon", "--mkfs", "-i", "a", "--monmap", map_file, "--keyring", keyring)
        mon = serve("ceph-mon", "-i", "a")
        wait_ready(mon, lambda: listens(mon, monitor), READY_S)
        serve("ceph-mgr", "-i", "x")
        _run(config, "ceph", "osd", "new", osd)
        _run(config, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        serve("ceph-osd", "-i", "0")
        access, secret = CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
        user = ["--uid", "tests", "--display-name", "tests", "--access-key", access, "--secret", secret]
        _run(config, "radosgw-admin", "user", "create", *user)
        gateway = serve("radosgw", "-n", "client.rgw")
        wait_ready(gateway, lambda: listens(gateway, port), READY_S)
        yield port
