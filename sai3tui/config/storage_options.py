"""How requests are made and files are written: what of it a configuration can choose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_PUT_BYTES = 5 * 1024**3
"""What S3 takes in one PUT, or as one part of an upload."""


class PageCacheMode(StrEnum):
    AUTO = "auto"
    SEQUENTIAL = "sequential"
    RANDOM = "random"
    DONTNEED = "dontneed"
    NORMAL = "normal"


class PayloadSigning(StrEnum):
    """Whether the signature of a request covers its body. `SHA256` reads every body twice."""

    UNSIGNED = "unsigned"
    SHA256 = "sha256"


class Checksum(StrEnum):
    """The checksum that follows the body of a PUT, for the storage to compare."""

    NONE = "none"
    CRC32C = "crc32c"
    CRC64NVME = "crc64nvme"


class Addressing(StrEnum):
    """Where an S3 request names the bucket: in the path, or before the host's name."""

    PATH = "path"
    VIRTUAL = "virtual"


class Fsync(StrEnum):
    """When written files are made durable: never, each before its PUT is done, or all before the engine closes."""

    NONE = "none"
    PER_OBJECT = "per_object"
    PER_STAGE = "per_stage"


@dataclass(frozen=True, slots=True)
class S3Options:
    """What can be said about requests to S3 besides where they go.

    `ca_file` is used instead of the system's CAs (and of AWS_CA_BUNDLE). `expect_above`: a PUT of more bytes than
    this asks first and sends its body after `100 Continue`; -1: none does.
    """

    payload_signing: PayloadSigning = PayloadSigning.UNSIGNED
    checksum: Checksum = Checksum.NONE
    addressing: Addressing = Addressing.PATH
    tls_verify: bool = True
    ca_file: str = ""
    expect_above: int = -1


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are read and written. `atomic`: a file appears under its name when it is whole."""

    page_cache: PageCacheMode = PageCacheMode.AUTO
    fsync: Fsync = Fsync.NONE
    atomic: bool = False
