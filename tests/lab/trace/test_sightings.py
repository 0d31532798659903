"""One packet that is captured at several points is one packet; a resend is a resend."""

from __future__ import annotations

from blockstep_lab.trace.ip import Datagram, Endpoint
from blockstep_lab.trace.linklayer import Vantage
from blockstep_lab.trace.sightings import Sightings

OUT: Vantage = (0, 1, True)
IN: Vantage = (0, 1, False)
SECOND_NS = 1_000_000_000


def seen(vantage: Vantage, *, identity: int = 1, time_ns: int = 0, payload: bytes = b"x") -> Datagram:
    return Datagram(1, time_ns, Endpoint("a", 1), Endpoint("b", 2), payload, len(payload), identity, vantage, "")


def test_a_second_sight_from_another_point_is_dropped() -> None:
    sightings = Sightings()
    assert [sightings.is_new(seen(at)) for at in (OUT, IN)] == [True, False]
    assert sightings.repeated == 1


def test_a_resend_is_new_at_the_first_point_that_sees_it() -> None:
    sightings = Sightings()
    assert [sightings.is_new(seen(at)) for at in (OUT, IN, OUT, IN)] == [True, False, True, False]


def test_a_resend_whose_first_copy_got_lost_between_the_points() -> None:
    sightings = Sightings()
    assert [sightings.is_new(seen(at)) for at in (OUT, OUT, IN)] == [True, True, False]


def test_other_packets_and_later_ones_are_new() -> None:
    sightings = Sightings()
    packets = [seen(OUT), seen(IN, identity=2), seen(IN, payload=b"y"), seen(IN, time_ns=3 * SECOND_NS)]
    assert all(sightings.is_new(packet) for packet in packets)


def test_old_packets_are_forgotten() -> None:
    sightings = Sightings()
    for at in range(1000):
        sightings.is_new(seen(OUT, identity=at, time_ns=at * SECOND_NS))
    assert len(vars(sightings)["_sights"]) <= 4
