"""The chain of servos on emulated ones, in virtual time: set up, enabled, driven, stopped."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots.dynamixel.bus import Bus
from robots.dynamixel.chain import Chain
from robots.dynamixel.config import BusSpec, ServoSpec
from robots.dynamixel.control_table import RAD_PER_COUNT, Register
from robots.dynamixel.port import Port
from robots.dynamixel.protocol import Instruction
from robots.errors import PortLostError, ServoEnableError, ServoRefusedError, ServoSetupError
from sim.emulator.bench import Battery, Bench, Mount
from sim.emulator.bus import Bus as EmulatedBus
from sim.emulator.bus import WireOptions
from sim.emulator.faults import Faults, parse_fault
from sim.emulator.motion import SimpleJoints
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.terminal import Terminal
from sim.emulator.virtual_port import VirtualPort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TICK_S = 0.02
SIGNS: tuple[int, ...] = (1, -1, 1)
OFFSETS = (0.0, 0.3, -0.2)
IDS = (11, 12, 13)
LIMITS = ((-1.0, 1.0), (-1.2, 0.8), (-0.5, 0.5))
EEPROM = {"baud_rate": 3, "return_delay": 0}


class VirtualLine(VirtualPort):
    """A port in virtual time that keeps what is written, can be lost, and counts its own work."""

    def __init__(self, bus: EmulatedBus) -> None:
        super().__init__(bus)
        self.lost = False
        self.written: list[bytes] = []
        self.busy_ns = 0
        self.before: dict[int, Callable[[], object]] = {}

    def write(self, data: bytes) -> None:
        if self.lost:
            raise PortLostError("virtual", "a test has pulled it")
        if action := self.before.pop(len(self.written), None):
            action()
        began = time.thread_time_ns()
        self.written.append(data)
        super().write(data)
        self.busy_ns += time.thread_time_ns() - began

    def read(self, deadline_ns: int) -> bytes:
        began = time.thread_time_ns()
        data = super().read(deadline_ns)
        self.busy_ns += time.thread_time_ns() - began
        return data


@dataclass
class Rig:
    """A chain, the bus under it, and the servos behind that."""

    chain: Chain
    bus: Bus
    line: VirtualLine
    bench: Bench

    def set(self, register: Register, value: int, servo: int = 0) -> None:
        """Change a register behind the driver's back."""
        self.bench.servos[servo].memory.set(register, value)

    def get(self, register: Register, servo: int = 0) -> int:
        """Look into a register."""
        return self.bench.servos[servo].memory.get(register)

    def torques(self) -> list[int]:
        """Torque Enable of every servo."""
        return [self.get(Register.TORQUE_ENABLE, index) for index in range(len(IDS))]

    def tick(self, goals: Sequence[float], times: int = 1) -> None:
        """Write and read, a control period apart."""
        for _ in range(times):
            self.chain.write(goals)
            self.line.sleep(TICK_S)
            self.chain.read()


def rig(
    *faults: str,
    changes: dict[int, ServoOptions] | None = None,
    strangers: Sequence[ServoOptions] = (),
    **spec: object,
) -> Rig:
    """Servos of three joints, some of them replaced, perhaps with strangers on the bus."""
    options = [ServoOptions(id=device, eeprom=EEPROM) for device in IDS]
    for index, changed in (changes or {}).items():
        options[index] = changed
    servos = [Servo(one) for one in (*options, *strangers)]
    mounts = [
        Mount(direction=sign, offset=offset) for sign, offset in zip(SIGNS, OFFSETS, strict=True)
    ]
    mounts += [Mount()] * len(strangers)
    bench = Bench(
        servos,
        plant=SimpleJoints(len(servos)),
        mounts=mounts,
        faults=Faults([parse_fault(text) for text in faults], seed=1),
    )
    line = VirtualLine(EmulatedBus(bench, options=WireOptions(baud=1_000_000)))
    bus = Bus(line)
    chain = Chain(bus, bus_spec(**spec), LIMITS)
    return Rig(chain, bus, line, bench)


