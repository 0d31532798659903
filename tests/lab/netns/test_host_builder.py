from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.netns.forked import fork_child, reap
from blockstep_lab.netns.host_builder import build_host, choose_carrier, in_helper
from blockstep_lab.netns.namespaces import LabUnavailable, unshare_network
from blockstep_lab.netns.plumbing import Plan


def test_a_helper_gives_facts_and_descriptors(tmp_path: Path) -> None:
    made = tmp_path / "file"
    made.write_text("from the helper")
    facts, (descriptor,) = in_helper(lambda: ({"answer": 42}, [os.open(made, os.O_RDONLY)]))
    with open(descriptor) as file:
        assert (facts, file.read()) == ({"answer": 42}, "from the helper")


@pytest.mark.parametrize("kind", [LocalError, LabUnavailable])
def test_our_errors_arrive_as_themselves(kind: type[LocalError]) -> None:
    def fail() -> tuple[dict[str, int], list[int]]:
        raise kind("so it is")

    with pytest.raises(kind, match="so it is"):
        in_helper(fail)


def test_a_helper_that_dies_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> tuple[dict[str, int], list[int]]:
        raise KeyError("a fault of ours")

    with pytest.raises(LocalError, match="its last words are above"):
        in_helper(fail)
    assert "a fault of ours" in capfd.readouterr().err


def test_an_unknown_carrier_is_refused() -> None:
    assert choose_carrier("veth") == "veth"
    assert choose_carrier(None) in ("tun", "veth")
    with pytest.raises(LocalError, match="no carrier 'tap'; there is tun and veth"):
        choose_carrier("tap")


@pytest.mark.netns
def test_a_host_is_built_inside_of_the_builders_user_namespace() -> None:
    def body() -> None:
        unshare_network()
        built = build_host(Plan("left", "198.18.0.1", "left"), "veth", {"left": "198.18.0.1"})
        assert os.fstat(built.net).st_ino != os.stat("/proc/self/ns/net").st_ino
        assert (built.tun, len(built.mac)) == (None, 17)
        with open("/proc/self/net/dev") as file:
            assert "left:" in file.read()

    assert reap(fork_child(body), 30.0) == 0
