"""The same tests once more as a user without any rights: user namespace, pairs of devices, no real-time scheduling."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.labs import ROOT, import_path, ordinary_python

FILES = ("test_lab.py", "test_host.py", "test_router_process.py", "test_one_fate.py")
PATIENCE_S = 120


@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="this whole run is an ordinary user's")
def test_all_of_it_works_for_an_ordinary_user() -> None:
    python = ordinary_python()
    if python is None:
        pytest.skip("no setpriv, or no interpreter that an ordinary user may run")
    files = [os.fspath(Path(__file__).parent / name) for name in FILES]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", f"{folder}/tests"]
        run = subprocess.run(
            [*python, "-m", "pytest", *words, *files],
            cwd=ROOT,
            env={**import_path(), "HOME": folder, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "passed" in run.stdout
    assert "Operation not permitted" not in run.stdout, "all of it was skipped"
