from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from blockstep.capturing import PCAP, captured
from support.captured import datagrams_in


@click.command()
@PCAP
@click.option("--fail", is_flag=True)
def carry(pcap: Path | None, fail: bool) -> None:
    """Carry one packet."""
    with captured(pcap) as recorder:
        if recorder is not None:
            recorder.note(("127.0.0.1", 1), ("127.0.0.1", 2), b"x")
        if fail:
            raise click.ClickException("lost")
    click.echo(f"{recorder is not None}")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(carry, arguments)


@pytest.mark.parametrize("fail", [[], ["--fail"]])
def test_packets_are_in_the_file_however_the_command_ends(fail: list[str], tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    assert run("--pcap", str(path), *fail).exit_code == len(fail)
    assert datagrams_in(path) == [(("127.0.0.1", 1), ("127.0.0.1", 2), b"x")]


def test_without_the_option_there_is_no_recorder() -> None:
    assert run().stdout == "False\n"


def test_a_file_that_cannot_be_made_ends_the_command(tmp_path: Path) -> None:
    result = run("--pcap", str(tmp_path / "missing" / "x.pcapng"))
    assert result.exit_code == 23
    assert "No such file" in result.stderr


def test_a_full_disk_costs_a_warning() -> None:
    result = run("--pcap", "/dev/full")
    assert result.exit_code == 0
    assert "is not whole: No space left on device" in result.stderr


def test_a_capture_begins_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(b"old")
    with captured(path):
        assert datagrams_in(path) == []
