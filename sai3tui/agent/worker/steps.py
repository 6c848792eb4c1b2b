"""Operations of a mix that take more than one request: uploads in parts, reads in ranges, deletes in batches.

Parts of one object are done by the connection that drew the operation and by every other one to the same endpoint that
becomes free meanwhile. An operation is recorded once: from its first request to its last answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from sai3tui.agent.worker.lane import Lane, SetRuntime
from sai3tui.agent.worker.supply import Held
from sai3tui.config.ops import Op
from sai3tui.errors import Failure, Sai3Error, StorageError, failure_of
from sai3tui.storage.engine import CallAnswer, Request
from sai3tui.storage.s3calls import (
    abort_request,
    batch_request,
    complete_request,
    create_request,
    etag_of,
    parse_batch,
    parse_upload,
    part_request,
)
from sai3tui.workload.content import CHUNK_BYTES, Payload

Turn = tuple[Held, int]
"""A turn of a stage that ends after a number of operations."""


class Part:
    """Bytes [begin, begin + size) of an object as a body of its own."""

    __slots__ = ("_begin", "_payload", "size")

    def __init__(self, payload: Payload, begin: int, size: int) -> None:
        self._payload = payload
        self._begin = begin
        self.size = size

    def piece(self, offset: int, length: int) -> memoryview:
        return self._payload.piece(self._begin + offset, length)


class Steps(ABC):
    """One operation. A driver asks for `next` as long as it has a lane for it, and tells how each request went.

    `most`: so many of its requests may be in flight at once.
    """

    op = Op.GET

    def __init__(self, index: int, size: int, held: Held | None, most: int) -> None:
        self.index = index
        self.size = size
        self.held = held
        self.most = most
        self.in_flight = 0
        self.failure: Failure | None = None
        """Why the operation has failed."""
        self.cancelled = False
        self.moved = False
        """It has failed at another endpoint."""
        self.due = 0
        self.t0 = 0
        self.t_first = 0
        self.entry = -1
        """The number of its entry of the mix, as long as no lane has it."""
        self.turn: Turn | None = None

    @property
    def given_up(self) -> bool:
        return self.failure is not None or self.cancelled

    @abstractmethod
    def next(self, lane: Lane) -> Request | None:
        """The next request, for this lane; None: there is none, or not yet."""

    @abstractmethod
    def done(self, request: Request, answer: CallAnswer | None) -> None:
        """A request has succeeded. Raises StorageError for an answer that makes no sense."""

    @property
    @abstractmethod
    def left(self) -> bool:
        """Whether `next` would have something for another lane."""


class Upload(Steps):
    """An object in parts. Whatever keeps it from being completed has it aborted, so that no parts stay behind."""

    op = Op.PUT

    def __init__(
        self, runtime: SetRuntime, index: int, held: Held | None, generation: int, version: int, part: int
    ) -> None:
        super().__init__(index, runtime.size(index), held, 1 << 30)
        self._runtime = runtime
        self._key = runtime.key(index)
        self._generation = generation
        self._version = version
        self._part = part
        self._upload = ""
        self._began = self._completing = self._aborting = False
        self._sent = 0
        self._etags: list[str] = [""] * -(-self.size // part)
        self._numbers: dict[int, int] = {}

    def next(self, lane: Lane) -> Request | None:
        if not self._began:
            self._began = True
            return None if self.given_up else create_request(self._key)
        if self.given_up:
            if self.in_flight or not self._upload or self._aborting:
                return None
            self._aborting = True
            return abort_request(self._key, self._upload)
        if self.left:
            return self._send(lane)
        if self.in_flight or not self._upload or self._completing:
            return None
        self._completing = True
        return complete_request(self._key, self._upload, self._etags)

    def _send(self, lane: Lane) -> Request:
        begin = self._sent * self._part
        self._sent += 1
        payload = lane.payload
        payload.become(self._runtime.maker, self._generation, self.index, self._version, self.size)
        body = Part(payload, begin, min(self._part, self.size - begin))
        request = part_request(self._key, self._upload, self._sent, body)
        self._numbers[id(request)] = self._sent
        return request

    def done(self, request: Request, answer: CallAnswer | None) -> None:
        if answer is None or self._completing or self._aborting:
            return
        if not self._upload:
            self._upload = parse_upload(answer)
            return
        etag = etag_of(answer)
        if not etag:
            raise StorageError("a part was taken without an ETag, so the object cannot be completed")
        self._etags[self._numbers.pop(id(request)) - 1] = etag

    @property
    def left(self) -> bool:
        return bool(self._upload) and not self.given_up and self._sent < len(self._etags)


class Download(Steps):
    """An object in ranges that are read at the same time."""

    def __init__(self, runtime: SetRuntime, index: int, generation: int, verify: bool, chunk: int, most: int) -> None:
        super().__init__(index, runtime.size(index), None, most)
        self._runtime = runtime
        self._generation = generation
        self._verify = verify
        self._chunk = chunk
        self._asked = 0

    def next(self, lane: Lane) -> Request | None:
        if not self.left:
            return None
        request = lane.plain
        request.op = Op.GET
        request.key = self._runtime.key(self.index)
        request.index = self.index
        request.offset = self._asked
        request.length = min(self._chunk, self.size - self._asked)
        request.size = 0
        self._asked += request.length
        request.sink = None
        if self._verify:
            lane.verify(self._runtime, self._generation, self.index, request.offset, request.length)
        return request

    def done(self, request: Request, answer: CallAnswer | None) -> None:
        """Nothing is to be kept of a range."""

    @property
    def left(self) -> bool:
        return not self.given_up and self._asked < self.size and self.in_flight < self.most


class Batch(Steps):
    """Objects that are deleted with one request."""

    op = Op.DELETE

    def __init__(self, keys: list[str], taken: list[tuple[int, Held]]) -> None:
        super().__init__(taken[0][0], 0, None, 1)
        self.taken = taken
        self.refused: dict[int, Failure] = {}
        """Objects that were not deleted, by their place in `taken`."""
        self._keys = keys
        self._asked = False

    def next(self, lane: Lane) -> Request | None:
        if self._asked:
            return None
        self._asked = True
        try:
            return batch_request(self._keys)
        except Sai3Error as error:
            self.failure = failure_of(error)
            return None

    def done(self, request: Request, answer: CallAnswer | None) -> None:
        if answer is None:
            return
        places = {key: place for place, key in enumerate(self._keys)}
        for key, (code, message) in parse_batch(answer).items():
            place = places.get(key)
            if place is not None and code != "NoSuchKey":
                text = f"delete of {key} in a batch was refused: {code} {message}".rstrip()
                self.refused[place] = StorageError(text).failure()

    @property
    def left(self) -> bool:
        return False


def part_bytes(wanted: int) -> int:
    """`wanted` rounded up to where pieces of an object's content begin: parts are made without copying then."""
    return -(-wanted // CHUNK_BYTES) * CHUNK_BYTES
