"""Errors as values: cause chains, contexts, words a person can use."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from sai3tui.errors import ConfigError, ErrorKind, Failure, StorageError, cause_chain, failure_of
from sai3tui.event_codec import MAX_REFUSAL, failure_from_proto, refusal_of
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.describe import failure_lines
from sai3tui.results.metadata import failure_json


def _raise_chain() -> None:
    try:
        try:
            raise OSError(5, "Input/output error")
        except OSError as error:
            raise StorageError("PUT data/x failed", hint="look at the disk") from error
    except StorageError as error:
        raise ConfigError("prepare failed") from error


def _raise_clean() -> None:
    try:
        raise KeyError("x")
    except KeyError:
        raise ConfigError("clean") from None


def test_a_failure_carries_every_cause_nearest_first() -> None:
    with pytest.raises(ConfigError) as caught:
        _raise_chain()
    failure = caught.value.failure()
    assert failure.kind is ErrorKind.CONFIG
    assert failure.causes == ("PUT data/x failed", "OSError: [Errno 5] Input/output error")
    assert failure.sentence() == "prepare failed: PUT data/x failed: OSError: [Errno 5] Input/output error"


def test_an_rpc_error_is_told_by_its_code_and_details() -> None:
    error = StorageError("no agent there")
    error.__cause__ = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="connection refused",
        debug_error_string="UNKNOWN: a dump {grpc_status:14}",
    )
    assert cause_chain(error) == ("unavailable: connection refused",)


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert cause_chain(first) == ("ValueError: second",)


def test_a_suppressed_context_is_no_cause() -> None:
    with pytest.raises(ConfigError) as caught:
        _raise_clean()
    assert caught.value.failure().causes == ()


def test_a_foreign_error_is_internal_and_says_its_type() -> None:
    failure = failure_of(RuntimeError("boom"))
    assert (failure.kind, failure.message) == (ErrorKind.INTERNAL, "RuntimeError: boom")


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_failure_says_what_to_do_next(kind: ErrorKind) -> None:
    plain = Failure(kind, "it went wrong")
    assert plain.what_next
    assert f"hint: {plain.what_next}" in failure_lines(plain)
    assert failure_json(plain)["hint"] == plain.what_next
    assert replace(plain, hint="do that").what_next == "do that"


@pytest.mark.parametrize(("length", "kept"), [(10, 16), (1000, 3), (MAX_REFUSAL, 0)])
def test_a_refusal_has_as_many_causes_as_a_call_can_carry(length: int, kept: int) -> None:
    failure = Failure(ErrorKind.PERMISSION, "no", tuple("x" * length for _ in range(16)), hint="ask")
    data = refusal_of(failure)
    assert len(data) <= MAX_REFUSAL
    assert failure_from_proto(pb.Failure.FromString(data)) == replace(failure, causes=failure.causes[:kept])
    long = failure_from_proto(pb.Failure.FromString(refusal_of(replace(failure, message="ü" * MAX_REFUSAL))))
    assert long.message == "ü" * (MAX_REFUSAL // 4) + " ..."
    assert refusal_of(replace(failure, hint="x" * MAX_REFUSAL)) == b""
