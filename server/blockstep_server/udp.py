"""The UDP listener: from a datagram to a child, without reading what it says.

Decided here: how much is done for each wake-up, and what happens in which order between the arrival and the fork. In
single-port mode the parent makes the reply socket, so that the kernel sorts out the client's datagrams from then on;
otherwise the child makes its own, on a fresh port.

A client may ask for the next file from the same port (tftp-hpa's does, for a whole session), and be faster than our
child can end. If its request cannot be told from a repetition, or its share is taken by that child, it waits for the
end; on a shared port it may be in that child's socket.
"""

from __future__ import annotations

import random
import socket
from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial

from blockstep_server.admission import Claim, Verdict, claim_of, is_request
from blockstep_server.child import Body
from blockstep_server.children import Legacy, Task
from blockstep_server.listen import Arrival, host_port, receive_request
from blockstep_server.loops import OwnPorts
from blockstep_server.reply import ReplySockets, open_single_port, unread
from blockstep_server.report import TransferRecord
from blockstep_server.supervisor import Host
from blockstep_server.suspicion import Suspicion

__all__ = ["MakeBody", "UdpListener", "blank_record"]

MakeBody = Callable[[Arrival, ReplySockets | None], Body]
"""What a child shall do about an arrival. Without reply sockets it makes them itself."""

_BATCH = 32  # forks between two looks at the rest of the world: about 40 ms
_QUIET = frozenset({Verdict.NOT_A_REQUEST, Verdict.REPEATED})
# What may be otherwise as soon as the transfer of the same asker has ended.
_MAY_FOLLOW = frozenset({Verdict.REPEATED, Verdict.FULL, Verdict.CLIENT_FULL})


class UdpListener:
    """One listening socket, watched by a supervisor."""

    def __init__(
        self,
        sock: socket.socket,
        host: Host,
        make_body: MakeBody,
        *,
        single_port: bool = False,
        keep_fds: tuple[int, ...] = (),
        suspicion: Suspicion | None = None,
        own_ports: OwnPorts | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sock = sock
        self._host = host
        self._make_body = make_body
        self._single_port = single_port
        self._keep_fds = keep_fds
        self._suspicion = suspicion
        self._own_ports = own_ports
        self._chance = chance
        self._closed = False
        self._handed_back: deque[Arrival] = deque()
        self._askers: Counter[Hashable] = Counter()  # those who are being served
        self._kept: dict[Hashable, tuple[Arrival, Verdict]] = {}  # the latest that one of them has asked meanwhile

    def fileno(self) -> int:
        """The listening socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening; what waits in the socket is not served."""
        self._closed = True
        self._sock.close()

    def handle_readable(self) -> None:
        """Take what has arrived, up to one batch; the loop calls again while there is more."""
        for _ in range(_BATCH):
            arrival = receive_request(self._sock)
            if arrival is None:
                return
            self._try(arrival)

    def _try(self, arrival: Arrival) -> None:
        self._try_one(arrival)
        while self._handed_back:
            self._try_one(self._handed_back.popleft())

    def _try_one(self, arrival: Arrival) -> None:
        try:
            self._take(arrival)
        except OSError as error:  # no descriptor, no process, no route: this one is not served, the next may be
            self._host.refuse(f"for want of resources ({error.strerror})", host_port(arrival.peer))

    def _take(self, arrival: Arrival) -> None:
        claim = claim_of(arrival)
        verdict = self._judge(arrival, claim)
        if verdict is not Verdict.ACCEPTED:
            self._turn_away(arrival, claim, verdict)
            return
        if not self._single_port:
            self._spawn(arrival, claim, None)
            return
        sockets, handed_back = open_single_port(self._sock, arrival)
        self._handed_back.extend(handed_back)
        try:
            self._spawn(arrival, claim, sockets)
        except OSError:
            sockets.close()
            raise

    def _turn_away(self, arrival: Arrival, claim: Claim, verdict: Verdict) -> None:
        if verdict in _MAY_FOLLOW and claim.asker in self._askers:
            if (replaced := self._kept.get(claim.asker)) is not None:
                self._refuse(*replaced)
            self._kept[claim.asker] = arrival, verdict
        else:
            self._refuse(arrival, verdict)

    def _refuse(self, arrival: Arrival, verdict: Verdict) -> None:
        if verdict not in _QUIET:
            self._host.refuse(verdict.value, host_port(arrival.peer))

    def _judge(self, arrival: Arrival, claim: Claim) -> Verdict:
        verdict = self._host.admission.judge(arrival, self._chance())
        if verdict is not Verdict.ACCEPTED:
            return verdict
        if self._own_ports is not None and self._own_ports.hear(arrival.peer):
            return Verdict.BAD_SOURCE
        return verdict if self._suspicion is None else self._suspicion.judge(claim)

    def _spawn(self, arrival: Arrival, claim: Claim, sockets: ReplySockets | None) -> None:
        keep_fds = self._keep_fds + (sockets.fds() if sockets else ())
        body = self._make_body(arrival, sockets)
        watcher = None if self._suspicion is None else self._suspicion.case(claim)
        afterwards = partial(self._follow_up, claim, arrival, sockets)
        self._host.spawn(Task(claim, body, blank_record(arrival), keep_fds, watcher=watcher, afterwards=afterwards))
        self._askers[claim.asker] += 1

    def _follow_up(self, claim: Claim, arrival: Arrival, sockets: ReplySockets | None, legacy: Legacy) -> None:
        """Serve what the peer has asked for while its transfer before came to an end: one request, the newest."""
        asked = self._maybe_kept(claim, legacy)
        if sockets is not None:
            if legacy.request_untrusted:
                asked = replace(arrival, data=legacy.request_untrusted, noted=True, came_ns=0)
            for unheard in filter(is_request, unread(sockets.hot)):
                asked = replace(arrival, data=unheard.data, noted=False, came_ns=0)
            sockets.close()
        self._forget(claim.asker)
        if asked is not None and not self._closed:
            self._try(asked)

    def _maybe_kept(self, claim: Claim, legacy: Legacy) -> Arrival | None:
        """What was kept for the end of this child, if it is to be served.

        What could be a repetition is judged by the child that was asked in the same words; the other children of this
        asker know nothing of it. Who found no place is judged anew.
        """
        kept, verdict = self._kept.get(claim.asker, (None, Verdict.REPEATED))
        if kept is None or (verdict is Verdict.REPEATED and claim.words != kept.data):
            return None
        del self._kept[claim.asker]
        if verdict is not Verdict.REPEATED:
            return kept
        # Who has been heard of by its request alone may have asked again before our ERROR went out.
        return kept if legacy.outlook.heard_ns and legacy.outlook.is_before(kept.came_ns) else None

    def _forget(self, asker: Hashable) -> None:
        self._askers[asker] -= 1
        if not self._askers[asker]:
            del self._askers[asker]


def blank_record(arrival: Arrival) -> TransferRecord:
    """What is known about a transfer before its request has been read."""
    return TransferRecord(peer=host_port(arrival.peer), local=host_port(arrival.local_sockaddr(arrival.local_port)))
