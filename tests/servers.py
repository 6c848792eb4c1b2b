"""What tests add to the product's S3 server: fixed keys, and buckets made through S3 itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from sai3tui.demo import keys_of
from sai3tui.demo_servers import Credentials, S3Server

TEST_KEYS = Credentials("testaccesskey", "testsecretkey0123")


class ServerUnderTest:
    """`rclone serve s3` on two loopback addresses that show the same buckets."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.endpoint_url = server.endpoint_url
        self.host_port = server.host_port
        self.host_ports = server.host_ports
        self.port = server.port
        self.ports = server.ports
        self.access_key = server.credentials.access_key
        self.secret_key = server.credentials.secret_key
        self.data_dir = server.data_dir

    def client(self, address: int = 0) -> Any:
        """A boto3 S3 client that asks once, for looking at the server from the side."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{self.host_ports[address]}",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=BotoConfig(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def bucket(self, name: str) -> str:
        """Make the bucket if it is not there; returns its name. Take a name of your own per test."""
        client = self.client()
        try:
            client.head_bucket(Bucket=name)
        except ClientError:
            client.create_bucket(Bucket=name)
        return name

    def make_directories(self, bucket: str, config: str) -> None:
        """Make the directories that a run of `config` will need: see S3Server.make_directories."""
        self.server.make_directories(bucket, keys_of(config))

    def keys(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Every object in the bucket below `prefix`: key -> size in bytes, as a LIST shows it."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def environ(self) -> dict[str, str]:
        """The AWS_* variables a client of this server needs."""
        return self.server.environ()


@contextmanager
def running_server() -> Iterator[ServerUnderTest]:
    """A server of the test's own, gone at the end with its data."""
    with (
        tempfile.TemporaryDirectory(prefix="sai3tui-test-", ignore_cleanup_errors=True) as directory,
        S3Server.start(Path(directory), credentials=TEST_KEYS) as server,
    ):
        yield ServerUnderTest(server)
