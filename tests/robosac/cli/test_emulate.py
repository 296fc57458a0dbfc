"""`robosac emulate`: ports that drivers open, physics behind them, and one line when it cannot."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import robots
from robosac.cli.main import main
from robosac.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER
from robots.dynamixel.bus import Bus
from robots.dynamixel.port import Port
from robots.imu import ImuSpec, create
from sim.emulator.faults import KINDS
from sim.emulator.imu_faults import IMU_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """Where the link to the bus is."""
    return tmp_path / "ports" / "servos"


@pytest.fixture
def emulator(link: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, with an IMU and a servo that is silent."""
    options = [
        "--fault",
        "silence@0,id=5",
        "--fault",
        "sag@0",
        "--link",
        str(link.parent),
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
    bus_line, imu_line = emulator.stdout.readline(), emulator.stdout.readline()
    ids = ", ".join(map(str, range(1, 13)))
    assert re.fullmatch(rf"servos /dev/pts/\d+  2000000 bit/s, ids {ids}\n", bus_line)
    assert re.fullmatch(r"imu /dev/pts/\d+  921600 bit/s, vn100\n", imu_line)
    with Port(link, 2_000_000) as port:
        bus = Bus(port, usb_latency_s=0.2)
        pongs = {device: bus.ping(device) for device in (1, 5, 12)}
        assert [device for device, pong in pongs.items() if pong] == [1, 12]
        assert int.from_bytes(bus.read_block(1, 144, 2), "little") == 81
    spec = ImuSpec(model="vn100", baud=921_600, rate_hz=200.0)
    with create(spec, str(link.with_name("imu"))) as imu:
        assert imu.latest() is not None
    emulator.send_signal(signal.SIGINT)
    assert emulator.wait() == EXIT_INTERRUPTED
    assert emulator.stdout.read() == "the ports are gone\n"
    assert emulator.stderr is not None
    assert emulator.stderr.read() == ""
    assert list(link.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--robot", "pupp"], "unknown robot 'pupp'; expected one of pup"),
        (["--baud", "123"], "--baud 123; expected one of 9600, "),
        (["--usb-latency-ms", "-1"], "--usb-latency-ms -1.0; expected zero or more"),
        (["--fault", "droop@1"], "fault 'droop@1': no fault is called 'droop'; expected one of dr"),
        (["--imu", "none", "--fault", "nan@1"], "fault 'nan': is an IMU's and there is none"),
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


def test_a_robot_without_servos_cannot_be_emulated(capfd: pytest.CaptureFixture[str]) -> None:
    """It is said which file lacks them."""
    assert main(["emulate", "--robot", "go2"]) == EXIT_USER
    assert re.fullmatch(
        r"robosac: .*/go2/robot\.toml: no \[bus\], so no servos .*\n", capfd.readouterr().err
    )


def test_every_fault_is_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """A name and a sentence in each line; those that both devices have are told apart."""
    assert main(["emulate", "--fault", "list"]) == EXIT_DONE
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(KINDS) + len(IMU_FAULTS)
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(names)
    assert {"unplug", "imu-unplug", "drift"} <= set(names)
    assert all(len(line.split()) > 2 for line in lines)


def test_a_file_where_a_link_should_be_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not deleted, and nothing is left behind."""
    (tmp_path / "servos").write_text("precious")
    assert main(["emulate", "--link", str(tmp_path)]) == EXIT_USER
    error = capfd.readouterr().err
    assert error.startswith(f"robosac: --link {tmp_path}: ")
    assert error.count("\n") == 1
    assert [file.read_text() for file in tmp_path.iterdir()] == ["precious"]


def test_a_child_tells_its_ports_and_ends_with_its_parent(tmp_path: Path) -> None:
    """One line of JSON; links where they are wanted; the end of standard input is the end."""
    command = [sys.executable, "-m", "robosac", "emulate", "--json", "--place", "lying", "--hands"]
    with subprocess.Popen(
        [*command, "--link", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        ports = json.loads(child.stdout.readline())
        assert ports == {"servos": str(tmp_path / "servos"), "imu": str(tmp_path / "imu")}
        with Port(ports["servos"], 1_000_000) as port:
            assert Bus(port, usb_latency_s=0.2).ping(12) is not None
        words = child.stderr.readline()
        assert words.startswith("hands put the robot back: it lay")
        child.stdin.close()
        assert child.wait() == EXIT_DONE
        assert child.stdout.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_the_small_quadruped_has_a_bus() -> None:
    """A servo per joint."""
    spec = robots.find("pup").spec
    assert spec.bus is not None
    assert len(spec.bus.in_order(spec.joint_names).servos) == 12
