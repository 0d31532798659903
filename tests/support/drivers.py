"""The drivers of the lab, under the name by which the tests of the machines know them."""

from __future__ import annotations

from blockstep_lab.drivers import Driver, ReceiveDriver, SendDriver, cut, ring

__all__ = ["Driver", "ReceiveDriver", "SendDriver", "cut", "ring"]
