from __future__ import annotations

import os
import platform
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from blockstep_server.kernel import FILE_CAPABILITIES
from blockstep_server.privileges import find_user
from support.ownership import STAY, hand_over
from support.supervised import Supervised

SERVE = "import sys; from blockstep_server.command import serve; sys.exit(serve.main(standalone_mode=False))"


def serving(*arguments: str, bind: str = "127.0.0.1:0", **environ: str) -> Supervised:
    """`blockstep serve` as a process, its log in JSON."""
    argv = [sys.executable, "-W", "error", "-c", SERVE, "--log-format", "json", "-b", bind, *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    return Supervised(argv, env=env)


def fetch(server: Supervised, name: str) -> bytes:
    """A client of twenty lines, without options."""
    found = b""
    with server.ask(b"\0\1" + name.encode() + b"\0octet\0") as sock:
        while True:
            packet, address = sock.recvfrom(1000)
            if packet[:2] == b"\0\5":
                raise FileNotFoundError(packet[4:-1].decode())
            assert packet[:2] == b"\0\3"
            if int.from_bytes(packet[2:4], "big") == len(found) // 512 + 1:
                found += packet[4:]
            sock.sendto(b"\0\4" + packet[2:4], address)
            if len(packet) < 516:
                return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    folder.joinpath("file").write_bytes(bytes(range(256)) * 10)
    hand_over(folder)
    return folder


@pytest.mark.parametrize("flags", [[], ["--single-port"]], ids=["fresh port", "single port"])
def test_a_file_travels_and_the_log_tells_of_it(root: Path, flags: list[str]) -> None:
    with serving(str(root), *flags) as server:
        assert server.ready["policy"] == "read-only"
        assert server.ready["root"] == str(root)
        assert fetch(server, "file") == root.joinpath("file").read_bytes()
        record = server.await_event("transfer")
        assert (record["op"], record["file"], record["payload_bytes"]) == ("read", "file", 2560)
        with pytest.raises(FileNotFoundError, match="file not found"):
            fetch(server, "none")
        assert server.await_event("transfer")["result"] == "refused"
        assert server.stop() == 0


def test_one_off_has_the_status_of_its_transfer(root: Path) -> None:
    with serving(str(root), "-1") as server:
        with pytest.raises(FileNotFoundError):
            fetch(server, "none")
        assert server.process.wait(30) == 68


def test_without_a_fork_it_is_one_process(root: Path) -> None:
    with serving(str(root), "-d") as server:
        assert fetch(server, "file") == root.joinpath("file").read_bytes()
        assert server.process.wait(30) == 0
        assert server.await_event("transfer")["result"] == "complete"


def test_ipv6(root: Path) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no ::1")
    with serving(str(root), bind="[::1]:0") as server:
        host, _, port = server.ready["addresses"][0].split()[0].rpartition(":")
        assert host == "[::1]"
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.sendto(b"\0\1file\0octet\0", ("::1", int(port)))
            packet, address = sock.recvfrom(1000)
            assert packet[:4] == b"\0\3\0\1"
            sock.sendto(b"\0\5\0\0\0", address)
        assert server.await_event("transfer")["result"] == "failed"
        assert server.stop() == 0


def test_the_process_id_is_written_and_removed(root: Path, tmp_path: Path) -> None:
    pidfile = tmp_path / "run" / "pid"
    pidfile.parent.mkdir()
    hand_over(pidfile.parent)
    with serving(str(root), "--pidfile", str(pidfile)) as server:
        assert int(pidfile.read_text()) == server.pid
        assert server.stop() == 0
    assert not pidfile.exists()


def test_unfinished_uploads_of_a_dead_server_are_swept(root: Path) -> None:
    left = root / ".blockstep-0123456789abcdef.part"
    left.write_bytes(b"half")
    with serving(str(root), "-W") as server:
        assert not left.exists()
        assert server.stop() == 0


def test_a_service_manager_hears_of_it(root: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        with serving(str(root), *STAY, NOTIFY_SOCKET=str(tmp_path / "notify")) as server:
            assert manager.recv(100) == b"READY=1"
            assert server.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_a_socket_that_was_passed_on_is_used(root: Path) -> None:
    """As systemd does it: descriptor 3, and LISTEN_PID is the process itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as passed:
        passed.bind(("127.0.0.1", 0))
        passing = f"import os; os.dup2({passed.fileno()}, 3); os.environ.update(LISTEN_PID=str(os.getpid())); "
        argv = [sys.executable, "-c", passing + SERVE, "--log-format", "json", "-p", "0", str(root)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LISTEN_FDS": "1"}
        with Supervised(argv, env=env, pass_fds=[passed.fileno()]) as server:
            assert server.address == passed.getsockname()
            assert fetch(server, "file") == root.joinpath("file").read_bytes()
            assert server.stop() == 0


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@AS_ROOT
@pytest.mark.parametrize("words", [[], ["--user", "nobody"]], ids=["by default", "when told"])
def test_root_becomes_an_ordinary_user(root: Path, words: list[str]) -> None:
    with serving(str(root), *words) as server:
        status = status_of(server.pid)
        assert set(status["Uid"].split()) == {str(find_user("nobody").uid)}
        assert "0" not in status["Gid"].split() + status["Groups"].split()
        assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
        assert status["NoNewPrivs"] == "1"
        assert fetch(server, "file") == root.joinpath("file").read_bytes()
        assert server.stop() == 0


@AS_ROOT
def test_root_stays_root_only_when_told_and_keeps_its_right_to_files_alone(root: Path) -> None:
    root.joinpath("file").chmod(0o600)
    with serving(str(root), "--user", "root") as server:
        status = status_of(server.pid)
        assert set(status["Uid"].split()) == {"0"}
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == FILE_CAPABILITIES
        assert fetch(server, "file") == root.joinpath("file").read_bytes()
        assert server.stop() == 0


def test_a_transfer_is_confined(root: Path) -> None:
    """Seen from outside, while it waits for us."""
    with serving(str(root)) as server:
        with server.ask(b"\0\1file\0octet\0") as sock:
            packet, address = sock.recvfrom(1000)
            assert packet[:4] == b"\0\3\0\1"
            (child,) = server.children()
            status = status_of(child)
            assert int(status["CapEff"], 16) == 0
            if platform.machine() in ("x86_64", "aarch64"):
                assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
            limits = Path(f"/proc/{child}/limits").read_text()
            assert re.search(r"Max processes +0 +0 ", limits)
            assert re.search(r"Max core file size +0 +0 ", limits)
            sock.sendto(b"\0\5\0\0\0", address)
        assert server.await_event("transfer")["result"] == "failed"
        assert server.stop() == 0


def test_without_the_sandbox_it_says_so(root: Path) -> None:
    argv = [sys.executable, "-c", SERVE, "-b", "127.0.0.1:0", "--no-sandbox", str(root)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.stderr.readline()
        process.terminate()
    assert said == "blockstep: transfers are not confined by limits, capabilities, landlock, seccomp: --no-sandbox\n"


def test_what_is_in_force_can_be_asked(root: Path) -> None:
    argv = [sys.executable, "-W", "error", "-c", SERVE, "--print-sandbox", str(root)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    identity, *measures = done.stdout.splitlines()
    assert identity.startswith("user nobody (" if os.geteuid() == 0 else "user ")
    assert identity.endswith("capabilities of the server: none")
    names = ["no_new_privs", "priority", "limits", "capabilities", "landlock", "seccomp"]
    assert [line.split()[0] for line in measures] == names
    assert {line.split()[1] for line in measures} <= {"on", "OFF"}
    assert done.stderr == ""


def test_a_stop_tells_the_peer(root: Path) -> None:
    with serving(str(root), "--drain-timeout", "0") as server:
        with server.ask(b"\0\1file\0octet\0") as sock:
            packet, address = sock.recvfrom(1000)
            sock.sendto(b"\0\4\0\1", address)
            while sock.recvfrom(1000)[0][:4] != b"\0\3\0\2":
                pass
            server.process.send_signal(signal.SIGTERM)
            while (packet := sock.recvfrom(1000)[0])[:2] != b"\0\5":
                assert packet[:2] == b"\0\3"
            assert b"stopping" in packet
        assert server.process.wait(30) == 143


def test_the_ready_line_for_people(root: Path) -> None:
    argv = [sys.executable, "-c", SERVE, "-b", "127.0.0.1:0", "--upload", "replace", str(root)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        ready, paste = process.stderr.readline().rstrip(), process.stderr.readline().rstrip()
        process.terminate()
    address = ready.split(" on ")[1].split(" (udp)")[0]
    assert ready == f"blockstep: serving {root} on {address} (udp), uploads may create and replace files"
    assert paste == f"try: blockstep get tftp://{address}/NAME"
