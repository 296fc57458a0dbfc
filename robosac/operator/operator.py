"""What the one person asks of a robot, from any source, and where it goes."""

from __future__ import annotations

import enum
import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

from robots.safety import State
from robots.safety.states import MOVING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

FRESH_S = 1.0
"""For how long an edge counts; who asks later must ask again."""
_REPEAT_S = 1.0
"""The same words are logged once in this time, as while a key is held."""
_UNDER_WAY = MOVING | {State.DAMP}
"""States in which nothing may be begun."""


class Request(enum.Enum):
    """What whoever waits for the operator is told; what cannot wait goes to the robot at once."""

    GO = "go"
    """Let the robot stand up and move."""
    CLEAR = "clear"
    """Forget the causes of a fault or an emergency stop; starts nothing."""
    QUIT = "quit"
    """End the program, once the robot is at rest."""


class Attended(Protocol):
    """What of a SafeRobot the operator reaches, from any thread."""

    @property
    def state(self) -> State:
        """State of the machine."""
        ...

    def stop(self) -> None:
        """Sit down, then take the torque off."""
        ...

    def estop(self) -> None:
        """Stop at once, whatever the state, and latch."""
        ...

    def release_estop(self) -> None:
        """Let a clear lead out of the emergency stop."""
        ...

    def alive(self, source: str) -> None:
        """Say that one who attends holds on."""
        ...


class Operator:
    """The one person who decides; keys, buttons and messages are sources that speak for it.

    Every method may be called from any thread or signal handler, and none waits but wait().
    stop(), estop(), release() and alive() reach the robot before anything else is done.
    go(), clear() and quit() are edges: they are kept for who waits, for FRESH_S, and taken once.
    One thing is never forgotten: after quit() every take() says so.

    No edge starts a motion later: a go or clear that comes while the robot moves, or that is
    followed by a stop, is dropped.  Who starts a motion calls forget() once it has begun.
    """

    def __init__(self, robot: Attended, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Speak to this robot; the clock counts seconds."""
        self._robot = robot
        self._clock = clock
        self._changed = threading.Condition()  # reentrant, so that signal handlers may come in
        self._edges: dict[Request, float] = {}
        self._quitting = self._stopped = False
        self._said: tuple[str, float] = ("", 0.0)

    def go(self, source: str = "program") -> None:
        """Ask for motion; an edge."""
        self._ask(Request.GO, source)

    def clear(self, source: str = "program") -> None:
        """Ask that the causes of a stop be forgotten; an edge."""
        self._ask(Request.CLEAR, source)

    def quit(self, source: str = "program") -> None:
        """Stop if anything moves, and ask for the end."""
        self._stopped = True
        self._robot.stop()
        self._say(f"quit ({source})")
        with self._changed:
            self._cancel("quit")
            self._quitting = True
            self._changed.notify_all()

    def stop(self, source: str = "program") -> None:
        """Let the robot sit down now; a go that nobody has taken yet is off."""
        self._stopped = True  # before a robot at rest takes the stop, and rises all the same
        self._robot.stop()
        self._say(f"stop ({source})")
        with self._changed:
            self._cancel("stop")

    def estop(self, source: str = "program") -> None:
        """Stop in an emergency; only release() and then clear() lead out of it."""
        self._robot.estop()
        self._say(f"EMERGENCY STOP ({source})", level=logging.WARNING)
        with self._changed:
            self._cancel("emergency stop")

    def release(self, source: str = "program") -> None:
        """Release the emergency stop, which by itself changes nothing."""
        self._robot.release_estop()
        self._say(f"emergency stop released ({source})")

    def alive(self, source: str) -> None:
        """Hold a dead-man; to be repeated every 100 ms for as long as it is held."""
        self._robot.alive(source)

    @property
    def state(self) -> State:
        """State of the robot."""
        return self._robot.state

    @property
    def quitting(self) -> bool:
        """Whether the end was asked for."""
        return self._quitting

    def take(self) -> frozenset[Request]:
        """Return the requests that came in the last FRESH_S, and forget all but a quit."""
        with self._changed:
            self._drop_old()
            if self._stopped:
                self._edges.pop(Request.GO, None)
            taken = frozenset(self._edges)
            self._edges.clear()
        return taken | {Request.QUIT} if self._quitting else taken

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to take; returns whether there is.

        For a robot at rest only: nothing else happens in this thread meanwhile.
        """
        with self._changed:
            self._drop_old()
            return self._changed.wait_for(lambda: bool(self._edges or self._quitting), timeout_s)

    def forget(self) -> None:
        """Say that motion has begun: what was asked for meanwhile does not count any more.

        A stop or quit that came since take(), when the robot was still at rest and had nothing
        to stop, is passed on once more.
        """
        with self._changed:
            if self._stopped or self._quitting:
                self._stopped = False
                self._robot.stop()
            for request in list(self._edges):
                _log.info("operator: %s ignored, the robot moves already", request.value)
            self._edges.clear()

    def _ask(self, request: Request, source: str) -> None:
        """Keep an edge, unless it comes while something is under way."""
        state = self._robot.state
        if state in _UNDER_WAY:
            self._say(f"{request.value} ignored in {state.value} ({source})")
            return
        self._say(f"{request.value} ({source})")
        with self._changed:
            if request is Request.GO:
                self._stopped = False  # it was before
            self._edges[request] = self._clock()
            self._changed.notify_all()

    def _say(self, words: str, *, level: int = logging.INFO) -> None:
        """Log what was asked for; once, if it is asked for again and again."""
        now = self._clock()
        last, since = self._said
        if words != last or now - since >= _REPEAT_S:
            self._said = (words, now)
            _log.log(level, "operator: %s", words)

    def _cancel(self, because: str) -> None:
        """Drop a go that is not taken, and remember that there was a stop after it."""
        self._stopped = True
        if self._edges.pop(Request.GO, None) is not None:
            _log.info("operator: go cancelled by %s", because)

    def _drop_old(self) -> None:
        now = self._clock()
        for request, since in list(self._edges.items()):
            if now - since > FRESH_S:
                self._edges.pop(request, None)  # a signal handler may have been quicker
                _log.info("operator: %s is too old and dropped; ask again", request.value)
