"""A UDP socket connected to one peer: bursts out and in, with the kernel's segmentation offload where it has one.

Decided here: how a burst becomes system calls. `max_segments` is the one switch: above 1 a burst goes out by one
`sendmsg` with UDP_SEGMENT and comes in by one `recvmsg` with UDP_GRO; at 1, and on every system that lacks them, it is
one call for each segment with the same bytes on the wire. Not known here: what the bytes mean, but for the opcode of a
stray. Errors of the network are loss, unless the peer's port is closed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep.protocol.wire import ErrorPacket, Opcode

# linux/udp.h, asm-generic/socket.h: not in the socket module of every Python that we run on.
UDP_SEGMENT = 103
UDP_GRO = 104
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32

LARGEST_DATAGRAM = 65507
# The kernel takes 64 segments a call from 4.18 on; newer ones take more, but 64 already cost next to nothing each.
LARGEST_BURST = 64
RECEIVE_BYTES = 65536
# A blocking receive waits this long before it goes over to `poll`, which sees strays too and has a finer clock.
# The kernel counts it in ticks of 1 to 10 ms and rounds up.
SHORT_WAIT_S = 0.004
STRAYS_ANSWERED = 64
# Sleeping costs more than looking: a process that sleeps and is woken takes 30 us of CPU and as much of delay for each
# round trip, one that looks again takes 1 us for each look (docs/performance.md). So look some times first. Where that
# never helps (a real distance, a busy machine, one processor), stop it for a while.
LOOKS = 50
FRUITLESS_LOOKS = 3
RECEIVES_WITHOUT_LOOKING = 500

# asm-generic/sockios.h, the form of 64-bit machines
SIOCGSTAMPNS = 0x8907
TIMESPEC = struct.Struct("@qq")
"""A time of the kernel's on 64-bit machines: seconds and nanoseconds."""
_HAS_STAMPS = sys.platform == "linux" and struct.calcsize("@l") == 8
NEVER_NS = (1 << 63) - 1
"""Later than anything that comes."""

# What a socket may report about the network; the packet counts as lost and the timer mends it.
LOST = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        # The first large block on a path with a smaller MTU: the kernel has learned it, and cuts that block next time.
        errno.EMSGSIZE,
        # Other words of ICMP (a protocol, an option, a network that is not there), which anybody can forge.
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPROTO,
        getattr(errno, "ENONET", errno.ENETDOWN),  # Linux alone
    }
)
_NO_OFFLOAD = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
_UNKNOWN_TID = ErrorPacket(ErrorCode.UNKNOWN_TID, "unknown transfer ID").to_bytes()


