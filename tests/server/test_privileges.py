from __future__ import annotations

import os
import subprocess
import sys

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_server.privileges import find_user

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
