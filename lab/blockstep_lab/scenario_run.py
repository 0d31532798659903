"""Running a scenario: server, clients and link on hosts of their own, and then the verdict.

Decided here: what is judged, and by whom. Resends, blocks, times and violations of the RFCs are read from a capture at
the link, so anybody's client and server can be judged; exit codes and files are looked at afterwards. A run whose
self-checks failed has proved nothing and so has not passed. Not known here: the words of a scenario, and printing.

Our own client runs in a fork of this process, so that a hundred of them start in the time of one interpreter.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any, Protocol

from blockstep.protocol.errors import LocalError
from blockstep.protocol.wire import printable_untrusted
from blockstep_lab.netns.checks import LATE_P99_S, LabChecks
from blockstep_lab.netns.host import Host, Task
from blockstep_lab.netns.lab import Lab
from blockstep_lab.scenario import ClientPlan, Scenario
from blockstep_lab.scenario_capture import SeenTransfer, read_transfers

__all__ = ["ClientResult", "ScenarioResult", "run_scenario"]

_PORT = 69
_CHUNK = 1 << 20
_READY_S = 20.0
_POLL_S = 0.02
_LINES_SAID = 20
_GRACE_S = 0.2
# Of a round trip, what the lab may be late: bounds are in round trips.
_LATE_SHARE = 0.1


@dataclass(slots=True)
class ClientResult:
    """One copy of a client. `seen` is what the capture holds of its transfer, `problems` what was not as expected."""

    plan: ClientPlan
    copy: int
    exit: int
    seen: SeenTransfer | None
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ScenarioResult:
    """A scenario that has run. `server_said` are the last lines of the server's output, as they came."""

    scenario: Scenario
    clients: list[ClientResult]
    violations: list[str]
    problems: list[str]
    checks: LabChecks
    server_said: list[str]

    @property
    def passed(self) -> bool:
        """Everything as expected, and a lab that kept its word."""
        return not self.problems and not any(client.problems for client in self.clients) and self.checks.ok


class _Running(Protocol):
    def finish(self, timeout_s: float) -> int:
        """The exit code."""


def run_scenario(scenario: Scenario, *, capture: Path | None = None) -> ScenarioResult:
    """Runs it to its end. `capture` keeps the capture. LabUnavailable; LocalError if the server does not start."""
    with tempfile.TemporaryDirectory(prefix="blockstep-lab-") as folder:
        place = _Place(Path(folder), scenario)
        seen_at = capture or place.folder / "link.pcapng"
        lab = Lab(
            scenario.up,
            scenario.down,
            seed=scenario.seed,
            rules=scenario.rules,
            mend_checksums=scenario.mend,
            capture=seen_at,
        )
        with lab:
            with _server(lab.right, place):
                exits = _run_clients(lab, place)
            checks = lab.checks()
        late_s = max(LATE_P99_S, scenario.round_trip_s * _LATE_SHARE)
        return _judge(place, exits, read_transfers(seen_at), replace(checks, late_p99_limit_s=late_s))


class _Place:
    """The folders of a run: the server's root and one for each client, with the files that there have to be."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.folder = folder
        self.scenario = scenario
        self.root = folder / "root"
        self.root.mkdir()
        self.root.chmod(0o777)
        folder.chmod(0o755)
        for plan in scenario.clients:
            for copy in range(plan.copies):
                self.of(plan, copy).mkdir()
            if plan.size_bytes is not None:
                home = self.root if plan.op == "get" else self.of(plan, 0)
                _write(home / plan.file, plan.size_bytes)

    @property
    def server_log(self) -> Path:
        """What the server has to say."""
        return self.folder / "server.log"

    def server_said(self) -> list[str]:
        """The last lines of it."""
        return self.server_log.read_text(errors="replace").splitlines()[-_LINES_SAID:]

    def of(self, plan: ClientPlan, copy: int) -> Path:
        """The folder in which a client works."""
        return self.folder / f"{plan.file}.{copy}"

    def ends(self, plan: ClientPlan, copy: int) -> tuple[Path, Path]:
        """Where the file comes from and where it goes."""
        here, there = self.of(plan, copy) / plan.file, self.root / plan.file
        return (there, here) if plan.op == "get" else (here, there)


def _write(path: Path, size_bytes: int) -> None:
    """The same bytes in every run, none like its neighbours: SHAKE-128 of the name and the position."""
    with path.open("wb") as file:
        for offset in range(0, size_bytes, _CHUNK):
            seed = f"{path.name} {offset}".encode()
            file.write(hashlib.shake_128(seed).digest(min(_CHUNK, size_bytes - offset)))
    path.chmod(0o644)


@contextlib.contextmanager
def _server(host: Host, place: _Place) -> Iterator[Popen[Any]]:
    scenario = place.scenario
    words = {"root": str(place.root), "port": str(_PORT), "address": host.address}
    argv = [each.format(**words) for each in scenario.server_command]
    if not argv:
        uploads = ["--upload", "replace"] if any(client.op == "put" for client in scenario.clients) else []
        serve = [sys.executable, "-m", "blockstep", "serve", words["root"], "-b", host.address, "-p", words["port"]]
        argv = [*serve, *uploads, *scenario.server_options]
    with place.server_log.open("wb") as output:
        server = host.popen(argv, stdin=DEVNULL, stdout=output, stderr=output, env=_environment())
    try:
        _wait_until_ready(host, server, place)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(_GRACE_S)  # all clients are done; whoever still stays for lost ACKs has nobody to hear
        except TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(host: Host, server: Popen[Any], place: _Place) -> None:
    """Until the kernel says that somebody has the port: true for every server there is."""
    give_up_at = time.monotonic() + _READY_S
    while not host.call(_is_bound, _PORT):
        if server.poll() is not None or time.monotonic() > give_up_at:
            said = "\n".join(map(printable_untrusted, place.server_said()))
            raise LocalError(f"the server did not start: {said or 'it says nothing'}")
        time.sleep(_POLL_S)


def _is_bound(port: int) -> bool:
    """Whether a UDP socket on this host has the port (proc_net(5))."""
    wanted = f":{port:04X}"
    found = False
    for name in ("udp", "udp6"):
        with contextlib.suppress(FileNotFoundError):
            lines = Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
            found = found or any(line.split()[1].endswith(wanted) for line in lines)
    return found


def _environment() -> dict[str, str]:
    """Ours; and what this interpreter can import, its children can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class _OwnClient:
    """Our client in a fork of this process."""

    def __init__(self, host: Host, argv: list[str], folder: Path) -> None:
        self._task: Task[int] = host.start(_run_own, argv, folder)

    def finish(self, timeout_s: float) -> int:
        try:
            return self._task.result(timeout_s)
        except TimeoutError:
            self._task.kill()
            return -1


