"""Who belongs to which transfer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.wire import Opcode
from blockstep_lab.trace.conversations import Conversations
from blockstep_lab.trace.ip import Datagram, Endpoint
from blockstep_lab.trace.transfer import Side
from support.capture_story import Story, ack, data, error, oack, read_request, write_request

OTHER_PORT = ("127.0.0.1", 50001)
OTHER_HOST = ("127.0.0.9", 50000)


def test_a_read_from_a_fresh_port(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 2)
    transfer = story.only_transfer()
    assert transfer.is_read
    assert (transfer.sender, str(transfer.peer)) == (Side.SERVER, "127.0.0.1:50000")
    assert [packet.side.value for packet in transfer.packets] == ["client", "server", "client", "server", "client"]


def test_a_server_with_a_single_port(story: Story) -> None:
    story.tid = story.asked
    story.request(write_request())
    story.server(ack(0))
    story.client(data(1, 5))
    story.server(ack(1))
    transfer = story.only_transfer()
    assert (transfer.sender, transfer.peer) == (Side.CLIENT, transfer.asked)
    assert len(transfer.packets) == 4


@pytest.mark.parametrize("port", [69, 6969, 65535])
def test_a_request_is_known_on_any_port(story: Story, port: int) -> None:
    story.asked = ("127.0.0.1", port)
    story.request(read_request())
    assert story.only_transfer().asked.port == port


def test_a_repeated_request_is_one_transfer(story: Story) -> None:
    for _ in range(3):
        story.request(read_request(), after_s=1)
    story.lock_step(1, 1)
    assert len(story.only_transfer().packets) == 5


def test_the_same_port_asks_again(story: Story) -> None:
    story.request(read_request())
    story.server(data(1, 3))
    story.client(ack(1))
    story.request(read_request())
    story.server(error(1))
    story.request(read_request())
    story.request(read_request("another"))
    assert [len(transfer.packets) for transfer in story.read().transfers] == [3, 2, 1, 1]


def test_sessions_that_the_client_does_not_take_up_are_strays(story: Story) -> None:
    story.request(read_request())
    story.request(read_request(), after_s=1)
    story.server(data(1), tid=OTHER_PORT)
    story.server(data(1))
    story.client(error(5, "unknown TID"), tid=OTHER_PORT)
    story.client(ack(1))
    story.server(data(2, 0))
    transfer = story.only_transfer()
    assert str(transfer.peer) == "127.0.0.1:50000"
    assert [packet.stray for packet in transfer.packets] == [False, False, True, False, True, False, False]


def test_an_answer_from_another_address_is_taken_only_first(story: Story) -> None:
    story.request(read_request())
    story.server(data(1), tid=OTHER_HOST)
    story.client(ack(1), tid=OTHER_HOST)
    capture = story.read()
    assert str(capture.transfers[0].peer) == "127.0.0.9:50000"


def test_other_traffic_to_the_clients_port_is_no_part_of_it(story: Story) -> None:
    story.request(read_request())
    story.lock_step(1, 1)
    story.server(data(2), tid=OTHER_HOST)
    story.server(b"no tftp at all", tid=OTHER_PORT)
    story.client(b"\0\1no request", tid=OTHER_HOST)
    capture = story.read()
    assert capture.others == 3
    assert len(capture.transfers[0].packets) == 3


def test_an_answer_that_the_capture_missed(story: Story) -> None:
    story.request(read_request())
    story.client(ack(1))
    story.server(data(2, 1))
    assert [packet.opcode for packet in story.only_transfer().packets] == [Opcode.RRQ, Opcode.ACK, Opcode.DATA]


def test_a_burst_that_was_captured_before_its_segmentation(story: Story) -> None:
    story.request(read_request(blksize=16, windowsize=4))
    story.server(oack(blksize=16, windowsize=4))
    story.client(ack(0))
    story.server(b"".join(data(index, 16) for index in range(1, 4)) + data(4, 5))
    story.client(ack(4))
    transfer = story.only_transfer()
    assert [(packet.frame, packet.index, packet.length) for packet in transfer.packets if packet.index] == [
        (4, 1, 16), (4, 2, 16), (4, 3, 16), (4, 4, 5), (5, 4, 0),
    ]  # fmt: skip


def test_a_block_that_is_too_long_is_not_taken_for_a_burst(story: Story) -> None:
    story.request(read_request())
    story.server(data(1, 600))
    assert [packet.length for packet in story.only_transfer().packets][1:] == [600]


def test_what_the_link_says_it_lost_is_known(story: Story) -> None:
    story.request(read_request(), lost="loss 5%")
    assert story.only_transfer().packets[0].lost == "loss 5%"


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([69, 50000, 50001]),
            st.binary(max_size=20)
            | st.sampled_from(
                [
                    read_request(),
                    write_request(),
                    oack(blksize=8),
                    ack(0),
                    ack(9),
                    data(1),
                    data(2, 3),
                    error(1),
                    b"",
                    b"\0\1",
                ]
            ),
        )
    )
)
def test_any_datagrams_in_any_order(packets: list[tuple[bool, int, bytes]]) -> None:
    conversations = Conversations()
    client = Endpoint("127.0.0.1", 40000)
    for number, (from_client, port, payload) in enumerate(packets):
        ends = (client, Endpoint("127.0.0.1", port))
        source, destination = ends if from_client else ends[::-1]
        conversations.add(Datagram(number, number, source, destination, payload, len(payload), 0, (0, 0, False), ""))
    transfers = conversations.finish()
    assert sum(len(transfer.packets) for transfer in transfers) + conversations.others == len(packets)
