"""Does a crowd on TCP keep UDP waiting? The time to the first answer of a new UDP request, without and with a crowd.

    python bench/stream_crowd.py [--waves 5] [--honest 150] [--slow 50] [--size-kb 256]

A wave is 200 connections that come at once to one `blockstep serve`: 150 ask for a file and fetch it, 50 send the
beginning of a request and no more (slow loris). When the honest ones of a wave have their file the next wave comes.
Meanwhile a process of its own sends a request over UDP every 10 ms and takes the time until the first block is here,
which has the supervisor's turn in it, the fork, and the child's work. What counts are the requests made while honest
clients were still waiting for their file; afterwards only the slow ones are left. Exit code 1 if the 99th percentile of
those that count is over 50 ms, an honest client did not get its file, or a slow one was not dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blockstep.protocol.framing import frame
from blockstep.protocol.stream import stream_wanted
from blockstep.protocol.wire import Opcode, Request, ack_bytes
from blockstep.transport.dial import connect_tcp
from blockstep.transport.files import sink_at
from blockstep.transport.stream_client import ClientStream

LIMIT_S = 0.050
REQUEST_TIMEOUT_S = 5
EVERY_S = 0.010
PATIENCE_S = 30.0
RESEND_S = 1.0
QUANTILES = ("50 %", "90 %", "99 %", "most")
READ = Request(Opcode.RRQ, "file", "octet", ()).to_bytes()
PROBE = Request(Opcode.RRQ, "probe", "octet", ()).to_bytes()


@contextlib.contextmanager
def server(root: Path) -> Iterator[dict[str, tuple[str, int]]]:
    """A server of `root`: its address for each transport."""
    words = ["-b", "127.0.0.1:0", "--tcp", "0", "--request-timeout", str(REQUEST_TIMEOUT_S), "--log-format", "json"]
    command = [sys.executable, "-m", "blockstep", "serve", str(root), *words]
    with open(root.parent / "log", "wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while not (lines := (root.parent / "log").read_text().splitlines()):
                time.sleep(0.01)
            addresses = [each.split() for each in json.loads(lines[0])["addresses"]]
            yield {kind.strip("()"): ("127.0.0.1", int(where.rpartition(":")[2])) for where, kind in addresses}
        finally:
            process.terminate()


class Span(NamedTuple):
    """From when to when a wave was busy, on the monotonic clock, and whether everything went well."""

    began: float
    ended: float
    good: bool


def wave(address: tuple[str, int], honest: int, slow: int) -> tuple[Span, list[socket.socket]]:
    """One wave: when it was and whether every honest client has the file, and the connections of the others."""
    began = time.monotonic()
    lorises = [socket.create_connection(address) for _ in range(slow)]
    for sock in lorises:
        sock.sendall(frame(READ)[:9])
    arrived: list[int] = []

    def fetch() -> None:
        wanted = stream_wanted(tsize=0)
        request = Request(Opcode.RRQ, "file", "octet", wanted.to_options())
        with ClientStream(connect_tcp(address, timeout_s=PATIENCE_S)) as stream:
            stream.get(request, wanted, lambda _agreed: sink_at(Path(os.devnull), replace=True))
            arrived.append(1)

    threads = [threading.Thread(target=fetch) for _ in range(honest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Span(began, time.monotonic(), len(arrived) == honest), lorises


def is_dropped(sock: socket.socket) -> bool:
    """Whether the server says goodbye and hangs up."""
    with sock:
        sock.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):
                pass
        return True


def first_answer_s(address: tuple[str, int]) -> float:
    """Seconds from a request to its first block, which is the whole file. A lost request is sent again, and counts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        began = time.perf_counter()
        for _ in range(round(PATIENCE_S / RESEND_S)):
            sock.sendto(PROBE, address)
            ready, _, _ = select.select([sock], [], [], RESEND_S)
            if ready:
                took = time.perf_counter() - began
                sock.sendto(ack_bytes(1), sock.recvfrom(2048)[1])
                return took
        return PATIENCE_S


