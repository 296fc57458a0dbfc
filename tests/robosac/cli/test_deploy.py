"""What a user of `robosac deploy` gets wrong is said in one line, and nothing moves."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from robosac.cli.main import main
from robosac.exit_codes import EXIT_DONE, EXIT_SAFETY, EXIT_USER
from robots.dynamixel.control_table import Register
from robots.dynamixel.port import Port
from sim.emulator.fault_names import parse_any
from tests.robosac import deployed
from tools.patient_pup import patient_pup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robosac.policy import Contract
    from sim.emulator.emulation import Emulation


@pytest.fixture(scope="session")
def pup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pup that bears a busy machine."""
    return patient_pup(tmp_path_factory.mktemp("robots") / "pup")


@pytest.fixture(scope="session")
def contract(pup: Path) -> Contract:
    """What its policies fulfil."""
    return deployed.contract_of(pup)


@pytest.fixture(scope="session")
def policy(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that stands."""
    return deployed.standing_policy(tmp_path_factory.mktemp("policy") / "p.onnx", contract)


class Desk:
    """Somebody at a computer to which a pup may be plugged in."""

    def __init__(self, folder: Path, pup: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.pup, self._capfd = folder, pup, capfd
        self.output = ""

    def deploy(self, *arguments: str) -> int:
        """Run the command in this process; returns its exit code."""
        ports = ["--port", str(self.folder / "servos"), "--imu", str(self.folder / "imu")]
        robot = [] if "--robot" in arguments else ["--robot", str(self.pup)]
        run = ["--run", str(self.folder / "run")]
        return main(["deploy", *robot, *ports, *run, *arguments])

    def complaint(self, *arguments: str, code: int = EXIT_USER) -> str:
        """The one line with which it refuses; nothing is left behind."""
        assert self.deploy(*arguments) == code
        self.output, error = self._capfd.readouterr()
        (line,) = error.splitlines()
        assert line.startswith("robosac: ")
        assert not (self.folder / "run").exists()
        return line


@pytest.fixture
def desk(
    tmp_path: Path,
    pup: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """Nothing is plugged in."""
    monkeypatch.setattr("robosac.deploy.preflight._WATCH_S", 0.1)
    return Desk(tmp_path, pup, capfd)


@contextlib.contextmanager
def plugged_in(folder: Path, **options: Any) -> Iterator[Emulation]:  # noqa: ANN401 -- as emulate
    """Plug in a pup; at the end none of its servos must ever have carried a torque."""
    with deployed.emulate(folder, **options) as made:
        driven: list[int] = []

        def look(bench: Any) -> None:  # noqa: ANN401 -- as the emulator calls it
            driven.extend(s.id for s in bench.servos if s.memory.get(Register.TORQUE_ENABLE))

        made.servos.bus.bench.helpers.append(look)
        yield made
    assert not driven


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing to act by; give --policy FILE, or --learner HOST:PORT, or both"),
        (["--policy", "p.onnx", "--keys", "k"], "--keys means nothing without --learner"),
        (["--policy", "p.onnx", "--name", "n"], "--name means nothing without --learner"),
        (["--policy", "p", "--attend-keys", "k"], "--attend-keys means nothing without --attend"),
        (["--policy", "p", "--steps", "0"], "--steps is 0; expected at least 1"),
        (["--policy", "p", "--log-limit", "0"], "--log-limit is 0; expected at least 1"),
        (["--policy", "p", "--robot", "pub"], "unknown robot 'pub'; expected one of pup"),
        (["--policy", "p", "--robot", "go2"], "robot.toml has no [bus]; expected"),
        (["--policy", "p", "--task", "wlak"], "unknown task 'wlak'; expected walk"),
    ],
)
def test_options_that_cannot_be_used(desk: Desk, arguments: list[str], expected: str) -> None:
    """What was got, what was expected."""
    assert expected in desk.complaint(*arguments)


def test_a_policy_that_is_no_policy(desk: Desk, contract: Contract, tmp_path: Path) -> None:
    """Missing, or refused for safety as corrupt or another robot's, before any port is opened."""
    file = tmp_path / "p.onnx"
    assert f"--policy {file}: no such file" in desk.complaint("--policy", str(file))
    file.write_bytes(b"no policy at all")
    assert str(file) in desk.complaint("--policy", str(file), code=EXIT_SAFETY)
    deployed.standing_policy(file, msgspec.structs.replace(contract, robot="another"))
    line = desk.complaint("--policy", str(file), code=EXIT_SAFETY)
    assert "policy does not fit: robot: " in line


def test_no_such_port(desk: Desk, policy: Path) -> None:
    """It is named."""
    line = desk.complaint("--policy", str(policy))
    assert f"serial port {desk.folder / 'servos'}" in line


def test_a_busy_port(desk: Desk, policy: Path) -> None:
    """Two masters on one bus move a robot at random."""
    with plugged_in(desk.folder), Port(desk.folder / "servos", 1_000_000):
        line = desk.complaint("--policy", str(policy))
    assert "servos" in line
    assert "is in use by process" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"baud": 57_600}, "57600"),
        ({"faults": (parse_any("silence@0,id=5"),)}, "5"),
        ({"faults": (parse_any("collision@0,id=3"),)}, "3"),
        ({"faults": (parse_any("imu-silence@0"),)}, "imu"),
        ({"faults": (parse_any("imu-baud@0"),)}, "imu"),
        ({"faults": (parse_any("hardware-error@0,id=8"),)}, "8"),
    ],
    ids=[
        "wrong speed",
        "missing servo",
        "two of one id",
        "silent IMU",
        "IMU speed",
        "faulty servo",
    ],
)
def test_devices_that_are_not_as_they_should_be(
    desk: Desk, policy: Path, options: dict[str, Any], expected: str
) -> None:
    """Which servo, which port; in one line."""
    with plugged_in(desk.folder, **options):
        line = desk.complaint("--policy", str(policy), "--dry-run")
    assert expected in line


