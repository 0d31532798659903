"""What share of packets a loss model loses in the long run, and how far a finite run may be from it.

Decided here: the interval, a normal approximation to the binomial whose variance is widened by what neighbours have in
common; for a chain in which the outcome of the next packet resembles this one's by `r`, by (1 + r) / (1 - r). Not known
here: how packets were lost.
"""

from __future__ import annotations

from math import sqrt

from blockstep_lab.conditions import GilbertElliott, Loss, RandomLoss

__all__ = ["loss_interval"]

# Standard errors; 2.576 hold 99 % of all runs.
NINETY_NINE_PERCENT = 2.576


def loss_interval(loss: Loss | None, packets: int, errors: float = NINETY_NINE_PERCENT) -> tuple[float, float] | None:
    """The shares (0 to 1) between which the loss of this many packets lies; None where theory is not at hand.

    At least one packet and a half on each side, so that a rare loss in a short run is no surprise.
    """
    if not packets:
        return None
    known = _share_and_likeness(loss)
    if known is None:
        return None
    share, likeness = known
    if share in (0.0, 1.0):
        return share, share
    widened = (1 + likeness) / max(1 - likeness, 1e-9)
    reach = errors * sqrt(share * (1 - share) * widened / packets) + 1.5 / packets
    return max(share - reach, 0.0), min(share + reach, 1.0)


def _share_and_likeness(loss: Loss | None) -> tuple[float, float] | None:
    if loss is None:
        return 0.0, 0.0
    if isinstance(loss, RandomLoss):
        return loss.percent / 100, loss.correlation / 100
    if isinstance(loss, GilbertElliott) and loss.p + loss.r > 0:
        bad = loss.p / (loss.p + loss.r)
        share = (bad * loss.bad_loss + (1 - bad) * loss.good_loss) / 100
        return share, max(0.0, 1 - (loss.p + loss.r) / 100)
    return None