Times = list[tuple[float, float]]
"""(when it was asked, on the monotonic clock; seconds until the first answer)"""


def probe(address: tuple[str, int], stop: threading.Event) -> Times:
    """A request every 10 ms until told to stop."""
    found: Times = []
    while not stop.is_set():
        found.append((time.monotonic(), first_answer_s(address)))
        stop.wait(max(0.0, EVERY_S - found[-1][1]))
    return found


def crowd(address: tuple[str, int], arguments: argparse.Namespace, report_fd: int) -> None:
    """All waves, in a process of their own, which reports their spans and ends."""
    spans = []
    for _ in range(arguments.waves):
        span, lorises = wave(address, arguments.honest, arguments.slow)
        dropped = [is_dropped(sock) for sock in lorises]
        spans.append(span._replace(good=span.good and all(dropped)))
    os.write(report_fd, json.dumps(spans).encode())
    os._exit(0)


def beside_a_crowd(addresses: dict[str, tuple[str, int]], arguments: argparse.Namespace) -> tuple[Times, list[Span]]:
    """The times of all requests meanwhile, and the waves."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        crowd(addresses["tcp"], arguments, write_fd)
    os.close(write_fd)
    stop = threading.Event()
    found: Times = []
    prober = threading.Thread(target=lambda: found.extend(probe(addresses["udp"], stop)))
    prober.start()
    os.waitpid(pid, 0)
    stop.set()
    prober.join()
    with os.fdopen(read_fd, "rb") as report:
        return found, [Span(*each) for each in json.load(report)]


def quiet(address: tuple[str, int]) -> Times:
    """The times without a crowd."""
    stop = threading.Event()
    timer = threading.Timer(3.0, stop.set)
    timer.start()
    return probe(address, stop)


def row(name: str, times: Times) -> str:
    """A line of the table, in ms."""
    took = [seconds for _, seconds in times]
    cuts = statistics.quantiles(took, n=100)
    figures = (cuts[49], cuts[89], cuts[98], max(took))
    return f"{name:<24} {len(times):>6} " + " ".join(f"{each * 1000:>8.1f}" for each in figures)


def main() -> int:
    """The table and the verdict."""
    parser = argparse.ArgumentParser(description="Does a crowd on TCP keep UDP waiting?")
    for flag, default in (("--waves", 5), ("--honest", 150), ("--slow", 50), ("--size-kb", 256)):
        parser.add_argument(flag, type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        (root / "file").write_bytes(os.urandom(arguments.size_kb * 1024))
        (root / "probe").write_bytes(b"here")
        os.chmod(folder, 0o755)
        with server(root) as addresses:
            alone = quiet(addresses["udp"])
            all_times, spans = beside_a_crowd(addresses, arguments)
    beside = [each for each in all_times if any(span.began <= each[0] <= span.ended for span in spans)]
    after = [each for each in all_times if each not in set(beside)]
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} processors")
    print(
        f"{arguments.waves} waves of {arguments.honest} honest and {arguments.slow} slow connections, busy for", end=" "
    )
    print(f"{statistics.median(span.ended - span.began for span in spans):.2f} s each\n")
    print(f"{'UDP, first answer, ms':<24} {'times':>6} " + " ".join(f"{each:>8}" for each in QUANTILES))
    rows = {"without a crowd": alone, "beside the slow alone": after, "beside the whole crowd": beside}
    print("\n".join(row(name, times) for name, times in rows.items()))
    good = all(span.good for span in spans)
    p99_s = statistics.quantiles((seconds for _, seconds in beside), n=100)[98]
    verdict = "holds" if good and p99_s < LIMIT_S else "DOES NOT HOLD"
    print(f"\nUnder {LIMIT_S * 1000:.0f} ms at 99 %, everybody served or dropped as they should be: {verdict}")
    return 0 if verdict == "holds" else 1


if __name__ == "__main__":
    sys.exit(main())
