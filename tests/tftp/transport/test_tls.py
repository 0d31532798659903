from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blockstep.protocol.errors import End, LocalError, TransferFailed
from blockstep.transport.channel import Channel
from blockstep.transport.tls import client_context, server_context, wrap_client, wrap_server
from support.streams import Certificates, certificates


@pytest.fixture
def made() -> Certificates:
    return certificates()


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
Outcome = str | TransferFailed


def shake(contexts: Contexts, name: str = "localhost") -> tuple[Outcome, Outcome]:
    """A handshake and five bytes each way: what (client, server) got, or how it failed."""
    near, far = socket.socketpair()
    outcomes: dict[str, Outcome] = {}

    def run(side: str, wrap: Callable[[], ssl.SSLSocket]) -> None:
        try:
            sock = wrap()
        except TransferFailed as failure:
            outcomes[side] = failure
            return
        channel = Channel(sock, idle_s=5)
        with contextlib.closing(channel):
            try:
                channel.send(b"hello")
                space = memoryview(bytearray(5))
                got = channel.receive(space)
                outcomes[side] = f"{sock.version()} {bytes(space[:got]).decode()}"
            except TransferFailed as failure:
                outcomes[side] = failure

    server = threading.Thread(target=run, args=("server", lambda: wrap_server(far, contexts[1], timeout_s=5)))
    server.start()
    run("client", lambda: wrap_client(near, contexts[0], name, timeout_s=5))
    server.join()
    return outcomes["client"], outcomes["server"]


def contexts(made: Certificates, *, trusts: str = "ca", shows: str = "server") -> Contexts:
    client = client_context(cafile=made.certificate(trusts))
    return client, server_context(made.certificate(shows), made.key(shows))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_they_speak_tls_1_3(made: Certificates, name: str) -> None:
    assert shake(contexts(made), name) == ("TLSv1.3 hello", "TLSv1.3 hello")


def test_a_certificate_and_its_key_may_share_a_file(made: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(made.certificate("server").read_bytes() + made.key("server").read_bytes())
    client = client_context(cafile=made.certificate("ca"))
    assert shake((client, server_context(both)))[0] == "TLSv1.3 hello"


@pytest.mark.parametrize(
    ("trusts", "shows", "name", "text"),
    [
        ("ca", "stranger", "localhost", "self-signed certificate"),
        ("stranger", "server", "localhost", "unable to get local issuer"),
        ("ca", "server", "elsewhere.example", "Hostname mismatch"),
        ("ca", "server", "127.0.0.2", "IP address mismatch"),
    ],
)
def test_a_server_that_is_not_trusted_is_refused(
    made: Certificates, trusts: str, shows: str, name: str, text: str
) -> None:
    client, server = shake(contexts(made, trusts=trusts, shows=shows), name)
    assert isinstance(client, TransferFailed)
    assert client.end is End.REFUSED
    assert text in client.detail
    assert isinstance(server, TransferFailed)
    assert server.end is End.PEER_GONE


def test_older_versions_are_not_spoken(made: Certificates) -> None:
    client, server = contexts(made)
    old = ssl.create_default_context(cafile=made.certificate("ca"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    outcomes = shake((old, server))
    assert isinstance(outcomes[1], TransferFailed)
    assert "unsupported protocol" in outcomes[1].detail
    assert client.minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_client_must_show_a_certificate_where_one_is_asked_for(made: Certificates) -> None:
    ca = made.certificate("ca")
    server = server_context(made.certificate("server"), made.key("server"), client_ca=ca)
    known = client_context(cafile=ca, certificate=made.certificate("client"), key=made.key("client"))
    assert shake((known, server)) == ("TLSv1.3 hello", "TLSv1.3 hello")
    stranger = client_context(cafile=ca, certificate=made.certificate("stranger"), key=made.key("stranger"))
    for nobody, whose in ((client_context(cafile=ca), "peer did not return"), (stranger, "self-signed")):
        client, refused = shake((nobody, server))
        assert isinstance(client, TransferFailed)
        assert client.end is End.PEER_GONE
        assert isinstance(refused, TransferFailed)
        assert whose in refused.detail


def test_who_does_not_speak_tls(made: Certificates) -> None:
    client, server = contexts(made)
    near, far = socket.socketpair()
    with near:
        near.sendall(b"\0\0\0\x10\0\1name\0octet\0" * 10)
        with pytest.raises(TransferFailed, match="TLS handshake failed") as caught:
            wrap_server(far, server, timeout_s=5)
    assert caught.value.end is End.PEER_GONE
    near, far = socket.socketpair()
    far.close()
    with pytest.raises(TransferFailed, match="closed during") as caught:
        wrap_client(near, client, "localhost", timeout_s=5)
    assert caught.value.end is End.PEER_GONE


def test_a_handshake_that_stands_still(made: Certificates) -> None:
    near, far = socket.socketpair()
    with near, pytest.raises(TransferFailed, match=r"within 0.05 s") as caught:
        wrap_server(far, contexts(made)[1], timeout_s=0.05)
    assert caught.value.end is End.TIMED_OUT


def test_files_that_cannot_be_used(made: Certificates, tmp_path: Path) -> None:
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_text("not a certificate\n")
    good = made.certificate("server")
    calls: list[Callable[[], object]] = [
        lambda: client_context(cafile=missing),
        lambda: client_context(cafile=nonsense),
        lambda: server_context(nonsense),
        lambda: server_context(missing),
        lambda: server_context(good),
        lambda: server_context(good, made.key("client")),
        lambda: server_context(good, made.key("server"), client_ca=missing),
    ]
    for call in calls:
        with pytest.raises(LocalError, match="certificate or key file cannot be"):
            call()


def test_a_locked_key_is_refused_and_not_asked_for(made: Certificates, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(made.key("server")), "-aes128", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    with pytest.raises(LocalError, match="password"):
        server_context(made.certificate("server"), locked)
