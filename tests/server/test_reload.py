from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_server.command import serve
from blockstep_server.config import ServerConfig
from blockstep_server.reload import LIMITS, RESTART, limits_in_words, merge
from blockstep_server.upload_policy import UploadPolicy
from blockstep_server.values import Bind, PortRange, parse_network

RUNNING = ServerConfig(root=Path("/srv"))


def test_every_field_is_decided_upon() -> None:
    assert LIMITS.keys() | RESTART.keys() == {each.name for each in fields(ServerConfig)}
    assert not LIMITS.keys() & RESTART.keys()


def test_the_words_are_those_of_the_command_line() -> None:
    known = {name.removeprefix("--") for each in serve.params for name in each.opts} | {"root"}
    assert {*LIMITS.values(), *RESTART.values()} <= known


def test_limits_change_and_sockets_do_not() -> None:
    wanted = ServerConfig(
        root=Path("/srv"), max_sessions=5, deny=(parse_network("10.0.0.0/8"),), port=6969, tcp=(Bind("", 6970),)
    )
    reloaded = merge(RUNNING, wanted)
    assert (reloaded.config.max_sessions, reloaded.config.port, reloaded.config.tcp) == (5, 69, ())
    assert reloaded.changed == {"max-sessions": (1000, 5), "deny": ([], ["10.0.0.0/8"])}
    assert reloaded.restart == ("port", "tcp")
    assert str(reloaded) == (
        "reloaded: max-sessions 1000 -> 5, deny none -> 10.0.0.0/8; only a restart changes port, tcp"
    )


def test_nothing_new_is_said_to_be_nothing_new() -> None:
    reloaded = merge(RUNNING, RUNNING)
    assert (reloaded.config, reloaded.changed, reloaded.restart) == (RUNNING, {}, ())
    assert str(reloaded) == "reloaded: nothing has changed"


def test_what_would_contradict_itself_changes_nothing() -> None:
    running = ServerConfig(root=Path("/srv"), single_port=True)
    wanted = ServerConfig(root=Path("/srv"), port_range=PortRange(5000, 5009))
    with pytest.raises(LocalError, match="exclude each other"):
        merge(running, wanted)


def test_limits_in_words_are_json() -> None:
    config = ServerConfig(
        root=Path("/srv"),
        uploads=UploadPolicy.CREATE,
        mtu="auto",
        refuse=frozenset({"tsize", "blksize"}),
        allow=(parse_network("10.0.0.0/8"),),
        port_range=PortRange(5000, 5009),
    )
    words = json.loads(json.dumps(limits_in_words(config)))
    assert words.keys() == set(LIMITS.values())
    assert (words["upload"], words["mtu"], words["port-range"]) == ("create", "auto", "5000:5009")
    assert (words["refuse"], words["allow"], words["max-per-client"]) == (["blksize", "tsize"], ["10.0.0.0/8"], None)
