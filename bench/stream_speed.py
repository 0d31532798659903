"""One file over a stream, file to file, beside the bare system calls: MB/s, CPU seconds per GB, and the ratio.

    python bench/stream_speed.py [--size-mb 512] [--pairs 7] [--directory /dev/shm] [--blksize N ...]

Bare is `socket.sendfile` on one side, `recv_into` and `write` on the other, with no frames, no checks and no end but
that of the stream. Every round runs each case once, in turn, so that what disturbs the machine disturbs all of them;
shown are medians, and the median of the ratios within a round. The sender is a forked process, as in the server.

`--what-if` adds what the transport does not do: payloads sent by `sendfile` (a file that changes meanwhile would go
unnoticed), and other sizes of the decoder's arena.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import socket
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from blockstep.protocol.framing import FrameDecoder
from blockstep.protocol.options import negotiate
from blockstep.protocol.stream import BLKSIZE_STREAM, stream_limits, stream_wanted
from blockstep.protocol.wire import Opcode, Request, parse_request_untrusted
from blockstep.transport.dial import set_up
from blockstep.transport.files import AtomicFileSink, source_at
from blockstep.transport.stream_client import ClientStream
from blockstep.transport.stream_server import ServerStream

BARE_READ_BYTES = 256 * 1024

Side = Callable[[socket.socket, Path], None]


@dataclass(frozen=True)
class Case:
    """A name, how the sockets are made, and what each side does with its own."""

    name: str
    family: socket.AddressFamily
    send: Side
    receive: Side


@dataclass(frozen=True)
class Run:
    """What one run took: bytes per second, CPU seconds per byte on either side."""

    speed: float
    sender_cpu: float
    receiver_cpu: float


def send_bare(sock: socket.socket, file: Path) -> None:
    """All of the file in one call, then the end of the stream."""
    with file.open("rb") as source:
        sock.sendfile(source)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)


def receive_bare(sock: socket.socket, file: Path) -> None:
    """Whatever comes until the end."""
    memory = memoryview(bytearray(BARE_READ_BYTES))
    with file.open("wb", buffering=0) as target:
        while got := sock.recv_into(memory):
            target.write(memory[:got])


def send_framed(sock: socket.socket, file: Path) -> None:
    """The server's side, for one request."""
    set_up(sock)
    with ServerStream(sock) as stream, closing(source_at(file)) as source:
        raw = stream.next_request()
        assert raw is not None
        agreed, oack = negotiate(parse_request_untrusted(raw), stream_limits(), source.size_bytes)
        stream.send(stream.answer_read(agreed, oack), source)


def send_framed_with_sendfile(sock: socket.socket, file: Path) -> None:
    """The same frames, headers and payloads in calls of their own."""
    set_up(sock)
    with ServerStream(sock) as stream, file.open("rb") as source:
        raw = stream.next_request()
        assert raw is not None
        size = file.stat().st_size
        agreed, oack = negotiate(parse_request_untrusted(raw), stream_limits(), size)
        stream.answer_read(agreed, oack)
        sock.settimeout(None)
        for index, start in enumerate(range(0, size + 1, agreed.blksize), 1):
            left = min(agreed.blksize, size - start)
            head = (left + 4).to_bytes(4, "big") + b"\0\3" + (index & 0xFFFF).to_bytes(2, "big")
            sock.sendall(head, socket.MSG_MORE if left else 0)
            while left:
                left -= os.sendfile(sock.fileno(), source.fileno(), min(start + agreed.blksize, size) - left, left)
        sock.recv(1)


def receiver_of(blksize: int, arena_bytes: int | None = None) -> Side:
    """The client's side, asking for blocks of this size."""

    def receive_framed(sock: socket.socket, file: Path) -> None:
        set_up(sock)
        wanted = stream_wanted(blksize=blksize, tsize=0)
        with ClientStream(sock) as stream:
            if arena_bytes is not None:
                stream._decoder = FrameDecoder(arena_bytes)
            request = Request(Opcode.RRQ, "file", "octet", wanted.to_options())
            stream.get(request, wanted, lambda agreed: AtomicFileSink.at(file, expected_bytes=agreed.tsize))

    return receive_framed


