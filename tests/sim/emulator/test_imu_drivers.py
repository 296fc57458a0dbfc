"""The IMUs' drivers against emulated devices on real pseudo-terminals: start-up and attitude."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots import RobotState
from robots.imu import ImuLostError, ImuRefusedError, ImuSpec, create, reader, vectornav
from robots.imu.mounting import from_angles, inverse, rotate
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.imu_vectornav import VectorNavDevice
from sim.emulator.imu_witmotion import WitMotionDevice
from tests.patience import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from robots.imu.reader import SerialImu
    from sim.emulator.imu_device import ImuDevice, ImuSource

Feeling = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
GYRO = (0.05, -0.1, 0.15)
SETTLE_S = 0.1
"""Wait for an IMU to settle that will not."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has time for what ends its waits anyway."""
    monkeypatch.setattr(reader, "SETTLE_S", PATIENCE_S)
    monkeypatch.setattr(vectornav, "ANSWER_S", PATIENCE_S)


def lying(roll_deg: float, pitch_deg: float) -> Feeling:
    """A body that lies so and turns slowly."""
    attitude = from_angles(math.radians(roll_deg), math.radians(pitch_deg), 0.5)
    return attitude, GYRO, rotate(inverse(attitude), (0, 0, 9.81))


def rest() -> Feeling:
    """A level body."""
    return lying(0, 0)


def driver(terminal: ImuTerminal, **changes: object) -> SerialImu:
    """The driver as robot.toml would set it up for this device."""
    vectornav = isinstance(terminal.device, VectorNavDevice)
    usual = {
        "model": "vn100" if vectornav else "wt901",
        "baud": terminal.device.baud,
        "rate_hz": 200.0,
    }
    return create(msgspec.convert(usual | changes, ImuSpec), terminal.path)


def delivers(imu: SerialImu, rate_hz: float) -> bool:
    """Whether the IMU's samples come at this rate, at the latest when no thread is held up."""
    return eventually(lambda: imu.rate_hz() == pytest.approx(rate_hz, rel=0.2))


def refusal(device: ImuDevice, *, settle_s: float = SETTLE_S, baud: int | None = None) -> str:
    """Why a driver of this speed does not open the device; one line that names the port."""
    with ImuTerminal(device) as terminal, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "SETTLE_S", settle_s)
        if baud is not None:  # then silence is what is waited for
            patch.setattr(vectornav, "ANSWER_S", 0.05)
        imu = driver(terminal, baud=baud or device.baud)
        with pytest.raises(ImuRefusedError) as caught:
            imu.open()
        assert imu.latest() is None
        assert caught.value.port == terminal.path
    assert "\n" not in str(caught.value)
    return caught.value.problem


def refused(words: str, make: Callable[[], ImuDevice], *, baud: int | None = None) -> None:
    """Such devices are never opened, and for this reason unless a thread was held up meanwhile."""
    problems: list[str] = []

    def told() -> bool:
        problems.append(refusal(make(), baud=baud))
        return words in problems[-1]

    assert eventually(told), problems


GRAVITY = {
    (0, 0): (0, 0, -1),
    (30, 0): (0, -0.5, -0.866),
    (-30, 0): (0, 0.5, -0.866),
    (0, 30): (0.5, 0, -0.866),
    (0, -30): (-0.5, 0, -0.866),
    (180, 0): (0, 0, 1),
}
"""Projected gravity by roll and pitch, degrees: rolled to the right it points right, -y."""


@pytest.mark.parametrize("kind", [VectorNavDevice, WitMotionDevice])
def test_gravity_has_the_right_sign_in_every_attitude(
    kind: type[VectorNavDevice | WitMotionDevice],
) -> None:
    """Upright, tilted to all sides and inverted; the accelerometer and the gyro agree."""
    feeling = rest()
    with ImuTerminal(kind(lambda: feeling)) as terminal, driver(terminal) as imu:
        for (roll, pitch), gravity in GRAVITY.items():
            feeling = lying(roll, pitch)
            state = settled(imu, feeling)
            np.testing.assert_allclose(state.gravity, gravity, atol=2e-3)
            np.testing.assert_allclose(state.accelerometer, np.array(gravity) * -9.81, atol=0.05)
            np.testing.assert_allclose(state.gyro, GYRO, atol=0.01)
            assert np.linalg.norm(state.quaternion) == pytest.approx(1, abs=1e-6)