class Endpoint:
    """Our end of one transfer. Takes over `sock` (connected to the peer) and `stray_sock`.

    `stray_sock`, where there is one, is bound to the same port but not connected, so it gets what others send there:
    they are answered with ERROR 5 (RFC 1350 section 4) and the transfer never sees them. `counters`: `calls_out` and
    `calls_in` are system calls that moved datagrams.
    """

    def __init__(self, sock: socket.socket, stray_sock: socket.socket | None = None, *, offload: bool = True) -> None:
        self.sock = sock
        self._peer = sock.getpeername()
        self.stride = 0
        self.max_segments = 1
        self.calls_out = 0
        self.calls_in = 0
        self.strays = 0
        self._offload = offload
        self._stray_sock = stray_sock
        self._receives_bursts = False
        self._ancillary: list[tuple[int, int, bytes]] = []
        self._poll: select.poll | None = None
        self._fruitless = 0
        self._rest = 0 if _processors() > 1 else sys.maxsize
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(SHORT_WAIT_S * 1e6)))
        if stray_sock is not None:
            stray_sock.setblocking(False)

    def prepare_to_send(self, stride: int, window: int) -> None:
        """Segments will be `stride` bytes (header and blksize), `window` of them in flight."""
        self.stride = stride
        self._ask_for_buffer(SO_SNDBUFFORCE, socket.SO_SNDBUF, stride * window)
        if self._offload and window > 1 and _has_segmentation(self.sock):
            self.max_segments = max(1, min(LARGEST_BURST, LARGEST_DATAGRAM // stride))
        self._ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", stride))]

    def prepare_to_receive(self, stride: int, window: int) -> None:
        """Segments will be at most `stride` bytes, up to `window` of them at once."""
        self.stride = stride
        self._ask_for_buffer(SO_RCVBUFFORCE, socket.SO_RCVBUF, stride * window + RECEIVE_BYTES)
        if self._offload and window > 1:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
                self._receives_bursts = True

    def _ask_for_buffer(self, force: int, plain: int, size_bytes: int) -> None:
        """Make the kernel's buffer hold `size_bytes` if it may be; the kernel itself adds as much for its own needs."""
        if self.sock.getsockopt(socket.SOL_SOCKET, plain) >= 2 * size_bytes:
            return
        for option in (plain, force):
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, option, size_bytes)
            if self.sock.getsockopt(socket.SOL_SOCKET, plain) >= 2 * size_bytes:
                return

    def arrived_ns(self) -> int:
        """When the datagram that was received last came, on the kernel's clock for SO_TIMESTAMPNS.

        0 if none has come since the first call, from which on the kernel takes note; NEVER_NS where it does not.
        """
        if not _HAS_STAMPS:
            return NEVER_NS
        when = bytearray(TIMESPEC.size)
        try:
            fcntl.ioctl(self.sock, SIOCGSTAMPNS, when)
        except FileNotFoundError:
            return 0
        except OSError:
            return NEVER_NS
        return nanoseconds(when)

    # Out.

    def send(self, packet: bytes | bytearray | memoryview) -> None:  # hot path
        """Send one datagram. TransferFailed (PEER_GONE) when the peer's port is known to be closed."""
        self.calls_out += 1
        try:
            self.sock.send(packet)
        except OSError as error:
            self._judge(error)

    # What `send_burst` uses, under a name that no subclass takes: a burst is one thing to whoever watches.
    _send_segment = send

    def send_burst(self, view: memoryview, start: int, end: int) -> None:  # hot path
        """Send `view[start:end]`, at most `max_segments` segments `stride` apart of which the last may be shorter."""
        if end - start <= self.stride:
            self._send_segment(view[start:end])
            return
        if self.max_segments > 1:
            self.calls_out += 1
            try:
                self.sock.sendmsg((view[start:end],), self._ancillary)
                return
            except OSError as error:
                if error.errno not in _NO_OFFLOAD:
                    self._judge(error)
                    return
            # No segmentation on this path (a block over the MTU, a tunnel, an old kernel): this burst goes out plainly
            # at once, and so does all that follows.
            self.max_segments = 1
        for at in range(start, end, self.stride):
            self._send_segment(view[at : min(at + self.stride, end)])

    def _judge(self, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            if self._has_unread():
                return  # the kernel tells of the closed port first, and the peer's ERROR says why it is closed
            raise TransferFailed(End.PEER_GONE, "the peer's port is closed") from None
        if error.errno not in LOST:
            raise error

    def _has_unread(self) -> bool:
        """Whether the peer has said something that is still to be received."""
        with contextlib.suppress(OSError):
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return True
        return False

    # In.

    def receive(self, memory: bytearray, wait_s: float) -> tuple[int, int]:  # hot path
        """Wait at most `wait_s` for a datagram or a burst: (bytes in `memory`, stride), (-1, 0) when nothing came."""
        if wait_s >= SHORT_WAIT_S:
            began_at = time.monotonic()
            received = self._look(memory) or self._receive(memory, 0)
            if received is not None:
                return received
            wait_s -= time.monotonic() - began_at
        if not self._wait(max(wait_s, 0.0)):
            return -1, 0
        return self._receive(memory, socket.MSG_DONTWAIT) or (-1, 0)

    def _look(self, memory: bytearray) -> tuple[int, int] | None:  # hot path
        """Receive without sleeping, if that pays at the moment."""
        if self._rest > 0:
            self._rest -= 1
            return None
        for _ in range(LOOKS):
            received = self._receive(memory, socket.MSG_DONTWAIT)
            if received is not None:
                self._fruitless = 0
                return received
        self._fruitless += 1
        if self._fruitless >= FRUITLESS_LOOKS:
            self._fruitless = 0
            self._rest = RECEIVES_WITHOUT_LOOKING
        return None

    def _receive(self, memory: bytearray, flags: int) -> tuple[int, int] | None:  # hot path
        try:
            if not self._receives_bursts:
                got = self.sock.recv_into(memory, 0, flags)
                self.calls_in += 1
                return got, got
            got, ancillary, _flags, _peer = self.sock.recvmsg_into((memory,), 64, flags)
            self.calls_in += 1
        except BlockingIOError:
            return None
        except OSError as error:
            self._judge(error)
            return None
        if ancillary:
            return got, struct.unpack_from("i", ancillary[0][2])[0]
        return got, got

    def _wait(self, wait_s: float) -> bool:
        """Wait for the peer and answer strays meanwhile; True when there may be something from the peer."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
            if self._stray_sock is not None:
                self._poll.register(self._stray_sock, select.POLLIN)
        ready = self._poll.poll(wait_s * 1000)
        peer = self.sock.fileno()
        if self._stray_sock is not None and any(fd != peer for fd, _ in ready):
            self.answer_strays()
        return any(fd == peer for fd, _ in ready)

    def answer_strays(self) -> None:
        """ERROR 5 to whoever else sent to our port (RFC 1350 section 4), 64 times at most; never to an ERROR."""
        if self._stray_sock is None:
            return
        for datagram, sender in _datagrams(self._stray_sock):
            if sender == self._peer:
                continue  # it came before our other socket was connected: the peer will say it again if it matters
            self.strays += 1
            answers = self.strays <= STRAYS_ANSWERED and datagram[1:2] != bytes([Opcode.ERROR])
            self._answer_stray(datagram, sender, _UNKNOWN_TID if answers else b"")

    def _answer_stray(self, _datagram: bytes, sender: tuple[str, int], answer: bytes) -> None:
        if answer and self._stray_sock is not None:
            with contextlib.suppress(OSError):
                self._stray_sock.sendto(answer, sender)

    def close(self) -> None:
        """Close both sockets; may be called twice."""
        self.sock.close()
        if self._stray_sock is not None:
            self._stray_sock.close()


def nanoseconds(timespec: bytes | bytearray) -> int:
    """A time as the kernel writes it (`TIMESPEC`), in one number."""
    seconds, rest = TIMESPEC.unpack(timespec)
    return int(seconds * 1_000_000_000 + rest)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _datagrams(sock: socket.socket, most: int = 16) -> Iterator[tuple[bytes, tuple[str, int]]]:
    for _ in range(most):
        try:
            yield sock.recvfrom(2048)
        except OSError:
            return


def _has_segmentation(sock: socket.socket) -> bool:
    """Whether this kernel knows UDP_SEGMENT."""
    try:
        sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
