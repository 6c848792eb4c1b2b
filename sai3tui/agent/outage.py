"""Which endpoints of an agent are out for a while, decided from what its workers report."""

from __future__ import annotations

FIRST_S = 1.0
LONGEST_S = 30.0


class EndpointRests:
    """The endpoints of one stage. Each failure after a rest doubles the next one, from `FIRST_S` to `LONGEST_S`.
    Times in seconds on any monotonic clock."""

    def __init__(self, endpoints: int) -> None:
        self._endpoints = endpoints
        self._until: dict[int, float] = {}
        self._rests: dict[int, int] = {}
        self._names: dict[int, str] = {}

    def failing(self, endpoint: int, now: float, name: str = "") -> float | None:
        """Until when the endpoint rests from now on; the time that it does already; None if no other one is left."""
        until = self._until.get(endpoint, 0.0)
        if until > now:
            return until
        others = [other for other in range(self._endpoints) if other != endpoint]
        if all(self._until.get(other, 0.0) > now or other in self._rests for other in others):
            return None
        rests = self._rests.get(endpoint, 0)
        self._rests[endpoint] = rests + 1
        self._names[endpoint] = name
        until = self._until[endpoint] = now + min(LONGEST_S, FIRST_S * 2.0**rests)
        return until

    def back(self, endpoint: int) -> bool:
        """It answers again; whether it had been out."""
        self._until.pop(endpoint, None)
        return self._rests.pop(endpoint, None) is not None

    def out(self, endpoint: int) -> bool:
        """Whether it rests, or has not answered since it did."""
        return endpoint in self._rests

    def out_by_name(self, name: str) -> bool:
        """The same for an endpoint by the name that it failed under."""
        return any(self._names.get(endpoint) == name for endpoint in self._rests)
