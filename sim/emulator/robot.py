"""A whole robot's devices: its servos on one bus, its IMU, its model's physics behind them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robots.dynamixel.control_table import BAUD_RATES, Register, model_named
from robots.imu.mounting import from_angles, inverse, product, rotate
from sim.emulator.bench import Battery, Bench, Mount
from sim.emulator.bus import Bus, WireOptions
from sim.emulator.faults import Faults
from sim.emulator.imu_vectornav import VectorNavDevice
from sim.emulator.imu_witmotion import WitMotionDevice
from sim.emulator.motors import MOTORS
from sim.emulator.mujoco_motion import MujocoJoints
from sim.emulator.servo import Servo, ServoOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robots import RobotFolder
    from robots.dynamixel.config import BusSpec
    from robots.imu import ImuSpec
    from sim.emulator.faults import Fault
    from sim.emulator.imu_device import ImuDevice, Vector
    from sim.emulator.motion import Plant


def make_bus(
    folder: RobotFolder,
    spec: BusSpec,
    *,
    plant: Plant | None = None,
    wire: WireOptions | None = None,
    faults: Iterable[Fault] = (),
    seed: int = 0,
) -> Bus:
    """Bus of a robot folder whose servos have the factory's settings but for ID and speed.

    They turn the joints of the plant, which is the folder's model if none is given.  The wire's
    speed is that of the servos; the seed is that of the faults' dice.  Raises ModelError when the
    model does not fit, ValueError when the wire has a speed that no servo has.
    """
    wire = wire or WireOptions(baud=spec.baud)
    if wire.baud not in BAUD_RATES:
        known = ", ".join(str(rate) for rate in BAUD_RATES)
        raise ValueError(f"{wire.baud} bit/s; expected one of {known}")
    code = {Register.BAUD_RATE.name.lower(): BAUD_RATES.index(wire.baud)}
    ordered = spec.in_order(folder.spec.joint_names).servos
    models = [model_named(one.model).number for one in ordered]
    servos = [
        Servo(ServoOptions(id=one.id, model=number, eeprom=code))
        for one, number in zip(ordered, models, strict=True)
    ]
    bench = Bench(
        servos,
        plant=plant or MujocoJoints(folder),
        mounts=[Mount(direction=float(one.sign), offset=one.offset) for one in ordered],
        battery=Battery(volts=folder.spec.sim.supply * MOTORS[models[0]].volts),
        faults=Faults(faults, seed=seed),
    )
    return Bus(bench, options=wire)


def make_imu(plant: MujocoJoints, spec: ImuSpec, *, seed: int = 0) -> ImuDevice:
    """IMU that sits in a robot as robot.toml says, with the factory's settings but for speed."""
    roll, pitch, yaw = (math.radians(angle) for angle in spec.mounting_deg)
    sensor = from_angles(roll, pitch, yaw)
    back = inverse(sensor)

    def feel() -> tuple[Vector, Vector, Vector]:
        attitude, gyro, force = plant.felt
        return product(attitude, sensor), rotate(back, gyro), rotate(back, force)

    if spec.model == "vn100":
        return VectorNavDevice(feel, baud=spec.baud, uart=spec.uart, seed=seed)
    return WitMotionDevice(feel, baud=spec.baud, seed=seed)