def twelve() -> Rig:
    """Twelve servos as they should be, torque on."""
    ids = range(1, 13)
    servos = [Servo(ServoOptions(id=device, eeprom=EEPROM)) for device in ids]
    bench = Bench(servos)
    line = VirtualLine(EmulatedBus(bench, options=WireOptions(baud=1_000_000)))
    specs = tuple(
        ServoSpec(joint=f"joint{device}", id=device, model="XM430-W210", torque_constant=1.3)
        for device in ids
    )
    bus = Bus(line)
    chain = Chain(bus, BusSpec(servos=specs), [(-1.0, 1.0)] * 12)
    chain.open()
    chain.enable()
    return Rig(chain, bus, line, bench)


def bus_spec(**changes: object) -> BusSpec:
    """What robot.toml says about the three servos."""
    servos = tuple(
        ServoSpec(
            joint=f"joint{index}",
            id=device,
            model="XM430-W210",
            sign=1 if sign > 0 else -1,
            offset=offset,
            torque_constant=1.3,
        )
        for index, (device, sign, offset) in enumerate(zip(IDS, SIGNS, OFFSETS, strict=True))
    )
    return msgspec.structs.replace(BusSpec(servos=servos), **changes)


def ready(*faults: str) -> Rig:
    """A chain with its torque on."""
    made = rig(*faults)
    made.chain.open()
    made.chain.enable()
    return made


def refused(made: Rig) -> str:
    """Why open() refuses."""
    with pytest.raises(ServoSetupError) as caught:
        made.chain.open()
    assert made.torques() == [0] * len(IDS)
    return str(caught.value)


def replaced(device: int = 11, **changes: object) -> dict[int, ServoOptions]:
    """The first servo, with another EEPROM or other options."""
    eeprom = EEPROM | {key: value for key, value in changes.items() if key.lower() in _EEPROM}
    rest = {key: value for key, value in changes.items() if key not in eeprom}
    return {0: msgspec.convert({"id": device, "eeprom": eeprom} | rest, ServoOptions)}


_EEPROM = {register.name.lower() for register in Register}


def test_open_accepts_good_servos() -> None:
    """Servos as robot.toml says need no repair and are left with the torque off."""
    made = rig()
    assert made.chain.open() == ()
    assert made.torques() == [0, 0, 0]
    assert made.bus.return_delay_s == 0.0


def test_open_repairs_what_it_may() -> None:
    """Return delay and gains are written where they differ, and that is told (B13)."""
    factory = replaced(return_delay=250)
    made = rig(changes=factory, repair={"return_delay": 0, "position_p": 640})
    assert made.chain.open() == (
        "servo 11 (joint0): Return Delay (9) 250 -> 0",
        "servo 11 (joint0): Position P (84) 800 -> 640",
        "servo 12 (joint1): Position P (84) 800 -> 640",
        "servo 13 (joint2): Position P (84) 800 -> 640",
    )
    assert made.get(Register.RETURN_DELAY) == 0
    assert made.get(Register.POSITION_P, 2) == 640


def test_a_slope_is_repaired_where_there_is_one() -> None:
    """Only the XL330 has a PWM slope."""
    assert rig(repair={"pwm_slope": 255}).chain.open() == ()


@pytest.mark.parametrize(
    ("register", "value", "text"),
    [
        ("return_delay", 250, "Return Delay (9) is 250; expected 0"),
        ("operating_mode", 4, "Operating Mode (11) is 4; expected 3"),
        ("drive_mode", 8, "Drive Mode (10) is 8; expected 0"),
        ("homing_offset", -5, "Homing Offset (20) is -5; expected 0"),
        ("startup", 1, "Startup (60) is 1; expected 0"),
        ("shadow_id", 3, "Shadow Id (12) is 3; expected 255 (off)"),
        ("shutdown", 0x04, "Shutdown (63) is overheat; expected shock and overload, too"),
        ("min_position_limit", 1500, "Min Position Limit (52) is 1500; expected at most 1396"),
        ("max_position_limit", 2500, "Max Position Limit (48) is 2500; expected at least 2700"),
    ],
)
def test_open_refuses_what_it_may_not_repair(register: str, value: int, text: str) -> None:
    """Every register that differs is named with value and expectation."""
    made = rig(changes=replaced(**{register: value}), repair={})
    assert refused(made) == f"servo 11 (joint0): {text}"


