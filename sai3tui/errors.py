"""The one error taxonomy: every failure in every layer is a `Sai3Error` with a kind, a cause chain and a context.

The kinds are those of the wire protocol (`ErrorKind` in sai3tui.proto); `events.py` turns errors into messages and
back, so that what an agent knew about a failure reaches the person who reads it, whole.
"""

from __future__ import annotations

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


class ConfigError(Sai3Error):
    kind = ErrorKind.CONFIG


class ResolveError(Sai3Error):
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
