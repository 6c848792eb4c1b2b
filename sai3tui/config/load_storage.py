"""How requests are made and files are written."""

from __future__ import annotations

from sai3tui.config.fields import Block
from sai3tui.config.storage_options import (
    Addressing,
    Checksum,
    FileOptions,
    Fsync,
    PageCacheMode,
    PayloadSigning,
    S3Options,
)


def read_s3_options(top: Block) -> S3Options:
    return S3Options(
        top.choice("payload_signing", of=PayloadSigning, default=PayloadSigning.UNSIGNED),
        top.choice("checksum", of=Checksum, default=Checksum.NONE),
        top.choice("addressing", of=Addressing, default=Addressing.PATH),
        top.boolean("tls_verify", default=True),
        top.text("ca_file", default=""),
        top.signed_size("expect_continue_above", default=-1),
    )


def read_file_options(top: Block) -> FileOptions:
    return FileOptions(
        top.choice("page_cache_mode", of=PageCacheMode, default=PageCacheMode.AUTO),
        top.choice("fsync", of=Fsync, default=Fsync.NONE),
        top.boolean("atomic_create", default=False),
    )
