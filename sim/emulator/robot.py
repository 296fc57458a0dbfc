"""A whole robot's devices: the servos of its folder on one bus, its model's physics behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.dynamixel.control_table import BAUD_RATES, Register, model_named
from sim.emulator.bench import Battery, Bench, Mount
from sim.emulator.bus import Bus, WireOptions
from sim.emulator.faults import Faults
from sim.emulator.motors import MOTORS
from sim.emulator.mujoco_motion import MujocoJoints
from sim.emulator.servo import Servo, ServoOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robots import RobotFolder
    from robots.dynamixel.config import BusSpec
    from sim.emulator.faults import Fault


def make_bus(
    folder: RobotFolder,
    spec: BusSpec,
    *,
    wire: WireOptions | None = None,
    faults: Iterable[Fault] = (),
    seed: int = 0,
) -> Bus:
    """Bus of a robot folder whose servos have the factory's settings but for ID and speed.

    The wire's speed is that of the servos; the seed is that of the faults' dice.  Raises ModelError
    when the model does not fit, ValueError when the wire has a speed that no servo has.
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
        plant=MujocoJoints(folder),
        mounts=[Mount(direction=float(one.sign), offset=one.offset) for one in ordered],
        battery=Battery(volts=folder.spec.sim.supply * MOTORS[models[0]].volts),
        faults=Faults(faults, seed=seed),
    )
    return Bus(bench, options=wire)
