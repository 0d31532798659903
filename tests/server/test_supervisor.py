from __future__ import annotations

import os
import select
import signal
import socket
from functools import partial

import pytest

from blockstep_server.admission import Admission, Claim, Policy
from blockstep_server.children import Child, Task
from blockstep_server.log_output import LogOutput
from blockstep_server.report import Reporter, TransferRecord
from blockstep_server.supervisor import Supervisor
from support.supervised import REQUEST, Supervised, asked

MODES = pytest.mark.parametrize("single_port", [False, True], ids=["fresh port", "single port"])


@MODES
def test_a_burst_of_500_requests_is_answered_500_times_and_leaves_nothing(single_port: bool) -> None:
    with Supervised.with_body("answer", single_port=single_port) as server:
        if int(server.ready["policy"]) < 500 * 1280:
            pytest.skip("this system allows no receive buffer that holds 500 requests (net.core.rmem_max)")
        descriptors = server.descriptors()
        with asked(server, 500) as answers:
            assert len({answer for _, answer, _ in answers}) == 500, "one child each"
        records = server.await_transfers(500)
        assert {record["result"] for record in records} == {"complete"}
        assert server.children() == []
        assert server.descriptors() == descriptors
        assert server.stop() == 0
        assert _the_end(server) == (0, [], 0)


@MODES
def test_a_repeated_request_gets_one_child(single_port: bool) -> None:
    with Supervised.with_body("hold", single_port=single_port) as server:
        with asked(server) as [(client, _pid, address)]:
            if not single_port:  # there the child has these on its own socket
                for _ in range(5):
                    client.sendto(REQUEST, server.address)
            with asked(server) as [(other, _, other_address)]:  # whoever asks later has been seen later
                assert len(server.children()) == 2
                other.sendto(b"go on", other_address)
            client.sendto(b"go on", address)
        server.await_transfers(2)
        assert server.stop() == 0


def test_another_request_from_the_same_port_is_another_transfer() -> None:
    with Supervised.with_body("hold") as server, asked(server) as [(client, first, address)]:
        client.sendto(b"\0\1other\0octet\0", server.address)
        second, other_address = client.recvfrom(100)
        assert first != second
        client.sendto(b"go on", address)
        client.sendto(b"go on", other_address)
        server.await_transfers(2)
        assert server.stop() == 0


def test_what_is_no_request_costs_no_child() -> None:
    with Supervised.with_body("answer") as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for datagram in (b"", b"\0", b"\0\4\0\1", b"\0\5\0\0\0", b"\0\3\0\1data", b"\0\7", b"\1\1x\0octet\0"):
            client.sendto(datagram, server.address)
        with asked(server):
            server.await_transfers(1)
        assert server.stop() == 0
        assert all(event["event"] != "transfer" for event in server.events())


def test_a_stop_waits_for_those_who_live_and_takes_nobody_new() -> None:
    with Supervised.with_body("hold") as server, asked(server) as [(client, _, address)]:
        server.process.send_signal(signal.SIGTERM)
        assert "waiting up to" in server.await_event("note")["message"]
        late = server.ask()
        late.close()
        client.sendto(b"go on", address)
        assert server.await_event("transfer")["result"] == "complete"
        assert server.process.wait(30) == 0
        assert _the_end(server) == (0, [], 0)


def test_the_drain_timeout_ends_the_wait() -> None:
    with Supervised.with_body("hold", drain_timeout_s=0.05) as server, asked(server, 3):
        server.process.send_signal(signal.SIGTERM)
        records = server.await_transfers(3)
        assert {(record["result"], record["detail"]) for record in records} == {("failed", "the server is stopping")}
        assert server.process.wait(30) == 128 + signal.SIGTERM
        assert _the_end(server) == (143, [], 0)


def test_a_second_signal_shortens_the_wait() -> None:
    with Supervised.with_body("hold") as server, asked(server):
        server.process.send_signal(signal.SIGINT)
        assert "waiting up to" in server.await_event("note")["message"]
        server.process.send_signal(signal.SIGINT)
        assert server.await_event("transfer")["result"] == "failed"
        assert server.process.wait(30) == 128 + signal.SIGINT


def test_who_does_not_die_of_term_is_killed() -> None:
    with Supervised.with_body("refuse_to_die", drain_timeout_s=0.0) as server, asked(server):
        server.process.send_signal(signal.SIGTERM)
        server.await_event("note")
        assert "SIGTERM" in server.await_event("note")["message"]
        server.process.send_signal(signal.SIGTERM)
        record = server.await_event("transfer")
        assert record["result"] == "crashed"
        assert "killed by signal 9" in record["detail"]
        assert server.process.wait(30) == 143
        assert _the_end(server) == (143, [], 0)


