from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from blockstep_lab.endpoints import parse_endpoint
from blockstep_lab.links import LINKS
from blockstep_lab.relay_command import link

RUN = "from blockstep_lab.relay_command import link; link(prog_name='link')"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(link, arguments)


@contextmanager
def running(arguments: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A link in a process of its own, with its three start lines."""
    command = [sys.executable, "-c", RUN, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env=ENVIRONMENT, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stderr is not None
            yield process, [process.stderr.readline().strip() for _ in range(3)]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_how_to_repeat_it_and_ends_with_a_table(number: signal.Signals) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        upstream = f"127.0.0.1:{server.getsockname()[1]}"
        words = ["loss", "5%", "--down", "delay 20ms", "--rule", "drop ERROR", "--seed", "7"]
        with running([":0", upstream, *words]) as (process, lines):
            assert lines[0].endswith(f"-> {upstream}, seed 7")
            assert lines[1:] == [
                "up    tc qdisc replace dev DEV root netem loss 5%",
                "down  tc qdisc replace dev DEV root netem delay 20ms",
            ]
            address = parse_endpoint(lines[0].split()[1])
            server.sendto(b"\0\4\0\1", (address.host, address.port))
            assert server.recv(100) == b"\0\4\0\1"
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 0
    assert stderr == ""
    table = stdout.splitlines()
    assert table[0] == "seed 7"
    assert table[4].split()[:4] == ["up", "1", "1", "0"]
    assert table[-1] == "rule  drop ERROR: 0 packets"


def test_the_link_can_be_changed_while_it_runs() -> None:
    with running([":0", "127.0.0.1:9", "--api", ":0", "--json"]) as (process, lines):
        assert process.stderr is not None
        process.stderr.readline()
        api = urlsplit(lines[0].split()[1])
        toxic = {"type": "netem", "stream": "upstream", "attributes": {"words": "loss 3%"}}
        connection = http.client.HTTPConnection(api.netloc, timeout=10)
        connection.request("POST", f"{api.path}/toxics", json.dumps(toxic))
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        stdout, stderr = process.communicate(timeout=10)
    assert json.loads(stdout)["up"]["conditions"] == "loss 3%"
    assert stderr == ""


def test_the_table_can_be_json() -> None:
    with running([":0", "127.0.0.1:9", "lte", "--json"]) as (process, _):
        process.terminate()
        stdout, _ = process.communicate(timeout=10)
    assert json.loads(stdout)["up"]["conditions"] == str(LINKS["lte"].up)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([":0", "host:69", "loss", "200%"], "the nearest is '100%'"),
        ([":0", "host:69", "dealy", "5ms"], "did you mean 'delay'?"),
        ([":0", "host:69", "satelite"], "did you mean 'satellite'?"),
        ([":0", "host:69", "--up", "loss 5% 6% 7%"], "'--up': 7%: a number that belongs to no word"),
        ([":0", "host:69", "--rule", "drop DTA 3"], "did you mean 'data'?"),
        ([":0", "host:69", "--sed", "7"], "--seed"),
        (["::1", "host:69"], "did you mean '[::1]:69'"),
        ([":0"], "Missing argument"),
    ],
)
def test_bad_words_are_a_usage_error_that_names_the_right_ones(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_negative_numbers_are_words() -> None:
    result = run(":0", "no-such-host.invalid:69", "rate", "10mbit", "-14")
    assert result.exit_code == 6, result.output


def test_a_host_that_can_not_be_resolved_exits_as_curl_does() -> None:
    result = run(":0", "no-such-host.invalid")
    assert result.exit_code == 6
    assert "no-such-host.invalid:69" in result.output


def test_a_taken_port_exits_as_curl_does() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        result = run(f":{taken.getsockname()[1]}", "127.0.0.1:69")
    assert result.exit_code == 45
    assert "in use" in result.output


def test_a_capture_that_can_not_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    result = run(":0", "127.0.0.1:9", "--pcap", str(tmp_path / "missing" / "x.pcapng"))
    assert result.exit_code == 23
    assert "No such file" in result.output


def test_the_named_links_can_be_listed() -> None:
    result = run("--links")
    assert result.exit_code == 0
    assert all(f"{name}: " in result.output for name in LINKS)
