"""What a child does: the work for a datagram and for a connection, with the service as it is when the child is forked.

`service` may be replaced while the server runs; who has been forked keeps what was there.
"""

from __future__ import annotations

import random
from dataclasses import replace

from blockstep_server.child import Body
from blockstep_server.clerk import Service
from blockstep_server.connection import Connection, serve_stream
from blockstep_server.listen import Arrival
from blockstep_server.reply import ReplySockets, open_fresh_port
from blockstep_server.report import Result, TransferRecord
from blockstep_server.session import serve_request
from blockstep_server.telling import Telling
from blockstep_server.udp import blank_record

__all__ = ["Bodies"]


class Bodies:
    """Makes the children's work."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def for_datagram(self, arrival: Arrival, sockets: ReplySockets | None) -> Body:
        """Serve a request; without reply sockets, on a fresh port."""
        service = self.service

        def body(telling: Telling) -> TransferRecord:
            if service.recorder is not None and not arrival.noted:
                service.recorder.note(arrival.peer, arrival.local_sockaddr(arrival.local_port), arrival.data)
            try:
                mine = sockets or open_fresh_port(arrival, service.config.port_range, random.SystemRandom())
            except OSError as error:  # no descriptor, no port, no route: there is nothing to answer from
                return _unserved(arrival, error)
            service.sandbox.enter(service.needs)
            return serve_request(arrival.data, mine, service, blank_record(arrival), telling=telling)

        return body

    def for_connection(self, connection: Connection) -> Body:
        """Serve requests until the connection ends; each is told when it has ended."""
        service = self.service

        def body(telling: Telling) -> None:
            service.sandbox.enter(replace(service.needs, connection=True))
            serve_stream(connection, service, telling)

        return body


def _unserved(arrival: Arrival, error: OSError) -> TransferRecord:
    detail = f"not served for want of resources: {(error.strerror or 'unknown error').lower()}"
    return replace(blank_record(arrival), result=Result.FAILED, detail=detail)
