"""Training of the network, on one or several processes."""
