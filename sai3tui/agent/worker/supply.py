"""The leases that a worker has, and what it tells the main process about them."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from sai3tui.agent.lease import Lease
from sai3tui.agent.worker.ahead import PutsAhead
from sai3tui.agent.worker.messages import Finished, Granted, Settled, Unused, Wanted
from sai3tui.errors import Failure

REPORT_S = 0.1
"""Settled indices wait at most this many seconds before they are reported."""


class Held:
    """One lease, with what has become of its indices."""

    __slots__ = ("ahead", "done", "failed", "lease", "left")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.ahead: PutsAhead | None = None
        """Where its objects are PUT, and that is done ahead."""
        self.done = array("Q")
        self.failed: list[tuple[int, Failure]] = []
        self.left = lease.count
        """Indices that are not settled yet."""


class Shelf:
    """Leases for one set (None: any) and the connections to one endpoint of this worker."""

    __slots__ = ("_current", "_held", "_waiting", "available", "closed", "dry", "requested", "target")

    def __init__(self, target: int) -> None:
        self.target = target
        """Indices to have at hand, or asked for, besides those that are being worked on."""
        self.available = 0
        self.requested = 0
        self.dry = False
        """The source has nothing left."""
        self.closed = False
        """Its endpoint rests: others get what would be for it."""
        self._waiting: deque[Held] = deque()
        self._current: Iterator[int] = iter(())
        self._held: Held | None = None

    def add(self, held: Held) -> None:
        self._waiting.append(held)
        self.available += held.lease.count

    def take(self) -> tuple[int, Held] | None:
        """The next index and its lease; None if there is none at hand."""
        if not self.available:
            return None
        self.available -= 1
        for index in self._current:
            assert self._held is not None
            return index, self._held
        self._held = self._waiting.popleft()
        self._current = iter(self._held.lease.indices())
        return next(self._current), self._held

    def short(self) -> int:
        """How many indices to ask for now. Asks for half of the target at a time, to ask seldom."""
        at_hand = self.available + self.requested
        return 0 if self.dry or 2 * at_hand > self.target else self.target - at_hand

    @property
    def exhausted(self) -> bool:
        """Nothing at hand, nothing to come."""
        return self.dry and not self.available and not self.requested

    def drop(self) -> list[tuple[int, int]]:
        """Forget what has not been begun: the leases that had it, and how much of each."""
        waiting = [(held.lease.lease_id, held.lease.count) for held in self._waiting]
        left = self.available - sum(count for _, count in waiting)
        if left and self._held is not None:
            waiting.append((self._held.lease.lease_id, left))
        self._waiting.clear()
        self._current = iter(())
        self.available = 0
        return waiting


class Supply:
    """All shelves of a stage. Requests are gathered for one iteration of the loop, reports for `REPORT_S`."""

    def __init__(
        self,
        stage: int,
        send: Callable[[object], None],
        soon: Callable[[Callable[[], None]], object],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._stage = stage
        self._send = send
        self._soon = soon
        self._later = later
        self._shelves: dict[tuple[int | None, int], Shelf] = {}
        self._dirty: dict[int, Held] = {}
        self._ask_scheduled = False
        self._report_scheduled = False
        self.stopped = False

    def shelf(self, set_id: int | None, endpoint: int, target: int) -> Shelf:
        """Make the shelf for a set and an endpoint, and ask for what it needs."""
        made = self._shelves[set_id, endpoint] = Shelf(target)
        self.need()
        return made

    @property
    def exhausted(self) -> bool:
        return all(shelf.exhausted for shelf in self._shelves.values())

    def need(self) -> None:
        """Have a look at all shelves soon."""
        if not self._ask_scheduled and not self.stopped:
            self._ask_scheduled = True
            self._soon(self._ask)

    def _ask(self) -> None:
        self._ask_scheduled = False
        if self.stopped:
            return
        wants = []
        for (set_id, endpoint), shelf in self._shelves.items():
            short = shelf.short()
            if short:
                shelf.requested += short
                wants.append((set_id, endpoint, short))
        if wants:
            # First what is done, so that what is out and not known to be done stays within the allowance.
            self.report()
            self._send(Wanted(self._stage, tuple(wants)))

    def granted(self, message: Granted) -> Shelf:
        """Take what was granted; the shelf it is for."""
        shelf = self._shelves[message.set_id, message.endpoint]
        shelf.requested -= message.count
        if message.lease is None:
            shelf.dry = True
        elif self.stopped or shelf.closed:
            self._give_back([(message.lease.lease_id, message.lease.count)])
        else:
            shelf.add(Held(message.lease))
        self.need()
        return shelf

    def more_work(self) -> None:
        """Leases may have come back to the source."""
        for shelf in self._shelves.values():
            shelf.dry = shelf.closed
        self.need()

    def close(self, shelf: Shelf) -> None:
        """Give back what is on a shelf, and ask for nothing more for it until it is opened."""
        shelf.closed = shelf.dry = True
        self._give_back(shelf.drop())

    def open(self, shelf: Shelf) -> None:
        """Ask for leases for a shelf again."""
        shelf.closed = shelf.dry = False
        self.need()

    def done(self, held: Held, index: int) -> None:
        held.done.append(index)
        self._settled(held)

    def failed(self, held: Held, index: int, failure: Failure) -> None:
        held.failed.append((index, failure))
        self._settled(held)

    def _settled(self, held: Held) -> None:
        held.left -= 1
        self._dirty[held.lease.lease_id] = held
        if not self._report_scheduled:
            self._report_scheduled = True
            self._later(REPORT_S, self._report_due)

    def _report_due(self) -> None:
        self._report_scheduled = False
        self.report()

    def report(self) -> None:
        """Tell the main process what is settled."""
        if not self._dirty:
            return
        settled = tuple(
            Settled(held.lease.lease_id, held.done.tobytes(), tuple(held.failed)) for held in self._dirty.values()
        )
        for held in self._dirty.values():
            held.done = array("Q")
            held.failed = []
        self._dirty.clear()
        self._send(Finished(self._stage, settled))

    def stop(self) -> None:
        """Take nothing up any more."""
        self.stopped = True
        self.clear()

    def clear(self) -> None:
        """Give back what is at hand, and ask for nothing until there is `more_work`."""
        left: list[tuple[int, int]] = []
        for shelf in self._shelves.values():
            left += shelf.drop()
            shelf.dry = True
        self._give_back(left)

    @property
    def unanswered(self) -> bool:
        """Whether there are wants that have not been answered."""
        return any(shelf.requested for shelf in self._shelves.values())

    def _give_back(self, left: Sequence[tuple[int, int]]) -> None:
        told = tuple(each for each in left if each[0])
        if told:
            # What was begun of them is told first, so that what is left is known to be just that.
            self.report()
            self._send(Unused(self._stage, told))
