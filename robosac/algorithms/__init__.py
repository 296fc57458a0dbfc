"""Learning algorithms: networks, losses, and one update step each."""