def test_open_refuses_quiet_servos() -> None:
    """A servo that does not confirm writes could refuse them unheard."""
    made = rig()
    made.set(Register.STATUS_RETURN_LEVEL, 1)
    assert "Status Return Level (68) is 1; expected 2" in refused(made)


def test_open_refuses_hardware_errors() -> None:
    """A latched error is named, and nothing is reset on the way."""
    made = rig("hardware-error@0,id=12,amount=36")
    made.bench.advance(10_000_000)
    text = refused(made)
    assert "servo 12 (joint1): Hardware Error (70) is overheat and overload" in text
    assert made.get(Register.HARDWARE_ERROR, 1) == 0x24


def test_open_switches_the_torque_off() -> None:
    """Servos that hold from an earlier run let go before anything else is looked at."""
    made = rig()
    made.set(Register.TORQUE_ENABLE, 1)
    made.chain.open()
    assert made.torques() == [0, 0, 0]


def test_open_names_who_is_missing() -> None:
    """A servo that does not answer is named with its joint."""
    assert refused(rig("silence@0,id=13")) == (
        "servo 13 (joint2) does not answer; check its cable, ID and baud"
    )


def test_open_hints_at_the_baud() -> None:
    """When nobody answers, the speed is the suspect (B12)."""
    assert "no servo answers at 1000000 baud" in refused(rig("baud@0,amount=57600"))


def test_open_refuses_other_models_and_old_firmware() -> None:
    """A wrong model, an unknown one, and firmware without a watchdog are refused."""
    assert "servo 11 (joint0) is XM430-W350; expected XM430-W210" in refused(
        rig(changes=replaced(model=1020))
    )
    assert "firmware 37 has no bus watchdog" in refused(rig(changes=replaced(firmware=37)))


def test_open_refuses_mixed_firmware() -> None:
    """Servos whose indirect data lie at different addresses cannot be read at once."""
    made = rig(
        changes={
            index: ServoOptions(id=device, model=1200, firmware=firmware, eeprom=EEPROM)
            for index, (device, firmware) in enumerate(zip(IDS, (50, 52, 52), strict=True))
        },
        servos=tuple(
            msgspec.structs.replace(servo, model="XL330-M288") for servo in bus_spec().servos
        ),
    )
    assert "indirect data at different addresses" in refused(made)


def test_the_xl330_has_its_data_elsewhere() -> None:
    """Newer XL330 are driven like the others, with their own address and unit of current."""
    options = [ServoOptions(id=device, model=1200, firmware=52, eeprom=EEPROM) for device in IDS]
    servos = tuple(msgspec.structs.replace(one, model="XL330-M288") for one in bus_spec().servos)
    made = rig(changes=dict(enumerate(options)), servos=servos)
    made.bench.battery = Battery(volts=5.0)
    made.chain.open()
    made.chain.enable()
    made.tick([0.1, 0.1, 0.1], 20)
    assert made.chain.faults() == []
    assert made.chain.state.position == pytest.approx(made.bench.plant.position, abs=0.01)


