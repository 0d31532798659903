from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest_plugins = "pytester"

PLUGIN = "blockstep_lab.pytest_plugin"
CLIENT = """
    import pytest
    from click.testing import CliRunner
    from blockstep_client.command import get, put

    def fetch(address, name, to, *flags):
        host, port = address[:2]
        host = f"[{host}]" if ":" in host else host
        arguments = ["-q", *flags, f"tftp://{host}:{port}/{name}", "-o", str(to)]
        return CliRunner().invoke(get, arguments).exit_code
"""


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(client=CLIENT)
    pytester.makepyfile("from client import *\n" + test)
    installed = any(each.value == PLUGIN for each in entry_points(group="pytest11"))
    return pytester.runpytest(
        "-W", "error", "-p", "no:cacheprovider", *([] if installed else ["-p", PLUGIN]), *arguments
    )


def test_a_client_that_does_well_passes(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_boot(tftpserver, tmp_path):
    tftpserver.expect_read("kernel", options={"blksize": 1428}).respond_with_data(b"k" * 5000)
    assert fetch(tftpserver.address, "kernel", tmp_path / "got") == 0
    assert (tmp_path / "got").read_bytes() == b"k" * 5000
    assert [request.name for request in tftpserver.requests] == ["kernel"]

def test_upload(tftpserver, tmp_path):
    (tmp_path / "log").write_bytes(b"hello")
    CliRunner().invoke(put, ["-q", str(tmp_path / "log"), tftpserver.url_for("log")])
    tftpserver.wait_idle()
    assert tftpserver.uploads == {"log": b"hello"}
""",
    )
    result.assert_outcomes(passed=2)


def test_a_client_that_asks_for_something_else_fails_with_what_it_asked(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_boot(tftpserver, tmp_path):
    tftpserver.expect_read("kernel").respond_with_data(b"k")
    assert fetch(tftpserver.address, "kernal", tmp_path / "got", "--no-options") == 68
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: the read of 'kernel' was never asked for",
            "*what the server was asked:",
            "*  read 'kernal' (octet) from 127.0.0.1:*: ERROR 1 file not found",
        ]
    )


def test_a_test_that_fails_by_itself_shows_the_story_too(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_boot(tftpserver, tftp_link, tmp_path):
    tftpserver.files["kernel"] = bytes(3000)
    link = tftp_link("loss 1%", seed=7)
    fetch(link.address, "kernel", tmp_path / "got")
    assert tftpserver.wait_idle()
    assert False, "my own reason"

def test_nothing(tftpserver):
    assert False
""",
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*my own reason",
            "*tftpserver*",
            "read 'kernel' (octet, *complete",
            "*tftp_link*",
            "seed 7",
            "*nothing was asked*",
        ]
    )


def test_the_links_seed_is_the_tests_name_so_that_a_run_is_like_the_next(pytester: pytest.Pytester) -> None:
    test = """
def test_boot(tftpserver, tftp_link, tmp_path):
    tftpserver.files["kernel"] = bytes(30000)
    link = tftp_link("loss 5%", rules=["drop DATA 3 once"])
    assert fetch(link.address, "kernel", tmp_path / "got", "-b", "512", "-w", "1") == 0
    report = link.stop()
    assert report.rules == [("drop DATA 3 once", 1)]
    print("SEED", report.seed)
"""
    for _ in range(2):
        result = run(pytester, test, "-s")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*SEED *::test_boot"])


def test_several_servers_and_a_listen_address_of_ones_own(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.fixture(scope="session")
def tftpserver_listen_address():
    return "127.0.0.2", 0

def test_boot(make_tftpserver, tftp_link, tmp_path):
    one, other = make_tftpserver(strict=True), make_tftpserver(single_port=True)
    assert one.host == other.host == "127.0.0.2"
    one.expect_read("kernel").respond_with_error(1, "not here")
    other.expect_read("kernel").respond_with_data(b"k")
    assert fetch(one.address, "kernel", tmp_path / "got") == 68
    link = tftp_link("lan", down="delay 2ms", to=other.address)
    assert fetch(link.address, "kernel", tmp_path / "got") == 0
""",
    )
    result.assert_outcomes(passed=1)


def test_words_that_are_none_fail_the_test_kindly(pytester: pytest.Pytester) -> None:
    result = run(pytester, 'def test_boot(tftp_link):\n    tftp_link("dealy 5ms")\n')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*did you mean 'delay'*"])


def test_a_skipped_test_is_skipped(pytester: pytest.Pytester) -> None:
    test = """
def test_boot(tftpserver):
    tftpserver.expect_read("kernel")
    pytest.skip("no board")
"""
    run(pytester, test).assert_outcomes(skipped=1)


def test_loading_the_plugin_imports_nothing_else_of_ours() -> None:
    script = f"import sys, pytest, {PLUGIN}; print(*sorted(name for name in sys.modules if 'blockstep' in name))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert result.stdout.split() == ["blockstep_lab", PLUGIN]
