"""Yes-or-no decisions, one for each packet: is it lost, duplicated, corrupted, reordered?

Decided here: how the loss models and the correlation of tc-netem turn a stream of random numbers into decisions. Every
decider takes exactly one number per call from each of its streams, whatever came before, so the fate of packet n
depends on the seed and on n alone. Not known here: packets and time.

One departure from netem: its correlated numbers are a running mean, which is narrower than the uniform distribution,
so `loss 5% 25%` loses far less than 5 % there (tc-netem(8) calls it deprecated for its bad behaviour). Here a
correlation of 25 % means that a quarter of the decisions repeat the one before; the share stays what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from blockstep_lab.conditions import Chance, GilbertElliott, Loss, MarkovLoss

__all__ = ["Decider", "Stream", "chance_decider", "loss_decider", "never"]

Decider = Callable[[], bool]
Stream = Callable[[str], Random]


def never() -> bool:
    """The decision of a link without this kind of trouble; it draws nothing."""
    return False


def chance_decider(chance: Chance, stream: Random) -> Decider:
    """Yes for `chance.percent` of the packets, each decision repeating the last with `chance.correlation`."""
    share = chance.percent / 100
    draw = stream.random
    if not chance.correlation:
        return lambda: draw() < share
    repeat = chance.correlation / 100
    yes_below = repeat + (1 - repeat) * share
    last = draw() < share

    def decide() -> bool:
        nonlocal last
        number = draw()
        if number >= repeat:
            last = number < yes_below
        return last

    return decide


def loss_decider(loss: Loss, stream: Stream) -> Decider:
    """The decider of a loss model; `stream(kind)` gives it the random stream of each kind it needs."""
    if isinstance(loss, GilbertElliott):
        return _gilbert_elliott(loss, stream("loss-state"), stream("loss"))
    if isinstance(loss, MarkovLoss):
        return _markov(loss, stream("loss"))
    return chance_decider(loss, stream("loss"))


def _gilbert_elliott(loss: GilbertElliott, states: Random, losses: Random) -> Decider:
    """As netem: a packet meets the loss of the state that it finds, and then the state may change."""
    to_bad, to_good = loss.p / 100, loss.r / 100
    good_loss, bad_loss = loss.good_loss / 100, loss.bad_loss / 100
    draw_state, draw_loss = states.random, losses.random
    bad = False

    def decide() -> bool:
        nonlocal bad
        lost = draw_loss() < (bad_loss if bad else good_loss)
        if draw_state() < (to_good if bad else to_bad):
            bad = not bad
        return lost

    return decide


def _markov(loss: MarkovLoss, stream: Random) -> Decider:
    """As netem: the state changes first, and states 3 and 4 lose the packet."""
    p13, p31, p32, p23, p14 = (value / 100 for value in (loss.p13, loss.p31, loss.p32, loss.p23, loss.p14))
    draw = stream.random
    # For each state the thresholds of one uniform number, in order, and where each leads.
    leave = {
        1: ((p14, 4), (p14 + p13, 3)),
        2: ((p23, 3),),
        3: ((p32, 2), (p32 + p31, 1)),
        4: ((1.0, 1),),
    }
    state = 1

    def decide() -> bool:
        nonlocal state
        number = draw()
        for threshold, target in leave[state]:
            if number < threshold:
                state = target
                break
        return state > 2

    return decide