@pytest.mark.parametrize(
    ("back", "register", "text"),
    [
        (4, Register.RETURN_DELAY, "Return Delay (9) is 7; expected 0, as written"),
        (1, None, "servo 13 (joint2): indirect addresses were not taken"),
    ],
)
def test_open_reads_back_what_it_writes(back: int, register: Register | None, text: str) -> None:
    """A write that was confirmed and has not stayed is found."""
    sent = rig(changes=replaced(return_delay=250))
    sent.chain.open()
    made = rig(changes=replaced(return_delay=250))

    def spoil() -> None:
        if register is None:
            made.bench.servos[2].write(168, b"\x40\x00")
        else:
            made.set(register, 7)

    reads_back = [at for at, frame in enumerate(sent.line.written) if frame[7] == Instruction.READ]
    made.line.before[reads_back[-back]] = spoil
    with pytest.raises(ServoSetupError) as caught:
        made.chain.open()
    assert text in str(caught.value)


def test_open_finds_strangers() -> None:
    """A servo that robot.toml does not know is refused."""
    stranger = ServoOptions(id=99, eeprom=EEPROM)
    assert refused(rig(strangers=[stranger])) == (
        "servo 99 answers and is not in robot.toml; remove it or add it"
    )


def test_open_finds_collisions() -> None:
    """Two servos of one ID are refused, and what may be the cause is said (B26)."""
    assert refused(rig("collision@0,id=12")) == (
        "servo 12 (joint1) does not answer; check its cable, ID and baud; "
        "answers to a ping of all collide (ID 12); do two servos share an ID?"
    )
    assert refused(rig("duplicate@0,id=12,nth=2")) == (
        "two servos answer as ID 12; give each its own"
    )


def test_noise_alone_is_no_reason_to_refuse() -> None:
    """Adapters that switch late make noise, which costs no answer."""
    made = rig("noise@0")
    assert made.chain.open() == ()
    assert made.bus.stats.rejects.noise_bytes > 50


def test_open_refuses_locked_registers() -> None:
    """A servo that does not let itself be repaired is an error that names the register (B25)."""
    made = rig("locked@0", changes=replaced(return_delay=250))
    with pytest.raises(ServoRefusedError, match="servo 11 refused write of 00 to 9: error 7"):
        made.chain.open()


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
    with pytest.raises(ServoEnableError, match=r"servo 11 is at 43\d\d counts"):
        made.chain.enable()
    assert made.torques() == [0, 0, 0]
    assert not made.chain.enabled


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

    Before it come one read, three writes to each servo, one read, and the torque's sync write.
    """
    return len(made.line.written) + 1 + 3 * len(IDS) + 1 + 1


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
        f"joint{index} (servo {device}): bus watchdog has tripped"
        for index, device in enumerate(IDS)
    ]


def test_a_shutdown_is_seen_with_its_name() -> None:
    """An overload takes the torque off and is told by name (B16, B22)."""
    made = ready()
    made.set(Register.HARDWARE_ERROR, 0x20, 1)
    made.tick([0.0, 0.0, 0.0])
    faults = made.chain.faults()
    assert "joint1 (servo 12): hardware error overload" in faults
    assert made.chain.state.alert.tolist() == [False, True, False]


def test_an_impossible_jump_is_dropped_and_counted() -> None:
    """An encoder that jumps gives no position until so much can have been moved (B23)."""
    made = ready("jump@1.5,id=11,amount=1000")
    made.tick([0.0, 0.0, 0.0], 3)
    made.line.sleep(max(0.0, 1.49 - made.line.now_ns() * 1e-9))
    made.chain.read()
    made.line.sleep(0.015)
    made.chain.read()
    assert made.chain.state.jumps.tolist() == [1, 0, 0]
    assert made.chain.state.position[0] == pytest.approx(0.0, abs=0.05)


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


def test_a_cycle_of_twelve_servos_is_cheap() -> None:
    """Our part of a cycle stays within 150 µs of CPU."""
    made = twelve()
    goals = np.zeros(12)
    costs = []
    for _ in range(40):
        made.line.busy_ns = 0
        began = time.thread_time_ns()
        made.chain.write(goals)
        made.chain.read()
        costs.append(time.thread_time_ns() - began - made.line.busy_ns)
        made.line.sleep(TICK_S)
    assert min(costs) < 150_000


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