class _OtherClient:
    """Anybody's client, a program."""

    def __init__(self, host: Host, argv: list[str], folder: Path) -> None:
        with (folder / "output.log").open("wb") as output:
            self._program = host.popen(argv, cwd=folder, stdin=DEVNULL, stdout=output, stderr=output)

    def finish(self, timeout_s: float) -> int:
        try:
            return self._program.wait(timeout_s)
        except TimeoutExpired:
            self._program.kill()
            self._program.wait()
            return -1


def _run_own(argv: list[str], folder: Path) -> int:
    from blockstep.cli import main

    os.chdir(folder)
    output = os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    return main(argv)


def _run_clients(lab: Lab, place: _Place) -> list[tuple[ClientPlan, int, int]]:
    """Starts all, waits for all; exit codes, -1 for one whose time was over."""
    import blockstep_client.command  # noqa: F401 - every fork would import it again

    started = [
        (plan, copy, _start_client(lab, place, plan, copy))
        for plan in place.scenario.clients
        for copy in range(plan.copies)
    ]
    ends_at = time.monotonic() + place.scenario.time_limit_s
    return [(plan, copy, client.finish(max(ends_at - time.monotonic(), 0.0))) for plan, copy, client in started]


def _start_client(lab: Lab, place: _Place, plan: ClientPlan, copy: int) -> _Running:
    folder, server = place.of(plan, copy), lab.right.address
    if plan.command:
        words = {"file": plan.file, "server": server, "port": str(_PORT)}
        return _OtherClient(lab.left, [each.format(**words) for each in plan.command], folder)
    remote = f"{server}:{_PORT}/{plan.file}"
    names = [remote, "-o", plan.file] if plan.op == "get" else [plan.file, remote]
    return _OwnClient(lab.left, [plan.op, "-q", *plan.options, *names], folder)


def _judge(
    place: _Place, exits: list[tuple[ClientPlan, int, int]], seen: list[SeenTransfer], checks: LabChecks
) -> ScenarioResult:
    scenario = place.scenario
    unclaimed = list(seen)
    clients = []
    for plan, copy, exit_code in exits:
        mine = next((each for each in unclaimed if each.file == plan.file), None)
        if mine is not None:
            unclaimed.remove(mine)
        client = ClientResult(plan, copy, exit_code, mine)
        client.problems = [*_file_problems(place, client), *_wire_problems(client, scenario.round_trip_s)]
        clients.append(client)
    violations = [text for each in seen for text in each.violations]
    problems = _overall_problems(scenario, seen, checks)
    return ScenarioResult(scenario, clients, violations, problems, checks, place.server_said())


def _file_problems(place: _Place, client: ClientResult) -> Iterator[str]:
    expect = client.plan.expect
    if client.exit != expect.exit:
        said = (place.of(client.plan, client.copy) / "output.log").read_text(errors="replace").strip()[-300:]
        timed_out = "it was not done in time" if client.exit == -1 else f"exit code {client.exit}"
        yield f"{timed_out}, {expect.exit} was expected" + (f": {said}" if said else "")
    source, target = place.ends(client.plan, client.copy)
    if expect.exit == 0 and client.exit == 0 and _digest(source) != _digest(target):
        yield "the file that arrived is another"
    if expect.exit != 0 and target.exists():
        yield "there is a file, and there should be none"


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wire_problems(client: ClientResult, round_trip_s: float) -> Iterator[str]:
    expect, seen = client.plan.expect, client.seen
    if seen is None:
        yield "the link has seen no request of it"
        return
    if expect.resends_most is not None and seen.resends > expect.resends_most:
        yield f"{seen.resends} blocks were sent again, {expect.resends_most} may be"
    if expect.blocks is not None and seen.blocks != expect.blocks:
        yield f"{seen.blocks} blocks were seen, {expect.blocks} were expected"
    if expect.round_trips_most is not None and seen.duration_s > expect.round_trips_most * round_trip_s:
        yield f"it took {seen.duration_s / round_trip_s:.1f} round trips, {expect.round_trips_most:g} may be"


def _overall_problems(scenario: Scenario, seen: list[SeenTransfer], checks: LabChecks) -> list[str]:
    problems = [f"the rule never acted: {rule}" for rule, hits in checks.rules if not hits]
    count = sum(len(each.violations) for each in seen)
    if count > scenario.violations_most:
        problems.append(f"{count} violations of the RFCs, {scenario.violations_most} may be")
    answered = sum(each.answers for each in seen)
    if scenario.transfers is not None and answered != scenario.transfers:
        problems.append(f"the server began {answered} transfers, {scenario.transfers} were expected")
    return problems
