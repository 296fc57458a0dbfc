from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from robots import RobotError
from robots.imu import (
    Imu,
    ImuLostError,
    ImuReading,
    ImuRefusedError,
    ImuSample,
    ImuSpec,
    create,
)


def sample(repeats: int = 0) -> ImuSample:
    """A level body at rest."""
    return ImuSample(
        quaternion=np.array([1, 0, 0, 0], np.float32),
        gyro=np.zeros(3, np.float32),
        accelerometer=np.array([0, 0, 9.81], np.float32),
        stamp_ns=0,
        device_ns=None,
        repeats=repeats,
    )


def spec(**changes: Any) -> ImuSpec:  # noqa: ANN401 - fields of many types
    """A VN-100 as robot.toml may have it."""
    usual = {"model": "vn100", "baud": 921600, "rate_hz": 200.0}
    return msgspec.convert(usual | changes, ImuSpec)


@pytest.mark.parametrize(("repeats", "frozen"), [(0, False), (4, False), (5, True), (99, True)])
def test_an_imu_that_repeats_itself_five_times_is_frozen(repeats: int, *, frozen: bool) -> None:
    """Fewer repeats happen at low resolution; five in a row are no measurement."""
    assert ImuReading(sample=sample(repeats), age_s=0.0).frozen is frozen


class Recorder(Imu):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def latest(self) -> ImuReading | None:
        return None

    def close(self) -> None:
        self.calls.append("close")


def test_an_imu_is_closed_whatever_happens_in_the_block() -> None:
    """The port is free again after an error."""
    imu = Recorder()
    with pytest.raises(ZeroDivisionError), imu:
        1 / 0  # noqa: B018 - any error
    assert imu.calls == ["open", "close"]


def test_errors_name_the_port_and_belong_to_the_robot() -> None:
    """The safety wrapper catches RobotError; the operator needs the port."""
    for error in (ImuRefusedError("/dev/x", "is odd"), ImuLostError("/dev/x", "gone")):
        assert isinstance(error, RobotError)
        assert str(error).startswith("IMU on /dev/x: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"port": "/dev/ttyUSB0"}, "port"),
        ({"baud": 0}, "baud 0"),
        ({"rate_hz": 0.0}, "rate_hz 0"),
        ({"rate_hz": float("nan")}, "rate_hz nan"),
        ({"mounting_deg": (0.0, float("inf"), 0.0)}, "mounting_deg"),
        ({"model": "bno055"}, "bno055"),
        ({"uart": 3}, "uart"),
        ({"bauds": 9600}, "bauds"),
    ],
)
def test_a_description_that_fits_no_imu_is_refused(changes: dict[str, Any], got: str) -> None:
    """What robot.toml says is checked when it is read."""
    with pytest.raises(msgspec.ValidationError, match=got):
        spec(**changes)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"rate_hz": 300.0}, "expected 800 divided by a whole number"),
        ({"rate_hz": 1600.0}, "expected 800 divided by a whole number"),
        ({"rate_hz": 400.0, "baud": 115200}, "needs 216000 baud, got 115200"),
        ({"model": "wt901", "rate_hz": 125.0}, "expected one of 50, 100, 200"),
        ({"model": "wt901", "baud": 9600, "rate_hz": 50.0}, "needs 16500 baud, got 9600"),
    ],
)
def test_a_rate_that_the_model_cannot_deliver_is_refused(
    changes: dict[str, Any], advice: str
) -> None:
    """Nothing needs to be plugged in to find that out."""
    with pytest.raises(ValueError, match=advice):
        create(spec(**changes), "/dev/x")


def test_every_model_has_a_driver() -> None:
    """The driver carries the description, readable before it is opened."""
    models = ["vn100", "wt901"]
    drivers = [create(spec(model=model), "/dev/x") for model in models]
    assert {driver.path for driver in drivers} == {"/dev/x"}
    assert [driver.spec.model for driver in drivers] == models
    assert len({type(driver) for driver in drivers}) == len(models)


def test_describing_imus_loads_no_serial_library() -> None:
    """What only reads robot.toml needs no driver."""
    program = "import sys, robots.imu; print(*sorted({'serial', 'fastcrc'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not done.stdout.strip()