def settled(imu: SerialImu, feeling: Feeling) -> RobotState:
    """The body as the IMU has it once it feels the new attitude."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        reading = imu.latest()
        assert reading is not None
        sample = reading.sample
        if np.abs(sample.quaternion - np.array(feeling[0])).max() < 1e-3:
            break
        assert time.monotonic() < deadline, f"{sample.quaternion} and not {feeling[0]}"
        time.sleep(0.002)
    joints = np.zeros(0, np.float32)
    return RobotState(
        stamp_ns=sample.stamp_ns,
        position=joints,
        velocity=joints,
        effort=joints,
        quaternion=sample.quaternion,
        gyro=sample.gyro,
        accelerometer=sample.accelerometer,
    )


def test_the_mounting_is_taken_out() -> None:
    """The sensor lies on its back and looks left; the body is level and turns left."""
    mounted = from_angles(math.pi, 0, math.pi / 2)
    sensor: Feeling = (
        mounted,
        rotate(inverse(mounted), (0, 0, 0.3)),
        rotate(inverse(mounted), (0, 0, 9.81)),
    )
    device = VectorNavDevice(lambda: sensor)
    with ImuTerminal(device) as terminal, driver(terminal, mounting_deg=(180.0, 0.0, 90.0)) as imu:
        reading = imu.latest()
    assert reading is not None
    np.testing.assert_allclose(np.abs(reading.sample.quaternion), [1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(reading.sample.gyro, [0, 0, 0.3], atol=1e-6)
    np.testing.assert_allclose(reading.sample.accelerometer, [0, 0, 9.81], atol=1e-5)


def test_a_vectornav_fresh_from_the_factory_is_set_up() -> None:
    """Text off, heading without compass, other fields of that register untouched, our message."""
    device = VectorNavDevice(rest)
    device.registers[35] = "1,0,1,0"
    with ImuTerminal(device) as terminal, driver(terminal, rate_hz=100.0) as imu:
        assert delivers(imu, 100)
        assert imu.counts().ascii_lines == 0
    assert device.registers[6] == "0"
    assert device.registers[35] == "1,1,1,0"
    assert device.registers[75] == "2,8,01,0131"


def test_an_imu_that_streams_already_is_set_up_again() -> None:
    """Its messages stand between the answers; the port is free after closing."""
    for kind in (VectorNavDevice, WitMotionDevice):
        with ImuTerminal(kind(rest)) as terminal:
            for _ in range(2):
                with driver(terminal) as imu:
                    assert imu.latest() is not None
                    assert delivers(imu, 200)


def test_a_port_has_one_owner() -> None:
    """A second program on the same IMU would take half of its bytes."""
    with ImuTerminal(VectorNavDevice(rest)) as terminal, driver(terminal):
        second = driver(terminal)
        with pytest.raises(ImuRefusedError, match="no other program has it"):
            second.open()


def test_a_port_that_is_not_there_is_refused() -> None:
    """Said without a traceback's worth of words."""
    imu = create(ImuSpec(model="wt901", baud=115200, rate_hz=200.0), "/dev/nothing")
    with pytest.raises(ImuRefusedError, match="/dev/nothing: cannot be opened at 115200 baud"):
        imu.open()


def test_another_model_is_refused() -> None:
    """It would answer, and mean something else."""
    device = VectorNavDevice(rest)
    device.registers[1] = "VN-300T-CR"
    assert refusal(device).startswith("is a VN-300T-CR, expected a VN-100")


@pytest.mark.parametrize("baud", [115200, 460800])
def test_another_baud_is_refused_and_named(baud: int) -> None:
    """The driver finds out what it should have been."""
    words = f"answers at {baud} baud, expected 921600"
    refused(words, lambda: VectorNavDevice(rest, baud=baud), baud=921600)


def test_an_imu_that_answers_at_no_baud_is_refused() -> None:
    """A cable without an IMU, or an IMU without supply."""
    device = VectorNavDevice(rest, baud=128000)
    assert "no answer at 921600 baud nor at any other" in refusal(device, baud=921600)


@pytest.mark.parametrize("kept", ["2,8,01,0131", "2,4,01,0129", "1,4,01,0131", "garbage"])
def test_a_message_that_is_not_the_one_asked_for_is_refused(kept: str) -> None:
    """Rate, fields and port are read back, whatever the answer to the writing was."""
    device = VectorNavDevice(rest)
    device.registers[75] = kept if kept != "garbage" else "0,0,00"
    device.stuck.add(75)
    problem = refusal(device)
    assert problem.startswith(f"register 75 reads {device.registers[75]}, expected 2,4,01,0131")


def test_a_refused_command_is_named() -> None:
    """With the IMU's own error number."""
    device = VectorNavDevice(rest)
    del device.registers[35]
    assert "reading register 35 gave VNERR,08" in refusal(device)


def test_the_cable_on_the_other_port_is_guessed() -> None:
    """Everything is answered and nothing comes."""
    assert "check uart in robot.toml" in refusal(VectorNavDevice(rest, uart=1))
    with ImuTerminal(VectorNavDevice(rest, uart=1)) as terminal, driver(terminal, uart=1) as imu:
        assert imu.latest() is not None


