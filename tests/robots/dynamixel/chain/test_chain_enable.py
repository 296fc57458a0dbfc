"""How the torque comes on, and when it does not."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest

from robots.dynamixel.control_table import RAD_PER_COUNT, Register
from robots.dynamixel.protocol import Instruction
from robots.errors import ServoEnableError
from tests.robots.dynamixel.chain.conftest import (
    IDS,
    OFFSETS,
    SIGNS,
    Rig,
    ready,
    replaced,
    rig,
)


def test_enable_holds_every_joint_where_it_is() -> None:
    """The torque comes on, watchdogs armed, and nothing moves."""
    made = rig()
    made.bench.plant.position[:] = (0.4, -0.5, 0.2)
    made.chain.open()
    made.chain.enable()
    assert made.chain.enabled
    assert made.torques() == [1, 1, 1]
    assert [made.get(Register.BUS_WATCHDOG, index) for index in range(3)] == [5, 5, 5]
    assert made.chain.state.position == pytest.approx([0.4, -0.5, 0.2], abs=RAD_PER_COUNT)
    made.tick([0.4, -0.5, 0.2], 10)
    assert made.bench.plant.position == pytest.approx([0.4, -0.5, 0.2], abs=0.01)
    assert made.chain.faults() == []


def test_enable_wants_open_first() -> None:
    """Neither torque nor reading before the checks."""
    made = rig()
    with pytest.raises(ServoEnableError, match="call open"):
        made.chain.enable()
    with pytest.raises(ServoEnableError, match="call open"):
        made.chain.read()
    assert made.torques() == [0, 0, 0]


def test_enable_refuses_a_joint_turned_past_the_seam() -> None:
    """A joint that was turned by more than the encoder's range is named; no torque stays on."""
    made = rig()
    made.chain.open()
    made.bench.plant.position[0] = 3.5
    made.line.sleep(0.01)
    with pytest.raises(ServoEnableError, match=r"servo 11 \(joint0\) is at 43\d\d counts"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]
    assert not made.chain.enabled


def test_enable_names_a_joint_that_rests_beyond_its_servos_limits() -> None:
    """It would refuse to hold there; a count further in, it does."""
    made = rig()
    made.set(Register.MAX_POSITION_LIMIT, 3100, 1)
    made.chain.open()
    at = "servo 12 (joint1) is at 3101 counts; expected 0 to 3100, its position limits: turn"
    made.bench.plant.position[1] = SIGNS[1] * (1053 * RAD_PER_COUNT - OFFSETS[1])
    made.line.sleep(0.01)
    with pytest.raises(ServoEnableError, match=re.escape(at)):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]
    made.bench.plant.position[1] -= SIGNS[1] * RAD_PER_COUNT
    made.line.sleep(0.01)
    made.chain.enable()
    assert made.torques() == [1, 1, 1]


