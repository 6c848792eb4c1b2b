"""Whether an agent that says nothing still lives. Pure: signs of life, evidence and the clock in, what to do out.

Silence is answered by asking: after `missed_threshold` heartbeats the agent is queried, `query_retries` times more if
it does not answer, then it is lost. A connection that breaks is evidence at once: three queries a second apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from sai3tui.errors import AgentLostError, ErrorContext, Failure

BROKEN_QUERIES = 3
BROKEN_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class LivenessRule:
    """Seconds, and how often. As a configuration's barrier says."""

    heartbeat_interval: float = 30.0
    missed_threshold: int = 3
    query_timeout: float = 10.0
    query_retries: int = 2

    @property
    def silence_s(self) -> float:
        """How long an agent may say nothing before it is asked."""
        return self.heartbeat_interval * max(1, self.missed_threshold)


@dataclass(frozen=True, slots=True)
class Ask:
    """Query the agent, and give it so long to answer."""

    agent: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Rejoin:
    """It lives, but its stream is broken: open another one."""

    agent: str


@dataclass(frozen=True, slots=True)
class Lose:
    agent: str
    failure: Failure


@dataclass(slots=True)
class Liveness:
    """One agent. Times are seconds on one monotonic clock."""

    agent: str
    heard_at: float
    asking: bool = False
    unanswered: int = 0
    broken: Failure | None = None
    """Why its stream has ended, until another one is open."""
    ask_at: float = 0.0
    rejoining: bool = False
    alive: bool = False
    """It has answered since its stream broke."""
    rejoins: int = 0
    """Streams in a row that broke before anything was heard on them."""
    lost: Failure | None = None

    def heard(self, now: float) -> None:
        """It said something on its stream."""
        self.heard_at = now
        self.unanswered = 0
        self.rejoining = False
        self.rejoins = 0
        self.broken = None

    def broke(self, now: float, failure: Failure) -> None:
        """Its stream has ended, though nobody said goodbye."""
        if self.lost is None:
            self.ask_at = now + (BROKEN_TIMEOUT_S if self.rejoining else 0.0)
            self.broken = failure
            self.rejoining = False
            self.alive = False
            self.unanswered = 0

    def answered(self, now: float) -> None:
        """It answered a query: it lives and is still at our run."""
        self.asking = False
        self.unanswered = 0
        self.heard_at = now
        self.alive = self.broken is not None

    def unheard(self, now: float) -> None:
        """It did not answer a query."""
        self.asking = False
        self.unanswered += 1
        self.ask_at = now + (BROKEN_TIMEOUT_S if self.broken is not None else 0.0)

    def give_up(self, failure: Failure) -> None:
        """It will not come back, whatever the reason. The first one counts."""
        if self.lost is None:
            self.lost = failure

    def missed(self, rule: LivenessRule, now: float) -> int:
        """How many heartbeats in a row are missing."""
        return max(0, int((now - self.heard_at) / rule.heartbeat_interval)) if rule.heartbeat_interval > 0 else 0

    def next(self, rule: LivenessRule, now: float) -> Ask | Rejoin | Lose | None:
        """What to do now. None: nothing, until `due`."""
        if self.lost is not None or self.asking or self.rejoining:
            return None
        if self.broken is not None:
            if self.unanswered >= BROKEN_QUERIES or self.rejoins >= BROKEN_QUERIES:
                return self._lose(self.broken)
            if self.alive:
                self.rejoining = True
                self.rejoins += 1
                return Rejoin(self.agent)
            return self._ask(BROKEN_TIMEOUT_S) if now >= self.ask_at else None
        if now < self.heard_at + rule.silence_s:
            return None
        if self.unanswered > max(0, rule.query_retries):
            return self._lose(self._silent(now))
        return self._ask(rule.query_timeout) if now >= self.ask_at else None

    def due(self, rule: LivenessRule, now: float) -> float | None:
        """When to look again if nothing happens before; None: only when something does."""
        if self.lost is not None or self.asking or self.rejoining:
            return None
        if self.broken is not None:
            return max(now, self.ask_at)
        return max(self.heard_at + rule.silence_s, self.ask_at)

    def _ask(self, timeout_s: float) -> Ask:
        self.asking = True
        return Ask(self.agent, timeout_s)

    def _lose(self, failure: Failure) -> Lose:
        self.lost = failure
        return Lose(self.agent, failure)

    def _silent(self, now: float) -> Failure:
        return AgentLostError(
            f"agent {self.agent} has been silent for {now - self.heard_at:.0f} s and did not answer "
            f"{self.unanswered} {'query' if self.unanswered == 1 else 'queries'}",
            hint="check that host and the network to it",
            context=ErrorContext(agent=self.agent),
        ).failure()
