"""`robosac emulate`: ports that drivers open, physics behind them, and one line when it cannot."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import robots
from robosac.cli.main import main
from robosac.exit_codes import EXIT_INTERRUPTED, EXIT_USER
from robots.dynamixel.bus import Bus
from robots.dynamixel.port import Port
from robots.imu import ImuSpec, create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """Where the link to the bus is."""
    return tmp_path / "servos"


@pytest.fixture
def emulator(link: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, with an IMU and a servo that is silent."""
    options = [
        "--fault",
        "silence@0,id=5",
        "--fault",
        "sag@0",
        "--link",
        str(link),
    ]
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "robosac",
            "emulate",
            "--robot",
            "pup",
            "--baud",
            "2000000",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_drivers_find_the_devices(emulator: subprocess.Popen[str], link: Path) -> None:
    """At the ports that are printed, with the faults that were asked for; Ctrl-C ends it."""
    assert emulator.stdout is not None
    imu_line, bus_line = emulator.stdout.readline(), emulator.stdout.readline()
    found = re.fullmatch(r"imu (/dev/pts/\d+)  921600 bit/s, vn100\n", imu_line)
    assert found
    ids = ", ".join(map(str, range(1, 13)))
    assert re.fullmatch(rf"servo bus /dev/pts/\d+  2 Mbps, ids {ids}\n", bus_line)
    with Port(link, 2_000_000) as port:
        bus = Bus(port, usb_latency_s=0.2)
        pongs = {device: bus.ping(device) for device in (1, 5, 12)}
        assert [device for device, pong in pongs.items() if pong] == [1, 12]
        assert int.from_bytes(bus.read_block(1, 144, 2), "little") == 81
    spec = ImuSpec(model="vn100", baud=921_600, rate_hz=200.0)
    with create(spec, found[1]) as imu:
        assert imu.latest() is not None
    emulator.send_signal(signal.SIGINT)
    assert emulator.wait() == EXIT_INTERRUPTED
    assert emulator.stdout.read() == "the ports are gone\n"
    assert emulator.stderr is not None
    assert emulator.stderr.read() == ""
    assert not link.is_symlink()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--robot", "pupp"], "unknown robot 'pupp'; expected one of pup"),
        (["--robot", "go2"], "robot 'go2' has no servo bus; expected [bus] in "),
        (["--baud", "123"], "--baud 123; expected one of 9600, "),
        (["--usb-latency-ms", "-1"], "--usb-latency-ms -1.0; expected zero or more"),
        (["--fault", "droop@1"], "fault 'droop@1': no fault is called 'droop'"),
    ],
)
def test_what_cannot_be_emulated_is_one_line(
    options: list[str], problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was got, what was expected; exit code 2."""
    assert main(["emulate", *options]) == EXIT_USER
    error = capfd.readouterr().err
    assert error.startswith(f"robosac: {problem}")
    assert error.count("\n") == 1


def test_the_small_quadruped_has_a_bus() -> None:
    """A servo per joint."""
    spec = robots.find("pup").spec
    assert spec.bus is not None
    assert len(spec.bus.in_order(spec.joint_names).servos) == 12
