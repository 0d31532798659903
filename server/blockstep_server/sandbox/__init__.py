"""What a child of the server gives up before it works for a stranger.

`prepare` finds out at start what this system has. A child calls `Sandbox.enter` before the first byte of its peer is
looked at and `Sandbox.confine` when it holds what its transfer needs; from then on it can move that one file, and
nothing else. `Sandbox.measures` says what is in force, for `--print-sandbox` and the log.
"""

from __future__ import annotations

from blockstep_server.sandbox.confinement import CannotConfine, Measure, Sandbox, prepare, without
from blockstep_server.sandbox.mechanisms import Hold, Needs, Plan

__all__ = ["CannotConfine", "Hold", "Measure", "Needs", "Plan", "Sandbox", "prepare", "without"]
