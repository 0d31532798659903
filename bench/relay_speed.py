"""How many packets a second the relay carries, and what each costs it.

One process sends bursts through a relay and receives them on the other side, with a bounded number in flight, so the
relay is the narrow place. The first number is by the wall clock, the second by the CPU time of the relay's process:
what one core would carry if nothing else used it.

    python bench/relay_speed.py [--seconds 2]
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time

from blockstep_lab.relay import Relay

PAYLOAD_BYTES = 516
BURST = 32
UDP_SEGMENT = 103
CASES = ("", "loss 1%", "delay 5ms", "delay 5ms 1ms distribution normal loss 1% duplicate 1%", "rate 1gbit limit 1000")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drain(sink: socket.socket) -> int:
    """Counts what has arrived."""
    count = 0
    try:
        while True:
            sink.recv(PAYLOAD_BYTES)
            count += 1
    except BlockingIOError:
        return count


def measure(words: str, seconds: float) -> tuple[float, float]:
    """Packets per second by the wall clock and by the CPU time of the relay."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source,
    ):
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        source.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, PAYLOAD_BYTES)
        with Relay(sink.getsockname(), conditions_up=words, seed=7) as relay:
            source.connect(relay.address)
            start, started_cpu = time.monotonic(), cpu_seconds(relay.pid)
            received = pump(source, sink, start + seconds, relay)
            spent, cpu = time.monotonic() - start, cpu_seconds(relay.pid) - started_cpu
    return received / spent, received / cpu


def pump(source: socket.socket, sink: socket.socket, until: float, relay: Relay) -> int:
    """Keeps some bursts in flight until the time is over; gives the number of packets that arrived."""
    burst = bytes(PAYLOAD_BYTES * BURST)
    in_flight_limit = 3000 if "delay" in relay.report().up.conditions else 400
    sent = received = 0
    while time.monotonic() < until:
        if sent - received < in_flight_limit:
            source.send(burst)
            sent += BURST
        elif not select.select([sink], [], [], 0.05)[0]:
            sent = received  # the rest is lost
        received += drain(sink)
    return received


def main() -> None:
    """Prints one line for each case."""
    parser = argparse.ArgumentParser(description="Packets that `blockstep link` carries on one processor.")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each case")
    seconds = parser.parse_args().seconds
    print(f"{PAYLOAD_BYTES} octets, Python {sys.version.split()[0]}")
    for words in CASES:
        by_wall, by_cpu = measure(words, seconds)
        print(f"{by_wall:10,.0f} packets/s   {by_cpu:10,.0f} packets per CPU second   {words or 'no impairment'}")


if __name__ == "__main__":
    main()