def test_a_servo_of_another_model(tmp_path: Path, desk: Desk, policy: Path) -> None:
    """What is there and what robot.toml says."""
    change = {'id = 4, model = "XM430-W210"': 'id = 4, model = "XM430-W350"'}
    robot = patient_pup(tmp_path / "other", change)
    contract = deployed.contract_of(robot)
    file = deployed.standing_policy(tmp_path / "p.onnx", contract)
    with plugged_in(desk.folder):
        line = desk.complaint("--robot", str(robot), "--policy", str(file))
    assert "XM430-W210" in line
    assert "XM430-W350" in line
    assert "4" in line


def test_a_servo_of_old_firmware(desk: Desk, policy: Path) -> None:
    """One without a watchdog would go on pushing when the computer is gone."""
    with plugged_in(desk.folder) as made:
        made.servos.bus.bench.servos[6].memory.set(Register.FIRMWARE, 37)
        line = desk.complaint("--policy", str(policy))
    assert "servo 7" in line
    assert "firmware 37" in line
    assert "38 or later" in line


def test_a_dry_run_checks_everything(desk: Desk, policy: Path) -> None:
    """One line a check, and the robot has not moved."""
    with plugged_in(desk.folder):
        assert desk.deploy("--policy", str(policy), "--dry-run") == EXIT_DONE
    output, error = desk._capfd.readouterr()  # noqa: SLF001 - of this module
    assert error == ""
    lines = output.splitlines()
    assert lines[-1] == "dry run: nothing has moved"
    assert not [line for line in lines if line.startswith("error")]
    for what in ("freshness", "attitude", "joints", "sensors", "timing", "policy", "inference"):
        assert sum(f" {what}: " in line for line in lines) == 1
    assert not (desk.folder / "run").exists()


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_learner_that_is_away(desk: Desk, policy: Path) -> None:
    """Refused without a policy; with one the robot works, and it is said."""
    with plugged_in(desk.folder):
        line = desk.complaint("--learner", nobody(), "--dry-run")
        assert line == "robosac: 1 error in the checks above; nothing has moved", desk.output
        assert "error   learner: nobody answers at " in desk.output
        assert desk.deploy("--learner", nobody(), "--policy", str(policy), "--dry-run") == EXIT_DONE
    output, _ = desk._capfd.readouterr()  # noqa: SLF001 - of this module
    assert "warning learner: nobody answers at " in output


def test_help_is_quick_and_light() -> None:
    """No library that the option parser does not need."""
    code = (
        "import sys, time\n"
        "from robosac.cli.main import main\n"
        "try:\n"
        "    main(['deploy', '--help'])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'torch', 'mujoco', 'dm_control', 'onnxruntime', 'gymnasium', 'serial'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.stderr.write(str(time.process_time()))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--policy" in ran.stdout
    assert float(ran.stderr) < 1.0  # seconds of processor time; half of it where nothing else runs
