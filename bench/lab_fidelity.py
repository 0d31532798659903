"""How true the lab's network namespaces are to what they are asked for: delay, rate, loss, bursts, and TCP's own law.

Every row is measured by the hosts at the ends and not by the model in the middle; a row whose lab failed its own checks
is void. The last column is the tolerance that the row is held to. Exit code 1 if one is missed.

    python bench/lab_fidelity.py [--quick] [--json FILE] [--seed N] [--only delay,rate,loss,burst,reno]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from blockstep_lab.netns.checks import LabChecks
from blockstep_lab.netns.lab import Lab

MSS_BYTES = 1448  # 1500 less 20 for IP, 20 for TCP and 12 for timestamps
PACKET_BYTES = 1500
SO_TIMESTAMPNS = 35
PORT = 5001
BATCH = 100
PAUSE_S = 0.002
# RFC 792
ECHO_REQUEST = 8


@dataclass(slots=True)
class Row:
    """One measurement beside what it should be."""

    part: str
    what: str
    measured: str
    expected: str
    ok: bool
    tolerance: str
    void: list[str]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure."""

    pings: int
    rate_s: float
    packets: int
    reno_s: float
    reno_round_trips: int


FULL = Effort(pings=500, rate_s=10.0, packets=100_000, reno_s=30.0, reno_round_trips=900)
QUICK = Effort(pings=100, rate_s=4.0, packets=20_000, reno_s=12.0, reno_round_trips=300)


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    return 0xFFFF - int.from_bytes(octets, "big") % 0xFFFF


def echo_request(number: int) -> bytes:
    """An ICMP echo request, numbered, with the time of its making inside."""
    body = struct.pack(">HHQ", os.getpid() & 0xFFFF, number & 0xFFFF, time.time_ns())
    return struct.pack(">BBH", ECHO_REQUEST, 0, checksum(struct.pack(">BBH", ECHO_REQUEST, 0, 0) + body)) + body


def ping(lab: Lab, count: int, interval_s: float = 0.01) -> list[float]:
    """Round trips in seconds: answered by the other host's kernel, received at the time that the kernel stamped."""
    times: list[float] = []
    with lab.left.open_socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_ICMP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.settimeout(interval_s)
        for number in range(count):
            sock.sendto(echo_request(number), (lab.right.address, 0))
            times += answers(sock, time.monotonic() + interval_s)
        times += answers(sock, time.monotonic() + 0.5)
    return sorted(times)


def answers(sock: socket.socket, until: float) -> Iterator[float]:
    """The round trips of the echo replies that come in until then."""
    while (left_s := until - time.monotonic()) > 0:
        sock.settimeout(left_s)
        try:
            packet, controls, _, _ = sock.recvmsg(2000, 100)
        except TimeoutError:
            return
        seconds, nanoseconds = struct.unpack("qq", controls[0][2])
        (sent_ns,) = struct.unpack_from(">Q", packet, 28)
        if packet[20] != ECHO_REQUEST:
            yield (seconds * 10**9 + nanoseconds - sent_ns) / 1e9


def delay_rows(lab: Lab, effort: Effort, seed: int) -> Iterator[Row]:
    """25 ms each way."""
    lab.set_conditions("delay 25ms", "delay 25ms", seed=seed)
    times = ping(lab, effort.pings)
    checks = lab.checks()
    if len(times) < effort.pings:
        yield row(checks, "delay", "answers", f"{len(times)}", f"{effort.pings}", False, "all")
        return
    middle, high = median(times) * 1000, times[math.ceil(0.99 * len(times)) - 1] * 1000
    yield row(
        checks, "delay", "25 ms each way: ping median", f"{middle:.2f} ms", "50 ms", abs(middle - 50) <= 0.5, "0.5 ms"
    )
    yield row(checks, "delay", "25 ms each way: ping p99", f"{high:.2f} ms", "50 ms", abs(high - 50) <= 2, "2 ms")


