"""What everything on aioboto3 shares: the client of an endpoint, and botocore's errors as ours."""

from __future__ import annotations

import errno
import functools
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, cast
from xml.etree.ElementTree import ParseError

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp import ClientError as HttpClientError
from aiohttp import ClientPayloadError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError

from sai3tui.config.storage_options import PayloadSigning, S3Options
from sai3tui.errors import ErrorContext, ErrorKind, Failure, cause_chain, failure_of
from sai3tui.storage.credentials import find_credentials, region_of
from sai3tui.storage.engine import Endpoint
from sai3tui.storage.failures import Answer, answer_failure, lost_failure, os_failure, timeout_failure
from sai3tui.storage.s3xml import S3Error
from sai3tui.storage.sigv4 import host_header

_NO_XML = (ResponseParserError, ParseError)
BOTO_ERRORS = (BotoCoreError, ClientError, HttpClientError, OSError, *_NO_XML)
"""Everything that a call can raise because of the storage or the way to it."""

_STREAM_CUT = (IncompleteReadError, ResponseStreamingError, ClientPayloadError)


@functools.cache
def service_models() -> Any:
    """What describes S3 to botocore, read from its files once in a process: that takes longer than all else that a new
    client needs."""
    models = create_loader()
    for part in ("service-2", "endpoint-rule-set-1"):
        models.load_service_model("s3", part)
    for part in ("endpoints", "partitions", "sdk-default-configuration"):
        models.load_data(part)
    return models


def boto_client(
    endpoint: Endpoint,
    environ: Mapping[str, str],
    *,
    connect_timeout: float,
    read_timeout: float,
    connections: int,
    region: str = "us-east-1",
    options: S3Options | None = None,
) -> AbstractAsyncContextManager[Any]:
    """An aioboto3 S3 client for `endpoint` that asks once and adds no checksums. Times in seconds.

    Blocks where credentials come from a file or a metadata service. Raises StorageError if there are none.
    """
    options = options or S3Options()
    core = AioSession()
    models = service_models()
    core.register_component("data_loader", models)
    keys = find_credentials(environ)
    session = aioboto3.Session(
        botocore_session=core,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token or None,
        region_name=region_of(environ, region),
    )
    # Every session adds a place of its own, the same one each time.
    models.search_paths[:] = dict.fromkeys(models.search_paths)
    scheme = "https" if endpoint.tls else "http"
    config = AioConfig(
        signature_version="s3v4",
        s3={
            "addressing_style": options.addressing.value,
            "payload_signing_enabled": options.payload_signing is PayloadSigning.SHA256,
        },
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=max(1, connections),
        # One endpoint, named by the configuration: no proxy of the environment stands between.
        proxies={},
    )
    client = session.client(
        "s3",
        endpoint_url=f"{scheme}://{host_header(endpoint.host, endpoint.port, tls=endpoint.tls)}",
        verify=(options.ca_file or environ.get("AWS_CA_BUNDLE") or None) if options.tls_verify else False,
        config=config,
    )
    return cast(AbstractAsyncContextManager[Any], client)


def boto_failure(error: BaseException, context: ErrorContext) -> Failure:
    """`error`, which a call raised, as a failure with its whole cause chain."""
    if isinstance(error, ClientError):
        return answer_failure(_answer(error), context)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return Failure(ErrorKind.AUTH, "no S3 credentials were found", (_text(error),), context)
    if isinstance(error, SSLError):
        hint = "is the certificate trusted (AWS_CA_BUNDLE)? If the endpoint speaks plain HTTP, write s3+http://"
        return _failure(ErrorKind.CONFIG, "could not connect", error, context, "tls", hint)
    if isinstance(error, ConnectTimeoutError):
        return _with_causes(timeout_failure(context, "did not get a connection in time", "connect"), error)
    if isinstance(error, (ReadTimeoutError, TimeoutError)):
        return _with_causes(timeout_failure(context, "got no answer in time", "op"), error)
    if isinstance(error, EndpointConnectionError):
        below = _os_error_in(error)
        if below is not None:
            cut = below.errno in (errno.ECONNRESET, errno.EPIPE)
            return os_failure(below, context, during="transfer" if cut else "connect")
        return _failure(ErrorKind.NETWORK, "could not connect", error, context, "connect", "")
    if isinstance(error, _STREAM_CUT):
        return lost_failure(context, "was cut off in the answer's body", "truncated", error)
    if isinstance(error, OSError):
        return os_failure(error, context, during="transfer")
    if isinstance(error, (HTTPClientError, HttpClientError)):
        return lost_failure(context, "was cut off before an answer", "reset", error)
    if isinstance(error, _NO_XML):
        hint = "is this an S3 endpoint? Check host and port, and what stands in front of it"
        return _failure(ErrorKind.STORAGE, "answered with something that is not XML", error, context, "malformed", hint)
    if isinstance(error, BotoCoreError):
        return _failure(ErrorKind.STORAGE, "failed", error, context, "", "")
    return failure_of(error)


def _answer(error: ClientError) -> Answer:
    document = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    headers = metadata.get("HTTPHeaders", {})
    code = str(document.get("Code", ""))
    message = str(document.get("Message", ""))
    if code.isdigit():
        # A HEAD has no body; botocore puts the status and its phrase there.
        code = message = ""
    return Answer(
        int(metadata.get("HTTPStatusCode", 0)),
        S3Error(
            code,
            message,
            str(metadata.get("RequestId", "")),
            str(document.get("Region", "") or headers.get("x-amz-bucket-region", "")),
            str(document.get("Endpoint", "")),
        ),
        str(metadata.get("RequestId", "")),
        str(headers.get("location", "")),
        str(headers.get("retry-after", "")),
    )


def _os_error_in(error: BaseException) -> OSError | None:
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return None
        wrapped = getattr(current, "os_error", None)
        if isinstance(wrapped, OSError):
            return wrapped
        if isinstance(current, OSError):
            return current
        current = current.__cause__ or current.__context__
    return None


def _failure(
    kind: ErrorKind, what: str, error: BaseException, context: ErrorContext, subclass: str, hint: str
) -> Failure:
    subject = f"{context.op.upper() or 'request'} of {context.uri}"
    causes = (_text(error), *cause_chain(error))
    return Failure(kind, f"{subject} {what}", causes, context, hint).with_context(subclass=subclass)


def _with_causes(failure: Failure, error: BaseException) -> Failure:
    return Failure(failure.kind, failure.message, (_text(error), *cause_chain(error)), failure.context, failure.hint)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
