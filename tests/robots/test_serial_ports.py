"""A serial robot whose ports vanish, come back, or are not what they should be; in real time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest

import robots
from robots import JointCommand
from robots.errors import PortError, PortLostError, ServoEnableError, ServoSetupError
from robots.imu import ImuRefusedError, reader, vectornav
from robots.serial_robot import SerialRobot, serial_robot
from sim.emulator.emulation import Emulation, EmulationOptions
from sim.emulator.fault_names import parse_any
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The IMU's driver has time for what ends its waits anyway."""
    monkeypatch.setattr(reader, "SETTLE_S", PATIENCE_S)
    monkeypatch.setattr(vectornav, "ANSWER_S", PATIENCE_S)


def emulated(links: Path, baud: int | None = None) -> Emulation:
    """The small quadruped behind links in this folder."""
    folder = robots.find("pup")
    imu = folder.spec.imu_device
    return Emulation(folder, EmulationOptions(baud=baud), imu=imu, links=links)


def driver(links: Path, *, usb_latency_s: float = 5.0) -> SerialRobot:
    """Its driver, which waits so much longer for a reply than the wire takes."""
    spec = robots.find("pup").spec
    assert spec.bus is not None
    bus = msgspec.structs.replace(spec.bus, usb_latency_s=usb_latency_s, watchdog_s=2.54)
    spec = msgspec.structs.replace(spec, bus=bus)
    return serial_robot(spec, port=str(links / "servos"), imu_port=str(links / "imu"))


def read_until(robot: SerialRobot, deadline: float) -> None:
    """Read all the time."""
    while time.monotonic() < deadline:
        robot.read()


def test_a_port_that_came_back_is_opened_again(tmp_path: Path) -> None:
    """close() and connect() are all it takes, though the port has another name by then."""
    with emulated(tmp_path) as made:
        robot = driver(tmp_path)
        robot.connect()
        robot.write(JointCommand.towards(robot.spec.column("stance"), robot.spec))
        made.inject(parse_any("unplug@0,for=0.2"))
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(PortLostError, match="check cable and power, reopen it"):
            read_until(robot, deadline)
        with pytest.raises(ServoEnableError, match="cut their power"):
            robot.close()
        while not (tmp_path / "servos").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        robot.connect()
        assert robot.read().is_finite()
        robot.close()


def test_servos_of_another_speed_are_named(tmp_path: Path) -> None:
    """Found on a real port by trying, which leaves nothing open.

    Silence has to be waited for, so it is tried anew when a reply came late.
    """
    robot, told = driver(tmp_path, usb_latency_s=0.02), ""
    deadline = time.monotonic() + PATIENCE_S
    with emulated(tmp_path, baud=57_600):
        while "but some do at 57600" not in told:
            assert time.monotonic() < deadline, told
            with pytest.raises(ServoSetupError) as caught:
                robot.connect()
            told = str(caught.value)
    with pytest.raises(robots.NotConnectedError):
        robot.read()


def test_a_port_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """For the servos as for the IMU; whatever was opened is closed again."""
    with pytest.raises(PortError, match="is it plugged in") as caught:
        driver(tmp_path).connect()
    assert str(tmp_path / "servos") in str(caught.value)
    with emulated(tmp_path) as made:
        assert made.imu is not None
        (tmp_path / "imu").unlink()
        with pytest.raises(ImuRefusedError, match="cannot be opened"):
            driver(tmp_path).connect()
        (tmp_path / "imu").symlink_to(made.imu.path)
        with driver(tmp_path) as robot:
            assert robot.read().is_finite()
