"""What storage said or did, as a `Failure` that names the operation, the place, the causes and the next step."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass, replace

from sai3tui.errors import ErrorContext, ErrorKind, Failure, StorageError, cause_chain
from sai3tui.storage.engine import Endpoint, Request
from sai3tui.storage.s3xml import S3Error

CANCELLED = "cancelled"

_K = ErrorKind
_BY_CODE: dict[str, tuple[ErrorKind, str]] = {
    "SignatureDoesNotMatch": (_K.AUTH, "the secret key is wrong: check AWS_SECRET_ACCESS_KEY"),
    "InvalidAccessKeyId": (_K.AUTH, "the storage does not know this access key: check AWS_ACCESS_KEY_ID"),
    "ExpiredToken": (_K.AUTH, "the session token has expired: get new credentials"),
    "InvalidToken": (_K.AUTH, "check AWS_SESSION_TOKEN, or unset it"),
    "InvalidSecurity": (_K.AUTH, "check the credentials"),
    "RequestTimeTooSkewed": (_K.AUTH, "this host's clock and the storage's differ: check time synchronisation"),
    "RequestExpired": (_K.AUTH, "this host's clock and the storage's differ: check time synchronisation"),
    "AuthorizationHeaderMalformed": (_K.CONFIG, "the region is probably wrong: set AWS_REGION"),
    "AccessDenied": (_K.PERMISSION, "the key pair may not do this here: check the bucket's policy"),
    "AllAccessDisabled": (_K.PERMISSION, "the bucket is closed for everybody"),
    "AccountProblem": (_K.PERMISSION, "ask the storage's operator about this account"),
    "NoSuchBucket": (_K.NOT_FOUND, "create the bucket, or correct its name in the configuration"),
    "NoSuchKey": (_K.NOT_FOUND, "run prepare, or check the path of this operation"),
    "SlowDown": (_K.THROTTLED, "the storage asks for less load"),
    "ServiceUnavailable": (_K.THROTTLED, "the storage is overloaded or not ready"),
    "Throttling": (_K.THROTTLED, "the storage asks for less load"),
    "ThrottlingException": (_K.THROTTLED, "the storage asks for less load"),
    "TooManyRequests": (_K.THROTTLED, "the storage asks for less load"),
    "RequestTimeout": (_K.TIMEOUT, "the storage gave up waiting for the request"),
    "PermanentRedirect": (_K.CONFIG, "the bucket is elsewhere: set AWS_REGION or name the right endpoint"),
    "TemporaryRedirect": (_K.CONFIG, "the bucket is elsewhere: set AWS_REGION or name the right endpoint"),
    "QuotaExceeded": (_K.STORAGE, "the storage's quota is used up"),
    "XAmzContentSHA256Mismatch": (
        _K.CONFIG,
        "storage that knows no checksums behind a body says this: use payload_signing: sha256, or checksum: none",
    ),
    "EntityTooLarge": (_K.CONFIG, "the object is larger than one PUT may be"),
}
_BY_STATUS: dict[int, tuple[ErrorKind, str]] = {
    401: (_K.AUTH, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    403: (_K.PERMISSION, "check the credentials and the bucket's policy"),
    404: (_K.NOT_FOUND, "check bucket and path; prepare creates the objects"),
    408: (_K.TIMEOUT, "the storage gave up waiting for the request"),
    409: (_K.STORAGE, "something else is changing the same bucket or object"),
    429: (_K.THROTTLED, "the storage asks for less load"),
    503: (_K.THROTTLED, "the storage is overloaded or not ready"),
    507: (_K.STORAGE, "the storage is full"),
}
_REDIRECT_HINT = "the bucket is elsewhere: set AWS_REGION or name the right endpoint"
_REFUSED_HINT = "the storage refuses this kind of request: check endpoint, bucket and path"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is an error: its HTTP status, the S3 error document, and a request id from the headers."""

    status: int
    error: S3Error
    request_id: str = ""
    location: str = ""
    retry_after: str = ""


