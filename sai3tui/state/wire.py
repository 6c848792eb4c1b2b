"""States of objects, generations and names to and from the wire. Raises ValueError for what cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import zstandard

from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state.generations import Generation, Holding, Known, Slots
from sai3tui.state.names import NamePool, NamesTaken, names_from_json, names_to_json
from sai3tui.state.states import CHUNK_BYTES, SlotStates, chunk_count

MAX_UNPACKED = 1024 * 1024 * 1024
"""Bytes of the states of one slot."""
READ_BYTES = 1024 * 1024
_NUMBER = 4
_LEVEL = 1


def slots_to_proto(slots: Slots) -> list[pb.SlotChunks]:
    """Every chunk that is not untouched."""
    return [
        pb.SlotChunks(set_id=set_id, slot=slot, chunks=_compressed(states.packed()))
        for (set_id, slot), states in sorted(slots.items())
    ]


def slots_from_proto(messages: Iterable[pb.SlotChunks], record: Generation) -> Slots:
    found: Slots = {}
    for message in messages:
        count = record.count(message.set_id, message.slot)
        if message.slot >= record.slots or not count:
            raise ValueError(f"set {message.set_id} has no slot {message.slot}")
        found[message.set_id, message.slot] = SlotStates(count, _chunks(message.chunks, chunk_count(count)))
    return found


def known_to_proto(known: Known) -> pb.GenerationStates:
    record = known.record
    return pb.GenerationStates(
        number=record.number,
        slots=record.slots,
        seed=record.seed,
        sets=record.sets,
        complete=record.complete,
        surveyed=record.surveyed,
        holdings=[holding_to_proto(holding) for holding in record.holdings],
        states=slots_to_proto(known.slots),
    )


def known_from_proto(message: pb.GenerationStates) -> Known:
    holdings = tuple(holding_from_proto(each) for each in message.holdings)
    sets = dict(message.sets)
    record = Generation(message.number, message.slots, message.seed, sets, holdings, message.complete, message.surveyed)
    return Known(record, slots_from_proto(message.states, record))


def holding_to_proto(holding: Holding) -> pb.Holding:
    return pb.Holding(
        set_id=holding.set_id,
        slot=holding.slot,
        first_k=holding.first_k,
        end_k=holding.end_k,
        epoch=holding.epoch,
    )


def holding_from_proto(message: pb.Holding) -> Holding:
    return Holding(message.set_id, message.slot, message.first_k, message.end_k, message.epoch)


def names_to_rows(names: Mapping[NamePool, NamesTaken]) -> list[bytes]:
    return [names_to_json(pool, taken) for pool, taken in names.items()]


def names_from_rows(rows: Iterable[bytes]) -> dict[NamePool, NamesTaken]:
    return dict(names_from_json(row) for row in rows)


def _compressed(chunks: Mapping[int, bytes]) -> bytes:
    plain = b"".join(number.to_bytes(_NUMBER, "little") + packed for number, packed in chunks.items())
    return zstandard.ZstdCompressor(level=_LEVEL).compress(plain)


def _chunks(data: bytes, most: int) -> dict[int, bytes]:
    row = _NUMBER + CHUNK_BYTES
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            # No more is made room for than comes, and no more is taken than there can be.
            limit = min(most * row, MAX_UNPACKED)
            blocks, left = [], limit + 1
            while left and (block := reader.read(min(left, READ_BYTES))):
                blocks.append(block)
                left -= len(block)
            plain = b"".join(blocks)
    except zstandard.ZstdError as error:
        raise ValueError("states that cannot be unpacked") from error
    if len(plain) % row or len(plain) > limit:
        raise ValueError(f"{len(plain)} bytes are not the states of at most {most} chunks")
    return {
        int.from_bytes(plain[at : at + _NUMBER], "little"): plain[at + _NUMBER : at + row]
        for at in range(0, len(plain), row)
    }
