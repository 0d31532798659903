"""What sources that have not shown that they exist may cost, us and others. No IO; time comes from the owner's clock.

The sender of a datagram may be forged, and then our answers go to somebody who asked for nothing. A source has *proven*
itself when it answers to what only it can have seen. Until then, decided here:

- A transfer that waits for the first answer is *half-open*. There are at most so many for a source, and in total; one
  source over its share gets silence, and all others go on.
- A request that ends unproven (an ERROR for a name that is not there, an answer into the void) takes a token from its
  source's bucket and one from the bucket of all. A source whose bucket is empty gets silence until it fills again; a
  proof fills it.
- When there are too many strangers in total, or they come too fast, a stranger has to ask twice: who is forged does
  not, a client does (RFC 1350 section 2: what is lost is sent again). Sources that have proven themselves lately are no
  strangers. Turning somebody away costs a fiftieth of a fork, so a flood is read about as fast as it comes, and those
  who ask again are found in it; to fork for strangers as fast as one can would leave the others in the queue.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from blockstep_server.admission import Claim, Verdict

__all__ = ["Bounds", "Case", "Suspicion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is let pass. Buckets hold `burst` tokens and gain `per_s` a second.

    Strangers have two of them in common: one for their requests, one for those that led to nothing. The first gains so
    little (`strangers_per_s`) that the forks which it allows are a small part of a processor's time even where a fork
    and its child take 10 ms: if forking took as long as its tokens take to come back, a flood would never be noticed.
    """

    half_open: int
    half_open_per_client: int
    burst_per_client: int = 256
    per_s_per_client: float = 32.0
    burst: int = 1000
    per_s: float = 250.0
    strangers_per_s: float = 32.0


