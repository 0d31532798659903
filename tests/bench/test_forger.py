from __future__ import annotations

import ipaddress
import os
import socket
import struct
from itertools import islice
from multiprocessing import Pipe
from threading import Thread

from forger import Flood, Suffered, _packets, forge

SERVER, VICTIMS = ipaddress.ip_address("10.255.0.1"), ipaddress.ip_network("172.16.0.0/12")
FLOOD = Flood(
    server=(int(SERVER), 69),
    victims=(int(VICTIMS.network_address), VICTIMS.num_addresses),
    words=(b"\0\1file\0octet\0", b"\0\2a longer name\0octet\0"),
    per_s=1000,
    seed=7,
)


def test_every_packet_is_whole_and_from_an_address_of_its_own() -> None:
    packets = list(islice(_packets(FLOOD), 1000))
    for number, packet in enumerate(packets):
        words = FLOOD.words[number % 2]
        assert sum(struct.unpack(">10H", packet[:20])) % 0xFFFF == 0, "the checksum of the header"
        assert packet[28:] == words
        assert struct.unpack(">H", packet[2:4]) == (len(packet),)
        assert struct.unpack(">HHH", packet[22:28]) == (69, 8 + len(words), 0)
        assert ipaddress.ip_address(packet[16:20]) == SERVER
        assert ipaddress.ip_address(packet[12:16]) in VICTIMS
        assert struct.unpack(">H", packet[20:22])[0] >= 1024
    assert len({packet[12:16] + packet[20:22] for packet in packets}) == 1000


def test_what_comes_back_is_counted_by_its_victim() -> None:
    ours, theirs = _pair()
    orders, hears = Pipe()
    flooding = Thread(target=forge, args=(theirs, FLOOD, hears))
    flooding.start()
    forged = os.read(ours, 4096)
    answer = bytearray(forged[:20] + forged[22:24] + forged[20:22] + forged[24:])
    answer[12:16], answer[16:20] = forged[16:20], forged[12:16]
    for _ in range(3):
        os.write(ours, answer)
    orders.send("enough")
    orders.send("that was all")
    suffered = orders.recv()
    flooding.join()
    os.close(ours)
    os.close(theirs)
    assert isinstance(suffered, Suffered)
    assert suffered.sent + suffered.not_taken > 0
    assert list(suffered.datagrams.values()) == [3]
    assert list(suffered.octets.values()) == [3 * len(FLOOD.words[0])]


def _pair() -> tuple[int, int]:
    """Two ends that keep packets apart and do not block, as a TUN device is."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.setblocking(False)
    return one.detach(), other.detach()
