from __future__ import annotations

import json
import os
import subprocess
import sys

HEAD = """
import json, os, signal, time
from dataclasses import replace
from blockstep_server.admission import Claim
from blockstep_server.children import Children, Task
from blockstep_server.report import Result, TransferRecord

BLANK = TransferRecord(peer="peer")
children = Children()
fork = lambda body: children.fork(Task(Claim("source", "asker"), body, BLANK), 0.0)

def wait_for_all():
    buried = []
    while len(children):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        buried += children.reap()
    return [(record.result, record.detail, record.status) for _, record in buried]
"""


WAIT_FOR = """
def wait_for(children):
    buried = []
    while len(children):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        buried += children.reap()
    return buried
"""


def run(script: str) -> object:
    """In a process of its own, which has no other children and no threads."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = HEAD + script
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_record_comes_with_its_child() -> None:
    script = """
fork(lambda telling: replace(BLANK, result=Result.COMPLETE, detail="well", status=0))
print(json.dumps(wait_for_all()))
"""
    assert run(script) == [["complete", "well", 0]]


def test_the_exit_status_is_that_of_the_record() -> None:
    script = """
child = fork(lambda telling: replace(BLANK, status=68))
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
"""
    assert run(script) == 68


def test_who_says_nothing_gets_an_obituary() -> None:
    script = """
fork(lambda telling: os._exit(0))
print(json.dumps(wait_for_all()))
"""
    assert run(script) == [["crashed", "ended with status 0", 1]]


def test_an_obituary_names_what_was_under_way() -> None:
    script = """
def body(telling):
    telling.began(replace(BLANK, op="write", file="name", mode="octet"))
    os.kill(os.getpid(), signal.SIGKILL)

fork(body)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
((_, record),) = children.reap()
print(json.dumps([record.result, record.op, record.file, record.mode, record.status]))
"""
    assert run(script) == ["crashed", "write", "name", "octet", 137]


def test_what_a_supervisor_that_is_gone_cannot_hear_is_told_to_somebody_else() -> None:
    script = """
read_fd, write_fd = os.pipe()
children = Children(orphaned=lambda record: os.write(write_fd, record.detail.encode()))
os.close(children.fileno())  # as the kernel does for a process that has been killed
body = lambda telling: replace(BLANK, detail="alone")
children.fork(Task(Claim("source", "asker"), body, BLANK, keep_fds=(write_fd,)), 0.0)
os.close(write_fd)
print(json.dumps(os.read(read_fd, 100).decode()))
"""
    assert run(script) == "alone"


def test_who_tells_its_end_while_it_is_buried_is_signalled_no_more() -> None:
    script = """
signalled = []
children = Children(lambda child, record: signalled.append((child.ended, child.waits)))
body = lambda telling: telling.ended(replace(BLANK, result=Result.COMPLETE, status=0))
children.fork(Task(Claim("source", "asker"), body, BLANK, is_connection=True), 0.0)
print(json.dumps([[record for _, record in wait_for(children)], signalled]))
"""
    assert run(WAIT_FOR + script) == [[None], [[True, False]]]


def test_a_connection_tells_while_it_lives_and_may_end_without_a_word() -> None:
    script = """
heard = []
children = Children(lambda child, record: heard.append(record.detail))
def body(telling):
    for detail in "abc":
        telling.ended(replace(BLANK, detail=detail, status=68))
    if crash:
        raise ZeroDivisionError("on purpose")
for crash in (False, True):
    children.fork(Task(Claim("source", "asker"), body, BLANK, is_connection=True), 0.0)
    records = [record for _, record in wait_for(children)]
print(json.dumps([heard, records]))
"""
    assert run(WAIT_FOR + script) == [[*"abc", *"abc", "ZeroDivisionError: on purpose"], [None]]


def test_many_records_are_not_mixed_up() -> None:
    script = """
pids = {fork(lambda telling: replace(BLANK, detail=str(os.getpid()))).pid for _ in range(100)}
buried = []
while len(children):
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    buried += children.reap()
print(json.dumps(sorted(c.pid for c, _ in buried) == sorted(pids) and all(str(c.pid) == r.detail for c, r in buried)))
"""
    assert run(script) is True


def test_a_stranger_among_the_dead_is_no_child() -> None:
    script = """
stranger = os.fork()
if stranger == 0:
    os._exit(3)
os.waitid(os.P_PID, stranger, os.WEXITED | os.WNOWAIT)
print(json.dumps([children.reap(), len(children)]))
"""
    assert run(script) == [[], 0]


def test_nobody_to_wait_for_is_no_error() -> None:
    assert run("print(json.dumps(children.reap()))") == []


def test_what_is_no_record_is_dropped() -> None:
    script = """
os.write(children._write_fd, b"nonsense\\n" + replace(BLANK, status=0).to_line(1) + b"half a li")
children.hear()
os.write(children._write_fd, b"ne\\n")
children.hear()
fork(lambda telling: replace(BLANK, result=Result.COMPLETE, status=0))
print(json.dumps(wait_for_all()))
"""
    assert run(script) == [["complete", "", 0]]


def test_a_child_never_returns_into_its_parents_frames() -> None:
    script = """
def body(telling):
    raise SystemExit(0)

fork(body)
print(json.dumps(wait_for_all()))
"""
    assert run(script) == [["crashed", "ended with status 70", 70]]
