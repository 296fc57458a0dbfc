"""A whole emulated robot on terminals: links, faults that count from the first word, places."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import msgspec
import pytest

import robots
from robots import RobotSpecError
from robots.dynamixel.bus import Bus
from robots.dynamixel.port import Port
from robots.errors import PortLostError
from robots.imu import ImuLostError, create, reader, vectornav
from sim.emulator.emulation import Emulation, EmulationOptions
from sim.emulator.fault_names import parse_any
from sim.emulator.virtual_port import VirtualPort
from sim.errors import FaultError
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from robots import RobotFolder
    from sim.emulator.mujoco_motion import Place

NOBODY = 99
"""ID of no servo."""


@pytest.fixture(scope="module")
def pup() -> RobotFolder:
    """The small quadruped."""
    return robots.find("pup")


def emulation(
    pup: RobotFolder, *faults: str, links: Path | None = None, place: Place = "crouch"
) -> Emulation:
    """The small quadruped with its own IMU and these faults."""
    struck = tuple(parse_any(text) for text in faults)
    options = EmulationOptions(faults=struck, place=place)
    return Emulation(pup, options, imu=pup.spec.imu_device, links=links)


def test_links_lead_to_both_ports_and_are_gone_at_the_end(pup: RobotFolder, tmp_path: Path) -> None:
    """In a folder that is made if need be; a link that a killed process has left is replaced."""
    links = tmp_path / "new" / "ports"
    links.mkdir(parents=True)
    (links / "imu").symlink_to("/dev/pts/gone")
    with emulation(pup, links=links) as made:
        assert sorted(link.name for link in links.iterdir()) == ["imu", "servos"]
        assert os.path.realpath(links / "servos") == made.servos.path
        with Port(links / "servos", 1_000_000) as port:
            assert Bus(port, usb_latency_s=PATIENCE_S).ping(12) is not None
    assert list(links.iterdir()) == []


def test_a_file_in_the_place_of_a_link_is_left_alone(pup: RobotFolder, tmp_path: Path) -> None:
    """And the port that was made already is gone again."""
    (tmp_path / "imu").write_text("precious")
    made = emulation(pup, links=tmp_path)
    with pytest.raises(FileExistsError):
        made.open()
    assert (tmp_path / "imu").read_text() == "precious"
    assert not (tmp_path / "servos").is_symlink()
    assert not made.servos.path


def test_times_of_faults_count_from_the_first_instruction(pup: RobotFolder) -> None:
    """Both devices' faults, whoever is spoken to; before that nothing strikes.

    Who is silent is asked in virtual time, when the port is gone.
    """
    with emulation(pup, "silence@0,id=2", "imu-silence@0", "unplug@0.3") as made:
        assert made.imu is not None
        bench = made.servos.bus.bench
        until(lambda: bench.now_ns > 0.5e9)
        assert made.servos.path
        with Port(made.servos.path, 1_000_000) as port:
            before_s = bench.now_ns / 1e9
            bus = Bus(port)
            with pytest.raises(PortLostError):
                until(lambda: bus.ping(NOBODY) is not None)
    (unplugged,) = bench.faults.at("port")
    assert unplugged.at_s >= before_s + 0.3
    bus = Bus(VirtualPort(made.servos.bus))
    assert bus.ping(2) is None
    assert bus.ping(3) is not None
    assert made.imu.device.step(10**18, made.imu.device.baud) == b""


def test_an_unplugged_imu_comes_back_where_its_link_leads(
    pup: RobotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is told of the loss, and opens it again."""
    monkeypatch.setattr(reader, "SETTLE_S", PATIENCE_S)
    monkeypatch.setattr(vectornav, "ANSWER_S", PATIENCE_S)
    assert pup.spec.imu_device is not None
    link = tmp_path / "imu"
    with emulation(pup, links=tmp_path) as made:
        assert made.imu is not None
        imu = create(pup.spec.imu_device, str(link))
        with imu:
            made.inject(parse_any("imu-unplug@0"))
            with pytest.raises(ImuLostError):
                until(lambda: imu.latest() is None)
            until(lambda: not link.is_symlink())
        made.imu.clear()
        until(link.exists)
        with imu:
            assert imu.latest() is not None


def test_a_robot_begins_as_it_is_told(pup: RobotFolder) -> None:
    """Limp in its crouch, standing, or on its side, on the ground."""
    crouching, standing, lying = (
        emulation(pup, place=place).plant for place in ("crouch", "stance", "lying")
    )
    assert crouching.position == pytest.approx(pup.spec.crouch)
    assert standing.position == pytest.approx(pup.spec.column("stance").astype(float))
    assert crouching.tilt < 0.01
    assert standing.tilt < 0.01
    assert math.degrees(lying.tilt) == pytest.approx(90)


def test_what_cannot_be_emulated_is_refused(pup: RobotFolder) -> None:
    """Before any port appears."""
    with pytest.raises(RobotSpecError, match=r"go2/robot\.toml: no \[bus\]"):
        Emulation(robots.find("go2"), EmulationOptions(), imu=None)
    options = EmulationOptions(faults=(parse_any("clock-jump@1"),))
    with pytest.raises(FaultError, match="there is none"):
        Emulation(pup, options, imu=None)
    assert pup.spec.imu_device is not None
    cheap = msgspec.structs.replace(pup.spec.imu_device, model="wt901")
    with pytest.raises(FaultError, match=r"clock-jump.*WitMotionDevice cannot have it"):
        Emulation(pup, options, imu=cheap)
