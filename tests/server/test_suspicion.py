from __future__ import annotations

import random

from blockstep_server.admission import Claim, Verdict
from blockstep_server.suspicion import Asked, Bounds, Case, Suspicion


class Watched(Suspicion):
    """With a clock that stands still until it is set, and cases that a test proves by hand."""

    def __init__(self, **bounds: float) -> None:
        self.now = 1000.0
        defaults = {"half_open": 100, "half_open_per_client": 5, "burst_per_client": 4, "per_s_per_client": 1.0}
        super().__init__(Bounds(**{**defaults, "burst": 50, "per_s": 10.0, **bounds}), lambda: self.now)  # type: ignore[arg-type]

    def begin(self, source: str, number: int = 0, *, proven: bool = False) -> Case:
        case = self.case(claim(source, number))
        case.started(lambda: proven)
        return case


def claim(source: str, number: int = 0) -> Claim:
    return Claim(source, (source, 1024 + number), b"\0\1file\0octet\0")


def test_one_source_over_its_share_gets_silence_and_the_others_go_on() -> None:
    suspicion = Watched()
    for number in range(5):
        assert suspicion.judge(claim("a", number)) is Verdict.ACCEPTED
        suspicion.begin("a", number)
    assert suspicion.judge(claim("a", 9)) is Verdict.HALF_OPEN
    assert suspicion.judge(claim("b")) is Verdict.ACCEPTED


def test_who_has_answered_is_not_half_open_any_more() -> None:
    suspicion = Watched()
    cases = [suspicion.begin("a", number, proven=number < 4) for number in range(5)]
    assert len(suspicion) == 5
    assert suspicion.judge(claim("a", 9)) is Verdict.ACCEPTED
    assert len(suspicion) == 1
    for case in cases:
        case.ended(proven=case is not cases[4])
    assert len(suspicion) == 0


def test_what_leads_to_nothing_is_paid_for_and_time_pays_it_back() -> None:
    suspicion = Watched()
    for number in range(4):
        suspicion.begin("a", number).ended(proven=False)
    assert suspicion.judge(claim("a")) is Verdict.EXHAUSTED
    assert suspicion.judge(claim("b")) is Verdict.ACCEPTED
    suspicion.now += 1.0
    assert suspicion.judge(claim("a")) is Verdict.ACCEPTED
    suspicion.begin("a").ended(proven=False)
    assert suspicion.judge(claim("a")) is Verdict.EXHAUSTED


def test_a_proof_pays_all_debts() -> None:
    suspicion = Watched()
    good = suspicion.begin("a")
    for number in range(4):
        suspicion.begin("a", number).ended(proven=False)
    good.ended(proven=True)
    assert suspicion.judge(claim("a")) is Verdict.ACCEPTED


def test_among_too_many_a_stranger_asks_twice_and_who_is_known_once() -> None:
    suspicion = Watched(half_open=20, half_open_per_client=1)
    suspicion.begin("known").ended(proven=True)
    for number in range(20):
        suspicion.begin(f"forged-{number}")
    assert suspicion.judge(claim("known")) is Verdict.ACCEPTED
    assert suspicion.judge(claim("stranger")) is Verdict.STRANGER
    assert suspicion.judge(claim("stranger")) is Verdict.STRANGER, "at once is no second time"
    suspicion.now += 1.0
    assert suspicion.judge(claim("other")) is Verdict.STRANGER
    assert suspicion.judge(claim("stranger")) is Verdict.ACCEPTED


def test_a_flood_that_ends_in_errors_makes_strangers_ask_twice_too() -> None:
    suspicion = Watched(burst=30)
    for number in range(30):
        suspicion.begin(f"forged-{number}").ended(proven=False)
    assert suspicion.judge(claim("stranger")) is Verdict.STRANGER
    suspicion.now += 0.2
    assert suspicion.judge(claim("new")) is Verdict.ACCEPTED, "two tokens have come back"


def test_strangers_that_come_too_fast_have_to_ask_twice_whatever_becomes_of_them() -> None:
    suspicion = Watched(burst=30, strangers_per_s=10)
    assert [suspicion.judge(claim(f"first-{number}")) for number in range(30)] == [Verdict.ACCEPTED] * 30
    assert suspicion.judge(claim("client")) is Verdict.STRANGER
    for number in range(100):  # ten times as fast as tokens come
        suspicion.now += 0.01
        assert suspicion.judge(claim(f"forged-{number}")) is Verdict.STRANGER
    assert suspicion.judge(claim("client")) is Verdict.ACCEPTED
    suspicion.now += 1.0
    assert suspicion.judge(claim("after the flood")) is Verdict.ACCEPTED


def test_a_million_forged_sources_take_no_memory() -> None:
    """As many tables as there were sources are not kept: each of them costs a bucket that is full again soon."""
    suspicion = Watched(half_open=10**9, burst=10**9, per_s_per_client=1000.0)
    for number in range(20_000):
        suspicion.now += 0.001
        suspicion.begin(f"forged-{number}").ended(proven=False)
    assert len(suspicion._buckets) <= 4096
    for number in range(10_000):
        suspicion.begin(f"real-{number}").ended(proven=True)
    assert len(suspicion._known) <= 4096


def test_the_second_time_counts_between_a_moment_and_half_a_minute() -> None:
    asked = Asked()
    assert not asked.again(claim("a"), 5.0)
    assert not asked.again(claim("a"), 5.05)
    assert asked.again(claim("a"), 6.0)
    assert asked.again(claim("a"), 34.0)
    assert not asked.again(claim("a"), 100.0)
    assert asked.again(claim("a"), 101.0)


def test_a_flood_in_between_costs_few_their_place() -> None:
    seed = 7
    rng = random.Random(seed)
    asked = Asked()
    honest = [claim(f"honest-{rng.random()}", number) for number in range(200)]
    for each in honest:
        asked.again(each, 1.0)
    for number in range(20_000):
        assert not asked.again(claim(f"forged-{rng.random()}", number), 1.5)
    served = sum(asked.again(each, 2.0) for each in honest)
    assert served > 100, f"seed {seed}: only {served} of 200"


def test_who_asks_in_one_rhythm_with_others_is_found_as_well() -> None:
    """With one place for each of them, about twenty of these would take it from another at every turn.

    Hashes are keyed afresh in each process, so each run tries other crowds: ten, of which none may have a loser.
    """
    for round_number in range(10):
        asked = Asked()
        crowd = [claim(f"client-{round_number}-{number}") for number in range(3000)]
        now = 50.0
        for _ in range(20):
            crowd = [each for each in crowd if not asked.again(each, now)]
            now += 4.0
        assert crowd == []
