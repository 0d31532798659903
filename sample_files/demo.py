"""See files move: python sample_files/demo.py (what `make demo` runs).

Starts `blockstep serve` on free ports of the loopback address, UDP and TCP. Over each of them it puts every sample file
and one of 100 MiB, gets them back, and compares the SHA-256 of what the server stored and of what came back with the
manifest. Everything happens in a temporary directory that is removed, and the server is stopped, however this ends.
Exit code 1 if anything went wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from make import committed_files, make, read_manifest

BLOCKSTEP = [sys.executable, "-m", "blockstep"]
LARGE_FILE = "100MiB.bin"
START_WITHIN_S = 20
STOP_WITHIN_S = 10
SCHEMES = {"udp": "tftp", "tcp": "tftp+tcp"}
ROW = "{:<18} {:>11} {:>11} {:>9} {:>11} {:>9}  {}"


class DemoError(Exception):
    """Something did not work; the text says what, for the person who watches."""


@dataclass(frozen=True)
class Moved:
    """One file, there and back over each transport. `put` and `got` are what the client told, by transport."""

    name: str
    put: dict[str, dict[str, Any]]
    got: dict[str, dict[str, Any]]
    digests_equal: bool

    def row(self) -> str:
        size_bytes = f"{self.got['udp']['bytes']:,}"
        rates = [_rate(each[transport]) for transport in SCHEMES for each in (self.put, self.got)]
        return ROW.format(self.name, size_bytes, *rates, "equal" if self.digests_equal else "DIFFERENT")

    def options(self) -> str:
        """What was agreed."""
        over_udp, over_tcp = self.got["udp"], self.got["tcp"]
        datagrams = f"blksize {over_udp['blksize']}, windowsize {over_udp['windowsize']}"
        return f"UDP: {datagrams}; TCP: blksize {over_tcp['blksize']}, and windows are the kernel's"


def _rate(transfer: dict[str, Any]) -> str:
    seconds = transfer["seconds"]
    megabytes_per_s = transfer["bytes"] / seconds / 1e6 if seconds else 0
    return f"{megabytes_per_s:.1f}" if megabytes_per_s >= 1 else f"{megabytes_per_s:.3f}"


@contextlib.contextmanager
def running_server(root: Path) -> Iterator[dict[str, int]]:
    """A server for this directory on the loopback address; gives its port for each transport; gone afterwards."""
    where = ["--bind", "127.0.0.1", "--port", "0", "--tcp", "0"]
    with subprocess.Popen(
        [*BLOCKSTEP, "serve", str(root), *where, "--upload", "create"], stderr=subprocess.PIPE
    ) as server:
        try:
            yield ports_of(server)
        finally:
            server.terminate()
            try:
                server.communicate(timeout=STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                server.kill()


def ports_of(server: subprocess.Popen[bytes]) -> dict[str, int]:
    """The ports from the line with which the server says that it is ready. The log that follows fits into the pipe."""
    assert server.stderr is not None
    said = b""
    deadline = time.monotonic() + START_WITHIN_S
    while len(found := re.findall(rb"127\.0\.0\.1:(\d+) \((udp|tcp)\)", said)) < len(SCHEMES):
        readable, _, _ = select.select([server.stderr], [], [], max(0, deadline - time.monotonic()))
        more = os.read(server.stderr.fileno(), 65536) if readable else b""
        if not more:
            raise DemoError(f"the server did not start: {said.decode(errors='replace').strip() or 'it said nothing'}")
        said += more
    return {transport.decode(): int(port) for port, transport in found}


def blockstep(*arguments: str) -> dict[str, Any]:
    """One transfer through the command line, as its JSON object. Bar and messages go to the terminal as always."""
    done = subprocess.run([*BLOCKSTEP, *arguments, "--json"], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise DemoError(f"blockstep {' '.join(arguments)} ended with exit code {done.returncode}")
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def sha256(path: Path) -> str:
    """The digest as the manifest writes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def there_and_back(source: Path, ports: dict[str, int], served: Path, fetched: Path) -> Moved:
    """Put one file and get it again, over each transport; `served` and `fetched` are where it arrives."""
    moved = Moved(source.name, {}, {}, digests_equal=True)
    digests = {read_manifest()[source.name], sha256(source)}
    for transport, scheme in SCHEMES.items():
        name = f"{transport}-{source.name}"
        url = f"{scheme}://127.0.0.1:{ports[transport]}/{name}"
        moved.put[transport] = blockstep("put", str(source), url)
        moved.got[transport] = blockstep("get", url, "-o", str(fetched / name))
        digests |= {sha256(served / name), sha256(fetched / name)}
    return replace(moved, digests_equal=len(digests) == 1)


def demo() -> bool:
    """Move everything and print the table. True if every digest is equal."""
    with tempfile.TemporaryDirectory(prefix="blockstep-demo-") as scratch:
        made, served, fetched = (Path(scratch, name) for name in ("made", "served", "fetched"))
        for directory in (made, served, fetched):
            directory.mkdir()
        served.chmod(0o777)  # a server that root starts becomes nobody; nobody else can get in here
        sources = [*committed_files(), make(made, LARGE_FILE)]
        with running_server(served) as ports:
            where = ", ".join(f"{port} ({transport})" for transport, port in ports.items())
            print(f"A server is on 127.0.0.1:{where}; {len(sources)} files go there and come back.", flush=True)
            moved = [there_and_back(source, ports, served, fetched) for source in sources]
    print("\n" + ROW.format("file", "bytes", "UDP put", "get", "TCP put", "get MB/s", "SHA-256"))
    for each in moved:
        print(each.row())
    print(f"\n{moved[-1].options()}")
    all_equal = all(each.digests_equal for each in moved)
    print("Every digest is equal; nothing is left running." if all_equal else "Not every file arrived as it was.")
    return all_equal


def main() -> int:
    """The exit code: 0 if every file came back as it was, 1 if not, 130 for Ctrl-C."""
    try:
        return 0 if demo() else 1
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
