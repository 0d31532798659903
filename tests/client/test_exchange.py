from __future__ import annotations

import math
import time

from blockstep_client.address import Target, Transport
from blockstep_client.exchange import Exchange, Matter
from blockstep_client.over_udp import UdpExchange
from blockstep_client.settings import Settings


def matter(expires_at: float, **settings: float) -> Matter:
    return Matter(
        target=Target(Transport.UDP, "h", 69, "a"),
        mode="octet",
        settings=Settings(**settings),  # type: ignore[arg-type]
        expires_at=expires_at,
        note=lambda _text: None,
        progress=lambda _done, _resends: None,
    )


def test_what_is_left_of_the_time() -> None:
    assert matter(math.inf).left_s() is None
    left_s = matter(time.monotonic() + 5, max_time_s=9.0).left_s()
    assert left_s is not None
    assert 4 < left_s <= 5
    assert matter(time.monotonic() - 5, max_time_s=9.0).left_s() == 0.001, "more than nothing, so that it ends as late"


def test_an_exchange_of_datagrams_is_one() -> None:
    exchange: Exchange = UdpExchange(matter(math.inf))
    assert exchange.peer is None
