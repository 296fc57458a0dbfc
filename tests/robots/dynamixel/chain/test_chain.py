"""The chain at work: units, goals, faults that are seen, and stopping."""

from __future__ import annotations

import gc
import math
import sys
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots.dynamixel.bus import Bus
from robots.dynamixel.chain import Chain
from robots.dynamixel.control_table import RAD_PER_COUNT, Register
from robots.dynamixel.fast_read import SHORTEST_PAUSE
from robots.dynamixel.port import Port
from robots.dynamixel.protocol import Instruction
from robots.errors import PortLostError
from sim.emulator import virtual_port
from sim.emulator.motion import SimpleJoints
from sim.emulator.terminal import Terminal
from tests.robots.dynamixel.chain.conftest import (
    IDS,
    LIMITS,
    OFFSETS,
    SIGNS,
    TICK_S,
    bus_spec,
    ready,
    replaced,
    rig,
    twelve,
)

if TYPE_CHECKING:
    from types import FrameType


def test_signs_offsets_and_units() -> None:
    """Position and velocity are those of the joints, however the servos are mounted."""
    made = ready()
    plant = made.bench.plant
    made.tick([0.3, -0.4, 0.1], 50)
    state = made.chain.state
    assert plant.position == pytest.approx([0.3, -0.4, 0.1], abs=0.03)
    assert state.position == pytest.approx(plant.position, abs=2 * RAD_PER_COUNT)
    made.chain.write([0.8, 0.2, -0.3])
    made.line.sleep(0.06)
    made.chain.read()
    assert np.abs(plant.velocity).min() > 0.5
    assert state.velocity == pytest.approx(plant.velocity, rel=0.2)
    assert np.sign(state.velocity).tolist() == [1.0, 1.0, -1.0]


def test_effort_has_the_sign_of_the_joint() -> None:
    """A load is seen as torque in the direction in which the servo pushes."""
    made = ready()
    assert isinstance(made.bench.plant, SimpleJoints)
    made.bench.plant.load[:] = (0.4, 0.4, -0.4)
    made.tick([0.0, 0.0, 0.0], 50)
    assert made.chain.state.effort == pytest.approx([0.4, 0.4, -0.4], rel=0.5)


def test_write_clips_and_returns_what_was_sent() -> None:
    """Goals stay within the joints' limits, and the answer is in whole counts."""
    made = ready()
    applied = made.chain.write([9.0, -9.0, 0.123])
    assert applied == pytest.approx([1.0, -1.2, 0.123], abs=RAD_PER_COUNT)
    assert applied[0] <= 1.0
    assert applied[1] >= -1.2
    made.line.sleep(0.001)
    goals = [made.get(Register.GOAL_POSITION, index) for index in range(3)]
    expected = [
        2048 + sign * (value - offset) / RAD_PER_COUNT
        for value, sign, offset in zip(applied.tolist(), SIGNS, OFFSETS, strict=True)
    ]
    assert goals == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("goals", [(math.nan, 0, 0), (0, math.inf, 0), (0, 0), (0, 0, 0, 0)])
def test_write_refuses_what_is_no_goal(goals: tuple[float, ...]) -> None:
    """What is not finite is refused, never clipped, and nothing is sent."""
    made = ready()
    sent = len(made.line.written)
    with pytest.raises(ValueError, match="expected 3 finite positions"):
        made.chain.write(goals)
    assert len(made.line.written) == sent


def test_fast_read_is_used_when_all_know_it() -> None:
    """One old servo, and the plain read is used from the beginning (B14)."""
    made = ready()
    made.tick([0.0, 0.0, 0.0])
    assert made.bus.stats.fallbacks == 0
    assert any(frame[7] == Instruction.FAST_SYNC_READ for frame in made.line.written)
    made = rig(changes=replaced(firmware=44))
    made.chain.open()
    made.chain.enable()
    made.tick([0.0, 0.0, 0.0])
    assert not any(frame[7] == Instruction.FAST_SYNC_READ for frame in made.line.written)
    assert made.chain.faults() == []


