from __future__ import annotations

import pytest

from blockstep_server.loops import OwnPorts
from support.processes import HAS_IPV6


@pytest.mark.parametrize(
    ("name", "peer", "own"),
    [
        (("127.0.0.1", 6969), ("127.0.0.1", 6969), True),
        (("127.0.0.1", 6969), ("127.0.0.1", 6970), False),
        (("127.0.0.1", 6969), ("127.0.0.2", 6969), False),
        (("0.0.0.0", 6969), ("127.0.0.2", 6969), True),
        (("0.0.0.0", 6969), ("192.0.2.1", 6969), False),
        (("0.0.0.0", 6969), ("127.0.0.2", 6970), False),
    ],
)
def test_what_would_come_back_to_us(name: tuple[str, int], peer: tuple[str, int], own: bool) -> None:
    assert OwnPorts([name]).hear(peer) is own


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no ::1")
def test_ipv6() -> None:
    own = OwnPorts([("::", 6969, 0, 0)])
    assert own.hear(("::1", 6969, 0, 0))
    assert not own.hear(("2001:db8::1", 6969, 0, 0))
    assert not own.hear(("::1", 6970, 0, 0))


def test_several_sockets() -> None:
    own = OwnPorts([("127.0.0.1", 6969), ("127.0.0.2", 6970)])
    assert own.hear(("127.0.0.2", 6970))
    assert not own.hear(("127.0.0.2", 6969))
