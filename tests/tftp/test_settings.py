from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.settings import read_settings, settings_for


@click.command()
@click.argument("root", required=False)
@click.option("--bind", "-b", multiple=True)
@click.option("--port", "-p", type=click.IntRange(0, 65535), default=69)
@click.option("--upload", type=click.Choice(["none", "create"]), default="none")
@click.option("--single-port/--no-single-port", default=False)
@click.option("--json", "as_json", is_flag=True)
@click.option("-v", "--verbose", count=True)
@click.option("--limit", type=float)
def serve(**values: Any) -> dict[str, Any]:
    return values


def parsed(table: dict[str, Any], *args: str) -> dict[str, Any]:
    """What the command gets, with this table below this command line."""
    result = serve.main(list(args), standalone_mode=False, default_map=settings_for(serve, table, "my.toml: [serve]"))
    assert isinstance(result, dict)
    return result


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(text)
    return path


def test_every_kind_of_option_can_be_set(tmp_path: Path) -> None:
    text = """
        [serve]
        root = "/srv/tftp"
        bind = ["127.0.0.1", "::1"]
        port = 6969
        upload = "create"
        single-port = true
        json = true
        verbose = 2
        limit = 1.5
    """
    table = read_settings(written(tmp_path, text), ["serve", "get"])["serve"]
    assert parsed(dict(table)) == {
        "root": "/srv/tftp",
        "bind": ("127.0.0.1", "::1"),
        "port": 6969,
        "upload": "create",
        "single_port": True,
        "as_json": True,
        "verbose": 2,
        "limit": 1.5,
    }


def test_the_command_line_wins() -> None:
    assert parsed({"port": 1, "single-port": True}, "--port", "2", "--no-single-port")["port"] == 2
    assert parsed({"single-port": True}, "--no-single-port")["single_port"] is False


def test_underscores_are_dashes_and_one_value_is_a_list_of_one() -> None:
    assert parsed({"single_port": True, "bind": "127.0.0.1"})["bind"] == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"prot": 1}, "my.toml: [serve] has no 'prot'; did you mean 'port'?"),
        (
            {"zzz": 1},
            "my.toml: [serve] has no 'zzz'; there is bind, json, limit, port, root, single-port, upload, verbose",
        ),
        ({"port": True}, "my.toml: [serve] port: a value is needed, not true"),
        ({"port": [1]}, "my.toml: [serve] port: one text or number is needed, not a list"),
        ({"port": {"a": 1}}, "my.toml: [serve] port: one text or number is needed, not a table"),
        ({"bind": [["a"]]}, "my.toml: [serve] bind: one text or number is needed, not a list"),
        ({"json": "yes"}, "my.toml: [serve] json: true or false is needed, not 'yes'"),
        ({"json": 1}, "my.toml: [serve] json: true or false is needed, not 1"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_where(table: dict[str, Any], why: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        settings_for(serve, table, "my.toml: [serve]")
    assert caught.value.message == why


@pytest.mark.parametrize("port", [1.5, "x", 70000, -1])
def test_a_value_is_checked_by_the_option_as_on_the_command_line(port: object) -> None:
    with pytest.raises(click.BadParameter):
        parsed({"port": port})


def test_a_group_has_tables_inside_of_its_table() -> None:
    group = click.Group("trace", commands=[serve])
    assert settings_for(group, {"serve": {"port": 5}}, "x") == {"serve": {"port": "5"}}
    with pytest.raises(click.UsageError, match=r"x \[serve\] has no 'prot'"):
        settings_for(group, {"serve": {"prot": 5}}, "x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[serv]\n", "no command for [serv]; did you mean 'serve'?"),
        ("port = 69\n", "'port' stands outside of a table; write it below [COMMAND]"),
        ("[serve\n", "Expected ']' at the end of a table declaration"),
        ("[serve]\nport = 1\nport = 2\n", "Cannot overwrite a value"),
    ],
)
def test_a_wrong_file_is_a_usage_error(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        read_settings(written(tmp_path, text), ["serve", "get"])
    assert str(tmp_path / "my.toml") in caught.value.message
    assert why in caught.value.message


def test_bytes_that_are_no_text_and_a_file_that_is_gone_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe")
    for name in ("my.toml", "gone.toml"):
        with pytest.raises(click.UsageError):
            read_settings(tmp_path / name, ["serve"])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["root", "bind", "port", "upload", "single-port", "json", "verbose", "limit"]) | st.text(
    max_size=6
)


@given(st.dictionaries(keys, values, max_size=4))
def test_any_table_is_taken_or_refused_with_a_sentence(table: dict[str, Any]) -> None:
    with contextlib.suppress(click.UsageError):
        parsed(table)
