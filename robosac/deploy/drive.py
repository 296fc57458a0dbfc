"""Run the control loop under an operator's hand, and leave the robot at rest."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from robosac.deploy.session import Session
from robosac.deploy.watch import Watch
from robosac.runner.loop import Loop
from robosac.runner.solo_link import SoloLink
from robosac.runner.uplink_link import UplinkLink

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from robosac.deploy.journey import Journey
    from robosac.env import RobotEnv
    from robosac.flight_log.log import FlightLog
    from robosac.operator import Operator
    from robosac.replay import RowLayout

    FloatArray = NDArray[np.float32]

AnyLink: TypeAlias = SoloLink | UplinkLink


class Mission(NamedTuple):
    """What is to be done, and under which name it is recorded."""

    run: str
    layout: RowLayout
    explore: bool = False
    """Whether the policy tries things, for a learner."""
    steps: int | None = None
    seed: int = 0


def drive(
    env: RobotEnv,
    link: AnyLink,
    operator: Operator,
    journey: Journey,
    *,
    mission: Mission,
    log: FlightLog,
    tell: Callable[[str], None],
) -> None:
    """Play episodes until the operator quits, the steps are made or the learner has enough.

    The robot is closed, at rest, before what it has recorded is waited for, and whatever is raised.
    What there is to tell of it is in the journey.
    """

    def idle() -> None:
        link.poll()
        log.poll()

    def keep(row: FloatArray) -> None:
        step = mission.layout.view(row)
        log.transition(row)
        log.outcome(
            reward=float(step.reward),
            terminated=bool(step.terminated),
            truncated=bool(step.truncated),
        )

    session = Session(env, operator, journey=journey, idle=idle, tell=tell)
    loop = Loop(
        *(session, link, mission.layout),
        run=mission.run,
        seed=mission.seed,
        explore=mission.explore,
        keep=keep,
    )
    if not gc.isenabled():
        gc.collect()
        gc.freeze()  # what was imported since realtime() did so; collections are short again
    with Watch(env, journey, remarks=lambda: _remarks(link, log), tell=tell):
        try:
            loop.play(mission.steps, stopped=lambda: operator.quitting)
        finally:
            session.close()
    if mission.explore and not operator.quitting:
        tell("the robot is at rest; its rows go to the learner; q leaves the rest for the next run")
    link.finish(loop.made)


def _remarks(link: AnyLink, log: FlightLog) -> str:
    """How the learner is, and the log when anything is the matter with it."""
    state = log.state
    return link.link_state if state == "recording" else f"{link.link_state}  LOG: {state}"