class _Bucket:
    """Tokens of one source, or of all."""

    __slots__ = ("_at", "_burst", "_level", "_per_s")

    def __init__(self, burst: int, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._level, self._at = float(burst), now

    def level(self, now: float) -> float:
        self._level = min(self._burst, self._level + (now - self._at) * self._per_s)
        self._at = now
        return self._level

    def take(self, now: float) -> None:
        self._level = max(0.0, self.level(now) - 1)

    def is_full(self, now: float) -> bool:
        return self.level(now) >= self._burst


@dataclass(slots=True, eq=False)
class Case:
    """One transfer, from its fork to its end."""

    suspicion: Suspicion
    source: Hashable
    is_proven: Callable[[], bool] = bool  # which says False

    def started(self, is_proven: Callable[[], bool]) -> None:
        """It is half-open now. `is_proven` can be asked at any time."""
        self.is_proven = is_proven
        self.suspicion.add(self)

    def ended(self, *, proven: bool) -> None:
        """It is over."""
        self.is_proven = bool  # what could be asked holds us, and would wait with us for the garbage collector
        self.suspicion.close(self, proven=proven)


_FORGET = 4096  # sources remembered before those of no interest are dropped
_SWEEP_EVERY_S = 0.01


class Suspicion:
    """The half-open transfers of one server, and what their sources have used up."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self._clock = clock
        self._open: dict[Hashable, set[Case]] = {}
        self._half_open = 0
        self._buckets: dict[Hashable, _Bucket] = {}
        self._all: _Bucket | None = None
        self._strangers: _Bucket | None = None
        self._known: dict[Hashable, None] = {}
        self._asked = Asked()
        self._swept_at = float("-inf")

    def __len__(self) -> int:
        """How many transfers are half-open, as far as is known."""
        return self._half_open

    def case(self, claim: Claim) -> Case:
        """What watches the transfer that this request may become."""
        return Case(self, claim.source)

    def judge(self, claim: Claim) -> Verdict:
        """The verdict for a request that nothing else speaks against."""
        source, now = claim.source, self._clock()
        if (verdict := self._over_its_share(source, now)) is not None:
            self._sweep(source)  # some may have proven themselves by now
            verdict = self._over_its_share(source, now)
        if verdict is not None:
            return verdict
        if source in self._known or not self._too_many_strangers(now) or self._asked.again(claim, now):
            return Verdict.ACCEPTED
        return Verdict.STRANGER

    def _come_too_fast(self, now: float) -> bool:
        """Whether strangers do; one more has come."""
        self._strangers = self._strangers or _Bucket(self.bounds.burst, self.bounds.strangers_per_s, now)
        is_empty = self._strangers.level(now) < 1
        self._strangers.take(now)
        return is_empty

    def _over_its_share(self, source: Hashable, now: float) -> Verdict | None:
        """Why this source has to wait, if so. What it has open counts as used up: each may yet end without a proof."""
        open_now = len(self._open.get(source, ()))
        if open_now >= self.bounds.half_open_per_client:
            return Verdict.HALF_OPEN
        bucket = self._buckets.get(source)
        return Verdict.EXHAUSTED if bucket is not None and bucket.level(now) < 1 + open_now else None

    def _too_many_strangers(self, now: float) -> bool:
        if self._come_too_fast(now):
            return True
        if self._half_open >= self.bounds.half_open and now >= self._swept_at + _SWEEP_EVERY_S:
            self._swept_at = now
            for source in list(self._open):
                self._sweep(source)
        return self._half_open >= self.bounds.half_open or (self._all is not None and self._all.level(now) < 1)

    def _sweep(self, source: Hashable) -> None:
        for case in [case for case in self._open.get(source, ()) if case.is_proven()]:
            self._forget(case)
            self._trust(source)

    def add(self, case: Case) -> None:
        """A transfer is half-open."""
        self._open.setdefault(case.source, set()).add(case)
        self._half_open += 1

    def close(self, case: Case, *, proven: bool) -> None:
        """A transfer has ended."""
        self._forget(case)
        if proven:
            self._trust(case.source)
        else:
            self._charge(case.source, self._clock())

    def _forget(self, case: Case) -> None:
        cases = self._open.get(case.source)
        if cases is None or case not in cases:
            return
        cases.remove(case)
        self._half_open -= 1
        if not cases:
            del self._open[case.source]

    def _trust(self, source: Hashable) -> None:
        self._buckets.pop(source, None)
        self._known.pop(source, None)
        self._known[source] = None  # the latest last
        if len(self._known) > _FORGET:
            del self._known[next(iter(self._known))]

    def _charge(self, source: Hashable, now: float) -> None:
        bounds = self.bounds
        if source not in self._buckets:
            self._make_room(now)
            self._buckets[source] = _Bucket(bounds.burst_per_client, bounds.per_s_per_client, now)
        self._buckets[source].take(now)
        if source not in self._known:
            self._all = self._all or _Bucket(bounds.burst, bounds.per_s, now)
            self._all.take(now)

    def _make_room(self, now: float) -> None:
        if len(self._buckets) >= _FORGET:
            self._buckets = {source: each for source, each in self._buckets.items() if not each.is_full(now)}


class Asked:
    """Who has asked lately, in a table of fixed size: what a flood costs here is a client's place, never memory.

    A place holds a part of the hash and the time. Everybody has two places and is written into the one that has been
    left alone for longer: two clients who shared a single one, and ask in the same rhythm, would take it from each
    other for ever. Python's hash of bytes is keyed afresh in each process, so nobody can aim at a place. The table is
    shared with the children, who never look at it, so that a fork need not copy it.
    """

    PLACES = 1 << 18
    SOONEST_S, LATEST_S = 0.2, 30.0
    _TICK_S = 0.1

    def __init__(self) -> None:
        self._places = memoryview(mmap.mmap(-1, 8 * self.PLACES)).cast("Q")

    def again(self, claim: Claim, now: float) -> bool:
        """True if the same was asked before, not just now and not long ago. It is remembered as asked now if not."""
        mixed = hash((claim.asker, claim.words)) & 0xFFFF_FFFF_FFFF_FFFF
        places = mixed % self.PLACES, (mixed >> 20) % self.PLACES
        mark, tick = mixed >> 32, int(now / self._TICK_S) + 1
        for place in places:
            ago_s = (tick - (self._places[place] & 0xFFFF_FFFF)) * self._TICK_S
            if self._places[place] >> 32 == mark and ago_s <= self.LATEST_S:
                return ago_s >= self.SOONEST_S
        longest_alone = min(places, key=lambda place: self._places[place] & 0xFFFF_FFFF)
        self._places[longest_alone] = mark << 32 | tick & 0xFFFF_FFFF
        return False
