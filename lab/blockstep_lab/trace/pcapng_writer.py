"""The writer, which stands below the lab because the server and the client write captures too."""

from __future__ import annotations

from blockstep.transport.pcapng_writer import PAYLOAD_LARGEST, PcapngWriter

__all__ = ["PAYLOAD_LARGEST", "PcapngWriter"]
