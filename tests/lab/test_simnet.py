from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import LocalError
from blockstep.protocol.wire import ack_bytes
from blockstep_lab.conditions import Conditions
from blockstep_lab.impairment import Impairment
from blockstep_lab.simnet import Send, SimAddress, SimNet, SimulationEndless

SERVER: SimAddress = ("server", 69)
TIMEOUT_S = 1.0


class Silent:
    """Keeps what arrives."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.seen: list[tuple[float, bytes, SimAddress]] = []

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        self.seen.append((now, data, source))

    def handle_deadline(self, now: float) -> None:
        raise AssertionError("no deadline was set")

    def next_deadline(self) -> float | None:
        return None


class LockStepSender(Silent):
    """Sends numbered DATA, each until its ACK comes; the smallest thing that needs timers."""

    def __init__(self, send: Send, peer: SimAddress, blocks: int) -> None:
        super().__init__(send)
        self.peer, self.blocks, self.block = peer, blocks, 1
        self.resends = 0
        self.deadline: float | None = 0.0

    @property
    def done(self) -> bool:
        return self.block > self.blocks

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        if data == ack_bytes(self.block & 0xFFFF):
            self.block += 1
            self._send_block(now)

    def handle_deadline(self, now: float) -> None:
        self.resends += now > 0
        self._send_block(now)

    def next_deadline(self) -> float | None:
        return self.deadline

    def _send_block(self, now: float) -> None:
        self.deadline = None if self.done else now + TIMEOUT_S
        if not self.done:
            self.send(b"\0\3" + (self.block & 0xFFFF).to_bytes(2, "big") + bytes(512), self.peer)


class LockStepReceiver(Silent):
    """Acknowledges whatever comes."""

    def handle_datagram(self, data: bytes, source: SimAddress, now: float) -> None:
        super().handle_datagram(data, source, now)
        self.send(ack_bytes(data[2] << 8 | data[3]), source)


def transfer(net: SimNet, blocks: int) -> tuple[LockStepSender, LockStepReceiver]:
    receiver = net.attach(SERVER, LockStepReceiver)
    return net.attach(("client", 0), lambda send: LockStepSender(send, SERVER, blocks)), receiver


def test_hosts_without_a_link_reach_each_other_at_once() -> None:
    net = SimNet(1)
    sender, receiver = transfer(net, 5)
    assert net.run(until=lambda: sender.done)
    assert net.now == 0.0
    assert [data[3] for _, data, _ in receiver.seen] == [1, 2, 3, 4, 5]
    assert net.address_of(sender) == ("client", 49152)


def test_lock_step_takes_one_round_trip_for_each_block() -> None:
    net = SimNet(1)
    net.link("client", "server", up="delay 150ms", down="delay 150ms")
    sender, _ = transfer(net, 2000)
    assert net.run(until=lambda: sender.done)
    assert net.now == pytest.approx(2000 * 0.3)
    assert sender.resends == 0


def test_a_lossy_link_costs_timeouts_of_virtual_time_only() -> None:
    net = SimNet(7)
    link = net.link("client", "server", up="loss 20%", down="loss 20%")
    sender, receiver = transfer(net, 300)
    assert net.run(until=lambda: sender.done), f"seed {net.seed}"
    assert sender.resends == link.up.counters.lost + link.down.counters.lost
    assert net.now == pytest.approx(sender.resends * TIMEOUT_S)
    assert len(receiver.seen) == link.up.counters.delivered


@given(st.integers(0, 2**32))
def test_one_seed_is_one_run(seed: int) -> None:
    def run() -> tuple[list[object], str]:
        net = SimNet(seed)
        words = "loss 20% duplicate 10% corrupt 5% delay 20ms 15ms"
        net.link("client", "server", up=words, down=words, rules=["drop DATA 3 once"])
        sender, _ = transfer(net, 20)
        assert net.run(until=lambda: sender.done), f"seed {seed}"
        return list(net.trace), net.format_trace()

    assert run() == run()


def test_one_seed_one_fate_in_the_simulation_and_in_the_model() -> None:
    words = "loss gemodel 2% 20% 90% 1% duplicate 2% corrupt 2%"
    net = SimNet(99)
    net.link("client", "server", up=words)
    server, client = net.attach(SERVER, Silent), net.attach(("client", 0), Silent)
    model = Impairment(Conditions.parse(words), 99, "up")
    expected = []
    for number in range(20_000):
        packet = number.to_bytes(4, "big") * 8
        client.send(packet, SERVER)
        expected += [copy for _, copy in model.admit(packet, 0.0)]
    assert not net.run()
    assert [data for _, data, _ in server.seen] == expected


def test_a_link_is_shared_by_its_hosts_and_a_second_has_fates_of_its_own() -> None:
    net = SimNet(3)
    shared = net.link(["a", "b"], ["server"], up="loss 50%")
    other = net.link("c", "server", up="loss 50%")
    server = net.attach(SERVER, Silent)
    clients = [net.attach((host, 0), Silent) for host in "abc"]
    for _ in range(100):
        for client in clients:
            client.send(b"x", SERVER)
    net.run()
    assert shared.up.counters.packets == 200
    assert other.up.counters.packets == 100
    assert len(server.seen) == shared.up.counters.delivered + other.up.counters.delivered
    lone = Impairment(Conditions.parse("loss 50%"), 3, "up")
    first_hundred = sum(bool(lone.admit(b"x", 0)) for _ in range(100))
    assert other.up.counters.delivered != first_hundred


def test_rules_hold_for_each_address_on_the_left() -> None:
    net = SimNet(1)
    link = net.link(["a", "b"], "server", rules=["drop DATA 1 once"])
    net.attach(SERVER, LockStepReceiver)
    senders = [net.attach((host, 0), lambda send: LockStepSender(send, SERVER, 3)) for host in "ab"]
    assert net.run(until=lambda: all(sender.done for sender in senders))
    assert [sender.resends for sender in senders] == [1, 1]
    assert link.book.report() == [("drop DATA 1 once", 2)]


def test_the_trace_tells_every_decision() -> None:
    net = SimNet(1)
    net.link("client", "server", up="delay 20ms", rules=["drop ACK 1 first"])
    sender, _ = transfer(net, 1)
    assert net.run(until=lambda: sender.done)
    lines = [line.split(maxsplit=1) for line in net.format_trace().splitlines()]
    assert [float(now) for now, _ in lines] == [0, 0, 0.02, 0.02, 1, 1, 1.02, 1.02, 1.02]
    assert [text for _, text in lines] == [
        "client:49152 deadline",
        "client:49152 > server:69 sent at 0.020000: DATA 1 (512)",
        "client:49152 > server:69 arrived: DATA 1 (512)",
        "server:69 > client:49152 lost: ACK 1",
        "client:49152 deadline",
        "client:49152 > server:69 sent at 1.020000: DATA 1 (512)",
        "client:49152 > server:69 arrived: DATA 1 (512)",
        "server:69 > client:49152 sent at 1.020000: ACK 1",
        "server:69 > client:49152 arrived: ACK 1",
    ]


def test_the_trace_is_bounded() -> None:
    net = SimNet(1, trace_limit=10)
    sender, _ = transfer(net, 100)
    net.run(until=lambda: sender.done)
    assert len(net.trace) == 10


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"max_events": 50}, "no end after 50 events"), ({"max_virtual_s": 50}, "no end after 50 virtual seconds")],
)
def test_a_run_without_end_is_a_clear_error_with_the_seed(limits: dict[str, int], message: str) -> None:
    net = SimNet(4711, **limits)  # type: ignore[arg-type]
    net.link("client", "server", up="loss 100%")
    sender, _ = transfer(net, 1)
    with pytest.raises(SimulationEndless) as caught:
        net.run(until=lambda: sender.done)
    assert "seed 4711" in str(caught.value)
    assert message in str(caught.value)
    assert "client:49152 > server:69 lost: DATA 1 (512)" in str(caught.value)


def test_a_quiet_network_says_that_nothing_is_left_to_happen() -> None:
    net = SimNet(1)
    net.attach(SERVER, Silent)
    assert not net.run(until=lambda: False)
    assert not net.run()


def test_a_datagram_to_nobody_is_gone() -> None:
    net = SimNet(1)
    client = net.attach(("client", 5000), Silent)
    client.send(b"\0\4\0\1", SERVER)
    net.run()
    assert [entry.what for entry in net.trace] == ["sent", "nobody"]


def test_a_detached_node_hears_nothing_more_and_its_deadline_is_forgotten() -> None:
    net = SimNet(1)
    net.link("client", "server", up="loss 100%")
    sender, _ = transfer(net, 1)
    net.run(until=lambda: sender.resends == 3)
    net.detach(sender)
    assert not net.run()
    with pytest.raises(LocalError, match="not attached"):
        net.address_of(sender)


def test_an_address_is_taken_once() -> None:
    net = SimNet(1)
    net.attach(SERVER, Silent)
    with pytest.raises(LocalError, match="server:69 is taken"):
        net.attach(SERVER, Silent)


def test_a_deadline_in_the_past_is_now() -> None:
    net = SimNet(1)
    net.link("client", "server", up="delay 1s")
    sender, _ = transfer(net, 2)
    net.run(until=lambda: net.now >= 1.0)
    sender.deadline = 0.5
    net.run(until=lambda: sender.resends > 0)
    assert net.now == 1.0
