from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo import DemoError, running_server, there_and_back
from make import FOLDER, committed_files
from support.ownership import hand_over


@pytest.mark.slow
def test_the_demo_moves_everything_and_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "demo.py")]
    environ = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, start_new_session=True
    ) as demo:
        out, err = demo.communicate(timeout=120)
    assert (demo.returncode, err) == (0, "")
    assert out.count(" equal\n") == len(committed_files()) + 1
    assert "UDP put" in out
    assert "TCP put" in out
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):  # the group of the demo and of all that it started has nobody left
        os.killpg(demo.pid, 0)


def test_a_server_that_does_not_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    with (
        pytest.raises(DemoError, match=r"(?s)the server did not start: .*no-such-folder"),
        running_server(tmp_path / "no-such-folder"),
    ):
        pass


def test_a_file_that_changed_on_its_way_is_noticed(tmp_path: Path) -> None:
    served, fetched = tmp_path / "served", tmp_path / "fetched"
    served.mkdir()
    hand_over(served)
    fetched.mkdir()
    forged = tmp_path / "switch.cfg"
    forged.write_bytes(b"not what the manifest says")
    with running_server(served) as ports:
        moved = there_and_back(forged, ports, served, fetched)
        with pytest.raises(DemoError, match="ended with exit code 73"):  # the file exists, and this server only creates
            there_and_back(forged, ports, served, fetched)
    assert not moved.digests_equal
    assert "DIFFERENT" in moved.row()
