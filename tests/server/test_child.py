from __future__ import annotations

import json
import os
import signal

from support.supervised import Supervised, asked


def test_a_child_has_no_descriptor_but_its_own() -> None:
    with Supervised.with_body("tell_descriptors", single_port=True) as server:
        with asked(server) as [(_, answer, _)]:
            descriptors = json.loads(answer)
        server.await_transfers(1)
        assert server.stop() == 0
    assert {"0", "1", "2"} <= descriptors.keys()
    rest = sorted(target.split(":")[0] for fd, target in descriptors.items() if fd not in ("0", "1", "2"))
    assert rest == ["pipe", "socket"], descriptors


def test_a_childs_signals_are_its_own() -> None:
    with Supervised.with_body("tell_signals") as server:
        with asked(server) as [(_, answer, _)]:
            masks = dict(line.split(":\t") for line in answer.decode().splitlines())
        server.await_transfers(1)
        assert server.stop() == 0
    blocked, ignored, caught = (int(masks[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt"))
    assert blocked == 0
    assert not _has(ignored, signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert _has(caught, number)


def test_a_hangup_of_the_terminal_is_the_supervisors_business() -> None:
    with Supervised.with_body("hold") as server, asked(server) as [(client, pid, address)]:
        _send(int(pid), signal.SIGHUP)
        _send(int(pid), signal.SIGINT)
        client.sendto(b"go on", address)
        assert server.await_event("transfer")["result"] == "complete"
        assert server.stop() == 0


def test_ctrl_c_in_a_terminal_is_the_supervisors_business() -> None:
    """It goes to every process of the terminal: the children go on, and the supervisor waits for them."""
    with Supervised.with_body("hold") as server, asked(server) as [(client, pid, address)]:
        for process in (int(pid), server.pid):
            _send(process, signal.SIGINT)
        assert "waiting up to" in server.await_event("note")["message"]
        client.sendto(b"go on", address)
        assert server.await_event("transfer")["result"] == "complete"
        assert server.process.wait(30) == 0


def test_term_to_a_child_alone_ends_its_transfer_alone() -> None:
    with Supervised.with_body("hold") as server, asked(server, 2) as [(_, pid, _), (other, _, address)]:
        _send(int(pid), signal.SIGTERM)
        record = server.await_event("transfer")
        assert (record["result"], record["detail"]) == ("failed", "the server is stopping")
        other.sendto(b"go on", address)
        assert server.await_event("transfer")["result"] == "complete"
        assert server.stop() == 0


def _has(mask: int, number: signal.Signals) -> bool:
    return bool(mask >> (number - 1) & 1)


def _send(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)
