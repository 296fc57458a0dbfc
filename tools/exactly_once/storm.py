"""What happens to the processes and to the network, when, and in which order."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

    from tools.exactly_once.crew import Crew
    from tools.exactly_once.network import Network
    from tools.exactly_once.worker import Worker

_STRUCK = {"learner": 2, "runner": 3, "uplink": 5}
"""How often each role is struck, in proportion: a learner takes longest to come back."""
_TOGETHER = 0.2
"""Share of a runner's kills that take its uplinks along, in the same moment."""
_RESTARTS = ("restart", "learner"), ("restart", "runner"), ("finish", "runner")
_LINK_FAULTS = (
    "stall 2",
    "stall 7",
    "half-open up 3",
    "half-open down 3",
    "cut reset",
    "cut close",
    "partition 2",
    "partition 10",
)
_EARLY = 4
"""One blow in so many may hit a learner that is still starting."""
_WAIT_S = 0.02
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Blow:
    """One thing that happens."""

    after_s: float
    """Time since the blow before."""
    what: str
    """kill, stop, restart, finish (say goodbye first), pull, or a command of the fault proxy."""
    role: str
    """learner, runner, uplink, robot (a runner and its uplinks); link, or cable."""
    victim: int
    """Which of those there are at the time, counted round and round."""
    seconds: float = 0.0
    """How long a process is stopped or a cable pulled."""


def draw(
    rng: random.Random, *, kills: int, faults: bool = False, cables: bool = False
) -> Iterator[Blow]:
    """Draw blows until there have been so many kills; half of all blows are kills.

    `faults` are those of proxies; `cables` are pulled, where there are any.
    """
    kinds = ["kill"] * 10 + ["stop"] * 5 + ["restart"] * 2
    kinds += ["link"] * 6 * faults + ["pull"] * 2 * cables
    roles, weights = list(_STRUCK), list(_STRUCK.values())
    while kills:
        after, what, victim = rng.uniform(0.0, 1.2), rng.choice(kinds), rng.randrange(10**6)
        (role,) = rng.choices(roles, weights)
        if what == "kill":
            kills -= 1
            together = role == "runner" and rng.random() < _TOGETHER
            yield Blow(after, what, "robot" if together else role, victim)
        elif what == "stop":
            yield Blow(after, what, role, victim, seconds=0.1 * 80 ** rng.random())
        elif what == "pull":
            yield Blow(after, what, "cable", victim, seconds=rng.uniform(0.5, 10))
        elif what == "restart":
            yield Blow(after, *rng.choice(_RESTARTS), victim)
        else:
            yield Blow(after, rng.choice(_LINK_FAULTS), "link", victim)


class Storm:
    """Deals the blows, and has everybody who has ended started again."""

    def __init__(self, crew: Crew, network: Network) -> None:
        """Prepare to deal blows to a crew that has been started."""
        self.strange: list[str] = []
        """What should not have happened."""
        self.dealt: Counter[str] = Counter()
        """How often each kind of blow was dealt, such as "kill uplink"."""
        self._crew, self._network = crew, network
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._events = (crew.folder / "events.jsonl").open("ab")
        self._started = time.monotonic()

    def begin(self) -> None:
        """Wait until the first rows of every runner have been recorded."""
        self._wait(self._crew.streaming, "rows of every runner")

    def play(self, blows: Iterable[Blow]) -> None:
        """Deal every blow in its time; a blow at nobody waits until there is somebody.

        What is strange ends it: there is no point in going on.
        """
        for blow in blows:
            self._pass(blow.after_s)
            if not self._wait(partial(self._deal, blow), f"{blow.role} to strike"):
                return

    def end(self) -> None:
        """Wake who is stopped, and see to it that everybody is at work again."""
        self._wake(float("inf"))
        self._wait(self._crew.all_at_work, "crew at work")
        self._events.close()

    def _wait(self, condition: Callable[[], bool], what: str) -> bool:
        """Let time go by until something holds; False when it is not going to."""
        deadline = time.monotonic() + _PATIENCE_S
        while not (self.strange or condition()):
            self._pass(_WAIT_S)
            if time.monotonic() > deadline:
                self.strange.append(f"no {what} for {_PATIENCE_S:g} s")
        return not self.strange

    def _pass(self, seconds: float) -> None:
        """Let time go by; wake and start processes meanwhile."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            self._wake(now)
            strange = self._crew.tend()
            for one in strange:
                self._log("strange", text=one)
            self.strange += strange
            time.sleep(min(_WAIT_S, deadline - now))

    def _deal(self, blow: Blow) -> bool:
        if blow.role == "link":
            proxies = self._network.proxies
            proxies[blow.victim % len(proxies)].order(blow.what)
            self._note(blow, f"of robot-{blow.victim % len(proxies)}")
            return True
        if blow.role == "cable":
            index = blow.victim % len(self._crew.runners)
            self._network.pull(index)
            self._after(blow.seconds, partial(self._network.plug_in, index))
            self._note(blow, f"of robot-{index}")
            return True
        pids = self._pids(blow)
        if not pids:
            return False
        pid = sorted(pids)[blow.victim % len(pids)]
        self._note(blow, pids[pid])
        self._strike(blow, pid)
        return True

    def _pids(self, blow: Blow) -> dict[int, str]:
        """Who may be struck; most blows wait until a learner that has just started is at work."""
        crew = self._crew
        if blow.role == "uplink":
            return crew.uplinks()
        if blow.role == "learner":
            early = blow.victim % _EARLY == 0
            return {crew.learner.pid: "learner"} if early or crew.at_work() else {}
        return {runner.pid: runner.name for runner in crew.runners}

    def _strike(self, blow: Blow, pid: int) -> None:
        workers = {one.pid: one for one in (self._crew.learner, *self._crew.runners)}
        worker = workers.get(pid)
        if blow.what == "stop":
            _send(pid, signal.SIGSTOP)
            self._after(blow.seconds, partial(_send, pid, signal.SIGCONT))
        elif blow.what == "restart":
            assert worker is not None
            worker.ask_to_leave()
        elif blow.what == "finish":
            assert worker is not None
            worker.ask_to_finish()
        elif worker is not None:
            if blow.role == "robot":
                self._kill_uplinks(worker)
            worker.kill()
        else:
            _send(pid, signal.SIGKILL)

    def _kill_uplinks(self, runner: Worker) -> None:
        """Kill the uplinks of a runner that does nothing meanwhile."""
        _send(runner.pid, signal.SIGSTOP)
        for pid, robot in self._crew.uplinks().items():
            if robot == runner.name:
                _send(pid, signal.SIGKILL)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def _wake(self, now: float) -> None:
        """Do what is due by now."""
        due = [one for one in self._later if one[0] <= now]
        self._later = [one for one in self._later if one[0] > now]
        for _, action in due:
            action()

    def _note(self, blow: Blow, whom: str) -> None:
        self.dealt[f"{blow.what} {blow.role}"] += 1
        self._log(f"{blow.what} {blow.role}", whom=whom, seconds=round(blow.seconds, 2))

    def _log(self, event: str, **more: object) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self._events.write(msgspec.json.encode({"s": seconds, "event": event, **more}) + b"\n")
        self._events.flush()


def _send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
