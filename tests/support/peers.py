"""The other TFTP programs, as tests find them: first on the PATH, then in `.peers/`, where `.ci/peers` unpacks some.

A test says what it needs with `@pytest.mark.peers("curl", "atftpd")` and gets paths from `peer_path`. Where a program
is missing the test skips and says which. With BLOCKSTEP_REQUIRE_PEERS set, and under CI for programs that are there, a
skip of such a test is a failure (tests/conftest.py): a suite that silently tests nothing is worse than none.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["INSTALLED_BY_CI", "find_peer", "peer_path", "skip_is_failure"]

INSTALLED_BY_CI = frozenset({"tftp", "curl", "busybox", "dnsmasq", "in.tftpd", "atftpd", "atftp", "tshark", "ping"})
INSTALLED_BY_CI |= {"chromium", "chromedriver"}

_UNPACKED = Path(__file__).parents[2] / ".peers" / "usr"
# servers live in sbin, which an ordinary user's PATH often lacks
_ELSEWHERE = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin", str(_UNPACKED / "bin"), str(_UNPACKED / "sbin")])


def find_peer(program: str) -> Path | None:
    """Where the program is, or None. Names as on the command line: `in.tftpd`, not `tftpd-hpa`."""
    found = shutil.which(program) or shutil.which(program, path=_ELSEWHERE)
    return Path(found) if found else None


def peer_path(program: str) -> str:
    """The program's path. FileNotFoundError if it is missing: mark the test with `peers` so that it skips before."""
    found = find_peer(program)
    if found is None:
        raise FileNotFoundError(f"no {program} here; the test lacks its @pytest.mark.peers({program!r})")
    return str(found)


def skip_is_failure(programs: tuple[str, ...], environ: os._Environ[str] | dict[str, str] = os.environ) -> bool:
    """True if a test that needs these programs may not skip in this environment."""
    if environ.get("BLOCKSTEP_REQUIRE_PEERS", "0") not in ("", "0"):
        return INSTALLED_BY_CI.issuperset(programs)
    return environ.get("CI", "").lower() == "true" and all(find_peer(program) for program in programs)
