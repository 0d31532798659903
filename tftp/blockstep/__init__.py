"""blockstep: TFTP for bad networks. The protocol without IO is in `protocol`, sockets and files are in `transport`."""

from __future__ import annotations

__version__ = "0.1.0"
