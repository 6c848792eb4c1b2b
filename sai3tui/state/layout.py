"""The state cache of one layout: its generations, the states of its objects, and the names that PUTs have taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sai3tui.errors import ErrorContext, Failure, ResourceError
from sai3tui.state.generations import Generation, moved
from sai3tui.state.names import NamePool, NamesTaken, names_from_json, names_to_json
from sai3tui.state.states import SlotStates
from sai3tui.state.store import StateStore
from sai3tui.workload.partition import slot_count

FLUSH_S = 0.1
"""How long a finished object may be known in memory only."""

_GENERATION = b"gen/"
_NAMES = b"names/"


def layout_directory(data_dir: Path, layout_hash: str) -> Path:
    """Where the state cache of a layout stands."""
    return data_dir / "cache" / layout_hash


@dataclass(frozen=True, slots=True)
class StatesKey:
    """Which states: an object set in a slot of a generation."""

    set_id: int
    generation: int
    slot: int

    def prefix(self) -> bytes:
        return b"st/%08x/%04x/%08x/" % (self.generation, self.set_id, self.slot)

    def failed(self, k: int) -> bytes:
        return b"fl/%08x/%04x/%08x/%016x" % (self.generation, self.set_id, self.slot, k)


class LayoutCache:
    """Open one with `open`, leave with `close`. All writing methods raise ResourceError when the disk fails them."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._states: dict[StatesKey, SlotStates] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.generations: dict[int, Generation] = {}
        for key, value in store.scan(_GENERATION):
            record = _read_record(store.directory, key, value)
            self.generations[record.number] = record

    @classmethod
    def open(cls, directory: Path, objects: int) -> LayoutCache:
        """The cache in `directory`, made if it is not there, with room for `objects` objects."""
        return cls(StateStore.open(directory, objects))

    @property
    def directory(self) -> Path:
        return self._store.directory

    @property
    def latest(self) -> Generation | None:
        return self.generations[max(self.generations)] if self.generations else None

    async def begin(self, record: Generation) -> Generation:
        """Begin a generation: `record` with the next number."""
        number = max(self.generations, default=0) + 1
        record = replace(record, number=number, complete=False)
        await self.save(record)
        return record

    async def save(self, record: Generation) -> None:
        """Keep a changed generation record."""
        self.generations[record.number] = record
        await self._store.commit({**self._dirty_rows(), _generation_key(record.number): record.to_json()})

    async def complete(self, record: Generation) -> Generation:
        """Every object of the slot is created: older generations, whose objects were overwritten, are forgotten."""
        record = replace(record, complete=True)
        self.generations[record.number] = record
        rows: dict[bytes, bytes | None] = dict(self._dirty_rows())
        for older in [number for number in self.generations if number < record.number]:
            del self.generations[older]
            rows[_generation_key(older)] = None
            for kind in (b"st", b"fl"):
                for key, _ in self._store.scan(b"%s/%08x/" % (kind, older)):
                    rows[key] = None
            for states_key in [key for key in self._states if key.generation == older]:
                del self._states[states_key]
        rows[_generation_key(record.number)] = record.to_json()
        await self._store.commit(rows)
        return record

    def states(self, record: Generation, set_id: int) -> SlotStates:
        """The states of one set in a generation; changes are kept by `flush` and `flush_soon`."""
        key = StatesKey(set_id, record.number, record.slot)
        known = self._states.get(key)
        if known is None:
            prefix = key.prefix()
            chunks = {int(row[len(prefix) :], 16): packed for row, packed in self._store.scan(prefix)}
            try:
                known = SlotStates(record.sets.get(set_id, 0), chunks)
            except ValueError as error:
                raise _damaged(self.directory, prefix) from error
            self._states[key] = known
        return known

    async def move(self, record: Generation, slots: int, slot: int, counts: Mapping[int, int]) -> Generation:
        """Hold another slot from now on: what the old one knew of it is kept. `counts` are those of whole sets."""
        changed = replace(
            record,
            slots=slots,
            slot=slot,
            complete=False,
            sets={set_id: slot_count(count, slots, slot) for set_id, count in counts.items()},
        )
        rows: dict[bytes, bytes | None] = {}
        for set_id, count in counts.items():
            states = moved(self.states(record, set_id), (record.slots, record.slot), count, (slots, slot))
            old_key, new_key = (StatesKey(set_id, record.number, r.slot) for r in (record, changed))
            for row, _ in self._store.scan(old_key.prefix()):
                rows[row] = None
            self._states.pop(old_key, None)
            self._states[new_key] = states
        self.generations[record.number] = changed
        rows[_generation_key(record.number)] = changed.to_json()
        await self._store.commit({**rows, **self._dirty_rows()})
        return changed

    def reserved(self) -> dict[NamePool, NamesTaken]:
        """How far the names of every pool are taken."""
        return dict(names_from_json(value) for _, value in self._store.scan(_NAMES))

    async def reserve(self, pool: NamePool, taken: NamesTaken) -> None:
        """The names of `pool` that are `taken` may be used once this returns."""
        await self._store.commit({_NAMES + pool.digest(): names_to_json(pool, taken)})

    async def forget(self, pools: Iterable[NamePool]) -> None:
        """All objects of these pools are deleted."""
        await self._store.commit({_NAMES + pool.digest(): None for pool in pools})

    def note_failed(self, key: StatesKey, k: int, failure: Failure) -> None:
        """Keep why object `k` failed."""
        if self._store.failed:
            return
        row = {"kind": failure.kind.word, "message": failure.sentence(), "uri": failure.context.uri}
        self._store.put({key.failed(k): json.dumps(row).encode()})

    def flush_soon(self) -> None:
        """Commit changed states within `FLUSH_S`, together with what else changes until then."""
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush_now)

    async def flush(self) -> None:
        """Commit changed states now; they are on disk when this returns."""
        self._stop_timer()
        await self._store.commit(self._dirty_rows())

    async def adopt(self, other: LayoutCache) -> None:
        """Take over everything that `other` has, in place of what is here."""
        if self.generations or self._states:
            raise ResourceError(f"the state cache in {self.directory} is not empty")
        rows = dict(other._store.scan(b""))
        for key, value in rows.items():
            if key.startswith(_GENERATION):
                record = _read_record(other.directory, key, value)
                self.generations[record.number] = record
        await self._store.commit(rows)

    async def copy_to(self, directory: Path) -> None:
        """A compact copy of what is committed, into an existing empty directory."""
        await self._store.copy_to(directory)

    async def close(self) -> None:
        """Commit what is left and close. Idempotent."""
        self._stop_timer()
        try:
            rows = self._dirty_rows()
            if rows:
                await self._store.commit(rows)
        finally:
            await self._store.close()

    def _flush_now(self) -> None:
        self._timer = None
        # After a failed commit nobody could be told here: the next one who waits for a commit is.
        if not self._store.failed:
            self._store.put(self._dirty_rows())

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