def test_enable_refuses_a_servo_that_cannot() -> None:
    """A servo that shuts down while it is enabled takes all torque with it."""
    made = rig()
    made.chain.open()
    made.set(Register.HARDWARE_ERROR, 0x20, 2)
    with pytest.raises(ServoEnableError, match=r"servo 13: Torque Enable \(64\) is 0; expected 1"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def test_enable_refuses_a_silent_servo() -> None:
    """A servo that has gone since open() keeps all torque off."""
    made = rig()
    made.chain.open()
    made.bench.servos[1].silent = True
    with pytest.raises(ServoEnableError, match="servos 12 do not answer"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def test_enable_refuses_a_servo_that_has_restarted() -> None:
    """A restart since open() means that the block read each tick is not there."""
    made = rig()
    made.chain.open()
    made.bench.servos[1].reboot()
    made.line.sleep(0.6)
    with pytest.raises(ServoEnableError, match=r"joint1 \(servo 12\): has restarted.*call open"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]
    made.chain.open()
    made.chain.enable()
    assert made.torques() == [1, 1, 1]


def test_enable_forgives_one_lost_reply() -> None:
    """A reply that is lost while enabling is asked for again."""
    made = rig("drop@0,instruction=0x82,nth=2", "drop@0,instruction=0x8A,nth=1")
    made.chain.open()
    made.chain.enable()
    assert made.bus.stats.timeouts >= 4
    assert np.isfinite(made.chain.state.position).all()


def test_enable_again_after_a_trip() -> None:
    """A watchdog that has tripped is cleared by enabling again, which is somebody's decision."""
    made = ready()
    made.line.sleep(0.3)
    assert made.chain.read().watchdog.tolist() == [-1, -1, -1]
    assert made.chain.stop() == ()
    made.chain.enable()
    assert made.chain.state.watchdog.tolist() == [5, 5, 5]


def test_enabling_twice_is_enabling_once(caplog: pytest.LogCaptureFixture) -> None:
    """A second enable() sends nothing and is logged."""
    made = ready()
    sent = len(made.line.written)
    made.chain.enable()
    assert len(made.line.written) == sent
    assert "enabled already" in caplog.text
    assert made.torques() == [1, 1, 1]


def test_enable_wants_the_torque_off() -> None:
    """A torque that somebody else has switched on ends off."""
    made = rig()
    made.chain.open()
    made.set(Register.TORQUE_ENABLE, 1)
    with pytest.raises(ServoEnableError, match=r"servo 11: Torque Enable \(64\) is 1; expected 0"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def torque_is_on(made: Rig) -> int:
    """Number of the frame that enable() writes first with the torque on.

    Before it come one read, four writes to each servo, one read, and the torque's sync write.
    """
    return len(made.line.written) + 1 + 4 * len(IDS) + 1 + 1


def interrupt(made: Rig) -> None:
    """What Ctrl-C does, once the torque's frame has passed."""
    made.line.sleep(0.001)
    assert made.torques() == [1, 1, 1]
    raise KeyboardInterrupt


def test_enable_refuses_a_jump_when_the_torque_comes_on() -> None:
    """A position that is another turn's when the torque is on was turned past the seam."""
    made = rig()
    made.chain.open()
    made.bench.plant.position[0] = -1.6
    made.line.sleep(0.01)

    def turn() -> None:
        made.bench.plant.position[0] += 3.2
        made.line.sleep(0.002)

    made.line.before[torque_is_on(made)] = turn
    with pytest.raises(ServoEnableError, match=r"servo 11: position jumped by 20\d\d counts"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def test_enable_refuses_a_watchdog_that_is_not_armed() -> None:
    """Without a watchdog, read back, no torque comes on even for a moment."""
    made = rig()
    made.chain.open()
    sent = len(made.line.written)
    made.line.before[torque_is_on(made) - 2] = partial(made.set, Register.BUS_WATCHDOG, 0, 2)
    with pytest.raises(ServoEnableError, match=r"servo 13: Bus Watchdog \(98\) is 0; expected 5"):
        made.chain.enable()
    assert not any(frame[7] == Instruction.SYNC_WRITE for frame in made.line.written[sent:])


def test_enable_refuses_an_error_that_leaves_the_torque_on() -> None:
    """A hardware error outside the shutdown mask is one, too."""
    made = rig()
    made.chain.open()
    made.set(Register.HARDWARE_ERROR, 0x01, 1)
    with pytest.raises(ServoEnableError, match=r"servo 12: Hardware Error \(70\) is 1; expected 0"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def test_enable_refuses_a_goal_far_away() -> None:
    """A servo that aims at something else when its torque comes on is let go at once."""
    made = rig()
    made.chain.open()
    made.line.before[torque_is_on(made)] = partial(made.set, Register.GOAL_POSITION, 1500, 1)
    with pytest.raises(ServoEnableError, match="servo 12: goal 1500 with torque on; expected"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def test_an_interrupt_leaves_no_torque_on() -> None:
    """Whatever ends enable() early, the torque is off afterwards."""
    made = rig()
    made.chain.open()
    made.line.before[torque_is_on(made)] = partial(interrupt, made)
    with pytest.raises(KeyboardInterrupt):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]
    assert not made.chain.enabled


def test_damping_takes_the_pulse_width_away_and_enabling_gives_it_back() -> None:
    """The limit of each servo is restored and read back before its torque comes on."""
    weak = replaced(pwm_limit=700)
    made = rig(changes=weak)
    made.chain.open()
    assert not made.chain.damp(), "no torque, nothing to brake with"
    made.chain.enable()
    assert made.chain.damp()
    assert made.chain.damped
    assert not made.chain.enabled
    assert [made.get(Register.GOAL_PWM, index) for index in range(3)] == [0, 0, 0]
    assert made.torques() == [1, 1, 1]
    made.chain.enable()
    assert [made.get(Register.GOAL_PWM, index) for index in range(3)] == [700, 885, 885]
    assert made.chain.enabled
    assert not made.chain.damped


def test_a_pulse_width_that_does_not_come_back_is_refused() -> None:
    """Else the joint would not move and nobody would know why."""
    made = ready()
    assert made.chain.damp()
    made.chain.stop()
    made.line.before[torque_is_on(made) - 2] = partial(made.set, Register.GOAL_PWM, 0, 1)
    with pytest.raises(ServoEnableError, match=r"servo 12: Goal Pwm \(100\) is 0; expected 885"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]


def test_damping_twice_asks_back_once() -> None:
    """Every tick sends it again; that costs no waiting."""
    made = ready()
    assert made.chain.damp()
    began = made.line.now_ns()
    assert made.chain.damp()
    assert made.line.now_ns() == began
