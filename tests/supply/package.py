"""Builds what is published and tries it as a stranger would: `make package`.

The sdist is made from this tree and the wheel from that sdist, so that what a file list forgets is missed here. The
wheel goes into an empty environment with what it needs to run and nothing else; there, in a directory that knows
nothing of the source, a server is started on a port of its own, and a file put and got. What was built stays in dist/.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("blockstep", "blockstep_server", "blockstep_client", "blockstep_lab")
IN_SDIST: Final = (
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "Makefile",
    ".ci/install",
    "tests/conftest.py",
)
PATIENCE_S: Final = 60.0


def main() -> None:
    """Build, look, install, try; raises on whatever is wrong."""
    with tempfile.TemporaryDirectory(prefix="blockstep-package-") as folder:
        built = Path(folder, "dist")
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, ROOT)
        (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
        look_into_sdist(sdist)
        look_into_wheel(wheel)
        try_out(install(wheel, Path(folder, "env")), Path(folder))
        dist = ROOT / "dist"
        dist.mkdir(exist_ok=True)
        for each in (sdist, wheel):
            shutil.copy(each, dist)
            click.echo(f"package: dist/{each.name} is good")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What the program writes; it must succeed. It inherits no import path."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, text=True, timeout=10 * PATIENCE_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"package: {command[0]} failed with {done.returncode}\n{done.stdout}")
    return done.stdout


def look_into_sdist(sdist: Path) -> None:
    """Everything that is needed to build and to test is there."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    require(names.issuperset(IN_SDIST), f"{sdist.name} lacks {set(IN_SDIST) - names}")
    strange = sorted(name for name in names if name.startswith((".git/", ".venv", "dist/", ".peers")))
    require(not strange, f"{sdist.name} has {strange[:3]}")


def look_into_wheel(wheel: Path) -> None:
    """The packages with their types, the license, and nothing beside them."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for package in PACKAGES:
        require(f"{package}/py.typed" in names, f"{wheel.name} lacks the types of {package}")
    require(any(name.endswith(".dist-info/licenses/LICENSE") for name in names), f"{wheel.name} lacks its license")
    strange = sorted({name.partition("/")[0] for name in names if ".dist-info/" not in name} - set(PACKAGES))
    require(not strange, f"{wheel.name} installs {strange}")


def install(wheel: Path, folder: Path) -> Path:
    """The programs of a new environment in which the wheel is, and what it asks for."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    listed = json.loads(run(python, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"))
    click.echo(f"package: installed {', '.join(sorted(each['name'] for each in listed))}")
    return folder / "bin"


def try_out(programs: Path, folder: Path) -> None:
    """The version, and a file there and back over both transports, with its digest compared."""
    blockstep, root, here = programs / "blockstep", folder / "root", folder / "here"
    version = run(blockstep, "--version", cwd=folder).split()[-1]
    require(version in run(programs / "pip", "--disable-pip-version-check", "show", "blockstep"), f"version {version}?")
    root.mkdir()
    here.mkdir()
    content = random.Random(1).randbytes(1_000_003)
    (here / "sent").write_bytes(content)
    with serving(blockstep, root) as addresses:
        for transport, prefix in (("udp", "tftp"), ("tcp", "tftp+tcp")):
            url = f"{prefix}://{addresses[transport]}/{transport}"
            run(blockstep, "put", "-q", "sent", url, cwd=here)
            run(blockstep, "get", "-q", url, "-o", transport, cwd=here)
            digests = {hashlib.sha256(path.read_bytes()).digest() for path in (root / transport, here / transport)}
            require(digests == {hashlib.sha256(content).digest()}, f"the file is another one over {transport}")


@contextlib.contextmanager
def serving(blockstep: Path, root: Path) -> Iterator[dict[str, str]]:
    """A server with uploads: its HOST:PORT by transport. It must end well when told to."""
    user = ["--user", "root"] if os.geteuid() == 0 else []
    listen = ["-W", "-b", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--log-format", "json"]
    command = [os.fspath(blockstep), "serve", os.fspath(root), *listen, *user]
    with subprocess.Popen(command, cwd=root.parent, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            ready = next(event for event in map(json.loads, server.stderr) if event["event"] == "ready")
            yield {name.strip("()"): address for address, name in (each.split() for each in ready["addresses"])}
        finally:
            server.terminate()
            server.communicate(timeout=PATIENCE_S)
    require(server.returncode == 0, f"the server ended with {server.returncode}")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"package: {otherwise}")


if __name__ == "__main__":
    main()