def context_of(endpoint: Endpoint, request: Request, *, subclass: str = "", status: int = 0) -> ErrorContext:
    """Where `request` was going."""
    return ErrorContext(
        uri=endpoint.uri + request.key,
        endpoint=endpoint.uri,
        object_index=request.index,
        op=request.op.word,
        subclass=subclass,
        http_status=status,
    )


def classify(answer: Answer) -> tuple[ErrorKind, str, str]:
    """Kind, hint and sub-class of an error answer: by its S3 code if known, else by its HTTP status."""
    status, code = answer.status, answer.error.code
    subclass = f"http_{status // 100}xx" if 100 <= status < 600 else "http_other"
    kind, hint = _BY_CODE.get(code) or _BY_STATUS.get(status) or _by_class(status)
    if kind is ErrorKind.CONFIG and answer.error.region:
        hint = f"the storage expects region {answer.error.region!r}: set AWS_REGION"
    elif answer.retry_after:
        hint = f"{hint or 'the storage is not ready'} (it asks to come again after {answer.retry_after[:40]})"
    elif 300 <= status < 400 and (answer.error.endpoint or answer.location):
        hint = f"{hint} (it points to {answer.error.endpoint or answer.location})"
    return kind, hint, subclass


def answer_failure(answer: Answer, context: ErrorContext) -> Failure:
    """The failure of an operation whose answer is an error."""
    kind, hint, subclass = classify(answer)
    name = f"HTTP {answer.status}" + (f" {answer.error.code}" if answer.error.code else "")
    full = Failure(kind, f"{_subject(context)} was answered with {name}", _said(answer.error), context, hint)
    return full.with_context(
        subclass=subclass, http_status=answer.status, request_id=answer.request_id or answer.error.request_id
    )


def os_failure(error: OSError, context: ErrorContext, *, during: str) -> Failure:
    """The failure of an operation that ended in `error` from the network stack; `during` is `connect` or `transfer`."""
    kind, subclass, hint = _classify_os(error, during)
    what = "could not connect" if during == "connect" else "lost its connection"
    causes = (_text(error), *cause_chain(error))
    return Failure(kind, f"{_subject(context)} {what}", causes, context, hint).with_context(subclass=subclass)


def lost_failure(context: ErrorContext, what: str, subclass: str, error: BaseException | None = None) -> Failure:
    """The failure of an operation whose connection the other side closed; `what` completes the sentence."""
    causes = () if error is None else (_text(error), *cause_chain(error))
    hint = "the storage, or something on the way to it, ends connections: see its log"
    return Failure(ErrorKind.NETWORK, f"{_subject(context)} {what}", causes, context, hint).with_context(
        subclass=subclass
    )


def timeout_failure(context: ErrorContext, what: str, subclass: str, *, hint: str = "") -> Failure:
    return Failure(ErrorKind.TIMEOUT, f"{_subject(context)} {what}", (), context, hint).with_context(subclass=subclass)


def cancelled_failure(context: ErrorContext) -> Failure:
    return timeout_failure(context, "was cancelled", CANCELLED)


def malformed_failure(context: ErrorContext, error: Exception | str) -> Failure:
    """The failure of an operation whose answer makes no sense."""
    hint = "check that the endpoint is an S3 service, and whether it wants TLS"
    return Failure(
        ErrorKind.STORAGE, f"{_subject(context)} got an answer that is not S3", (str(error),), context, hint
    ).with_context(subclass="malformed")


def unsupported_failure(context: ErrorContext, why: str) -> Failure:
    return Failure(ErrorKind.CONFIG, f"{_subject(context)} is not possible", (why,), context).with_context(
        subclass="unsupported"
    )


