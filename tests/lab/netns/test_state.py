from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.namespaces import Namespaces
from blockstep_lab.netns.state import find_lab, publish, running_labs

ADDRESSES = {"left": "198.18.0.1"}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(tmp_path))
    return tmp_path / "blockstep"


@pytest.fixture
def descriptors() -> dict[str, Namespaces]:
    return {"left": Namespaces(net=0)}


def test_a_lab_is_found_while_it_runs(runtime: Path, descriptors: dict[str, Namespaces]) -> None:
    with publish(os.getpid(), ADDRESSES, descriptors) as path:
        assert find_lab() == find_lab(os.getpid())
        assert find_lab().addresses == ADDRESSES
        assert path.stat().st_mode & 0o777 == 0o600
        assert runtime.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    with pytest.raises(LocalError, match="no lab is running"):
        find_lab()


def test_its_descriptors_are_reached_through_its_process(tmp_path: Path) -> None:
    stands_for_a_namespace = (tmp_path / "file").open("w")
    with stands_for_a_namespace as file, publish(os.getpid(), ADDRESSES, {"left": Namespaces(net=file.fileno())}):
        with find_lab().opened("left") as held:
            assert os.fstat(held.net).st_ino == os.fstat(file.fileno()).st_ino
            assert held.mount is held.user is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(held.net)
        middle = find_lab().opened("middle")
        with pytest.raises(LocalError, match="no host 'middle' in this lab; there is left"), middle:
            pass


def test_the_file_of_a_dead_lab_goes(runtime: Path, descriptors: dict[str, Namespaces]) -> None:
    with publish(os.getpid(), ADDRESSES, descriptors) as path:
        state = json.loads(path.read_text())
        for name, change in (("lab-1.json", {"started": state["started"] + 1}), ("lab-2.json", {"pid": 2**22 + 1})):
            (runtime / name).write_text(json.dumps({**state, **change}))
        (runtime / "lab-3.json").write_text("{half")
        assert [found.pid for found in running_labs()] == [os.getpid()]
        assert os.listdir(runtime) == [path.name]


def test_of_several_one_must_be_chosen(runtime: Path, descriptors: dict[str, Namespaces]) -> None:
    with publish(os.getpid(), ADDRESSES, descriptors) as path:
        (runtime / "lab-other.json").write_text(path.read_text())
        with pytest.raises(LocalError, match="choose one with --lab"):
            find_lab()


def test_a_folder_that_others_can_enter_is_not_used(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(LocalError, match="is not safe"):
        running_labs()


def test_a_link_is_not_followed(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    runtime.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError, match="is not safe"):
        running_labs()


def test_a_file_that_is_a_link_is_not_believed(runtime: Path, descriptors: dict[str, Namespaces]) -> None:
    with publish(os.getpid(), ADDRESSES, descriptors) as path:
        path.rename(runtime / "real.json")
        path.symlink_to(runtime / "real.json")
        assert running_labs() == []