def connected(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, over loopback or without a network."""
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


@contextmanager
def cpu_of_children_and_self() -> Iterator[list[float]]:
    """[own CPU seconds, those of children that were waited for], filled in at the end."""
    used: list[float] = []
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    yield used
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used += [b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True)]


def run(case: Case, source: Path, target: Path) -> Run:
    """Move the file once; the target is removed."""
    ours, theirs = connected(case.family)
    size = source.stat().st_size
    with cpu_of_children_and_self() as used:
        started = time.perf_counter()
        pid = os.fork()
        if not pid:
            ours.close()
            _live_and_exit(case, theirs, source)
        theirs.close()
        case.receive(ours, target)
        took = time.perf_counter() - started
        ours.close()
        status = os.waitpid(pid, 0)[1]
    if status or target.stat().st_size != size:
        raise SystemExit(f"{case.name}: the file did not arrive")
    target.unlink()
    return Run(size / took, used[1] / size, used[0] / size)


def _live_and_exit(case: Case, sock: socket.socket, source: Path) -> None:
    status = 1
    try:
        case.send(sock, source)
        status = 0
    except Exception:  # noqa: BLE001 - nothing may get past this frame
        traceback.print_exc()
    finally:
        os._exit(status)


def cases(blksizes: list[int], *, what_if: bool) -> list[Case]:
    """For each family the bare one first: the ratios are to it."""
    listed = []
    for name, family in (("tcp", socket.AF_INET), ("unix", socket.AF_UNIX)):
        listed.append(Case(f"{name} bare", family, send_bare, receive_bare))
        for blksize in blksizes:
            listed.append(Case(f"{name} blksize {blksize}", family, send_framed, receiver_of(blksize)))
            if what_if:
                listed.append(
                    Case(f"{name} sendfile {blksize}", family, send_framed_with_sendfile, receiver_of(blksize))
                )
        for arena_kib in (64, 256, 4096) if what_if else ():
            receive = receiver_of(BLKSIZE_STREAM, arena_kib << 10)
            listed.append(Case(f"{name} arena {arena_kib} KiB", family, send_framed, receive))
    return listed


def report(runs: dict[Case, list[Run]]) -> None:
    """Print a line for each case."""
    bare = {case.family: figures for case, figures in runs.items() if case.send is send_bare}
    print(f"{'case':22} {'MB/s':>7} {'of bare':>8} {'of bare TCP':>12} {'sender':>8} {'receiver':>9}  (CPU s per GB)")
    for case, figures in runs.items():
        speed, sender, receiver = (
            statistics.median(getattr(each, name) for each in figures)
            for name in ("speed", "sender_cpu", "receiver_cpu")
        )
        ratios = [
            statistics.median(ours.speed / theirs.speed for ours, theirs in zip(figures, bare[family], strict=True))
            for family in (case.family, socket.AF_INET)
        ]
        print(
            f"{case.name:22} {speed / 1e6:7.0f} {ratios[0]:8.2f} {ratios[1]:12.2f} "
            f"{sender * 1e9:8.2f} {receiver * 1e9:9.2f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size-mb", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=7, help="rounds; each runs every case once")
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--blksize", type=int, nargs="+", default=[BLKSIZE_STREAM])
    parser.add_argument("--what-if", action="store_true")
    chosen = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {chosen.size_mb} MB file")
    with tempfile.TemporaryDirectory(dir=chosen.directory) as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        with source.open("wb") as file:
            for _ in range(chosen.size_mb):
                file.write(os.urandom(1_000_000))
        runs: dict[Case, list[Run]] = {case: [] for case in cases(chosen.blksize, what_if=chosen.what_if)}
        for _ in range(chosen.pairs):
            for case, figures in runs.items():
                figures.append(run(case, source, target))
        report(runs)


if __name__ == "__main__":
    main()
