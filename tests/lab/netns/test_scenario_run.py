from __future__ import annotations

import os
import re
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.scenario import find_scenario, parse_scenario, shipped_scenarios
from blockstep_lab.scenario_run import ScenarioResult, run_scenario
from support.priority import ahead_of_others

pytestmark = pytest.mark.netns

# Many packets or many processes: they take longer than the others.
_SLOW = {"wrap", "boot-storm"}
# A server that answers every request with an error, without options.
REFUSES = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", 69))
    while True:
        _, peer = sock.recvfrom(2000)
        sock.sendto(b"\\0\\5\\0\\1no\\0", peer)
"""


def run(text: str) -> ScenarioResult:
    return run_scenario(parse_scenario(text, "case.toml"))


def told(result: ScenarioResult) -> str:
    problems = [text for client in result.clients for text in client.problems]
    return "\n".join([*problems, *result.problems, *result.violations, *result.server_said, result.checks.to_table()])


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in _SLOW else ()) for path in shipped_scenarios()],
    ids=lambda path: path.stem,
)
def test_what_is_shipped_passes(path: Path) -> None:
    with nullcontext() if path.stem in _SLOW else ahead_of_others():
        result = run_scenario(parse_scenario(path.read_text(), str(path)))
    # How late a busy machine is says nothing about our programs; everything else must hold.
    result.checks.late_p99_limit_s = float("inf")
    assert result.passed, told(result)


def test_every_expectation_can_fail() -> None:
    result = run(
        """
        [link]
        both = "delay 5ms"
        rules = ["down drop DATA 2 once", "drop ERROR first"]
        [[clients]]
        get = "a.bin"
        size = 2000
        options = ["--windowsize", "1", "--blksize", "512"]
        expect = { resends_most = 0, round_trips_most = 2, blocks = 3 }
        [[clients]]
        get = "b.bin"
        size = 10
        expect = { exit = 68 }
        [expect]
        transfers = 9
        """
    )
    resent, other_exit = (client.problems for client in result.clients)
    # At least: how often the sender's timer runs out follows also from how busy the machine is.
    assert re.fullmatch(r"[1-9]\d* blocks were sent again, 0 may be", resent[0]), told(result)
    assert re.fullmatch(r"([4-9]|\d\d+) blocks were seen, 3 were expected", resent[1]), told(result)
    assert resent[2].endswith("round trips, 2 may be")
    assert other_exit[:2] == ["exit code 0, 68 was expected", "there is a file, and there should be none"]
    assert result.problems == [
        "the rule never acted: drop ERROR first",
        "the server began 2 transfers, 9 were expected",
    ]
    assert not result.passed


def test_a_late_lab_has_proved_nothing() -> None:
    result = run('[[clients]]\nget = "a.bin"\nsize = 10')
    result.checks.late_p99_limit_s = -1.0
    assert not result.passed


def test_a_client_that_never_ends_is_ended() -> None:
    result = run('time_limit_s = 0.3\n[[clients]]\nget = "a.bin"\nsize = 10\ncommand = ["sleep", "1000"]')
    assert result.clients[0].problems == [
        "it was not done in time, 0 was expected",
        "the link has seen no request of it",
    ]


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(LocalError, match=r"the server did not start: (?s:.)*no-such-option"):
        run('[server]\noptions = ["--no-such-option"]\n[[clients]]\nget = "a.bin"\nsize = 10')


def test_anybodys_server_can_be_judged(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(REFUSES)
    result = run(
        f"""
        [server]
        command = ["{sys.executable}", "{program}"]
        [[clients]]
        get = "a.bin"
        expect = {{ exit = 68 }}
        """
    )
    assert result.clients[0].problems == [], told(result)


@pytest.mark.peers("busybox")
def test_anybodys_client_can_be_judged() -> None:
    result = run(
        """
        [link]
        both = "delay 2ms"
        rules = ["down drop DATA 2 once"]
        [[clients]]
        get = "a.bin"
        size = 5000
        command = ["busybox", "tftp", "-g", "-r", "{file}", "{server}", "{port}"]
        expect = { blocks = 10 }
        """
    )
    assert result.clients[0].problems == [], told(result)


def test_the_capture_can_be_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept.pcapng"
    run_scenario(parse_scenario(find_scenario("lost-error").read_text(), "lost-error.toml"), capture=kept)
    assert kept.stat().st_size > 0
    assert shutil.which("tshark") is None or os.system(f"tshark -r {kept} >/dev/null 2>&1") == 0
