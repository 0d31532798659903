"""Who gets a child, decided without IO: networks, caps, random early shedding, repeated requests.

Rules: a datagram that is turned away gets *silence*, because an answer could be aimed at somebody whose address was
forged, and because a client that hears nothing asks again. The limits count every transport together. Above three
quarters of the total cap, requests are turned away at random and more of them the fuller it gets (OpenSSH's
MaxStartups), so that a flood from many addresses cannot keep all others out. IPv6 sources count by /64, which is what
one host can choose addresses from, and whoever comes through a UNIX socket counts by user id.

The one thing looked at in a datagram is whether it starts as a request: late ACKs of ended transfers come by the
hundred and are not worth a fork. All parsing is the child's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from blockstep_server.listen import Arrival
from blockstep_server.values import Network

__all__ = [
    "Admission",
    "Claim",
    "Outlook",
    "Place",
    "Policy",
    "Verdict",
    "claim_of",
    "is_request",
    "source_of",
]


class Verdict(Enum):
    """What becomes of a request. The value is how the log says it."""

    ACCEPTED = "accepted"
    NOT_A_REQUEST = "not a request"
    BAD_SOURCE = "impossible source address"
    NOT_UNICAST = "sent to a broadcast or multicast address"
    DENIED = "not an allowed network"
    REPEATED = "asked again while it is being served"
    FULL = "over --max-sessions"
    SHED = "shed at random near --max-sessions"
    CLIENT_FULL = "over --max-per-client"
    HALF_OPEN = "over --max-half-open for this address"
    EXHAUSTED = "too many requests of this address led to nothing"
    STRANGER = "a stranger among too many has to ask again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits. `max_per_client` None: as many as in total. With any `allow`, who is not in it is denied."""

    max_sessions: int
    max_per_client: int | None = None
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request would occupy: a place of its `source`, and its `asker` (address and port) with these `words`."""

    source: Hashable
    asker: Hashable
    words: bytes = b""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether a transfer is settled, and when its peer's last datagram came by the kernel's clock (0: none came)."""

    settled: bool = False
    heard_ns: int = 0

    def is_before(self, came_ns: int) -> bool:
        """Whether a request that came then follows this transfer; False where the kernel does not say when it came."""
        return self.settled and self.heard_ns < came_ns


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place that is taken; `outlook` can be asked at any time."""

    claim: Claim
    outlook: Callable[[], Outlook]


_STAYING = 16


class Admission:
    """The places, and who holds them.

    The same request again is a *repetition* if it came before the last that its transfer has heard of the peer, and
    another request if it came afterwards, for a client may fetch a file twice from one port. As long as a transfer is
    not settled, it counts as a repetition; whose listener keeps it can look again.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._taken = 0
        self._held: dict[Claim, Place] = {}
        self._by_source: dict[Hashable, set[Place]] = {}

    @property
    def policy(self) -> Policy:
        """The limits in force. Others may be set at any time; who has a place keeps it."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._per_client = policy.max_sessions if policy.max_per_client is None else policy.max_per_client
        self._shed_from = policy.max_sessions * 3 // 4

    def __len__(self) -> int:
        """How many places are taken."""
        return self._taken

    def judge(self, arrival: Arrival, chance: float) -> Verdict:
        """The verdict for one datagram; `chance` is a random number from 0 to 1 (1 excluded). Changes nothing."""
        verdict = _impossible(arrival)
        if verdict is not None:
            return verdict
        if not self.is_allowed(arrival.peer[0]):
            return Verdict.DENIED
        return self.judge_claim(claim_of(arrival), chance, arrival.came_ns)

    def is_allowed(self, host: str) -> bool:
        """Whether the networks let this address in: `deny` beats `allow`."""
        address = ipaddress.ip_address(host.partition("%")[0])
        if any(address in network for network in self._policy.deny):
            return False
        return not self._policy.allow or any(address in network for network in self._policy.allow)

    def judge_claim(self, claim: Claim, chance: float, came_ns: int = 0) -> Verdict:
        """The verdict from what is occupied alone, for any transport. Changes nothing."""
        taken = self._taken
        if (holder := self._held.get(claim)) is not None and not holder.outlook().is_before(came_ns):
            return Verdict.REPEATED
        if taken >= self._policy.max_sessions:
            return Verdict.FULL
        if self._has_its_share(claim.source):
            return Verdict.CLIENT_FULL
        if chance * (self._policy.max_sessions - self._shed_from) < taken - self._shed_from:
            return Verdict.SHED
        return Verdict.ACCEPTED

    def _has_its_share(self, source: Hashable) -> bool:
        """What is settled and only stays, in case its last ACK was lost, takes nothing from its client's share.

        But there may not be more of it than that share is large, nor than a few.
        """
        places = self._by_source.get(source, ())
        share = self._per_client
        if len(places) < share:
            return False
        if len(places) >= share + min(share, _STAYING):
            return True
        return sum(not place.outlook().settled for place in places) >= share

    def occupy(self, claim: Claim, outlook: Callable[[], Outlook] = Outlook) -> Place:
        """Take a place; `release` gives it back."""
        place = self._held[claim] = Place(claim, outlook)
        self._taken += 1
        self._by_source.setdefault(claim.source, set()).add(place)
        return place

    def release(self, place: Place) -> None:
        """Give back a place that `occupy` took."""
        self._taken -= 1
        if self._held.get(place.claim) is place:
            del self._held[place.claim]
        places = self._by_source[place.claim.source]
        places.remove(place)
        if not places:
            del self._by_source[place.claim.source]


def claim_of(arrival: Arrival) -> Claim:
    """What a datagram asks for: the same bytes from the same address and port, to the same address, are one request."""
    return Claim(source_of(arrival.peer[0]), (arrival.peer, arrival.local, arrival.local_port), arrival.data)


@lru_cache(maxsize=1024)
def source_of(host: str) -> Hashable:
    """What one client can choose from: an IPv4 address, or the /64 of an IPv6 address."""
    address: IPv4Address | IPv6Address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        return int(address) >> 64
    return str(address)


def is_request(arrival: Arrival) -> bool:
    """Whether a datagram starts as a request does and is no longer than one may be."""
    return arrival.data[:2] in (b"\0\1", b"\0\2") and arrival.whole


def _impossible(arrival: Arrival) -> Verdict | None:
    if not is_request(arrival):
        return Verdict.NOT_A_REQUEST
    if arrival.peer[1] == 0 or (arrival.peer[0], arrival.peer[1]) == (arrival.local, arrival.local_port):
        return Verdict.BAD_SOURCE  # an answer would go nowhere, or to ourselves
    if not arrival.unicast:
        return Verdict.NOT_UNICAST  # RFC 1123 section 4.2.3.5: ignored, or every server of the network would answer
    return None