@pytest.mark.parametrize("share", [0.6, 1.5])
def test_a_rate_of_its_own_is_refused(share: float) -> None:
    """Within 20 %: a crystal is a thousand times better, another setting is worse."""

    class Willful(VectorNavDevice):
        def rate_hz(self) -> float:
            return share * super().rate_hz()

    refused("samples per second at last, expected 200 within 20% all along", lambda: Willful(rest))


def test_a_rate_that_is_nearly_right_is_accepted() -> None:
    """What was measured can be asked for."""

    class Hasty(WitMotionDevice):
        def rate_hz(self) -> float:
            return 1.08 * super().rate_hz()

    with ImuTerminal(Hasty(rest)) as terminal, driver(terminal) as imu:
        assert imu.latest() is not None


def test_a_witmotion_that_takes_no_settings_is_refused() -> None:
    """What it sends is named."""

    def make() -> WitMotionDevice:
        device = WitMotionDevice(rest)
        device.stuck = True
        return device

    refused("frames of type 51 52 53 54, expected 51 52 59", make)


def test_a_witmotion_at_another_baud_is_refused() -> None:
    """It cannot be asked, so the hint has to do."""
    problem = refusal(WitMotionDevice(rest, baud=9600), baud=115200)
    assert "check that the IMU is set to 115200 baud" in problem


def test_a_silent_witmotion_is_refused() -> None:
    """Unplugged at the sensor's end, for instance."""

    def make() -> WitMotionDevice:
        device = WitMotionDevice(rest)
        device.registers[0x03] = 0
        device.stuck = True
        return device

    refused("came: nothing at all", make)


def test_an_attitude_against_gravity_is_refused() -> None:
    """A quaternion that turns the other way shows as soon as the body is not level."""
    attitude, gyro, force = lying(40, 0)
    device = VectorNavDevice(lambda: (inverse(attitude), gyro, force))
    assert "77 degrees apart, expected at most 20" in refusal(device, settle_s=PATIENCE_S)


def test_a_baud_without_a_name_works() -> None:
    """Terminals know some speeds by constants and the others by number."""
    with ImuTerminal(VectorNavDevice(rest, baud=250_000)) as terminal, driver(terminal) as imu:
        assert imu.latest() is not None


def lost(imu: SerialImu) -> bool:
    """Whether the IMU says that it is gone."""
    try:
        imu.latest()
    except ImuLostError:
        return True
    return False


def test_an_imu_that_was_unplugged_is_opened_anew(tmp_path: Path) -> None:
    """Only by being closed and opened: nothing comes back by itself."""
    link = tmp_path / "imu"
    spec = ImuSpec(model="vn100", baud=921600, rate_hz=200.0)
    with ImuTerminal(VectorNavDevice(rest)) as terminal:
        link.symlink_to(terminal.path)
        imu = create(spec, str(link))
        imu.open()
    with ImuTerminal(VectorNavDevice(rest)) as terminal:
        link.unlink()
        link.symlink_to(terminal.path)
        assert eventually(lambda: lost(imu))
        imu.close()
        with imu:
            assert imu.latest() is not None


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (VectorNavDevice(rest), "IMU: VN-100T-CR, serial 0100001234, firmware 2.1.0.0 on "),
        (WitMotionDevice(rest), "IMU: wt901 on "),
    ],
)
def test_an_imu_is_described_by_what_it_says_and_does(device: ImuDevice, words: str) -> None:
    """Its own name where it tells one, and the rate that was measured."""
    with ImuTerminal(device) as terminal, driver(terminal) as imu:
        assert eventually(lambda: 160 <= int(imu.describe().split()[-4]) <= 240)
        line = imu.describe()
    assert line.startswith(words + "/dev/pts/")
    rate = int(line.split()[-4])
    assert line.endswith(f"{device.baud} bit/s, {rate} samples per second")


def test_a_source_that_fails_ends_the_emulator_aloud() -> None:
    """The driver sees the cable pulled, and close() says what it was."""

    def fail() -> Feeling:
        raise ArithmeticError("diverged")

    terminal = ImuTerminal(WitMotionDevice(fail))
    terminal.start()
    with pytest.raises(ImuRefusedError):
        driver(terminal).open()
    with pytest.raises(ArithmeticError, match="diverged"):
        terminal.close()
    terminal.close()


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("kind", [VectorNavDevice, WitMotionDevice])
def test_nothing_is_left_open(kind: type[VectorNavDevice | WitMotionDevice]) -> None:
    """Neither after use nor after a refusal: no file, no thread."""
    files, threads = open_files(), threading.active_count()
    source: ImuSource = rest
    with ImuTerminal(kind(source)) as terminal, driver(terminal):
        assert threading.active_count() == threads + 2
    refusal(kind(source, baud=460800), baud=115200)
    assert open_files() == files
    assert threading.active_count() == threads