def pour(sock: socket.socket, address: str, seconds: float) -> None:
    """Sends over TCP as fast as it goes."""
    ends_at, chunk = time.monotonic() + seconds, bytes(1 << 17)
    with sock:
        sock.connect((address, PORT))
        while time.monotonic() < ends_at:
            sock.sendall(chunk)
        sock.shutdown(socket.SHUT_WR)  # the process that opened the socket still holds it


def collect(listener: socket.socket, settle_s: float, seconds: float) -> float:
    """Receives over TCP; bits of payload per second from `settle_s` until `seconds` after the first octet."""
    sock, _ = listener.accept()
    buffer = bytearray(1 << 16)
    with sock:
        sock.recv_into(buffer)
        begun = time.monotonic()
        counted, counted_from, now = 0, 0.0, begun
        while now - begun < seconds and (got := sock.recv_into(buffer)):
            now = time.monotonic()
            if counted_from:
                counted += got
            elif now - begun >= settle_s:
                counted_from = now
        while sock.recv_into(buffer):
            pass
    return counted * 8 / (now - counted_from)


def tcp_rate(lab: Lab, seconds: float, settle_s: float) -> float:
    """Goodput from left to right in bits per second, without the first `settle_s` seconds."""
    listener = lab.right.open_socket(kind=socket.SOCK_STREAM)
    with listener, lab.left.open_socket(kind=socket.SOCK_STREAM) as sender:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((lab.right.address, PORT))
        listener.listen()
        receiving = lab.right.start(collect, listener, settle_s, seconds)
        sending = lab.left.start(pour, sender, lab.right.address, seconds + 0.2)
        sending.result(seconds + 60)
        return receiving.result(60)


def rate_rows(lab: Lab, effort: Effort, seed: int) -> Iterator[Row]:
    """The bottleneck, filled by one TCP connection."""
    lab.set_congestion("cubic")
    for mbit in (10, 50, 100, 200):
        queue = max(50, mbit * 2)
        lab.set_conditions(f"rate {mbit}mbit limit {queue} delay 5ms", "delay 5ms", seed=seed)
        got = tcp_rate(lab, effort.rate_s, settle_s=effort.rate_s / 3) / 1e6
        wire = got * PACKET_BYTES / MSS_BYTES
        what = f"{mbit} Mbit/s, TCP cubic, on the wire"
        yield row(lab.checks(), "rate", what, f"{wire:.2f}", f"{mbit}", abs(wire / mbit - 1) <= 0.01, "1 %")
    lab.set_congestion(None)


def survivors(lab: Lab, words: str, packets: int, seed: int) -> list[int]:
    """The numbers of the packets that came through, sent at a pace that the router can take (50,000 a second)."""
    lab.set_conditions(words, "", seed=seed)
    got: list[int] = []
    with lab.left.open_socket() as sender, lab.right.open_socket() as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind((lab.right.address, 0))
        receiver.setblocking(False)
        for start in range(0, packets, BATCH):
            for number in range(start, min(start + BATCH, packets)):
                sender.sendto(number.to_bytes(4, "big"), receiver.getsockname())
            got += numbers(receiver)
            time.sleep(PAUSE_S)
        time.sleep(0.2)
        got += numbers(receiver)
    return got


def numbers(receiver: socket.socket) -> Iterator[int]:
    """The numbers of all packets that wait in a socket."""
    try:
        while True:
            yield int.from_bytes(receiver.recv(100), "big")
    except BlockingIOError:
        return


def binomial_interval(count: int, share: float, inside: float = 0.99) -> tuple[int, int]:
    """The smallest and largest number of losses with at most half of what is outside below and above (exact)."""
    tail, total, low = (1 - inside) / 2, 0.0, -1
    for losses in range(count + 1):
        logarithm = math.lgamma(count + 1) - math.lgamma(losses + 1) - math.lgamma(count - losses + 1)
        total += math.exp(logarithm + losses * math.log(share) + (count - losses) * math.log1p(-share))
        if low < 0 and total > tail:
            low = losses
        if total >= 1 - tail:
            return low, losses
    return low, count


