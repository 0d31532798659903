"""A TFTP server for tests of clients: what the pytest plugin's fixtures are made of, usable without pytest.

    with TftpServer() as server:
        server.expect_read("kernel").respond_with_data(b"...")
        run_the_client(server.address)
        server.check()

`nodes` runs the protocol's machines on real sockets in one thread, `expectations` says what was to be asked and what
was asked instead, `server` joins the two.
"""

from __future__ import annotations

from blockstep_lab.testing.expectations import Expectation, TftpRequest
from blockstep_lab.testing.server import TftpServer

__all__ = ["Expectation", "TftpRequest", "TftpServer"]