def test_fast_reads_come_back_after_an_outage() -> None:
    """Two fast reads that get lost, as on a busy machine, cost the fast ones for a while only."""
    made = ready("drop@1.5,instruction=0x8A,for=0.06")
    goals = [0.1, 0.1, 0.1]
    while made.line.now_ns() < 1.6e9:
        made.tick(goals)
    assert made.bus.stats.fallbacks == 1
    made.line.written.clear()
    made.tick(goals, 2 * SHORTEST_PAUSE)
    instructions = [frame[7] for frame in made.line.written]
    assert instructions.count(Instruction.FAST_SYNC_READ) >= SHORTEST_PAUSE - 5
    assert made.bus.stats.fallbacks == made.bus.stats.trials == 1
    assert made.chain.state.age_s(made.line.now_ns()).max() < TICK_S
    assert made.chain.state.position == pytest.approx(goals, abs=0.02)


def test_rehearsing_changes_nothing() -> None:
    """What is repeated to be quick is what is known already, and nothing is sent for it."""
    made = rig()
    made.chain.open()
    made.bus.rehearse()  # with nothing read quickly yet, or something: both must do
    made.chain.enable()
    made.tick([0.3, -0.4, 0.1], 20)
    state = made.chain.state
    before = {name: value.copy() for name, value in vars(state).items()}
    sent = len(made.line.written)
    made.line.sleep(TICK_S)
    for _ in range(3):
        made.bus.rehearse()
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(state, name), value, err_msg=name)
    assert len(made.line.written) == sent
    made.tick([0.3, -0.4, 0.1])
    assert state.position == pytest.approx([0.3, -0.4, 0.1], abs=0.02)


def test_a_complaint_passes() -> None:
    """An alert is seen when it comes, and gone when it goes; the values stay fresh throughout."""
    made = ready()
    for bits in (0x20, 0):
        made.set(Register.HARDWARE_ERROR, bits, 1)
        made.tick([0.0, 0.0, 0.0])
        assert made.chain.state.alert.tolist() == [False, bits != 0, False]
        assert made.chain.state.hardware_error.tolist() == [0, bits, 0]
        assert made.chain.state.age_s(made.line.now_ns()).max() < TICK_S


def test_a_lost_reply_keeps_the_sample_with_its_age() -> None:
    """A servo that says nothing keeps its values and grows old; the others stay fresh."""
    made = ready("silence@1.5,id=12,for=0.06")
    made.tick([0.0, 0.0, 0.0], 5)
    made.line.sleep(max(0.0, 1.49 - made.line.now_ns() * 1e-9))
    made.chain.read()
    stamps = []
    for _ in range(8):
        made.tick([0.0, 0.0, 0.0])
        stamps.append(made.chain.state.age_s(made.line.now_ns()).tolist())
    assert max(ages[1] for ages in stamps) > 0.04
    assert stamps[-1][1] < 0.02
    assert np.isfinite(made.chain.state.position).all()
    assert made.bus.stats.timeouts >= 3


def test_a_neighbour_who_poses_as_the_last_is_not_believed() -> None:
    """When somebody is missing, answers are not believed before the time is up (B6)."""
    made = rig("wrong-id@3,id=12,instruction=0x82", changes=replaced(firmware=44))
    made.chain.open()
    made.chain.enable()
    made.line.sleep(3.0 - made.line.now_ns() * 1e-9)
    began = made.line.now_ns()
    fresh = made.chain.read().stamp_ns >= began
    assert fresh.tolist() == [True, False, False]
    assert made.bus.stats.conflicts == 1


def test_deadlines_know_the_return_delay() -> None:
    """Servos that take their time are waited for as long as they may take, and no longer."""
    made = rig(changes=replaced(return_delay=250))
    for delay_s, answers in ((500e-6, 1), (0.0, 0)):
        bus = Bus(made.line, usb_latency_s=0.0, margin_s=0.0)
        bus.return_delay_s = delay_s
        found = bus.sync_read(Register.ID.address, 1, (11,))
        assert [status is not None for status in found] == [answers]
        made.line.sleep(0.01)


def test_temperature_and_voltage_come_in_turns() -> None:
    """Within a second every servo has told both, one servo in a tick."""
    made = ready()
    made.tick([0.0, 0.0, 0.0], 60)
    assert made.chain.state.voltage == pytest.approx([12.0] * 3, abs=0.5)
    assert made.chain.state.temperature == pytest.approx([25.0] * 3, abs=15)


