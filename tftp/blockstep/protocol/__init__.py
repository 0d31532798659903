"""The protocol without IO: packets, options, and the machines whose unit is a burst."""
