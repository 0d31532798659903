"""The largest block that crosses a path in one piece, as far as this machine's routing table knows."""

from __future__ import annotations

import socket
from typing import Final

from blockstep.protocol.options import BLKSIZE_LARGEST
from blockstep_client.resolve import Address
from blockstep_client.settings import BLKSIZE_DEFAULT

__all__ = ["largest_blksize"]

# linux/in.h, linux/in6.h: not in the socket module of every Python that we run on.
_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
_HEADERS: Final = {socket.AF_INET: 20 + 8 + 4, socket.AF_INET6: 40 + 8 + 4}


def largest_blksize(server: Address) -> int:
    """Bytes of payload, 512 to 65464, that fit into the path's MTU; the default where the kernel does not say."""
    option = (socket.IPPROTO_IPV6, _IPV6_MTU) if server.family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
    with socket.socket(server.family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(server.where)  # sends nothing: only routes
            mtu = probe.getsockopt(*option)
        except OSError:
            return BLKSIZE_DEFAULT
    return max(512, min(mtu - _HEADERS[server.family], BLKSIZE_LARGEST))
