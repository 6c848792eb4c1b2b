"""The key pair that requests are signed with: from the environment, else from botocore's chain, asked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sai3tui.errors import ErrorKind, StorageError

DEFAULT_REGION = "us-east-1"
_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the process that does the I/O"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key, its secret and an optional session token. Only the access key shows in reprs."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


def find_credentials(environ: Mapping[str, str]) -> Credentials:
    """The credentials of `environ`, else those of botocore's standard chain (files, container, instance).

    Blocks while the chain is asked. Raises StorageError of kind AUTH if there are none.
    """
    access, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
    if access and secret:
        return Credentials(access, secret, environ.get("AWS_SESSION_TOKEN", ""))
    if access or secret:
        missing = "AWS_ACCESS_KEY_ID" if secret else "AWS_SECRET_ACCESS_KEY"
        raise StorageError(f"half of the S3 key pair is missing: {missing} is not set", hint=_HINT, kind=ErrorKind.AUTH)
    # Only here: importing botocore takes longer than starting a worker does otherwise.
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import Session

    try:
        session = Session(profile=environ.get("AWS_PROFILE"))
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except (BotoCoreError, ClientError, OSError) as error:
        raise StorageError("the S3 credentials could not be read", hint=_HINT, kind=ErrorKind.AUTH) from error
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise StorageError("no S3 credentials were found", hint=_HINT, kind=ErrorKind.AUTH)
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")


def region_of(environ: Mapping[str, str], default: str = DEFAULT_REGION) -> str:
    """The region that requests are signed for: AWS_REGION, else AWS_DEFAULT_REGION, else `default`."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or default
