from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from blockstep.cli import cli
from blockstep.protocol.errors import LocalError
from blockstep_server import serving
from blockstep_server.config import ServerConfig

Reread = Callable[[], ServerConfig]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text('[serve]\nmax-sessions = 5\ndeny = ["10.0.0.0/8"]\n')
    return path


def started(
    monkeypatch: pytest.MonkeyPatch, *words: str, during: Callable[[ServerConfig, Reread | None], None]
) -> None:
    """Run the command line; `during` is called where the server would run."""

    def start(config: ServerConfig, _reporter: object, *, reread: Reread | None) -> None:
        during(config, reread)

    monkeypatch.setattr(serving, "start", start)
    result = CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False, prog_name="blockstep")
    assert result.exception is None


def test_the_file_is_read_again(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    def during(config: ServerConfig, reread: Reread | None) -> None:
        assert reread is not None
        assert (config.max_sessions, len(config.deny)) == (5, 1)
        assert reread() == config
        settings.write_text("[serve]\nmax-sessions = 7\nwindowsize-max = 8\n")
        again = reread()
        assert (again.max_sessions, again.windowsize_max, again.deny) == (7, 8, ())

    started(monkeypatch, "--config", str(settings), "serve", during=during)


def test_what_was_said_on_the_command_line_stays_above_it(
    monkeypatch: pytest.MonkeyPatch, settings: Path, tmp_path: Path
) -> None:
    def during(config: ServerConfig, reread: Reread | None) -> None:
        settings.write_text("[serve]\nmax-sessions = 7\nretries = 2\nwindowsize-max = 8\nupload = 'replace'\n")
        assert reread is not None
        again = reread()
        assert (again.max_sessions, again.windowsize_max, again.retries) == (9, 32, 2)
        assert again.root == tmp_path
        assert again.uploads.value == "replace"

    monkeypatch.setenv("BLOCKSTEP_SERVE_WINDOWSIZE_MAX", "32")
    words = ("--config", str(settings), "serve", str(tmp_path), "--max-sessions", "9")
    started(monkeypatch, *words, during=during)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[serve]\nmax-sesions = 5\n", "did you mean 'max-sessions'"),
        ("[serve]\nmax-sessions = 0\n", "0 is not in the range"),
        ("no TOML", "nothing was reloaded"),
        ("[serve]\nmax-upload = '5'\n", "--max-upload needs"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_wrong_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, settings: Path, content: str | None, said: str
) -> None:
    def during(config: ServerConfig, reread: Reread | None) -> None:
        if content is None:
            settings.unlink()
        else:
            settings.write_text(content)
        assert reread is not None
        with pytest.raises(LocalError, match=said):
            reread()

    started(monkeypatch, "--config", str(settings), "serve", during=during)


def test_without_a_file_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    started(monkeypatch, "serve", during=lambda _config, reread: asked.append(reread))
    assert asked == [None]
    assert click.get_current_context(silent=True) is None
