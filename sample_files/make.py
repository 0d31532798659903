"""Make the large sample files: python sample_files/make.py DIRECTORY [NAME...]

The sizes are the awkward ones for a protocol whose block numbers have 16 bits. The bytes are SHAKE-128 of the name and
the position, so they are the same on every machine and in every year, and no compression or offset mistake goes unseen.
MANIFEST.sha256 holds the digests of these files and of the small ones in this folder, as `sha256sum -c` reads them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FOLDER", "LARGE", "chunks", "committed_files", "make", "read_manifest"]

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "MANIFEST.sha256"
CHUNK_BYTES = 1 << 20
NOT_SAMPLES = {"MANIFEST.sha256", "README.md"}

# A file of n full blocks takes n + 1 DATA packets: the last is empty and says that this was all.
LARGE = {
    "wrap-minus-1-block.bin": 65534 * 512,  # the empty last block is number 65535: nothing wraps
    "wrap-minus-1-byte.bin": 65535 * 512 - 1,  # the largest file that needs no wrap
    "wrap-exact.bin": 65535 * 512,  # only the empty last block wraps
    "wrap-plus-1-block.bin": 65536 * 512,  # one full block and the empty one wrap
    "100MiB.bin": 100 << 20,  # three wraps at 512, one at 1428
}


def chunks(name: str, size_bytes: int) -> Iterator[bytes]:
    """The content of a generated file, at most 1 MiB at a time."""
    for offset in range(0, size_bytes, CHUNK_BYTES):
        seed = f"blockstep sample {name} {offset}".encode()
        yield hashlib.shake_128(seed).digest(min(CHUNK_BYTES, size_bytes - offset))


def make(directory: Path, name: str) -> Path:
    """Write one large file into the directory, unless it is there with its size. KeyError for any other name."""
    path = directory / name
    if not path.is_file() or path.stat().st_size != LARGE[name]:
        with path.open("wb") as file:
            file.writelines(chunks(name, LARGE[name]))
    return path


def committed_files() -> list[Path]:
    """The small files of this folder, without scripts and manifest."""
    return sorted(
        path
        for path in FOLDER.iterdir()
        if path.is_file() and path.suffix != ".py" and path.name not in NOT_SAMPLES and path.name[0] != "."
    )


def read_manifest() -> dict[str, str]:
    """SHA-256 in hexadecimal by file name, for the small files and the large ones."""
    lines = MANIFEST.read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def write_manifest() -> None:
    """Say what all files hold now. For whoever adds a sample; the tests only read it."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in committed_files()}
    for name, size_bytes in LARGE.items():
        digest = hashlib.sha256()
        for chunk in chunks(name, size_bytes):
            digest.update(chunk)
        digests[name] = digest.hexdigest()
    MANIFEST.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()), encoding="ascii")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the large sample files; the same bytes every time.")
    parser.add_argument("directory", type=Path, nargs="?", help="where to; it is made if it is not there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all, about 234 MB)")
    parser.add_argument("--list", action="store_true", help="print names and sizes in bytes, and make nothing")
    parser.add_argument("--write-manifest", action="store_true", help="bring MANIFEST.sha256 up to date")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in LARGE]
    if unknown:
        parser.error(f"no {unknown[0]!r}; there is {', '.join(LARGE)}")
    if arguments.list:
        for name, size_bytes in LARGE.items():
            print(f"{size_bytes:>11}  {name}")
    elif arguments.write_manifest:
        write_manifest()
    elif arguments.directory is None:
        parser.error("say which directory")
    else:
        arguments.directory.mkdir(parents=True, exist_ok=True)
        for name in arguments.names or LARGE:
            print(make(arguments.directory, name))


if __name__ == "__main__":
    main()