def test_a_restart_is_seen_at_once() -> None:
    """A servo that has restarted is named, and its zeros are nobody's position (B18)."""
    made = ready()
    made.tick([0.5, 0.5, 0.3], 30)
    before = float(made.chain.state.position[0])
    made.bench.servos[0].reboot()
    made.line.sleep(0.6)
    made.chain.read()
    made.chain.read()
    made.chain.read()
    assert "joint0 (servo 11): has restarted" in made.chain.faults()
    assert made.chain.state.position[0] == pytest.approx(before, abs=0.1)
    assert made.torques()[0] == 0


def test_a_tripped_watchdog_is_seen() -> None:
    """Silence of the host stops the servos, and the next read says so (B19)."""
    made = ready()
    made.tick([0.0, 0.0, 0.0], 3)
    made.line.sleep(0.3)
    made.chain.read()
    assert made.chain.faults() == [
        f"joint{index} (servo {device}): Bus Watchdog (98) has tripped"
        for index, device in enumerate(IDS)
    ]


def test_a_shutdown_is_seen_with_its_name() -> None:
    """An overload takes the torque off and is told by name (B16, B22)."""
    made = ready()
    made.set(Register.HARDWARE_ERROR, 0x20, 1)
    made.tick([0.0, 0.0, 0.0])
    faults = made.chain.faults()
    assert "joint1 (servo 12): Hardware Error (70) is 0x20, overload" in faults
    assert made.chain.state.alert.tolist() == [False, True, False]


def test_an_impossible_jump_is_dropped_and_counted() -> None:
    """An encoder that jumps gives no position any more, however long one waits (B23)."""
    made = ready("jump@1.5,id=11,amount=1000")
    made.tick([0.0, 0.0, 0.0], 3)
    made.line.sleep(max(0.0, 1.49 - made.line.now_ns() * 1e-9))
    made.chain.read()
    made.line.sleep(0.015)
    made.chain.read()
    assert made.chain.state.jumps.tolist() == [1, 0, 0]
    assert made.chain.state.position[0] == pytest.approx(0.0, abs=0.05)
    made.tick([0.0, 0.0, 0.0], 2)
    assert made.chain.state.jumps.tolist() == [3, 0, 0]
    assert made.chain.state.position[0] == pytest.approx(0.0, abs=0.05)


def test_joints_that_are_turned_by_hand_are_believed() -> None:
    """Nothing is impossible while the torque is off."""
    made = ready("jump@1.5,id=11,amount=1000")
    made.chain.read()
    made.chain.stop()
    made.line.sleep(max(0.0, 1.51 - made.line.now_ns() * 1e-9))
    made.chain.read()
    assert made.chain.state.jumps.tolist() == [0, 0, 0]
    assert made.chain.state.position[0] == pytest.approx(1000 * RAD_PER_COUNT, abs=0.05)


def test_stop_takes_the_torque_off_and_proves_it() -> None:
    """Every servo confirms."""
    made = ready()
    assert made.chain.stop() == ()
    assert made.torques() == [0, 0, 0]
    assert not made.chain.enabled


def test_stop_names_who_has_not_confirmed() -> None:
    """Silent servos are named; a lost port means all of them; neither is an exception."""
    made = ready()
    made.bench.servos[2].silent = True
    assert made.chain.stop() == (13,)
    made.line.lost = True
    assert made.chain.stop() == IDS


def test_a_cycle_of_twelve_servos_takes_its_time() -> None:
    """One read and one write last as long as their bytes do: 100 Hz is no effort at 1 Mbit/s."""
    made = twelve()
    made.chain.read()
    began = made.line.now_ns()
    made.chain.write(np.zeros(12))
    made.chain.read()
    assert (made.line.now_ns() - began) * 1e-9 < 0.005
    assert (made.chain.state.stamp_ns == began).all()
    assert made.bus.stats.timeouts == 0


