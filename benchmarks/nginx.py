"""nginx as the other end: how far GETs of 1 KiB get where the server is the fastest that there is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.null_s3 import CORES
from sai3tui.processes import free_port, listens, start_child, wait_ready

START_S = 20.0
CONFIG = """\
daemon off;
worker_processes 1;
worker_cpu_affinity {mask:b};
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    add_header Last-Modified "Thu, 01 Jan 1970 00:00:00 GMT";
    add_header ETag '"x"';
    location / {{ return 200 "{content}"; }}
  }}
}}
"""


def available() -> bool:
    """Whether the host has nginx."""
    return shutil.which("nginx") is not None


@contextmanager
def nginx(size: int) -> Iterator[int]:
    """The port of an nginx of one worker, on the first core, that answers every GET with `size` bytes (at most 2 KiB)
    and lives as long as the block. Raises ResourceError if it does not start."""
    with tempfile.TemporaryDirectory(prefix="sai3tui-nginx-") as name:
        directory, port = Path(name), free_port("127.0.0.1")
        config = directory / "nginx.conf"
        text = CONFIG.format(directory=directory, port=port, mask=1 << CORES[0], content="x" * size)
        config.write_text(text)
        server = start_child("nginx", ["nginx", "-c", str(config), "-p", name], directory / "nginx.log")
        try:
            wait_ready(server, lambda: listens(server, port), START_S)
            yield port
        finally:
            server.end()
