"""The part of robot.toml that is about servos."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import msgspec
import pytest

from robots.dynamixel import config
from robots.dynamixel.config import BusSpec, ServoSpec, problems
from robots.dynamixel.control_table import Register

JOINTS = ("knee", "hip")


def servo(joint: str, device: int, **changes: object) -> ServoSpec:
    """A good servo, changed."""
    fields = {"joint": joint, "id": device, "model": "XM430-W210", "torque_constant": 1.3}
    return msgspec.convert(fields | changes, ServoSpec)


def bus(**changes: object) -> BusSpec:
    """A good bus of two servos, changed."""
    good = BusSpec(servos=(servo("hip", 1), servo("knee", 2)))
    return msgspec.structs.replace(good, **changes)


def test_the_documented_form_is_read() -> None:
    """The example in the module's docstring is a bus, and a good one."""
    text = (config.__doc__ or "").split("\n\n", 1)[1]
    spec = msgspec.convert(tomllib.loads(text)["bus"], BusSpec)
    assert spec.ids == (3,)
    assert spec.repairs == {Register.RETURN_DELAY: 0, Register.POSITION_P: 800}
    assert spec.watchdog_counts == 5
    assert problems(spec, ["front_left_knee"]) == []


def test_reading_a_robot_needs_no_driver() -> None:
    """Neither robots nor this module loads the libraries of the driver."""
    program = "import sys, robots, robots.dynamixel.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert not {b"serial", b"fastcrc"} & set(done.stdout.split())


def test_unknown_keys_are_refused() -> None:
    """A misspelt key is an error, not a default."""
    with pytest.raises(msgspec.ValidationError, match="offst"):
        servo("hip", 1, offst=0.1)
    with pytest.raises(msgspec.ValidationError, match="sign"):
        servo("hip", 1, sign=2)


def test_servos_come_in_the_order_of_joints() -> None:
    """The robot's order is the order of its joints, whatever the order of the servos."""
    assert bus().in_order(JOINTS).ids == (2, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"baud": 9601}, "bus.baud 9601; expected one of 9600, 57600"),
        ({"watchdog_s": 0.0}, "bus.watchdog_s 0.0; expected 0.02 to 2.54 s"),
        ({"watchdog_s": float("nan")}, "bus.watchdog_s nan"),
        ({"usb_latency_s": -1.0}, "bus.usb_latency_s -1.0"),
        ({"repair": {"id": 3}}, "bus.repair.id; expected one of return_delay"),
        ({"repair": {"return_delay": 300}}, "bus.repair.return_delay = 300; expected 0 to 254"),
        ({"servos": (servo("hip", 1),)}, "joint knee has no servo"),
        ({"servos": (servo("hip", 1), servo("knee", 1))}, "ID 1 stands at two servos"),
        ({"servos": (servo("hip", 1), servo("knee", 253))}, "id 253; expected 0 to 252"),
        (
            {"servos": (servo("hip", 1), servo("knee", 2), servo("knee", 3))},
            "joint knee has two servos",
        ),
        (
            {"servos": (servo("hip", 1), servo("knee", 2), servo("tail", 3))},
            "servo of tail: no such joint",
        ),
        (
            {"servos": (servo("hip", 1), servo("knee", 2, model="AX-12"))},
            "model 'AX-12'; expected one of XM430-W350",
        ),
        (
            {"servos": (servo("hip", 1), servo("knee", 2, torque_constant=0.0))},
            "torque_constant 0.0; expected a positive number",
        ),
        (
            {"servos": (servo("hip", 1), servo("knee", 2, offset=float("inf")))},
            "offset inf; expected a finite number",
        ),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, object], text: str) -> None:
    """Every mistake is found, alone, and said with what was expected."""
    assert problems(bus(), JOINTS) == []
    (problem,) = problems(bus(**changes), JOINTS)
    assert text in problem