_BY_ERRNO: dict[int, tuple[ErrorKind, str]] = {
    errno.ENOENT: (_K.NOT_FOUND, "run prepare, or check the path"),
    errno.ENOTDIR: (_K.NOT_FOUND, "a part of the path is a file"),
    errno.EISDIR: (_K.NOT_FOUND, "a directory stands where a file was expected"),
    errno.EACCES: (_K.PERMISSION, "check owner and mode of the directory"),
    errno.EPERM: (_K.PERMISSION, "check owner and mode of the directory"),
    errno.EROFS: (_K.PERMISSION, "the file system is mounted read-only"),
    errno.ELOOP: (_K.PERMISSION, "a symbolic link stands where a file was expected"),
    errno.ENOSPC: (_K.RESOURCE, "the file system is full"),
    errno.EDQUOT: (_K.RESOURCE, "the disk quota is used up"),
    errno.EMFILE: (_K.RESOURCE, "raise the limit of open files (ulimit -n)"),
    errno.ENFILE: (_K.RESOURCE, "the host has too many open files"),
    errno.ENOMEM: (_K.RESOURCE, "the host has no memory left"),
    errno.ENAMETOOLONG: (_K.CONFIG, "shorten the names in the configuration"),
    errno.EIO: (_K.STORAGE, "the device reports an error: see the kernel's log"),
    errno.ESTALE: (_K.STORAGE, "the network file system lost this file: is it still exported?"),
    errno.ETIMEDOUT: (_K.TIMEOUT, "the file server did not answer"),
}


def file_failure(error: OSError, context: ErrorContext) -> Failure:
    """The failure of an operation on files that ended in `error`."""
    kind, hint = _BY_ERRNO.get(error.errno or 0, (ErrorKind.STORAGE, ""))
    name = errno.errorcode.get(error.errno or 0, "truncated")
    return Failure(kind, f"{_subject(context)} failed", (_text(error),), context, hint).with_context(
        subclass=name.lower()
    )


def placed(failure: Failure, context: ErrorContext) -> Failure:
    """`failure`, with `context` if it does not say itself where it happened."""
    return failure if failure.context.uri else replace(failure, context=context)


def storage_error(failure: Failure) -> StorageError:
    """`failure` as an exception; its causes become a chain of exceptions, so that nothing is lost on the way."""
    error = StorageError(failure.message, hint=failure.hint, context=failure.context, kind=failure.kind)
    current: BaseException = error
    for text in failure.causes:
        current.__cause__ = StorageError(text)
        current = current.__cause__
    return error


def _by_class(status: int) -> tuple[ErrorKind, str]:
    if 300 <= status < 400:
        return ErrorKind.CONFIG, _REDIRECT_HINT
    if 400 <= status < 500:
        return ErrorKind.CONFIG, _REFUSED_HINT
    return ErrorKind.STORAGE, "see the storage's log" if status >= 500 else ""


def _classify_os(error: OSError, during: str) -> tuple[ErrorKind, str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ErrorKind.CONFIG, "tls", "the server's certificate is not trusted: set AWS_CA_BUNDLE to its CA's file"
    if isinstance(error, ssl.SSLError):
        return ErrorKind.CONFIG, "tls", "if the endpoint speaks plain HTTP, write s3+http://"
    if isinstance(error, socket.gaierror):
        return ErrorKind.NETWORK, "dns", "the host name is unknown here: check it and the resolver"
    if isinstance(error, ConnectionRefusedError):
        return ErrorKind.NETWORK, "connect", "nothing listens there: check host and port, and that the storage runs"
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return ErrorKind.RESOURCE, during, _BY_ERRNO[error.errno][1]
    if error.errno == errno.EADDRNOTAVAIL:
        return ErrorKind.RESOURCE, "connect", "this host has no local ports left: fewer connections, or keep them open"
    if during == "connect":
        return ErrorKind.NETWORK, "connect", "check the network between this host and the storage"
    return ErrorKind.NETWORK, "reset", "the storage, or something on the way to it, ends connections: see its log"


def _subject(context: ErrorContext) -> str:
    op = context.op.upper() or "request"
    return f"{op} of {context.uri}" if context.uri else op


def _said(error: S3Error) -> tuple[str, ...]:
    return (f"the storage says: {error.message}",) if error.message else ()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
