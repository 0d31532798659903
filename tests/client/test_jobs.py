from __future__ import annotations

from pathlib import Path

import click
import pytest

from blockstep_client.address import parse_target
from blockstep_client.jobs import plan_get, plan_put


def get(*sources: str, output: str | None = None) -> list[str]:
    return [job.local for job in plan_get([parse_target(source) for source in sources], output)]


def put(*files: str, to: str) -> list[str]:
    return [job.target.path for job in plan_put(files, parse_target(to))]


def test_get_writes_to_the_base_name_here() -> None:
    assert get("h:dir/a", "h:b", "h:win\\c") == ["a", "b", "c"]


def test_get_writes_to_the_file_that_was_named(tmp_path: Path) -> None:
    assert get("h:dir/a", output="b") == ["b"]


def test_get_writes_into_a_directory(tmp_path: Path) -> None:
    assert get("h:dir/a", "h:b", output=str(tmp_path)) == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert get("h:a", output="new/") == ["new/a"]


def test_get_writes_to_standard_output() -> None:
    jobs = plan_get([parse_target("h:a"), parse_target("h:b")], "-")
    assert [job.writes_standard_output for job in jobs] == [True, True]


def test_a_remote_file_called_minus_is_a_file_here() -> None:
    assert get("h:-") == ["./-"]


@pytest.mark.parametrize(
    ("sources", "output", "said"),
    [
        (["h:"], None, "cannot fetch a directory"),
        (["h:dir/"], None, "cannot fetch a directory"),
        (["h:.."], None, "no file name"),
        (["h:dir/."], None, "no file name"),
        (["h:a\\"], None, "no file name"),
        (["h:a", "h:b"], "file", "need a directory"),
        (["h:a", "h:dir/a"], None, "two of the files"),
        (["h:a"], "b\0c", "NUL"),
    ],
)
def test_get_refuses_what_has_no_place(sources: list[str], output: str | None, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        get(*sources, output=output)


def test_put_writes_to_the_path_of_the_destination() -> None:
    assert put("some/a", to="h:b") == ["b"]
    assert put("-", to="h:b") == ["b"]


def test_put_appends_the_base_name_to_a_directory() -> None:
    assert put("some/a", "b", to="h:dir/") == ["dir/a", "dir/b"]
    assert put("some/a", to="h:") == ["a"]
    assert put("some/a", to="127.0.0.1:6969/") == ["a"]
    assert put("a\udcff", to="h:") == ["a\udcff"]


@pytest.mark.parametrize(
    ("files", "to", "said"),
    [
        (["a", "b"], "h:dir", "end it with a slash"),
        (["a", "x/a"], "h:dir/", "two of the files"),
        (["-"], "h:dir/", "Standard input has no name"),
        (["/"], "h:dir/", "is a directory"),
        (["a\0"], "h:dir/", "NUL"),
    ],
)
def test_put_refuses_what_has_no_place(files: list[str], to: str, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        put(*files, to=to)
