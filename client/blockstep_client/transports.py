"""Which exchange carries a transfer, for all the transfers of one command.

Whoever only asks for datagrams does not load what streams take, a sixth of the time in which the client starts; who
asks for streams loads it before any clock runs, so that it counts for no transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from blockstep_client.address import Transport
from blockstep_client.exchange import Exchange, Matter
from blockstep_client.over_udp import UdpExchange
from blockstep_client.settings import Settings

__all__ = ["ExchangeFor", "exchanges"]

ExchangeFor = Callable[[Matter], Exchange]


@contextmanager
def exchanges(
    transports: Collection[Transport], settings: Settings, note: Callable[[str], None]
) -> Iterator[ExchangeFor]:
    """Makes an exchange for each transfer over these transports; connections are kept until the end of the block."""
    if not set(transports) - {Transport.UDP}:
        yield UdpExchange
        return
    from blockstep_client.connections import Connections
    from blockstep_client.over_stream import StreamExchange

    with Connections(settings, note) as connections:

        def exchange_for(matter: Matter) -> Exchange:
            if matter.target.transport is Transport.UDP:
                return UdpExchange(matter)
            return StreamExchange(matter, connections)

        yield exchange_for
