"""The listening port of a test's server and the transfers that began there.

Decided here: which datagram begins a transfer, which one only repeats its request, and which belongs to a transfer that
lives on this port. Not known here: what is answered; `take` decides that.
"""

from __future__ import annotations

from collections.abc import Callable

from blockstep.protocol.errors import End, RemoteError, TransferFailed
from blockstep.protocol.netascii import Decoder
from blockstep.protocol.wire import ErrorPacket
from blockstep_lab.drivers import ReceiveDriver, SendDriver
from blockstep_lab.parties import Party
from blockstep_lab.simnet import Send, SimAddress
from blockstep_lab.testing.expectations import TftpRequest

__all__ = ["Door", "Session"]

_SILENT_S = 1.0
_REQUESTS = (b"\0\1", b"\0\2")


class Session:
    """One transfer: its request and the machine behind it. `over`: its outcome is known, `closed`: nothing is left.

    `data` is the request's datagram; `owns_socket` is False for a transfer on the listening port.
    """

    def __init__(self, asked: TftpRequest, data: bytes, party: Party, *, owns_socket: bool) -> None:
        self.asked = asked
        self.data = data
        self.party = party
        self.owns_socket = owns_socket
        self.over = False
        self.closed = False

    @property
    def party_is_over(self) -> bool:
        """The file is whole at its destination, or never will be."""
        return self.party.finished or self.party.delivered_at is not None

    @property
    def is_proven(self) -> bool:
        """The client has answered: whatever it asks now is a new request."""
        return self.party.driver is not None and self.party.driver.machine.proven

    def has_lost_its_client(self, now: float) -> bool:
        """The client has had all but perhaps the end, and says nothing more: it has it, and its last ACK was lost."""
        driver = self.party.driver
        silent_s = now - self.party.heard_at
        return isinstance(driver, SendDriver) and driver.in_last_window and silent_s > _SILENT_S

    def end(self) -> bytes | None:
        """Write the outcome down; the content of a write that is whole."""
        error, driver = self.party.error, self.party.driver
        if error is not None:
            self.asked.outcome = _ending(error)
            return None
        self.asked.complete = True
        self.asked.outcome = "complete" if self.party_is_over else "complete, but for the last ACK, which has not come"
        if not isinstance(driver, ReceiveDriver):
            return None
        if self.asked.mode != "netascii":
            return bytes(driver.received)
        decoder = Decoder()
        return decoder.decode(driver.received) + decoder.finish()


def _ending(error: BaseException) -> str:
    if isinstance(error, TransferFailed) and error.end is End.PEER_ERROR:
        return f"the client said ERROR {error.code} {error}"
    return str(error)


class Door:
    """The node at the listening port. `take` begins a transfer, or says which error is the answer to a request."""

    def __init__(self, send: Send, take: Callable[[bytes, SimAddress, float], Session | ErrorPacket]) -> None:
        self.send = send
        self.sessions: list[Session] = []
        self._take = take

    def next_deadline(self) -> float | None:
        """Of the transfers that live on this port."""
        deadlines = (session.party.next_deadline() for session in self._tenants())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_deadline(self, now: float) -> None:
        """Call the transfers that are due."""
        for session in self._tenants():
            deadline = session.party.next_deadline()
            if deadline is not None and deadline <= now:
                session.party.handle_deadline(now)

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        """A request begins a transfer unless it repeats one; anything else is for a transfer on this port."""
        session = next((each for each in reversed(self.sessions) if each.asked.client == source), None)
        is_request = data[:2] in _REQUESTS
        if session is not None and not session.closed and not (is_request and _is_new(session, data)):
            if not session.owns_socket:
                session.party.handle_datagram(data, source, now)
        elif is_request:
            self._begin(data, source, now)

    def _begin(self, data: bytes, source: SimAddress, now: float) -> None:
        try:
            begun = self._take(data, source, now)
        except RemoteError as refusal:
            begun = ErrorPacket(refusal.code, str(refusal))
        if isinstance(begun, ErrorPacket):
            self.send(begun.to_bytes(), source)
        else:
            self.sessions.append(begun)

    def _tenants(self) -> list[Session]:
        return [each for each in self.sessions if not each.owns_socket and not each.closed]


def _is_new(session: Session, data: bytes) -> bool:
    """Not the request of `session` once more: another one, or the same by a client that has begun anew."""
    return session.data != data or (session.is_proven and (session.owns_socket or session.over))
