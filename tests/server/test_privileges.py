from __future__ import annotations

import os
import subprocess
import sys

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_server import privileges
from blockstep_server.privileges import find_user, wanted

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
# all that the scripts need: afterwards the interpreter's own files may be out of reach
HEAD = """
import encodings.idna, os, socket
from blockstep.protocol.errors import LocalError
from blockstep_server.privileges import become, find_user
"""


def run(script: str) -> str:
    """In a process of its own: there is no way back."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", HEAD + script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_user_who_does_not_exist_is_an_error_of_the_caller() -> None:
    with pytest.raises(LocalError, match="no such user"):
        find_user("no-such-user-here")


def test_an_ordinary_user_stays_who_he_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert wanted(None) is None


def test_root_becomes_nobody_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert wanted(None) == find_user("nobody")
    root = wanted("root")
    assert root is not None
    assert root.uid == 0


def test_root_without_anybody_to_become_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "_UNPRIVILEGED", "no-such-user-here")
    with pytest.raises(LocalError, match="--user root"):
        wanted(None)


@AS_ROOT
@pytest.mark.parametrize("keep", [True, False])
def test_what_is_left_is_said_and_no_program_can_have_more(keep: bool) -> None:
    script = f"""
print(become(find_user("nobody"), keep_low_ports={keep}))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(*(int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")))
"""
    left = 1 << 10 if keep else 0
    said, masks = run(script).splitlines()
    assert said.startswith("user nobody (")
    assert said.endswith("net_bind_service (single port below 1024)" if keep else "none")
    assert masks == f"0 {left} {left} {left} 0"


@AS_ROOT
def test_who_stays_root_keeps_the_right_to_files_alone() -> None:
    script = """
print(become(find_user("root")))
for attempt in (lambda: open("/etc/shadow").close(), lambda: os.setuid(1), os.getuid):
    try: attempt(); print("done")
    except PermissionError: print("refused")
"""
    said, *outcomes = run(script).splitlines()
    assert said.endswith("dac_override (--user root), dac_read_search (--user root)")
    assert outcomes == ["done", "refused", "done"]


@AS_ROOT
def test_everything_of_root_is_gone() -> None:
    script = """
become(find_user("nobody"))
print(os.getresuid(), os.getgroups() == [os.getgid()], open("/proc/self/status").read().split("CapPrm:")[1].split()[0])
for attempt in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: open("/etc/shadow")):
    try: attempt()
    except PermissionError: print("refused")
"""
    uid = find_user("nobody").uid
    assert run(script).splitlines() == [f"({uid}, {uid}, {uid}) True {0:016x}", *["refused"] * 3]


@AS_ROOT
@pytest.mark.parametrize(("keep", "outcome"), [(True, "bound"), (False, "refused")])
def test_a_low_port_can_be_bound_only_where_that_was_kept(keep: bool, outcome: str) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as setting:
        if int(setting.read()) <= 1:
            pytest.skip("this system has no reserved ports")
    script = f"""
become(find_user("nobody"), keep_low_ports={keep})
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: sock.bind(("127.0.0.7", 1))
except PermissionError: print("refused")
else: print("bound")
print(open("/proc/self/status").read().split("CapPrm:")[1].split()[0])
"""
    assert run(script).splitlines() == [outcome, f"{1 << 10 if keep else 0:016x}"]


@AS_ROOT
def test_an_ordinary_user_cannot_become_another() -> None:
    script = """
become(find_user("nobody"))
try: become(find_user("daemon"))
except LocalError as error: print(error)
"""
    assert "only root may become another user" in run(script)


@AS_ROOT
def test_a_bind_that_is_not_permitted_names_the_ways_out() -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as setting:
        if int(setting.read()) <= 1:
            pytest.skip("this system has no reserved ports")
    script = """
from blockstep_server.listen import CannotBind, open_udp
from blockstep_server.values import Bind
become(find_user("nobody"))
try: open_udp(Bind("127.0.0.7", 1), 69)
except CannotBind as error: print(error)
"""
    said = run(script)
    for way_out in ("sudo", "setcap cap_net_bind_service", "ip_unprivileged_port_start=1", "-p 6969"):
        assert way_out in said


def test_a_root_without_others_to_become_says_what_to_do() -> None:
    """In a user namespace that has nobody but root, as containers without privileges have it."""
    script = """
for user in ("nobody", "root"):
    try: print(become(find_user(user)))
    except LocalError as error: print(error)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", HEAD + script]
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare (util-linux)")
    if "unshare: " in done.stderr:
        pytest.skip("this system lets nobody make user namespaces")
    assert done.returncode == 0, done.stderr
    refused, stayed = done.stdout.splitlines()
    assert refused.startswith("--user nobody: this root may not become another user")
    assert "--user root" in refused
    assert stayed.startswith("user root (0)")
