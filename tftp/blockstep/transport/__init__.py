"""The only code that touches sockets and files for a transfer."""
