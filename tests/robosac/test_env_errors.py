"""What ends an episode that the policy did not end: drivers that fail, guards, lateness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.env import RobotEnv
from robots import Guard, RobotState, SafetyStopError, State
from robots.errors import BusError, HardwareFaultError, PortLostError
from tests.robosac.test_env import MS, PERIOD_NS, ZERO, Cart, act, walk

if TYPE_CHECKING:
    from robots import JointCommand

LOST = PortLostError("/dev/ttyUSB0", "unplugged")


class Frail(Cart):
    """A cart whose driver raises what the test says, where it says."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: dict[str, Exception] = {}

    def read(self) -> RobotState:
        self._try("read")
        return super().read()

    def write(self, command: JointCommand) -> JointCommand:
        self._try("write")
        return super().write(command)

    def wait_until(self, deadline_ns: int) -> None:
        self._try("wait")
        super().wait_until(deadline_ns)

    def _try(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]


@pytest.fixture
def frail() -> Frail:
    """Nothing fails yet."""
    return Frail()


@pytest.fixture
def env(frail: Frail) -> RobotEnv:
    """A walk that has begun, two steps into it."""
    env = RobotEnv(frail, walk())
    env.reset()
    env.step(act(0.1, 0))
    env.step(act(0.2, 0))
    return env


@pytest.mark.parametrize("where", ["read", "write", "wait"])
@pytest.mark.parametrize(
    ("error", "guard"),
    [
        (LOST, Guard.LINK_LOST),
        (HardwareFaultError("servo 3: overload"), Guard.HARDWARE_ERROR),
        (BusError("no answer"), Guard.DRIVER_ERROR),
    ],
)
def test_an_error_of_the_driver_cuts_the_episode_short(
    env: RobotEnv, frail: Frail, where: str, error: Exception, guard: Guard
) -> None:
    """Truncated, without blame, with its guard; the observation before it stands in."""
    before = env.robot.read()
    frail.fails = {where: error}
    obs, reward, terminated, truncated, info = env.step(act(0.3, 0))
    assert (terminated, truncated) == (False, True)
    assert env.observation_space.contains(obs)
    assert np.isfinite(reward)
    assert guard in env.robot.causes
    assert info["guards"] & guard
    assert info["forward_mps"] == 0.0
    assert np.isfinite(list(info["rewards"].values())).all()
    assert before.is_finite()
    assert not env.robot.active


def test_what_was_executed_is_told_when_only_the_reading_fails(env: RobotEnv, frail: Frail) -> None:
    """The command had gone out by then; one that had not is not told as executed."""
    frail.fails = {"read": LOST}
    *_, info = env.step(act(0.3, 0))
    np.testing.assert_allclose(info["executed"], [0.3, 0], atol=1e-6)


def test_a_command_that_never_went_out_was_not_executed(env: RobotEnv, frail: Frail) -> None:
    """What the joints were told before holds on."""
    frail.fails = {"write": LOST}
    *_, info = env.step(act(0.3, 0))
    np.testing.assert_allclose(info["executed"], [0.2, 0], atol=1e-6)


def test_an_error_that_nobody_has_latched_is_raised(
    env: RobotEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot that still takes commands has not stopped for it."""

    def refuse() -> None:
        raise SafetyStopError("active", "a test")

    monkeypatch.setattr(env.robot, "base_motion", refuse)
    with pytest.raises(SafetyStopError, match="a test"):
        env.step(ZERO)
    assert env.robot.active


def test_after_an_error_only_an_operator_leads_on(env: RobotEnv, frail: Frail) -> None:
    """The cable being back is not enough."""
    frail.fails = {"read": LOST}
    env.step(ZERO)
    frail.fails = {}
    with pytest.raises(SafetyStopError, match=r"fault because of .*/dev/ttyUSB0 is gone"):
        env.reset()
    env.robot.clear()
    env.reset()
    assert env.robot.state is State.ACTIVE


@pytest.mark.parametrize(
    ("guard", "blamed"),
    [
        (Guard.TILT, True),
        (Guard.COMMAND_NOT_FINITE, True),
        (Guard.COMMAND_SHAPE, True),
        *((guard, False) for guard in (Guard.OPERATOR_STOP, Guard.ESTOP, Guard.OPERATOR_GONE)),
        *((guard, False) for guard in (Guard.TEMPERATURE, Guard.VOLTAGE, Guard.OVERRUN)),
        *((guard, False) for guard in (Guard.STALE_STATE, Guard.STUCK, Guard.ENCODER_JUMP)),
    ],
)
def test_the_policy_is_blamed_for_what_it_has_brought_about(
    env: RobotEnv, monkeypatch: pytest.MonkeyPatch, guard: Guard, *, blamed: bool
) -> None:
    """A fall has no value behind it; a stop by anybody else would have had."""
    monkeypatch.setattr(type(env.robot), "active", property(lambda _: False))
    monkeypatch.setattr(type(env.robot), "causes", property(lambda _: (guard, Guard.TILT)))
    *_, terminated, truncated, _ = env.step(ZERO)
    assert (terminated, truncated) == (blamed, not blamed)


def test_every_tick_tells_how_late_it_began(
    env: RobotEnv, frail: Frail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a tick, 0 when on time; how late it is counts from when it was due."""
    told: list[float] = []
    monkeypatch.setattr(env.robot, "tick_late", told.append)
    env.step(ZERO)
    frail.takes_ns["write"] = PERIOD_NS + 7 * MS
    env.step(ZERO)
    frail.takes_ns["write"] = 0
    env.step(ZERO)
    assert told == pytest.approx([0.0, 0.007, 0.0])


def test_a_tick_that_wakes_late_tells_so(
    env: RobotEnv, frail: Frail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its work was done in time; the machine slept on, and the joints heard nothing meanwhile."""
    told: list[float] = []
    monkeypatch.setattr(env.robot, "tick_late", told.append)
    wait_until = frail.wait_until
    monkeypatch.setattr(frail, "wait_until", lambda due_ns: wait_until(due_ns + 14 * MS))
    env.step(ZERO)
    env.step(ZERO)
    assert told == pytest.approx([0.014, 0.014])


def test_a_loop_that_wakes_late_again_and_again_stops_the_robot(
    env: RobotEnv, frail: Frail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would never be seen in the time that the work takes."""
    wait_until = frail.wait_until
    monkeypatch.setattr(frail, "wait_until", lambda due_ns: wait_until(due_ns + 14 * MS))
    for _ in range(3):
        env.step(ZERO)
    assert env.robot.causes[0] is Guard.OVERRUN


def test_a_loop_that_is_late_by_far_stops_the_robot(env: RobotEnv, frail: Frail) -> None:
    """And the episode ends without blame."""
    frail.takes_ns["write"] = 4 * PERIOD_NS
    ended = [env.step(ZERO)[2:4] for _ in range(2)]
    assert (False, True) in ended
    assert env.robot.causes[0] is Guard.OVERRUN
