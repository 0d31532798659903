"""A TFTP server that does what a test says, right or wrong: a thread for each request, on loopback.

A script is a function that gets a `Conversation` and sends what it likes; the packets are real and so are the sockets.
`serve` is the well-behaved one, made of the project's own machines.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event

from blockstep.protocol.arena import Arena
from blockstep.protocol.errors import TransferFailed
from blockstep.protocol.options import Limits, negotiate
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import Role
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import Opcode, Packet, Request, ack_bytes, parse_request_untrusted, parse_untrusted
from blockstep.transport.files import FileSource, Sink
from blockstep.transport.pump import Pump, run_receiver, run_sender
from blockstep.transport.udp import Endpoint

__all__ = ["Conversation", "Script", "ScriptedServer", "scripted", "serve"]

_STOP = b"stop"
_PATIENCE_S = 10.0


@dataclass(slots=True)
class Conversation:
    """One request, and a socket of its own to answer from."""

    request: Request
    client: tuple[str, int]
    sock: socket.socket
    over: Event
    """Set when the test is about to end: a script that would go on for ever ends then."""

    def send(self, packet: bytes) -> None:
        """Answer, from the port of this conversation."""
        self.sock.sendto(packet, self.client)

    def say(self, *packets: bytes) -> None:
        """Send `packets` one by one, each but the first after the client has said something."""
        self.send(packets[0])
        for packet in packets[1:]:
            self.receive()
            self.send(packet)

    def receive(self) -> Packet:
        """What the client says next; TimeoutError if it says nothing for ten seconds."""
        return parse_untrusted(self.sock.recvfrom(65536)[0])

    def stranger(self, host: str) -> socket.socket:
        """A socket of somebody else at this address."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        return sock


Script = Callable[[Conversation], None]


@dataclass(slots=True)
class ScriptedServer:
    """`port` is where it listens; `requests` is what it was asked so far."""

    port: int
    requests: list[Request] = field(default_factory=list)

    def url(self, path: str) -> str:
        """An address for the client."""
        return f"127.0.0.1:{self.port}/{path}"


@contextmanager
def scripted(*scripts: Script) -> Iterator[ScriptedServer]:
    """A server that plays `scripts`, one for each request; the last one plays again for all that follow."""
    with ExitStack() as until_the_end:
        players = until_the_end.enter_context(ThreadPoolExecutor(max_workers=8))
        stage = _Stage(scripts, until_the_end, players)
        listening = players.submit(stage.listen)
        try:
            yield stage.server
        finally:
            stage.over.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
                caller.sendto(_STOP, ("127.0.0.1", stage.server.port))
            for conversation in listening.result(_PATIENCE_S):
                conversation.result(_PATIENCE_S)


class _Stage:
    """Where scripts are played. A closed port would be an answer too, so every socket stays open until the end."""

    def __init__(self, scripts: tuple[Script, ...], until_the_end: ExitStack, players: ThreadPoolExecutor) -> None:
        self._scripts = scripts
        self._until_the_end = until_the_end
        self._players = players
        self.over = Event()
        self._listener = self._new_socket()
        self.server = ScriptedServer(self._listener.getsockname()[1])

    def listen(self) -> list[Future[None]]:
        """Play until told to stop."""
        conversations: list[Future[None]] = []
        while True:
            datagram, client = self._listener.recvfrom(2048)
            if datagram == _STOP:
                return conversations
            request = parse_request_untrusted(datagram)
            script = self._scripts[min(len(self.server.requests), len(self._scripts) - 1)]
            self.server.requests.append(request)
            sock = self._new_socket()
            sock.settimeout(_PATIENCE_S)
            conversations.append(self._players.submit(script, Conversation(request, client, sock, self.over)))

    def _new_socket(self) -> socket.socket:
        sock = self._until_the_end.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind(("127.0.0.1", 0))
        return sock


def serve(open_source: Callable[[str], FileSource], open_sink: Callable[[str], Sink]) -> Script:
    """The script of a server that does it right; names are handed to the two functions as they came."""

    def script(conversation: Conversation) -> None:
        conversation.sock.connect(conversation.client)
        endpoint = Endpoint(conversation.sock)
        with suppress(TransferFailed):  # the client may stop it, and says why itself
            if conversation.request.opcode is Opcode.RRQ:
                _send(endpoint, conversation.request, open_source(conversation.request.filename))
            else:
                _receive(endpoint, conversation.request, open_sink(conversation.request.filename))

    return script


def _send(endpoint: Endpoint, request: Request, source: FileSource) -> None:
    agreed, oack = negotiate(request, Limits(), source.size_bytes)
    opening = oack.to_bytes() if oack else None
    arena = Arena(2 * agreed.windowsize, agreed.blksize)
    sender = Sender(Role.SERVE_READ, agreed, ResendTimer(), arena=arena, now=time.monotonic(), opening=opening)
    try:
        run_sender(Pump(endpoint, sender), sender, source)
    finally:
        source.close()


def _receive(endpoint: Endpoint, request: Request, sink: Sink) -> None:
    agreed, oack = negotiate(request, Limits(), None)
    opening = oack.to_bytes() if oack else ack_bytes(0)
    receiver = _BriefReceiver(Role.SERVE_WRITE, agreed, ResendTimer(), now=time.monotonic(), opening=opening)
    run_receiver(Pump(endpoint, receiver), receiver, sink)


class _BriefReceiver(Receiver):
    """Dallies no longer than a test on loopback needs: more than a second after every upload adds up."""

    def _dally_s(self) -> float:
        return 0.05
