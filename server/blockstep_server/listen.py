"""The listening sockets of the network, UDP and TCP: how they are opened and adopted, and how a datagram is received.

Decided here: an address is bound *exclusively* (a second server on it fails at start instead of sharing the requests),
IPv4 and IPv6 have a socket each, every socket tells which local address was asked, and has the largest receive buffer
that it may have, because a boot storm of 500 requests overflows the default one; the queue of a TCP socket is as long
as the system lets it be, for the same reason. A datagram is received, never parsed.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from blockstep.protocol.errors import LocalError
from blockstep.transport.udp import TIMESPEC, nanoseconds
from blockstep_server.values import Bind

__all__ = [
    "BACKLOG",
    "Arrival",
    "CannotBind",
    "SockAddr",
    "adopt",
    "host_port",
    "open_tcp",
    "open_udp",
    "receive_request",
    "unmapped",
]

BACKLOG = 4096
"""Connections that may wait to be accepted; Linux cuts it to net.core.somaxconn, whose default this is."""


SockAddr = tuple[str, int] | tuple[str, int, int, int]
"""What the socket module calls an address: (host, port), and for IPv6 (host, port, flow, scope)."""


class CannotBind(LocalError):
    """An address could not be listened on. The text names the ways out."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One datagram on a listening port, not looked at.

    `local` is the address that was asked (for a broadcast: the one to answer from), `local_port` the listening port,
    `ifindex` the interface (0: unknown), `unicast` False if it was sent to a broadcast or multicast address, `whole`
    False if it was longer than any request may be and has been cut. `noted`: a capture has it already.
    `came_ns` is when it came, on the kernel's clock for SO_TIMESTAMPNS (0: unknown).
    """

    data: bytes
    peer: SockAddr
    local: str
    local_port: int
    ifindex: int = 0
    unicast: bool = True
    whole: bool = True
    noted: bool = False
    came_ns: int = 0

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6. Mapped addresses (`::ffff:a.b.c.d`) have become IPv4 already."""
        return socket.AF_INET6 if ":" in self.local else socket.AF_INET

    def local_sockaddr(self, port: int) -> SockAddr:
        """The asked address with another port, complete with the interface where an address needs one."""
        if self.family == socket.AF_INET:
            return (self.local, port)
        return (self.local, port, 0, self.ifindex if IPv6Address(self.local).is_link_local else 0)


def host_port(address: SockAddr) -> str:
    """`192.0.2.1:69` or `[2001:db8::1]:69`."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unmapped(address: SockAddr) -> SockAddr:
    """An IPv4 address that a socket of both families shows as IPv6 (`::ffff:192.0.2.1`), as what it is."""
    mapped = IPv6Address(address[0].partition("%")[0]).ipv4_mapped if ":" in address[0] else None
    return address if mapped is None else (str(mapped), address[1])


# Opening


def open_udp(bind: Bind, default_port: int) -> list[socket.socket]:
    """The sockets for one `--bind`: one for each address that the host stands for, all on the same port.

    A family that this machine does not have is left out as long as another address remains. Raises CannotBind.
    """
    return _open(bind, default_port, socket.SOCK_DGRAM)


def open_tcp(bind: Bind, default_port: int) -> list[socket.socket]:
    """The sockets for one `--tcp`, as `open_udp` makes them."""
    return _open(bind, default_port, socket.SOCK_STREAM)


def _open(bind: Bind, default_port: int, kind: socket.SocketKind) -> list[socket.socket]:
    port = default_port if bind.port is None else bind.port
    attempts = 16 if port == 0 else 1  # the port that the system chose for one address may be taken on the next
    for attempt in range(attempts):
        try:
            return _open_all(_resolve(bind, port, kind), kind)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and attempt + 1 < attempts:
                continue
            raise CannotBind(_ways_out(Bind(bind.host, port), kind, error)) from error
    raise AssertionError("unreachable")


def _resolve(bind: Bind, port: int, kind: socket.SocketKind) -> list[tuple[socket.AddressFamily, SockAddr]]:
    if not bind.host:
        return [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port, 0, 0))]
    found = socket.getaddrinfo(bind.host, port, type=kind, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (str(a[0]), int(a[1]), *a[2:])) for family, _, _, _, a in found))


def _open_all(addresses: list[tuple[socket.AddressFamily, SockAddr]], kind: socket.SocketKind) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    with contextlib.ExitStack() as on_failure:
        for family, address in addresses:
            port = address[1] or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                sockets.append(on_failure.enter_context(_open_one(family, (address[0], port, *address[2:]), kind)))
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = error
        if not sockets:
            assert missing is not None
            raise missing
        on_failure.pop_all()
    return sockets


def _open_one(family: socket.AddressFamily, address: SockAddr, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:  # else connections that ended a minute ago would keep a new server off
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        _prepare(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def adopt(fd: int) -> socket.socket:
    """Take over a socket that systemd or a parent passed on: UDP, TCP or a UNIX stream, bound.

    The caller's `fd` belongs to it from then on. LocalError if it is anything else.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise LocalError(f"descriptor {fd} was passed to listen on, but is no socket ({error.strerror})") from None
    if (sock.family, sock.type) not in _ADOPTABLE:
        sock.close()
        raise LocalError(
            f"descriptor {fd} was passed to listen on, but is no UDP or stream socket "
            "(ListenDatagram= or ListenStream= in systemd)"
        )
    _prepare(sock)
    return sock


_INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})
_ADOPTABLE = frozenset(
    {
        *((family, kind) for family in _INTERNET for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)),
        (socket.AF_UNIX, socket.SOCK_STREAM),
    }
)

# Not in every Python that has the system calls: socket.IP_PKTINFO came with 3.12, SO_RCVBUFFORCE is in none.
_LINUX = sys.platform == "linux"
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8 if _LINUX else None)
_SO_RCVBUFFORCE = 33 if _LINUX else None
_SO_TIMESTAMPNS = 35 if _LINUX else None
_RECEIVE_BUFFER = 8 * 1024 * 1024


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    if sock.type == socket.SOCK_STREAM:
        sock.listen(BACKLOG)
        return
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    if _IP_PKTINFO is not None and sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    if _SO_TIMESTAMPNS is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    _enlarge_receive_buffer(sock)


def _enlarge_receive_buffer(sock: socket.socket) -> None:
    if _SO_RCVBUFFORCE is not None:
        with contextlib.suppress(OSError):  # needs CAP_NET_ADMIN
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            return
    with contextlib.suppress(OSError):  # Linux cuts it to net.core.rmem_max, others refuse
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _ways_out(bind: Bind, kind: socket.SocketKind, error: OSError) -> str:
    is_tcp = kind == socket.SOCK_STREAM
    what = f"cannot listen on {bind} ({'tcp' if is_tcp else 'udp'}): {error.strerror or error}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{what}\nPorts below 1024 are reserved. Ways out:\n"
            f"  run it with sudo, which binds first and then works as an ordinary user (--user)\n"
            f"  sudo setcap cap_net_bind_service=+ep {sys.executable}\n"
            f"  sudo sysctl net.ipv4.ip_unprivileged_port_start={bind.port}\n"
            f"  choose another port: {'--tcp 6970' if is_tcp else '-p 6969'}"
        )
    if error.errno == errno.EADDRINUSE:
        shows, flag = ("ss -ltnp", "--tcp") if is_tcp else ("ss -lunp", "-p")
        return (
            f"{what}\nAnother server has it: `{shows}` shows which. Stop that one, or choose another port with {flag}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what}\nThis machine does not have that address: `ip address` lists those it has"
    return what


# Receiving

_LONGEST = 2048  # RFC 2347 allows a request 512 bytes; what is longer than this has been cut, and `whole` says so
_ANCILLARY = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(16)
_IN_PKTINFO = struct.Struct("@i4s4s")
_IN6_PKTINFO = struct.Struct("@16sI")


def receive_request(sock: socket.socket) -> Arrival | None:
    """The next datagram of a non-blocking socket, or None if none waits. Other errors of the socket are raised."""
    try:
        data, ancillary, flags, peer = sock.recvmsg(_LONGEST, _ANCILLARY)
    except BlockingIOError:
        return None
    own = sock.getsockname()
    local, ifindex, unicast = next(_asked(ancillary), (str(own[0]), 0, True))
    local = unmapped((local, 0))[0]
    whole = not flags & socket.MSG_TRUNC
    return Arrival(data, unmapped(peer), local, own[1], ifindex, unicast, whole, came_ns=next(_came_ns(ancillary), 0))


def _asked(ancillary: list[tuple[int, int, bytes]]) -> Iterator[tuple[str, int, bool]]:
    """(address, interface, whether it was unicast) from what the kernel says beside a datagram."""
    for level, kind, payload in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            ifindex, answer_from, asked = _IN_PKTINFO.unpack_from(payload)
            yield socket.inet_ntop(socket.AF_INET, answer_from), ifindex, answer_from == asked
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            asked, ifindex = _IN6_PKTINFO.unpack_from(payload)
            yield socket.inet_ntop(socket.AF_INET6, asked), ifindex, asked[0] != 0xFF


def _came_ns(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(payload) == TIMESPEC.size:
            yield nanoseconds(payload)
