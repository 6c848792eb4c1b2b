"""Who makes which object, and at which endpoint: arithmetic on indices.

A slot s of S owns the indices i with i mod S = s, so i = s + k * S; k counts the slot's own objects. Within a slot, k
mod E is the endpoint: in a shared namespace that keeps all endpoints busy whatever S and E have in common.
"""

from __future__ import annotations


def slot_count(count: int, slots: int, slot: int) -> int:
    """How many of `count` indices the slot owns."""
    _check(slots, slot)
    return max(0, (count - slot + slots - 1) // slots)


def index_of(slot: int, slots: int, k: int) -> int:
    """The index of the slot's object number `k`."""
    return slot + k * slots


def place_of(index: int, slots: int) -> tuple[int, int]:
    """The slot that owns an index, and the object's number k in it."""
    k, slot = divmod(index, slots)
    return slot, k


def endpoint_of(k: int, endpoints: int) -> int:
    """The endpoint that object number `k` of a slot is made at."""
    return k % endpoints


def endpoint_count(count: int, slots: int, slot: int, endpoints: int, endpoint: int) -> int:
    """How many of the slot's objects are made at one of its endpoints."""
    return slot_count(slot_count(count, slots, slot), endpoints, endpoint)


def k_of(endpoint: int, number: int, endpoints: int) -> int:
    """The k of the slot's object number `number` at one endpoint."""
    return endpoint + number * endpoints


def _check(slots: int, slot: int) -> None:
    if not 0 <= slot < slots:
        raise ValueError(f"there is no slot {slot} of {slots}")
