from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blockstep.protocol.options import Limits
from blockstep_client.command import get, put
from blockstep_lab.relay import Relay
from blockstep_lab.testing import TftpServer

KERNEL = bytes(range(256)) * 400


@pytest.fixture(params=[False, True], ids=["fresh ports", "single port"])
def server(request: pytest.FixtureRequest) -> Iterator[TftpServer]:
    with TftpServer(single_port=request.param) as server:
        yield server


def fetch(server: TftpServer, name: str, to: Path, *flags: str) -> Result:
    return CliRunner().invoke(get, ["-q", *flags, server.url_for(name), "-o", str(to)])


def store(server: TftpServer, name: str, content: bytes, *flags: str, folder: Path) -> Result:
    path = folder / "sent"
    path.write_bytes(content)
    return CliRunner().invoke(put, ["-q", *flags, str(path), server.url_for(name)])


@pytest.mark.parametrize("flags", [[], ["--no-options"], ["-b", "8", "-w", "3"], ["--mode", "netascii"]])
@pytest.mark.parametrize("size", [0, 511, 512, 513, 5000])
def test_files_come_and_go(server: TftpServer, flags: list[str], size: int, tmp_path: Path) -> None:
    content = (b"line\nwith\rall\r\nendings\0" * 300)[:size]
    server.files["file"] = content
    assert fetch(server, "file", tmp_path / "got", *flags).exit_code == 0
    assert (tmp_path / "got").read_bytes() == content
    assert store(server, "other", content, *flags, folder=tmp_path).exit_code == 0
    assert server.wait_idle()
    assert server.uploads == {"other": content}
    assert [(each.op, each.name, each.complete) for each in server.requests] == [
        ("read", "file", True),
        ("write", "other", True),
    ]


def test_an_expected_read(server: TftpServer, tmp_path: Path) -> None:
    expected = server.expect_read("kernel", options={"blksize": 1428}).respond_with_data(KERNEL)
    assert fetch(server, "kernel", tmp_path / "got").exit_code == 0
    server.check()
    assert (tmp_path / "got").read_bytes() == KERNEL
    assert expected.asked[0].options["windowsize"] == "16"
    assert expected.asked[0].outcome == "complete"


def test_a_file_of_the_disk_is_served_as_it_was(server: TftpServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(KERNEL)
    server.expect_read(re.compile("k.*")).respond_with_file(source)
    source.unlink()
    assert fetch(server, "kernel", tmp_path / "got").exit_code == 0
    assert (tmp_path / "got").read_bytes() == KERNEL


def test_an_error_is_told_and_counts_as_met(server: TftpServer, tmp_path: Path) -> None:
    server.expect_read("kernel").respond_with_error(2, "not for you")
    server.expect_write("log").respond_with_error(3, "disk full")
    result = fetch(server, "kernel", tmp_path / "got")
    assert result.exit_code == 67 + 2
    assert "not for you" in result.stderr
    assert store(server, "log", b"x", folder=tmp_path).exit_code == 67 + 3
    server.check()


def test_what_was_asked_instead_is_told(server: TftpServer, tmp_path: Path) -> None:
    server.expect_read("kernel").respond_with_data(KERNEL)
    assert fetch(server, "kernal", tmp_path / "got", "--no-options").exit_code == 68
    with pytest.raises(AssertionError) as failure:
        server.check()
    lines = str(failure.value).splitlines()
    assert lines[:2] == ["the read of 'kernel' was never asked for", "what the server was asked:"]
    assert re.fullmatch(r"  read 'kernal' \(octet\) from 127.0.0.1:[0-9]+: ERROR 1 file not found", lines[2])


def test_how_often_counts(server: TftpServer, tmp_path: Path) -> None:
    server.expect_read("kernel", times=1).respond_with_error(1, "not yet")
    server.expect_read("kernel", times=1).respond_with_data(KERNEL)
    assert fetch(server, "kernel", tmp_path / "got").exit_code == 68
    assert fetch(server, "kernel", tmp_path / "got").exit_code == 0
    server.check()
    assert fetch(server, "kernel", tmp_path / "got").exit_code == 68
    server.strict = True
    with pytest.raises(AssertionError, match="not expected: read 'kernel'"):
        server.check()


def test_options_beyond_the_limits_are_lowered(tmp_path: Path) -> None:
    with TftpServer(limits=Limits(blksize_max=600, refuse=frozenset({"windowsize"}))) as server:
        server.files["kernel"] = KERNEL
        result = CliRunner().invoke(get, ["-v", server.url_for("kernel"), "-o", str(tmp_path / "got")])
        assert "agreed to blksize 600, windowsize 1" in result.stderr


def test_a_bad_link_changes_nothing_but_the_time(server: TftpServer, tmp_path: Path) -> None:
    server.expect_read("kernel").respond_with_data(KERNEL)
    server.expect_write("log")
    with Relay(server.address, conditions_up="loss 10%", conditions_down="loss 10%", seed=3) as relay:
        url = f"tftp://127.0.0.1:{relay.address[1]}"
        assert CliRunner().invoke(get, ["-q", f"{url}/kernel", "-o", str(tmp_path / "got")]).exit_code == 0
        assert CliRunner().invoke(put, ["-q", str(tmp_path / "got"), f"{url}/log"]).exit_code == 0
    server.check()
    assert server.uploads["log"] == KERNEL


def test_a_lost_last_ack_is_no_failure_of_the_client(tmp_path: Path) -> None:
    with TftpServer() as server:
        server.expect_read("kernel").respond_with_data(bytes(1000))
        with Relay(server.address, rules=["drop ACK 2-"]) as relay:
            url = f"tftp://127.0.0.1:{relay.address[1]}/kernel"
            assert CliRunner().invoke(get, ["-q", "--no-options", url, "-o", str(tmp_path / "got")]).exit_code == 0
            server.check()
        assert server.requests[0].outcome == "complete, but for the last ACK, which has not come"


def test_a_client_that_gives_up_is_told_about(server: TftpServer, tmp_path: Path) -> None:
    server.expect_read("kernel").respond_with_data(KERNEL)
    result = fetch(server, "kernel", tmp_path / "missing" / "got")
    assert result.exit_code == 23
    with pytest.raises(AssertionError, match="did not come to its end: the client said ERROR"):
        server.check()


def test_an_expectation_without_a_response_is_the_tests_mistake(server: TftpServer, tmp_path: Path) -> None:
    server.expect_read("kernel")
    assert fetch(server, "kernel", tmp_path / "got").exit_code == 67
    with pytest.raises(AssertionError, match="gave it nothing to respond with"):
        server.check()
    with pytest.raises(TypeError, match="in `uploads`"):
        server.expect_write("log").respond_with_data(b"x")


def test_ipv6(tmp_path: Path) -> None:
    with TftpServer(("::1", 0)) as server:
        server.files["kernel"] = KERNEL
        assert server.url_for("kernel").startswith("tftp://[::1]:")
        assert fetch(server, "kernel", tmp_path / "got").exit_code == 0


def test_a_taken_port_is_an_error_and_leaves_no_thread() -> None:
    with TftpServer() as server, pytest.raises(OSError, match="in use"):
        TftpServer(server.address)
    assert not [thread for thread in threading.enumerate() if thread.name == "tftpserver"]
    server.close()