def test_children_die_with_a_supervisor_that_is_killed() -> None:
    with Supervised.with_body("hold") as server, asked(server, 2) as answers:
        pids = [int(pid) for _, pid, _ in answers]
        watches = [os.pidfd_open(pid) for pid in pids]
        server.process.kill()
        server.process.wait()
        for watch in watches:
            assert _becomes_readable(watch), "a child has outlived its supervisor"
            os.close(watch)


@pytest.mark.parametrize(("body", "detail"), [("crash", "ZeroDivisionError"), ("die", "killed by signal 9")])
def test_a_child_that_breaks_leaves_a_record_and_the_server_serves_on(body: str, detail: str) -> None:
    with Supervised.with_body(body) as server:
        for _ in range(2):
            with asked(server):
                record = next(event for event in server.events() if event["event"] == "transfer")
                assert record["result"] == "crashed"
                assert detail in record["detail"]
                assert record["peer"].startswith("127.0.0.1:")
        assert server.stop() == 0


def test_a_failing_fork_is_told_and_survived() -> None:
    with Supervised.with_body("answer", processes_max=1) as server:
        with asked(server):
            server.await_transfers(1)
        server.ask().close()
        assert "Resource temporarily unavailable" in server.await_event("note")["message"]
        descriptors = server.descriptors()
        for _ in range(20):
            server.ask().close()
        note = server.await_event("note")  # a second later, all in one line
        assert sum(note["refused"].values()) == 20
        assert server.descriptors() == descriptors
        assert server.stop() == 0


def test_over_the_cap_nobody_is_answered_until_a_place_is_free() -> None:
    with Supervised.with_body("hold", max_sessions=1) as server, asked(server) as [(client, _, address)]:
        refused = server.ask()
        assert "over --max-sessions" in server.await_event("note")["message"]
        client.sendto(b"go on", address)
        server.await_transfers(1)
        refused.sendto(REQUEST, server.address)
        refused.recvfrom(100)
        refused.close()


def test_one_off_ends_after_one_transfer() -> None:
    with Supervised.with_body("answer", one_off=True) as server, asked(server):
        assert server.process.wait(30) == 0
        assert _the_end(server) == (0, [], 0)


def test_sighup_asks_for_a_reload_and_disturbs_nobody() -> None:
    with Supervised.with_body("answer") as server:
        server.process.send_signal(signal.SIGHUP)
        assert "SIGHUP" in server.await_event("note")["message"]
        with asked(server):
            server.await_transfers(1)
        assert server.stop() == 0


def _the_end(server: Supervised) -> tuple[int, list[int], int]:
    for event in server.events():
        if event.get("message") == "ended":
            return event["status"], event["left_fds"], event["left_places"]
    raise AssertionError("the log does not tell how it ended")


def _becomes_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 30)[0])


def test_a_listener_that_rests_is_watched_again_later_and_only_if_it_still_listens() -> None:
    now = [100.0]
    reporter = Reporter(LogOutput(2))
    supervisor = Supervisor(Admission(Policy(max_sessions=1)), reporter, clock=lambda: now[0])
    first, second = socket.socketpair()
    with first, second:
        listener = _Listener(first)
        supervisor.add_listener(listener)
        watched = supervisor._selector.get_map()
        states = [listener.fileno() in watched]
        supervisor.rest(listener, 5.0)
        for now[0] in (104.9, 105.0):
            states.append(listener.fileno() in watched)
            supervisor.timers.run_due(now[0])
        states.append(listener.fileno() in watched)
        assert states == [True, False, False, True]
        supervisor.rest(listener, 5.0)
        supervisor._close_listeners()
        supervisor.timers.run_due(200.0)
        assert len(watched) == 1, "the pipe of the children"
    supervisor._selector.close()
    supervisor.children.close()


def test_of_those_who_end_together_the_youngest_is_followed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all their places are free, or who has been asked twice in the same words would be followed by both."""
    supervisor = Supervisor(Admission(Policy(max_sessions=3)), Reporter(LogOutput(2)))
    followed: list[tuple[str, int]] = []
    ended: list[tuple[Child, TransferRecord | None]] = []
    for started_s, name in enumerate(("first", "second", "third")):
        claim = Claim("a client", name)
        afterwards = partial(lambda name, _: followed.append((name, len(supervisor.admission))), name)
        task = Task(claim, lambda _: None, TransferRecord(peer=name), afterwards=afterwards)
        ended.append((Child(0, task, started_s, place=supervisor.admission.occupy(claim)), None))
    monkeypatch.setattr(supervisor.children, "reap", lambda: ended)
    supervisor._reap()
    assert followed == [("third", 0), ("second", 0), ("first", 0)]
    supervisor._selector.close()
    supervisor.children.close()


class _Listener:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def handle_readable(self) -> None:
        raise AssertionError("nobody runs the loop")

    def close(self) -> None:
        self._sock.close()
