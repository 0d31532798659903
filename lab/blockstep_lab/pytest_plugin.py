"""The pytest plugin: a TFTP server and a bad link as fixtures, for tests of anybody's TFTP client.

    def test_boot(tftpserver, tftp_link):
        tftpserver.expect_read("kernel").respond_with_data(KERNEL)
        link = tftp_link("loss 5% delay 20ms")
        run_the_bootloader(*link.address)

Decided here: the names, that ports are always the system's choice, that a link's seed is the test's own name unless one
is given, and when a test fails: at its end, if an expectation was not met, with what was asked instead. A test that
fails for another reason shows what was asked, too. Nothing is imported until a fixture is used, because every run of
pytest in the environment loads this file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from blockstep_lab.conditions import Conditions
    from blockstep_lab.relay import Relay
    from blockstep_lab.rules import Rule
    from blockstep_lab.testing import TftpServer

__all__ = ["MakeLink", "MakeServer", "make_tftpserver", "tftp_link", "tftpserver", "tftpserver_listen_address"]

MakeServer = Callable[..., "TftpServer"]
MakeLink = Callable[..., "Relay"]

_SERVERS = pytest.StashKey["list[TftpServer]"]()
_LINKS = pytest.StashKey["list[Relay]"]()


@pytest.fixture(scope="session")
def tftpserver_listen_address() -> tuple[str, int]:
    """Where servers listen; override it in a conftest.py. Port 0 is any free one."""
    return "127.0.0.1", 0


@pytest.fixture
def make_tftpserver(request: pytest.FixtureRequest, tftpserver_listen_address: tuple[str, int]) -> Iterator[MakeServer]:
    """Makes servers that end with the test; takes what `TftpServer` takes: limits, single_port, strict, listen."""
    from blockstep_lab.testing import TftpServer

    servers = request.node.stash.setdefault(_SERVERS, [])
    with ExitStack() as stack:

        def make(listen: tuple[str, int] = tftpserver_listen_address, **settings: Any) -> TftpServer:
            server = stack.enter_context(TftpServer(listen, **settings))
            servers.append(server)
            return server

        yield make


@pytest.fixture
def tftpserver(make_tftpserver: MakeServer) -> TftpServer:
    """A server of the test's own."""
    return make_tftpserver()


@pytest.fixture
def tftp_link(request: pytest.FixtureRequest) -> Iterator[MakeLink]:
    """Makes bad links: `tftp_link("loss 5%", rules=["drop DATA 3 once"])` has the `address` that a client is to ask.

    Words of netem for both directions, or the name of a link, `up` and `down` for one direction, `rules`, `seed`, `to`
    another server than `tftpserver`, and `pcap` a file for the packets.
    """
    from blockstep_lab.links import parse_link
    from blockstep_lab.relay import Relay

    links = request.node.stash.setdefault(_LINKS, [])
    with ExitStack() as stack:

        def make(
            words: str = "",
            *,
            up: Conditions | str | None = None,
            down: Conditions | str | None = None,
            rules: Iterable[Rule | str] = (),
            seed: int | str | None = None,
            to: tuple[str, int] | None = None,
            **settings: Any,
        ) -> Relay:
            upstream = to or request.getfixturevalue("tftpserver").address
            both_up, both_down = parse_link(words)
            relay = Relay(
                upstream,
                listen=(upstream[0], 0),
                conditions_up=both_up if up is None else up,
                conditions_down=both_down if down is None else down,
                rules=rules,
                seed=request.node.nodeid if seed is None else seed,
                **settings,
            )
            links.append(stack.enter_context(relay))
            return relay

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After the test's own assertions, those of its servers; and what happened, beside a failure."""
    try:
        result = yield
        for server in item.stash.get(_SERVERS, []):
            __tracebackhide__ = True
            server.check()
    except BaseException:
        _add_stories(item)
        raise
    return result


def _add_stories(item: pytest.Item) -> None:
    for server in item.stash.get(_SERVERS, []):
        item.add_report_section("call", "tftpserver", server.story() or "nothing was asked")
    links = item.stash.get(_LINKS, [])
    if links:
        from blockstep.protocol.errors import LocalError

        for link in links:
            with suppress(LocalError):  # its process is gone, which is then the failure that the test has
                item.add_report_section("call", "tftp_link", link.report().to_table())
