"""A walking robot in real time: `python -m tools.exactly_once.walker CONFIG`, CONFIG being JSON.

The control loop, the environment and the simulator are those of `robosac sim --pace realtime`.
When its standard input ends, it says goodbye, waits until everything is durable, and writes what it
has noted, tick by tick.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import msgspec
import numpy as np

import robots
from robosac.env import RobotEnv
from robosac.policy.describe import describe_robot
from robosac.runner.loop import Loop
from robosac.runner.realtime import realtime
from robosac.runner.uplink_link import UplinkLink
from robosac.tasks.walk import Walk, WalkConfig
from robots import SafetyStopError
from sim.robots import make

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

_ATTEMPTS = 10


class WalkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is started with."""

    name: str
    robot: str
    endpoint: str
    folder: str
    notes: str
    """File to write, .npz."""
    rate_hz: float


class Notes(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes of every tick when it was over, how late it woke up, and what was skipped so far."""

    def __init__(self, env: RobotEnv) -> None:
        """Watch an environment."""
        super().__init__(env)
        self._env = env
        self._wait_until = env.robot.wait_until
        self._late_ns = 0
        self.refusals = 0
        """Times the robot would not stand up, because this machine was too busy to read it."""
        setattr(env.robot, "wait_until", self._timed)  # noqa: B010 -- a method, for this one robot
        self.ticks: list[tuple[float, float, int]] = []
        """Wall clock, s since 1970; lateness, s; periods skipped since the start."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Stand up, at the latest at the tenth attempt."""
        while True:
            try:
                return self._env.reset(seed=seed, options=options)
            except SafetyStopError:
                self.refusals += 1
                if self.refusals == _ATTEMPTS:
                    raise

    def step(self, action: FloatArray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Do one step and note how it went."""
        result = self._env.step(action)
        self.ticks.append((time.time(), self._late_ns / 1e9, self._env.overruns))
        return result

    def _timed(self, deadline: int) -> None:
        self._wait_until(deadline)
        self._late_ns = self._env.robot.now() - deadline


class KeepingLink(UplinkLink):
    """Remembers what it has recorded."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 -- UplinkLink's
        """Start like any link."""
        self.rows: list[FloatArray] = []
        super().__init__(*arguments, **options)

    def record(self, row: FloatArray) -> None:
        """Keep a copy."""
        self.rows.append(row.copy())
        super().record(row)


def main() -> int:
    """Walk until standard input ends."""
    config = msgspec.json.decode(sys.argv[1], type=WalkerConfig)
    asked = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        asked.set()

    threading.Thread(target=listen, daemon=True).start()
    folder, run = robots.find(config.robot), uuid.uuid4().hex
    env = RobotEnv(make(folder, realtime=True), Walk(WalkConfig(control_hz=config.rate_hz)))
    contract = describe_robot(env, model_sha256=folder.model_sha256)
    link = KeepingLink(
        contract,
        endpoint=config.endpoint,
        robot=config.name,
        run=run,
        folder=Path(config.folder),
        paced=False,
        stopped=lambda: False,
    )
    notes = Notes(env)
    loop = Loop(notes, link, contract.row_layout, run=run, seed=0)
    try:
        with realtime() as granted:
            loop.run(None, stopped=asked.is_set)
    finally:
        link.close()
        env.close()
    np.savez(
        config.notes,
        ticks=notes.ticks,
        rows=link.rows,
        run=run,
        refusals=notes.refusals,
        priority=str(granted),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