def loss_rows(lab: Lab, effort: Effort, seed: int) -> Iterator[Row]:
    """Random loss, counted by who sends and who receives."""
    for percent in (0.1, 1.0, 3.0):
        lost = effort.packets - len(survivors(lab, f"loss {percent}%", effort.packets, seed))
        low, high = binomial_interval(effort.packets, percent / 100)
        what = f"{percent:g} % of {effort.packets:,}, seed {seed}"
        yield row(lab.checks(), "loss", what, f"{lost}", f"{low} to {high}", low <= lost <= high, "binomial 99 %")


def burst_rows(lab: Lab, effort: Effort, seed: int) -> Iterator[Row]:
    """Gilbert's model: bursts are 1 / r packets long, p / (p + r) of all packets are lost."""
    for p, r in ((0.01, 0.25), (0.005, 0.1)):
        got = survivors(lab, f"loss gemodel {p * 100:g}% {r * 100:g}%", effort.packets, seed)
        bursts = [after - before - 1 for before, after in pairwise([-1, *got, effort.packets]) if after - before > 1]
        mean = sum(bursts) / max(len(bursts), 1)
        reach = 2.576 * math.sqrt(1 - r) / r / math.sqrt(max(len(bursts), 1))
        what = f"gemodel {p:.1%} {r:.0%}: mean of {len(bursts)} bursts"
        ok = abs(mean - 1 / r) <= reach
        yield row(lab.checks(), "burst", what, f"{mean:.2f}", f"{1 / r:.2f}", ok, f"99 %: {reach:.2f}")


def reno_rows(lab: Lab, effort: Effort, seed: int) -> Iterator[Row]:
    """Mathis et al. (1997): MSS / RTT x sqrt(3 / 2p), with the loss that was measured."""
    lab.set_congestion("reno")
    for rtt_ms in (20, 50, 100):
        lab.set_conditions(f"loss 1% delay {rtt_ms / 2:g}ms", f"delay {rtt_ms / 2:g}ms", seed=seed)
        seconds = max(effort.reno_s, effort.reno_round_trips * rtt_ms / 1000)
        got = tcp_rate(lab, seconds, settle_s=seconds / 10) / 1e6
        checks = lab.checks()
        loss = checks.left_to_right.measured_loss or 0.01
        law = MSS_BYTES * 8 / (rtt_ms / 1000) * math.sqrt(1.5 / loss) / 1e6
        what = f"TCP reno, loss {loss:.2%}, RTT {rtt_ms} ms, Mbit/s"
        yield row(checks, "reno", what, f"{got:.2f}", f"{law:.2f}", abs(got / law - 1) <= 0.2, "20 %")
    lab.set_congestion(None)


def row(checks: LabChecks, part: str, what: str, *values: object) -> Row:
    """A row, with what the lab says against itself."""
    measured, expected, ok, tolerance = values
    return Row(part, what, str(measured), str(expected), bool(ok), str(tolerance), checks.failures())


PARTS: dict[str, Callable[[Lab, Effort, int], Iterator[Row]]] = {
    "delay": delay_rows,
    "rate": rate_rows,
    "loss": loss_rows,
    "burst": burst_rows,
    "reno": reno_rows,
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about a minute instead of five")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    return parser.parse_args()


def main() -> int:
    """Measures and prints; 1 if a row is void or misses its tolerance."""
    wanted = arguments()
    effort, rows = QUICK if wanted.quick else FULL, []
    with Lab(seed=wanted.seed) as lab:
        machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
        print(f"Linux {platform.release()}, {machine}, carrier {lab.carrier}, {lab.scheduler}, seed {wanted.seed}\n")
        for part in wanted.only.split(","):
            for each in PARTS[part](lab, effort, wanted.seed):
                rows.append(each)
                verdict = "VOID" if each.void else "ok" if each.ok else "MISSED"
                print(
                    f"{verdict:6} {each.what:48} {each.measured:>10}  {each.expected:>14}  {each.tolerance}", flush=True
                )
                for reason in each.void:
                    print(f"       {reason}")
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(each) for each in rows], indent=2) + "\n")
    return int(any(each.void or not each.ok for each in rows))


if __name__ == "__main__":
    sys.exit(main())
