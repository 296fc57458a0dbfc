"""A real robot under an operator's hand: checks before, the session, and what is left of it."""
