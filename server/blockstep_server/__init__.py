"""The forking server: one supervisor that parses nothing from the network, one child for each transfer."""
