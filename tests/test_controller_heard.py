"""What agents have said, put in an order in which it can have happened."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.controller.heard import Heard, as_it_followed
from sai3tui.proto import sai3tui_pb2 as pb


def ordered(epoch: int, survey: str = "") -> pb.Assignment:
    return pb.Assignment(stage_index=1, epoch=epoch, survey=survey)


def happened(agents: int) -> list[Heard]:
    """One space: two looks at the storage, of which the first looker was lost, then orders for all, then work."""
    names = [f"a{number}" for number in range(agents)]
    heard: list[Heard] = [(name, ordered(0)) for name in names]
    heard += [("a0", ordered(1, "compare")), ("a1", ordered(2, "compare"))]
    heard += [("a1", pb.Surveyed(stage_index=1, epoch=2))]
    heard += [(name, ordered(3)) for name in names]
    for turn in range(2):
        heard += [(name, pb.StateChanges(generation=turn)) for name in names]
    heard += [(name, ordered(4)) for name in names]
    return heard


def check(found: list[Heard], heard: list[Heard]) -> None:
    for agent in {agent for agent, _ in heard}:
        assert [said for who, said in found if who == agent] == [said for who, said in heard if who == agent]
    epochs = [said.epoch for _, said in found if isinstance(said, pb.Assignment)]
    assert epochs == sorted(epochs)
    (answer,) = (place for place, (_, said) in enumerate(found) if isinstance(said, pb.Surveyed))
    assert all(said.epoch <= 2 for _, said in found[:answer] if isinstance(said, pb.Assignment))
    assert all(said.epoch > 2 for _, said in found[answer:] if isinstance(said, pb.Assignment))


@given(st.integers(2, 5), st.randoms(use_true_random=False))
def test_whatever_clocks_say_what_follows_comes_after(agents: int, chance: random.Random) -> None:
    heard = happened(agents)
    check(heard, heard)
    queues = {agent: [said for who, said in heard if who == agent] for agent, _ in heard}
    mixed: list[Heard] = []
    while queues:
        agent = chance.choice(sorted(queues))
        mixed.append((agent, queues[agent].pop(0)))
        if not queues[agent]:
            del queues[agent]
    check(as_it_followed(mixed, lambda _: 0), heard)


def test_spaces_do_not_wait_for_each_other() -> None:
    heard: list[Heard] = [
        ("a", ordered(7)),
        ("b", ordered(1, "repair")),
        ("b", pb.Surveyed(epoch=1)),
        ("a", ordered(8)),
    ]
    assert as_it_followed(heard, {"a": 0, "b": 1}.__getitem__) == heard


def test_what_cannot_have_happened_is_told_all_the_same() -> None:
    heard: list[Heard] = [("a", ordered(5)), ("b", ordered(6)), ("a", ordered(2)), ("b", ordered(1))]
    found = as_it_followed(heard, lambda _: 0)
    assert sorted(map(str, found)) == sorted(map(str, heard))
