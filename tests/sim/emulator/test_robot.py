"""A robot folder as its driver meets it: factory settings, physics behind, faults on the way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import robots
from robots.dynamixel.bus import Bus
from robots.dynamixel.chain import Chain
from robots.dynamixel.config import BusSpec, ServoSpec
from robots.dynamixel.port import Port
from robots.imu import ImuSpec, create
from sim.emulator.bus import WireOptions
from sim.emulator.faults import parse_fault
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.mujoco_motion import MujocoJoints
from sim.emulator.robot import make_bus, make_imu
from sim.emulator.terminal import Terminal
from sim.emulator.virtual_port import VirtualPort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots import RobotFolder

PERIOD_S = 0.01


@pytest.fixture
def pup() -> RobotFolder:
    """The small quadruped."""
    return robots.find("pup")


def bus_of(folder: RobotFolder, *, baud: int = 1_000_000) -> BusSpec:
    """A servo per joint; legs on the right turn the other way, hips sit askew, IDs count down."""
    joints = folder.spec.joint_names
    servos = [
        ServoSpec(
            joint=name,
            id=len(joints) - index,
            model="XM430-W210",
            sign=-1 if "R_" in name else 1,
            offset=0.1 if "hip" in name else -0.3,
            torque_constant=1.3,
        )
        for index, name in enumerate(joints)
    ]
    return BusSpec(baud=baud, servos=tuple(reversed(servos)))


def drive(
    folder: RobotFolder, *, faults: Sequence[str] = (), baud: int = 1_000_000
) -> tuple[Chain, VirtualPort]:
    """Servos set up and enabled, in virtual time."""
    spec = bus_of(folder, baud=baud)
    struck = [parse_fault(text) for text in faults]
    port = VirtualPort(make_bus(folder, spec, faults=struck, seed=3))
    chain = chain_of(folder, spec, Bus(port))
    chain.open()
    chain.enable()
    return chain, port


def chain_of(folder: RobotFolder, spec: BusSpec, bus: Bus) -> Chain:
    """The driver of a robot's servos, joints in the order of robot.toml."""
    lower, upper = folder.spec.soft_limits()
    limits = [(float(low), float(high)) for low, high in zip(lower, upper, strict=True)]
    return Chain(bus, spec.in_order(folder.spec.joint_names), limits)


def test_the_driver_finds_what_the_folder_says(pup: RobotFolder) -> None:
    """Joint angles of the physics, through signs, offsets and the order of robot.toml."""
    chain, port = drive(pup)
    state = chain.read()
    assert state.position == pytest.approx(port.bus.bench.plant.position, abs=0.02)
    assert state.torque.all()
    chain.stop()


def test_the_driver_makes_it_stand_up(pup: RobotFolder) -> None:
    """A hundred ticks a second from lying to the stance, in the time of the wire."""
    chain, port = drive(pup)
    stance = pup.spec.column("stance")
    start, begun_ns = chain.read().position.copy(), port.now_ns()
    for tick in range(200):
        chain.read()
        chain.write(start + min(tick / 100, 1.0) * (stance - start))
        port.sleep(begun_ns / 1e9 + (tick + 1) * PERIOD_S - port.now_ns() / 1e9)
    state = chain.read()
    assert np.abs(state.position - stance).max() < 0.25
    assert state.position == pytest.approx(port.bus.bench.plant.position, abs=0.02)
    quaternion = port.bus.bench.plant.felt[0]  # type: ignore[attr-defined]
    assert quaternion[0] > 0.98
    assert (port.now_ns() - begun_ns) / 1e9 < 200 * PERIOD_S + 0.01
    assert chain.stop() == ()


@pytest.mark.parametrize("fault", ["drop", "truncate", "flip", "extra", "noise", "late", "swap"])
def test_joints_are_never_read_wrongly(fault: str, pup: RobotFolder) -> None:
    """A tenth of the replies is spoilt; what is fresh is true, and old values say their age."""
    chain, port = drive(pup, faults=["no-fast-read@0,id=1", f"{fault}@3,p=0.1"])
    while port.now_ns() < 3e9:
        assert chain.read().torque.all()
        port.sleep(PERIOD_S)
    fresh = 0
    for _ in range(50):
        asked_ns = port.now_ns()
        state = chain.read()
        new = state.stamp_ns >= asked_ns
        fresh += new.sum()
        truth = port.bus.bench.plant.position
        assert np.abs(state.position - truth)[new].max(initial=0.0) < 0.05
        chain.write(state.position)
        port.sleep(PERIOD_S)
    assert fresh > 200
    assert (chain.state.watchdog > 0).all()
    chain.stop()


def test_the_wire_has_a_speed_that_servos_have(pup: RobotFolder) -> None:
    """That of robot.toml unless another is asked for."""
    spec = bus_of(pup, baud=3_000_000)
    assert make_bus(pup, spec).host_baud == 3_000_000
    assert make_bus(pup, spec, wire=WireOptions(baud=57_600)).host_baud == 57_600
    with pytest.raises(ValueError, match="123 bit/s; expected one of 9600, "):
        make_bus(pup, spec, wire=WireOptions(baud=123))


def test_the_driver_works_in_real_time(pup: RobotFolder) -> None:
    """Over a pseudo-terminal: two hundred reads and writes, none lost, at the wire's pace.

    Every reply comes, so the driver's patience costs nothing.
    """
    spec = msgspec.structs.replace(bus_of(pup), watchdog_s=2.54)
    with Terminal(make_bus(pup, spec)) as terminal, Port(terminal.path, spec.baud) as port:
        bus = Bus(port, usb_latency_s=5.0)
        chain = chain_of(pup, spec, bus)
        assert len(chain.open()) == 12
        chain.enable()
        timeouts = bus.stats.timeouts
        started = time.monotonic()
        for _ in range(200):
            chain.write(chain.read().position)
        taken_s = time.monotonic() - started
        assert chain.state.torque.all()
        assert bus.stats.timeouts == timeouts
        assert chain.stop() == ()
    assert taken_s > 200 / 300


@pytest.mark.parametrize("model", ["vn100", "wt901"])
@pytest.mark.parametrize("mounting", [(0.0, 0.0, 0.0), (180.0, 0.0, 90.0)])
def test_the_imu_feels_the_body_it_sits_in(
    model: str, mounting: tuple[float, float, float], pup: RobotFolder
) -> None:
    """However it is mounted: body axes come out, of the physics that the servos move."""
    plant = MujocoJoints(pup)
    with Terminal(make_bus(pup, bus_of(pup), plant=plant)):
        spec = ImuSpec(model=model, baud=921_600, rate_hz=100, mounting_deg=mounting)  # type: ignore[arg-type]
        with ImuTerminal(make_imu(plant, spec, seed=1)) as terminal:
            with create(spec, terminal.path) as imu:
                reading = imu.latest()
            truth = plant.felt[0]
    assert reading is not None
    agreement = abs(float(np.dot(reading.sample.quaternion, truth)))
    assert agreement > 0.99
