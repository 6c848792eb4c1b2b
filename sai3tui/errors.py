"""The one error taxonomy: every failure in every layer is a `Sai3Error` with a kind, a cause chain and a context.

The kinds are those of the wire protocol (`ErrorKind` in sai3tui.proto); `events.py` turns errors into messages and
back, so that what an agent knew about a failure reaches the person who reads it, whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

MAX_CAUSES = 16


class ErrorKind(IntEnum):
    """What kind of thing went wrong. Values are those of the wire enum."""

    INTERNAL = 0
    CONFIG = 1
    RESOLVE = 2
    AUTH = 3
    PERMISSION = 4
    NOT_FOUND = 5
    THROTTLED = 6
    TIMEOUT = 7
    NETWORK = 8
    STORAGE = 9
    CORRUPT = 10
    RESOURCE = 11
    AGENT_LOST = 12

    @property
    def word(self) -> str:
        return self.name.lower()


WHAT_NEXT: Mapping[ErrorKind, str] = {
    ErrorKind.INTERNAL: "this is a defect of sai3tui: run again with -v, and report what the log says",
    ErrorKind.CONFIG: "correct the configuration: sai3tui validate shows all that is wrong with it",
    ErrorKind.RESOLVE: "correct the paths in the configuration: sai3tui plan shows what each of them comes to",
    ErrorKind.AUTH: "check the credentials of whoever does the operation: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
    ErrorKind.PERMISSION: "ask for leave to do this: the bucket's policy, the directory's owner, the agent's options",
    ErrorKind.NOT_FOUND: "check bucket and path; prepare creates the objects",
    ErrorKind.THROTTLED: "ask for less: fewer connections, a lower io_rate, or more endpoints",
    ErrorKind.TIMEOUT: "see what the other side is busy with, and whether it can be reached at all",
    ErrorKind.NETWORK: "check the network to the other side, and what its log says",
    ErrorKind.STORAGE: "see what the log of the storage says about that moment",
    ErrorKind.CORRUPT: "keep the object as it is, and see what has written or changed it",
    ErrorKind.RESOURCE: "see what this host lacks: room on its disks, memory, descriptors",
    ErrorKind.AGENT_LOST: "see whether its host is up and its agent runs, then run again: what is done is not repeated",
}
"""What mostly helps with an error of a kind, for those that say nothing better."""

RETRYABLE = frozenset({ErrorKind.THROTTLED, ErrorKind.TIMEOUT, ErrorKind.NETWORK, ErrorKind.STORAGE})


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """Where it went wrong. Empty strings and -1 mean: does not apply.

    `subclass` refines the kind of one attempt: connect, reset, truncated, http_5xx, http_4xx, ...
    """

    uri: str = ""
    endpoint: str = ""
    object_index: int = -1
    stage: str = ""
    agent: str = ""
    op: str = ""
    subclass: str = ""
    http_status: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a value: what crosses processes and the wire, and what the run log keeps."""

    kind: ErrorKind
    message: str
    causes: tuple[str, ...] = ()
    context: ErrorContext = field(default_factory=ErrorContext)
    hint: str = ""

    @property
    def what_next(self) -> str:
        """What whoever reads it can do: its hint, else what mostly helps with its kind."""
        return self.hint or WHAT_NEXT[self.kind]

    def with_context(self, **changes: object) -> Failure:
        """This failure with some fields of its context replaced."""
        return replace(self, context=replace(self.context, **changes))  # type: ignore[arg-type]

    def sentence(self) -> str:
        """One line: message and causes, outermost first."""
        return ": ".join((self.message, *self.causes))


class Sai3Error(Exception):
    """Base of all errors that sai3tui raises on purpose. Subclasses set `kind`."""

    kind: ErrorKind = ErrorKind.INTERNAL

    def __init__(
        self, message: str, *, hint: str = "", context: ErrorContext | None = None, kind: ErrorKind | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context or ErrorContext()
        if kind is not None:
            self.kind = kind

    def failure(self) -> Failure:
        """This error with everything that caused it (`__cause__`, else an unsuppressed `__context__`)."""
        return Failure(self.kind, self.message, cause_chain(self), self.context, self.hint)


class KnownError(Sai3Error):
    """Raises a failure that is known whole already: out of another process, or of a part of the work."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, hint=failure.hint, context=failure.context, kind=failure.kind)
        self._failure = failure

    def failure(self) -> Failure:
        return self._failure


class ConfigError(Sai3Error):
    kind = ErrorKind.CONFIG


class ResolveError(ConfigError):
    """What a valid file says comes to no place, or to none that can be used."""

    kind = ErrorKind.RESOLVE


class ResourceError(Sai3Error):
    """This host lacks something: disk, memory, descriptors, a port."""

    kind = ErrorKind.RESOURCE


class StorageError(Sai3Error):
    """The storage under test refused, failed or did not answer. `kind` says which."""

    kind = ErrorKind.STORAGE


class AgentLostError(Sai3Error):
    kind = ErrorKind.AGENT_LOST


class StateError(Sai3Error):
    """A transition that the state table does not know: always a defect of ours."""

    kind = ErrorKind.INTERNAL


def printable(text: str, *, lines: bool = False) -> str:
    """`text` without characters that do something to a terminal: what others say must not write to ours. `lines`: ends
    of lines stay."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else " " for c in text)


def cause_chain(error: BaseException) -> tuple[str, ...]:
    """The texts of all causes below `error`, nearest first, bounded, without repeats."""
    texts: list[str] = []
    seen = {id(error)}
    current: BaseException | None = error
    while current is not None and len(texts) < MAX_CAUSES:
        below = current.__cause__
        if below is None and not current.__suppress_context__:
            below = current.__context__
        if below is None or id(below) in seen:
            break
        seen.add(id(below))
        text = _text(below)
        if text not in texts:
            texts.append(text)
        current = below
    return tuple(texts)


def _text(error: BaseException) -> str:
    if isinstance(error, Sai3Error):
        return error.message
    # An RPC error prints as a dump of several lines; its code and details are all that a person can use. Asked by
    # shape, because this module imports nothing.
    details = getattr(error, "details", None)
    if callable(details) and callable(code := getattr(error, "code", None)):
        return f"{getattr(code(), 'name', 'rpc').lower()}: {details()}"
    return f"{type(error).__name__}: {error}"


def failure_of(error: BaseException) -> Failure:
    """Any exception as a `Failure`; one that is not ours is an internal error and says so."""
    if isinstance(error, Sai3Error):
        return error.failure()
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(ErrorKind.INTERNAL, text, cause_chain(error))
