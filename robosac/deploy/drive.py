"""Run the control loop under an operator's hand, and leave the robot at rest."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from robosac.deploy.journey import Journey
from robosac.deploy.session import Session
from robosac.runner.loop import Loop
from robosac.runner.solo_link import SoloLink
from robosac.runner.uplink_link import UplinkLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.env import RobotEnv
    from robosac.operator import Operator
    from robosac.replay import RowLayout

AnyLink: TypeAlias = SoloLink | UplinkLink
_SHOW_S = 1.0


def drive(
    env: RobotEnv,
    link: AnyLink,
    operator: Operator,
    *,
    run: str,
    layout: RowLayout,
    explore: bool,
    steps: int | None,
    seed: int = 0,
    tell: Callable[[str], None],
) -> Journey:
    """Play episodes until the operator quits, `steps` are made or the learner has enough.

    The robot is closed, at rest, before what it has recorded is waited for.  Returns what there is
    to tell of it.
    """
    journey = Journey()
    session = Session(env, operator, journey=journey, idle=link.poll, tell=tell)
    loop = Loop(session, link, layout, run=run, seed=seed, explore=explore)
    with _shown(env, link, journey, tell):
        try:
            loop.play(steps, stopped=lambda: operator.quitting)
        finally:
            env.close()
    link.finish(loop.made)
    return journey


@contextmanager
def _shown(
    env: RobotEnv, link: AnyLink, journey: Journey, tell: Callable[[str], None]
) -> Iterator[None]:
    """Tell every second how the robot does while it moves, off the control thread."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SHOW_S):
            if env.robot.active:
                tell(_status(env, link, journey))

    thread = threading.Thread(target=watch, name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _status(env: RobotEnv, link: AnyLink, journey: Journey) -> str:
    """One line about a robot that moves."""
    speed = "-" if journey.speed_mps is None else f"{journey.speed_mps:.2f} m/s"
    return (
        f"{env.robot.state.value}  {journey.moving_s:5.0f} s  speed {speed}  falls {journey.falls}"
        f"  missed ticks {env.overruns}  {link.link_state}"
    )
