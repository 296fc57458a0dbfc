"""What keeps a robot safe: guards, the state machine, and the wrapper that applies them."""

from robots.safety.guards import Guard
from robots.safety.states import Event, State
from robots.safety.wrapper import SafeRobot

__all__ = ["Event", "Guard", "SafeRobot", "State"]
