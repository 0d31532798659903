from __future__ import annotations

import math

import pytest

from blockstep_client.address import Target, Transport
from blockstep_client.exchange import Matter
from blockstep_client.over_stream import StreamExchange
from blockstep_client.over_udp import UdpExchange
from blockstep_client.settings import Settings
from blockstep_client.transports import exchanges


def matter(transport: Transport) -> Matter:
    return Matter(
        target=Target(transport, "h", 69, "a"),
        mode="octet",
        settings=Settings(),
        expires_at=math.inf,
        note=lambda _text: None,
        progress=lambda _done, _resends: None,
    )


@pytest.mark.parametrize("transports", [set(), {Transport.UDP}, set(Transport)], ids=["none", "udp", "all"])
def test_datagrams_are_carried_by_an_exchange_of_datagrams(transports: set[Transport]) -> None:
    with exchanges(transports, Settings(), print) as exchange_for:
        assert isinstance(exchange_for(matter(Transport.UDP)), UdpExchange)


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS, Transport.UNIX])
def test_the_rest_are_streams(transport: Transport) -> None:
    with exchanges({transport}, Settings(), print) as exchange_for:
        assert isinstance(exchange_for(matter(transport)), StreamExchange)
