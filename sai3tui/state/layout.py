"""The state cache of one layout: its generations, the states of its objects, and the names that PUTs have taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.errors import ErrorContext, Failure, ResourceError
from sai3tui.state.generations import Generation, Known, Slots
from sai3tui.state.names import NO_NAMES, NamePool, NamesTaken, names_from_json, names_to_json
from sai3tui.state.states import SlotStates
from sai3tui.state.store import MemoryStore, Rows, StateStore, Store
from sai3tui.workload.partition import index_of

FLUSH_S = 0.1
"""How long a finished object may be known in memory only."""

_GENERATION = b"gen/"
_STATES = b"st/"
_FAILED = b"fl/"
_NAMES = b"names/"


def layout_directory(data_dir: Path, layout_hash: str) -> Path:
    """Where the state cache of a layout stands."""
    return caches_of(data_dir) / layout_hash


def caches_of(data_dir: Path) -> Path:
    """Where state caches of all layouts stand."""
    return data_dir / "cache"


@dataclass(frozen=True, slots=True)
class StatesKey:
    """Which states: an object set in a slot of a generation."""

    set_id: int
    generation: int
    slot: int

    def prefix(self) -> bytes:
        return _STATES + b"%08x/%04x/%08x/" % (self.generation, self.set_id, self.slot)

    def failed(self, k: int) -> bytes:
        return _FAILED + b"%08x/%04x/%08x/%016x" % (self.generation, self.set_id, self.slot, k)

    @staticmethod
    def place(row: bytes) -> tuple[int, int]:
        """The set id and the slot in the key of a row."""
        _, _, set_id, slot, _ = row.split(b"/")
        return int(set_id, 16), int(slot, 16)


class LayoutCache:
    """Open one with `open`, leave with `close`. All writing methods raise ResourceError when the disk fails them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._states: dict[StatesKey, SlotStates] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.generations: dict[int, Generation] = {}
        for key, value in store.scan(_GENERATION):
            record = _read_record(store.directory, key, value)
            self.generations[record.number] = record
        self._failures = {key for key, _ in store.scan(_FAILED)}
        """Keys of the objects that have failed."""
        self._pool_news: dict[NamePool, NamesTaken] = {}

    @classmethod
    def open(cls, directory: Path, objects: int) -> LayoutCache:
        """The cache in `directory`, made if it is not there, with room for `objects` objects."""
        return cls(StateStore.open(directory, objects))

    @classmethod
    def in_memory(cls, directory: Path) -> LayoutCache:
        """A cache that is forgotten when it is closed. `directory` is where it would stand."""
        return cls(MemoryStore(directory))

    @property
    def lasting(self) -> bool:
        """Whether what is recorded outlives this process."""
        return isinstance(self._store, StateStore)

    @property
    def failed(self) -> bool:
        """Whether the disk has failed, so that nothing is kept any more."""
        return self._store.failed

    @property
    def directory(self) -> Path:
        return self._store.directory

    @property
    def latest(self) -> Generation | None:
        return self.generations[max(self.generations)] if self.generations else None

    def known(self) -> list[Known]:
        """Every generation with all that is on record of it, oldest first."""
        found = []
        for number in sorted(self.generations):
            record = self.generations[number]
            places = {StatesKey.place(row) for row, _ in self._store.scan(_STATES + b"%08x/" % number)}
            places |= {(key.set_id, key.slot) for key in self._states if key.generation == number}
            slots = {
                (set_id, slot): self.states(record, set_id, slot)
                for set_id, slot in sorted(places)
                if record.count(set_id, slot)
            }
            found.append(Known(record, slots))
        return found

    def save(self, record: Generation) -> None:
        """Keep a changed generation record. Committed soon."""
        self.generations[record.number] = record
        self._put({**self._dirty_rows(), _generation_key(record.number): record.to_json()})

    async def install(self, known: Known) -> None:
        """`put_known`, on disk when this returns."""
        self.put_known(known)
        await self.flush()

    def put_known(self, known: Known) -> None:
        """Take over a generation as somebody else knows it, in place of what is on record of it; other generations
        are kept. Whoever had states of it before has to ask for them again. Committed soon."""
        record = known.record
        rows: dict[bytes, bytes | None] = {row: None for row, _ in self._store.scan(_STATES + b"%08x/" % record.number)}
        for key in [key for key in self._states if key.generation == record.number]:
            del self._states[key]
        for (set_id, slot), told in known.slots.items():
            states = SlotStates(told.count, told.packed())
            key = StatesKey(set_id, record.number, slot)
            self._states[key] = states
            for number, packed in states.packed().items():
                rows[key.prefix() + b"%08x" % number] = packed
        self.generations[record.number] = record
        rows[_generation_key(record.number)] = record.to_json()
        self._put({**rows, **self._dirty_rows()})

    def complete(self, record: Generation) -> Generation:
        """Every object is created: older generations, whose objects were overwritten, are forgotten. Committed soon."""
        record = replace(record, complete=True)
        self.generations[record.number] = record
        rows: dict[bytes, bytes | None] = dict(self._dirty_rows())
        for older in [number for number in self.generations if number < record.number]:
            del self.generations[older]
            rows[_generation_key(older)] = None
            for kind in (_STATES, _FAILED):
                for key, _ in self._store.scan(kind + b"%08x/" % older):
                    rows[key] = None
            for states_key in [key for key in self._states if key.generation == older]:
                del self._states[states_key]
        rows[_generation_key(record.number)] = record.to_json()
        self._put(rows)
        return record

    def states(self, record: Generation, set_id: int, slot: int) -> SlotStates:
        """The states of one set in one slot of a generation; changes are kept by `flush` and `flush_soon`."""
        key = StatesKey(set_id, record.number, slot)
        known = self._states.get(key)
        if known is None:
            prefix = key.prefix()
            chunks = {int(row[len(prefix) :], 16): packed for row, packed in self._store.scan(prefix)}
            try:
                known = SlotStates(record.count(set_id, slot), chunks)
            except ValueError as error:
                raise _damaged(self.directory, prefix) from error
            self._states[key] = known
        return known

    def news(self, record: Generation) -> Slots:
        """What has changed in a generation since the last call, as far as it has been handed over to be committed:
        nobody else is to know more than this cache will know after a crash."""
        self._stop_timer()
        self._flush_now()
        found: Slots = {}
        for key, states in self._states.items():
            if key.generation == record.number and (chunks := states.take_news()):
                found[key.set_id, key.slot] = SlotStates(states.count, chunks)
        return found

    def reserved(self) -> dict[NamePool, NamesTaken]:
        """How far the names of every pool are taken."""
        return dict(names_from_json(value) for _, value in self._store.scan(_NAMES))

    async def reserve(self, pool: NamePool, taken: NamesTaken) -> None:
        """The names of `pool` that are `taken` may be used once this returns."""
        self.note_names({pool: taken})
        await self.flush()

    def note_names(self, names: Mapping[NamePool, NamesTaken]) -> None:
        """So far the names of these pools are taken; NO_NAMES: their objects are deleted. Committed soon."""
        self._pool_news = {**self._pool_news, **names}
        self._put(
            {
                _NAMES + pool.digest(): names_to_json(pool, taken) if taken.counts else None
                for pool, taken in names.items()
            }
        )

    async def adopt_names(self, names: Mapping[NamePool, NamesTaken]) -> None:
        """These pools, and no others, are kept here from now on; on disk, and in `reserved`, when this returns."""
        news = self._pool_news
        self.note_names({**dict.fromkeys(self.reserved(), NO_NAMES), **names})
        self._pool_news = news
        await self.flush()

    async def forget(self, pools: Iterable[NamePool]) -> None:
        """All objects of these pools are deleted."""
        self.note_names(dict.fromkeys(pools, NO_NAMES))
        await self.flush()

    def pool_news(self) -> dict[NamePool, NamesTaken]:
        """As for `note_names`: what has changed since the last call."""
        news, self._pool_news = self._pool_news, {}
        return news

    def failed_rows(self, record: Generation) -> Iterator[dict[str, object]]:
        """Objects of a generation that have failed and were not done since: where they are, and why."""
        for row, value in self._store.scan(_FAILED + b"%08x/" % record.number):
            _, _, set_id, slot, k = row.split(b"/")
            index = index_of(int(slot, 16), record.slots, int(k, 16))
            yield {"set": int(set_id, 16), "index": index, **json.loads(value)}

    def done(self, key: StatesKey, ks: Iterable[int]) -> None:
        """These objects are done: if they had failed before, that is forgotten."""
        if not self._failures:
            return
        rows = [row for k in ks if (row := key.failed(k)) in self._failures]
        if rows:
            self._failures.difference_update(rows)
            self._put(dict.fromkeys(rows))

    def note_failed(self, key: StatesKey, k: int, failure: Failure) -> None:
        """Keep why object `k` failed."""
        row = {"kind": failure.kind.word, "message": failure.sentence(), "uri": failure.context.uri}
        self._failures.add(key.failed(k))
        self._put({key.failed(k): json.dumps(row).encode()})

    def flush_soon(self) -> None:
        """Commit changed states within `FLUSH_S`, together with what else changes until then."""
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush_now)

    async def flush(self) -> None:
        """Commit changed states now; they are on disk when this returns."""
        self._stop_timer()
        await self._store.commit(self._dirty_rows())

    def copy_to(self, directory: Path, stopped: Callable[[], bool] = lambda: False) -> None:
        """A compact copy of what is committed, into an existing empty directory, from any thread. It ends early, and is
        no copy then, when `stopped` says so. Raises ResourceError."""
        self._store.copy_to(directory, stopped)

    async def close(self) -> str:
        """Commit what is left and close, within a bounded time. Idempotent. Returns what had to be left behind, empty
        if nothing (see `StateStore.close`)."""
        self._stop_timer()
        rows = self._dirty_rows()
        if rows:
            self._put(rows)
        return await self._store.close()

    def _flush_now(self) -> None:
        self._timer = None
        self._put(self._dirty_rows())

    def _put(self, rows: Rows) -> None:
        # After a failed commit nobody could be told here: the next one who waits for a commit is.
        if not self._store.failed:
            self._store.put(rows)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _dirty_rows(self) -> dict[bytes, bytes | None]:
        return {
            key.prefix() + b"%08x" % number: packed
            for key, states in self._states.items()
            for number, packed in states.take_dirty().items()
        }


def _read_record(directory: Path, key: bytes, value: bytes) -> Generation:
    try:
        return Generation.from_json(value)
    except ValueError as error:
        raise _damaged(directory, key) from error


def _generation_key(number: int) -> bytes:
    return _GENERATION + b"%08x" % number


def _damaged(directory: Path, key: bytes) -> ResourceError:
    return ResourceError(
        f"the state cache in {directory} is damaged at {key.decode(errors='replace')}",
        hint="delete that directory: the next prepare then looks at the storage itself",
        context=ErrorContext(uri=str(directory)),
    )
