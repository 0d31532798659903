"""Records the captures in `captures/`: real transfers between other people's programs on a loopback of their own.

Run it as root with the programs of `.ci/peers`, tcpdump and tshark installed:

    unshare --net python3 tests/lab/trace/record_captures.py

Nothing is random and the network namespace is empty, so a new recording differs from the old one in times and ports
only. A relay between client and server drops or doubles the packets that a case names.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tests")]

from support.peers import peer_path  # noqa: E402 - the path is set above

CAPTURES = Path(__file__).parent / "captures"
SERVER_PORT, RELAY_PORT = 69, 6969
THROUGH_RELAY = ("-i", "lo", "-f", f"udp port {RELAY_PORT}")


def content(octets: int) -> bytes:
    """Text with every kind of line end, so that netascii has something to do."""
    lines = (b"line %d%s" % (number, (b"\n", b"\r\n", b"\r")[number % 3]) for number in range(octets))
    joined = b""
    while len(joined) < octets:
        joined += next(lines)
    return joined[:octets]


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


@contextmanager
def capturing(name: str, *options: str) -> Iterator[None]:
    """tcpdump (classic pcap) or dumpcap (pcapng), by the name's suffix."""
    path = CAPTURES / name
    path.unlink(missing_ok=True)
    if path.suffix == ".pcap":
        command = ["tcpdump", "-U", "-Z", "root", *(options or ("-i", "lo")), "-w", str(path)]
    else:
        command = ["dumpcap", "-q", *(options or ("-i", "lo")), "-w", str(path)]
    with running(*command):
        time.sleep(1)
        yield
        time.sleep(1)
    os.chmod(path, 0o644)
    if path.suffix == ".pcapng":
        path.write_bytes(without_machine(path.read_bytes()))


def without_machine(capture: bytes) -> bytes:
    """A little-endian pcapng without the options in which dumpcap describes the machine; units of time stay."""
    fixed, at, out = {0x0A0D0D0A: 16, 1: 8, 5: 12}, 0, b""
    while at < len(capture):
        kind, length = struct.unpack_from("<II", capture, at)
        body = capture[at + 8 : at + length - 4]
        if kind in fixed:
            body = body[: fixed[kind]] + (b"\x09\0\1\0\x09\0\0\0\0\0\0\0" if kind == 1 else b"")
        size = struct.pack("<I", len(body) + 12)
        out += struct.pack("<I", kind) + size + body + size
        at += length
    return out


def serving(server: str, folder: Path, *extra: str) -> tuple[str, ...]:
    commands = {
        "in.tftpd": ("--foreground", "--create", "--permissive", "--user", "root", "--secure", str(folder)),
        "atftpd": ("--daemon", "--no-fork", "--user", "root.root", "--logfile", "/dev/null", str(folder)),
        "dnsmasq": (
            "--no-daemon", "--conf-file=/dev/null", "--port=0", "--enable-tftp", f"--tftp-root={folder}", "--user=root",
        ),
    }  # fmt: skip
    return (peer_path(server), *extra, *commands[server])


class Relay(threading.Thread):
    """One hop for one client; `fates` maps (opcode, number, from the server) to how many copies the first one gets."""

    def __init__(self, fates: dict[tuple[int, int, bool], list[int]]) -> None:
        super().__init__(daemon=True)
        self.fates = fates
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", RELAY_PORT))
        self.front.settimeout(0.05)
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.bind(("127.0.0.1", 0))
        self.back.settimeout(0.0001)
        self.stopping = threading.Event()

    def run(self) -> None:
        client, server = ("", 0), ("127.0.0.1", SERVER_PORT)
        while not self.stopping.is_set():
            for source, out in ((self.front, self.back), (self.back, self.front)):
                try:
                    packet, address = source.recvfrom(65535)
                except TimeoutError:
                    continue
                if source is self.front:
                    client = address
                    server = server if packet[1] > 2 else ("127.0.0.1", SERVER_PORT)
                else:
                    server = address
                for _ in range(self.copies(packet, from_server=source is self.back)):
                    out.sendto(packet, server if source is self.front else client)

    def copies(self, packet: bytes, *, from_server: bool) -> int:
        left = self.fates.get((packet[1], int.from_bytes(packet[2:4], "big"), from_server), [])
        return left.pop(0) if left else 1


@contextmanager
def relaying(fates: dict[tuple[int, int, bool], list[int]]) -> Iterator[None]:
    relay = Relay(fates)
    relay.front.settimeout(0.0005)
    relay.start()
    try:
        yield
    finally:
        relay.stopping.set()
        relay.join()
        relay.front.close()
        relay.back.close()


def run(*command: str, input_text: str = "") -> None:
    subprocess.run(
        command,
        input=input_text.encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def get(url: str, folder: Path, *options: str) -> None:
    run(peer_path("curl"), "-s", "-o", str(folder / "got"), *options, url)


def record(folder: Path) -> None:
    (folder / "small.bin").write_bytes(content(3000))
    (folder / "exact.bin").write_bytes(content(1024))
    (folder / "large.bin").write_bytes(content(20_000))
    with running(*serving("in.tftpd", folder)), capturing("hpa-read.pcap"):
        get("tftp://127.0.0.1/small.bin", folder)
        get("tftp://127.0.0.1/exact.bin", folder, "--tftp-no-options")
        get("tftp://127.0.0.1/missing.bin", folder)
    with running(*serving("in.tftpd", folder)), capturing("hpa-write.pcapng"):
        run(peer_path("tftp"), "127.0.0.1", input_text=f"binary\nput {folder}/small.bin up.bin\nascii\nget small.bin\n")
    with running(*serving("in.tftpd", folder)), capturing("fragments.pcap"):
        get("tftp://127.0.0.1/large.bin", folder, "--tftp-blksize", "8192")
    lossy = {(3, 3, True): [0], (4, 5, False): [0, 0]}
    with running(*serving("in.tftpd", folder)), capturing("lossy.pcapng", *THROUGH_RELAY), relaying(lossy):
        get(f"tftp://127.0.0.1:{RELAY_PORT}/large.bin", folder, "--tftp-blksize", "1024")
    with running(*serving("atftpd", folder)), capturing("atftp-window.pcap", "-i", "any"):
        options = ("--option", "windowsize 4", "--option", "blksize 1024")
        run(peer_path("atftp"), *options, "-g", "-r", "large.bin", "-l", str(folder / "w"), "127.0.0.1")
    doubling = {(4, 2, False): [2]}
    with running(*serving("atftpd", folder)), capturing("sorcerer.pcapng", *THROUGH_RELAY), relaying(doubling):
        get(f"tftp://127.0.0.1:{RELAY_PORT}/small.bin", folder, "--tftp-no-options")
    with running(*serving("dnsmasq", folder, "--tftp-single-port")), capturing("dnsmasq-v6.pcap"):
        get("tftp://[::1]/small.bin", folder, "--tftp-blksize", "512")
        run(peer_path("tftp"), "127.0.0.1", input_text="ascii\nget small.bin\n")
        run(peer_path("busybox"), "tftp", "-g", "-r", "small.bin", "-l", str(folder / "b"), "127.0.0.1")


def main() -> None:
    CAPTURES.mkdir(exist_ok=True)
    # A loopback with an Ethernet MTU, so that large blocks come in fragments.
    subprocess.run(["ip", "link", "set", "lo", "up", "mtu", "1500"], check=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        # Clients that take no path for what they fetch put it here, away from what is served.
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        previous = Path.cwd()
        os.chdir(work)
        stack.callback(os.chdir, previous)
        record(folder)


if __name__ == "__main__":
    main()
