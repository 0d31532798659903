from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockstep_lab.netns import namespaces
from blockstep_lab.netns.forked import fork_child, reap
from blockstep_lab.netns.lab import Lab
from blockstep_lab.netns.namespaces import enter_user_namespace, explain_refusal, unshare_network
from blockstep_lab.netns.syscalls import CLONE_NEWNET, unshare

REFUSED = PermissionError(1, "unshare: Operation not permitted")


def test_a_refusal_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/unprivileged_userns_clone").write_text("0\n")
    reasons = list(namespaces._reasons(tmp_path))
    assert reasons == ["sysctl kernel.unprivileged_userns_clone=1 would allow it"]


def test_a_setting_that_allows_is_not_blamed(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user/max_user_namespaces").write_text("96365\n")
    assert list(namespaces._reasons(tmp_path)) == []


def test_without_a_setting_to_blame_the_container_is() -> None:
    assert "Operation not permitted" in explain_refusal(REFUSED)


@pytest.mark.netns
def test_a_network_of_its_own_has_no_way_out() -> None:
    def body() -> None:
        unshare_network()
        with open("/proc/self/net/dev") as file:
            devices = [line.split(":")[0].strip() for line in file.readlines()[2:]]
        assert devices == ["lo"], devices

    assert reap(fork_child(body), 10.0) == 0


@pytest.mark.netns
def test_in_a_user_namespace_one_is_who_one_was_with_every_right() -> None:
    def body() -> None:
        outside = os.geteuid()
        enter_user_namespace()
        assert os.geteuid() == outside
        assert Path("/proc/self/uid_map").read_text().split() == [str(outside), str(outside), "1"]
        unshare(CLONE_NEWNET)

    assert reap(fork_child(body), 10.0) == 0


@pytest.mark.netns
def test_whoever_enters_stays_in_the_folder(shared_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shared_lab.left.call(os.getcwd) == os.fspath(tmp_path)