class CallCounter:
    """Counts calls of Python and C, but for those that the emulated line makes."""

    def __init__(self) -> None:
        self.calls = self._inside = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take in what sys.setprofile() tells."""
        if frame.f_code.co_filename == virtual_port.__file__:
            self._inside += (event == "call") - (event == "return")
        elif not self._inside:
            self.calls += event in ("call", "c_call")


def test_a_cycle_of_twelve_servos_is_cheap() -> None:
    """Our part of a cycle is 146 calls, and 229 when it is time for the housekeeping, too.

    How long they take is of the machine; `tools/bench_bus.py` tells.
    """
    made = twelve()
    goals = np.zeros(12)
    costs = []
    for _ in range(40):
        counter = CallCounter()
        sys.setprofile(counter)
        made.chain.write(goals)
        made.chain.read()
        sys.setprofile(None)
        costs.append(counter.calls)
        made.line.sleep(TICK_S)
    assert min(costs) < 180
    assert max(costs) < 280


def test_cycles_leave_nothing_behind() -> None:
    """However long the robot runs, its driver does not grow."""
    made = twelve()
    sizes = []
    tracemalloc.start()
    for _ in range(3):
        made.tick([0.0] * 12, 60)
        gc.collect()
        driver = tracemalloc.Filter(inclusive=True, filename_pattern="*/robots/dynamixel/*")
        lines = tracemalloc.take_snapshot().filter_traces([driver]).statistics("filename")
        made.line.written.clear()
        sizes.append(sum(line.size for line in lines))
    tracemalloc.stop()
    assert max(sizes[1:]) < sizes[0] + 2000


def test_the_same_on_a_terminal_in_real_time() -> None:
    """Port, bus and chain work together on a pseudo-terminal, up to the cable being pulled."""
    made = rig()
    with Terminal(made.line.bus) as terminal, Port(terminal.path, 1_000_000) as port:
        chain = Chain(Bus(port, usb_latency_s=0.05), bus_spec(watchdog_s=2.0), LIMITS)
        assert chain.open() == ()
        chain.enable()
        deadline = port.now_ns() + 10_000_000_000
        while abs(float(chain.read().position[0]) - 0.2) > 0.05:
            assert port.now_ns() < deadline
            chain.write([0.2, 0.2, 0.2])
        assert chain.faults() == []
        assert chain.stop() == ()
        terminal.close()
        with pytest.raises(PortLostError, match="is gone"):
            chain.read()
        assert chain.stop() == IDS


def test_as_many_limits_as_servos() -> None:
    """A wrong number of limits is a mistake of the caller."""
    made = rig()
    with pytest.raises(ValueError, match="1 limits for 3 servos"):
        Chain(made.bus, made.chain.spec, LIMITS[:1])


@pytest.mark.parametrize(
    "fault",
    [
        *(
            "drop@0,p=0.1",
            "truncate@0,p=0.1",
            "extra@0,p=0.1",
            "flip@0,p=0.1",
            "wrong-id@0,id=12,p=0.1",
        ),
        *("duplicate@0,p=0.1", "late@0,p=0.1,amount=23", "swap@0,p=0.1", "noise@0,p=0.1"),
    ],
)
@pytest.mark.parametrize("firmware", [44, 50])
def test_faults_of_the_wire_never_become_positions(fault: str, firmware: int) -> None:
    """Whatever happens to replies, positions are those the joints had when asked (B1-B9, B11).

    Of replies with a wrong ID one at a time: nobody could tell two neighbours who both pose as
    the next.
    """
    made = rig(fault.replace("@0", "@1"), changes=replaced(firmware=firmware))
    made.chain.open()
    made.chain.enable()
    made.chain.read()
    assert made.line.now_ns() < 1e9
    truth = {}
    for step in range(100):
        goal = 0.3 * math.sin(0.3 * step)
        made.chain.write([goal, goal, goal])
        made.line.sleep(TICK_S)
        began = made.line.now_ns()
        state = made.chain.read()
        truth[began] = made.bench.plant.position.copy()
        stamps = [max(stamp, min(truth)) for stamp in state.stamp_ns.tolist()]
        expected = [truth[stamp][joint] for joint, stamp in enumerate(stamps)]
        assert state.position == pytest.approx(expected, abs=0.05)
    assert (made.chain.state.age_s(made.line.now_ns()) < 1.0).all()
    assert made.torques() == [1, 1, 1]


@pytest.mark.parametrize("faults", [["silence@1.5,id=7"], ["drop@1.5"], ["no-fast-read@1.5,id=2"]])
def test_a_reading_never_takes_a_whole_tick(faults: list[str]) -> None:
    """Nor does it when nobody answers: what failed is asked again at the next tick."""
    made = twelve(*faults)
    longest_ns = 0
    for _ in range(100):
        began_ns = made.line.now_ns()
        made.chain.read()
        longest_ns = max(longest_ns, made.line.now_ns() - began_ns)
        made.line.sleep(TICK_S)
    assert made.line.now_ns() > 2.5e9
    assert longest_ns < 0.8 * TICK_S * 1e9
