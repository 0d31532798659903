from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import blockstep
from blockstep.cli import main
from support.plugin import install

# One command that ends in every way a command can.
SOURCE = """
    import click
    from blockstep.protocol.errors import End, ErrorCode, LocalError, RemoteError, TransferFailed

    ENDS = {
        "fine": None,
        "local": LocalError("a bad argument"),
        "remote": RemoteError(ErrorCode.ILLEGAL_OPERATION, "no such opcode"),
        "absent": TransferFailed(End.PEER_ERROR, "file not found", 1),
        "silent": TransferFailed(End.TIMED_OUT, "no answer in 30 s"),
        "ctrl-c": KeyboardInterrupt(),
        "eof": EOFError(),
        "click": click.ClickException("no"),
        "usage": click.UsageError("not so"),
        "exit": click.exceptions.Exit(45),
        "system": SystemExit(9),
    }

    @click.command()
    @click.argument("how", default="fine")
    @click.option("--size", type=int, default=1)
    def finish(how, size):
        '''End in one way or the other.'''
        click.echo(f"size={size}")
        if ENDS[how] is not None:
            raise ENDS[how]
        return 7 if size == 7 else None
"""


@pytest.fixture(autouse=True)
def finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = install(tmp_path / "site", {"finish": "made_up_ends:finish"}, SOURCE, module="made_up_ends")
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("made_up_ends", None)


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("fine", 0, ""),
        ("local", 1, "blockstep: a bad argument"),
        ("remote", 71, "blockstep: no such opcode"),
        ("absent", 68, "blockstep: file not found"),
        ("silent", 28, "blockstep: no answer in 30 s"),
        ("ctrl-c", 130, "blockstep: stopped"),
        ("eof", 1, "blockstep: stopped"),
        ("click", 1, "Error: no"),
        ("usage", 2, "Error: not so"),
        ("exit", 45, ""),
    ],
)
def test_every_end_is_an_exit_code_and_one_line(
    how: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finish", how]) == code
    assert capsys.readouterr().err.rpartition("\n\n")[2].strip() == line


def test_a_number_that_a_command_returns_is_its_exit_code() -> None:
    assert main(["finish", "--size", "7"]) == 7


def test_system_exit_is_left_alone() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["finish", "system"])
    assert caught.value.code == 9


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "my.toml"
    config.write_text("[finish]\nsize = 11\n")

    def size(*args: str) -> str:
        assert main(["--config", str(config), "finish", *args]) == 0
        return capsys.readouterr().out.strip()

    assert size() == "size=11"
    monkeypatch.setenv("BLOCKSTEP_FINISH_SIZE", "12")
    assert size() == "size=12"
    assert size("--size", "13") == "size=13"


def test_the_settings_file_itself_can_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.toml").write_text("[finish]\nsize = 11\n")
    monkeypatch.setenv("BLOCKSTEP_CONFIG", str(tmp_path / "my.toml"))
    assert main(["finish"]) == 0
    assert capsys.readouterr().out == "size=11\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[finish]\nsise = 1\n", "[finish] has no 'sise'; did you mean 'size'?"),
        ("[finsh]\nsize = 1\n", "no command for [finsh]; did you mean 'finish'?"),
        ("[finish]\nsize = 'large'\n", "'large' is not a valid integer"),
    ],
)
def test_a_wrong_settings_file_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    (tmp_path / "my.toml").write_text(text)
    assert main(["--config", str(tmp_path / "my.toml"), "finish"]) == 2
    assert why in capsys.readouterr().err


def test_a_settings_file_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "/no/such/file.toml", "finish"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_variable_named_version_is_nobodys_business(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLOCKSTEP_VERSION", "1")
    assert main(["finish"]) == 0
    assert capsys.readouterr().out == "size=1\n"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blockstep", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"blockstep, version {blockstep.__version__}\n"


def test_the_list_of_commands_imports_no_room() -> None:
    code = (
        "import sys, blockstep.cli\n"
        "assert blockstep.cli.main(['--help']) == 0\n"
        "rooms = ('blockstep_server.', 'blockstep_client.', 'blockstep_lab.', 'blockstep.transport.', 'tqdm')\n"
        "print([name for name in sys.modules if name.startswith(rooms)], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
