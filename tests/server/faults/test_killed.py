"""kill -9 of the child, the supervisor and the client at every step of an upload, over UDP and TCP.

The folder is a file system of the test's own that lets a step wait (`support.fault_fs`): when somebody is killed it is
known between which two system calls the child stands. A step is then done as the last thing, or not at all.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass

import pytest

from support.aftermath import NEW, OLD, assert_still_serves, assert_swept, hidden_in, the_only_record
from support.fault_fs import Gate, Op
from support.faulty_place import KINDS, Place

GONE, TOLD = 7, 67  # exit codes of a client whose server is gone, and of one that was sent an ERROR 0


@dataclass(frozen=True)
class Step:
    """The n-th system call of a kind, done before the death or not. `named`: the new content has its name."""

    op: Op
    nth: int = 1
    done: bool = False
    named: bool = False

    def __str__(self) -> str:
        return f"{'after' if self.done else 'at'} {self.op.name.lower()} {self.nth}"


STEPS = [
    Step(Op.WRITE),
    Step(Op.WRITE, 3, done=True),
    Step(Op.FSYNC),
    Step(Op.FSYNC, done=True),
    Step(Op.LINK),
    Step(Op.LINK, done=True),
    Step(Op.RENAME),
    Step(Op.RENAME, done=True, named=True),
    Step(Op.FSYNCDIR, named=True),
    Step(Op.FSYNCDIR, done=True, named=True),
]
# The same where the temporary has a name from the start.
STEPS_BY_NAME = [
    Step(Op.WRITE, 3, done=True),
    Step(Op.FSYNC),
    Step(Op.RENAME),
    Step(Op.RENAME, done=True, named=True),
    Step(Op.FSYNCDIR, named=True),
]
EACH_STEP = pytest.mark.parametrize("step", STEPS, ids=str)
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def kill_and_open(gate: Gate, *, done: bool) -> None:
    """Kill who stands at the gate, and wait for its end."""
    pid = gate.await_reached()
    watch = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    gate.open(done=done)
    await_end(watch)


def await_end(watch: int) -> None:
    """Wait for the end of a process, given its pidfd."""
    try:
        assert select.select([watch], [], [], 30)[0], "it lives on"
    finally:
        os.close(watch)


@EACH_KIND
@EACH_STEP
def test_a_child_that_is_killed(place: Place, kind: str, step: Step) -> None:
    server, name = place.server(), place.new_name()
    gate = place.fs.hold(step.op, nth=step.nth)
    with place.put(kind, name) as client:
        kill_and_open(gate, done=step.done)
        status, said = client.wait(), client.said()
    record = the_only_record(server, name, kind)
    assert (record["result"], record["op"]) == ("crashed", "write")
    assert "killed by signal 9" in record["detail"]
    assert status == GONE, said
    place.assert_holds(name, NEW if step.named else OLD)


@EACH_KIND
def test_a_child_that_is_killed_before_it_answers(place: Place, kind: str) -> None:
    """A client on UDP cannot know, asks again, and is served; on TCP its connection is broken."""
    server, name = place.server(), place.new_name()
    gate = place.fs.hold(Op.TMPFILE)
    with place.put(kind, name) as client:
        kill_and_open(gate, done=False)
        crash = server.await_event("transfer")
        assert (crash["result"], crash["file"]) == ("crashed", "")
        status = client.wait()
    server.records.remove(crash)
    if kind == "udp":
        assert the_only_record(server, name)["result"] == "complete"
    else:
        assert_still_serves(server, kind)
    assert status == (0 if kind == "udp" else GONE)
    place.assert_holds(name, NEW if kind == "udp" else OLD)


@EACH_KIND
@EACH_STEP
def test_a_supervisor_that_is_killed(place: Place, kind: str, step: Step) -> None:
    """Its child hears of it at its next step: it tells the peer, and what has happened where the log goes."""
    server, name = place.server(), place.new_name()
    before = hidden_in(place.folder)  # of children that were killed: the next start takes them away
    gate = place.fs.hold(step.op, nth=step.nth)
    with place.put(kind, name) as client:
        watch = os.pidfd_open(gate.await_reached())
        server.process.kill()
        server.process.wait()
        gate.open(done=step.done)
        await_end(watch)
        status, said = client.wait(), client.said()
    told = list(server.events())
    assert [(each["event"], each.get("result"), each.get("file")) for each in told] == [("transfer", "failed", name)]
    assert status == TOLD, said
    assert "the server is stopping" in said
    place.assert_holds(name, NEW if step.named else OLD)
    assert hidden_in(place.folder) == before
    assert_still_serves(place.server(), kind)
    assert hidden_in(place.folder) == []


@EACH_KIND
@pytest.mark.parametrize(
    "step", [Step(Op.TMPFILE), *(each for each in STEPS if not each.done or each.op is Op.WRITE)], ids=str
)
def test_a_client_that_is_killed(place: Place, kind: str, step: Step) -> None:
    """What is whole when it dies becomes the file, what is not is forgotten."""
    server, name = place.server(), place.new_name()
    gate = place.fs.hold(step.op, nth=step.nth)
    with place.put(kind, name) as client:
        gate.await_reached()
        client.kill()
        gate.open()
        record = the_only_record(server, name, kind)
    whole = step.op not in (Op.TMPFILE, Op.WRITE)
    if kind == "tcp" and step.op is Op.WRITE:
        whole = record["result"] == "complete"  # the kernel still delivers what it has taken from a process that died
    assert record["result"] == ("complete" if whole else "failed"), record
    place.assert_holds(name, NEW if whole else OLD)


@EACH_KIND
def test_a_client_that_is_killed_after_the_first_answer(place: Place, kind: str) -> None:
    server, name = place.server(), place.new_name()
    stdin_fd, never = os.pipe()
    os.write(never, b"x" * 8192)  # it asks when it has a block to send, and the rest never comes
    with place.put(kind, name, "-v", stdin_fd=stdin_fd) as client:
        client.await_word("agreed to")
        client.kill()
        record = the_only_record(server, name, kind)
    os.close(stdin_fd)
    os.close(never)
    assert record["result"] == "failed"
    place.assert_holds(name, OLD)


def upload_to_the_last_answer(place: Place, name: str) -> int:
    """Put a file; the process that stays behind at the server, only in case that its last answer was not heard."""
    gate = place.fs.hold(Op.FSYNC)
    with place.put("udp", name) as client:
        pid = gate.await_reached()
        gate.open()
        assert client.wait() == 0
    return pid


def test_a_child_that_is_killed_after_the_last_answer(place: Place) -> None:
    server, name = place.server(), place.new_name()
    os.kill(upload_to_the_last_answer(place, name), signal.SIGKILL)
    assert "killed by signal 9" in the_only_record(server, name)["detail"]
    place.assert_holds(name, NEW)


def test_a_supervisor_that_is_killed_after_the_last_answer(place: Place) -> None:
    server, name = place.server(), place.new_name()
    watch = os.pidfd_open(upload_to_the_last_answer(place, name))
    server.process.kill()
    await_end(watch)
    assert [(each["result"], each["file"]) for each in server.events()] == [("complete", name)]
    place.assert_holds(name, NEW)


@pytest.mark.parametrize("step", STEPS_BY_NAME, ids=str)
def test_a_child_that_is_killed_on_a_disk_without_unnamed_files(place_of_names: Place, step: Step) -> None:
    """What it had written so far stays under a hidden name, and the next start takes that away."""
    test_a_child_that_is_killed(place_of_names, "udp", step)
    left = [content for name, content in place_of_names.fs.files().items() if name in hidden_in(place_of_names.folder)]
    assert len(left) >= (not step.named)
    assert_swept(place_of_names.folder)
    assert hidden_in(place_of_names.folder) == []


@pytest.mark.parametrize("step", STEPS_BY_NAME, ids=str)
def test_a_supervisor_that_is_killed_on_a_disk_without_unnamed_files(place_of_names: Place, step: Step) -> None:
    test_a_supervisor_that_is_killed(place_of_names, "udp", step)


def test_a_supervisor_that_is_killed_while_a_temporary_is_made(place_of_names: Place) -> None:
    """The child hears of it when the file is there, and before it has looked at it: it takes it away all the same."""
    server, name = place_of_names.server(), place_of_names.new_name()
    before = hidden_in(place_of_names.folder)
    gate = place_of_names.fs.hold(Op.CREATE)
    with place_of_names.put("udp", name) as client:
        watch = os.pidfd_open(gate.await_reached())
        server.process.kill()
        server.process.wait()
        gate.open()
        await_end(watch)
        assert client.wait() == GONE, client.said()
    told = list(server.events())
    assert [each["event"] for each in told] == ["transfer"], told
    assert hidden_in(place_of_names.folder) == before
    place_of_names.assert_holds(name, OLD)
