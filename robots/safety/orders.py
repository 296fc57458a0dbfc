"""What an operator asks for from outside the control loop."""

from __future__ import annotations


class Orders:
    """Flags that any thread or signal handler raises and the control loop takes.

    There is no lock, which a signal handler could not take.  A flag is lowered only where it was
    seen raised, so that no order is lost; one that comes while an equal one is being taken is the
    same order.
    """

    def __init__(self) -> None:
        """Nothing is asked for, and nobody has been seen."""
        self.estop_held = False
        """Whether the emergency stop has not been released since it was last pressed."""
        self.alive_ns: dict[str, int] = {}
        """Robot time of the last sign of life of everybody who attends, ns."""
        self._stop = self._estop = False

    def stop(self) -> None:
        """Ask for a controlled stop."""
        self._stop = True

    def estop(self) -> None:
        """Press the emergency stop; it is not forgotten when it is released before it is taken."""
        self.estop_held = True
        self._estop = True

    def release_estop(self) -> None:
        """Release the emergency stop."""
        self.estop_held = False

    def take_stop(self) -> bool:
        """Whether a stop was asked for since the last call."""
        if not self._stop:
            return False
        self._stop = False
        return True

    def take_estop(self) -> bool:
        """Whether the emergency stop was pressed since the last call."""
        if not self._estop:
            return False
        self._estop = False
        return True

    def gone(self, now_ns: int, patience_s: float, attended: int) -> bool:
        """Whether one of so many has given no sign of life for so long, or none ever."""
        seen_ns = list(self.alive_ns.values())
        late = any(now_ns - one_ns > patience_s * 1e9 for one_ns in seen_ns)
        return late or len(seen_ns) < attended
