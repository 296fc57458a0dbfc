"""`robosac deploy` as a process on emulated devices: whatever ends it, the torque goes off."""

from __future__ import annotations

import os
import pty
import re
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from robosac.exit_codes import EXIT_DONE, EXIT_SAFETY
from robosac.flight_log.record import read
from robots.dynamixel.control_table import WATCHDOG_TRIPPED, Register
from tests.robosac import deployed
from tests.robosac.deployed import Deployed, wait
from tools.patient_pup import CONTROL_HZ, patient_pup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sim.emulator.emulation import Emulation

PROGRAM = """
import sys
from robosac.cli.main import main
code = main()
sys.stderr.write("heavy: " + str({never!r} & set(sys.modules)))
sys.exit(code)
"""
NEVER = {"torch", "mujoco", "dm_control", "sim.mujoco_robot", "sim.emulator", "ray", "rich"}
"""What a deployed robot never imports."""


class Pup:
    """Devices that are emulated here, and whoever is deployed on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.robot = patient_pup(folder / "pup")
        speed = {"ramp_speed = 1.5": "ramp_speed = 0.3"}
        self.slow = patient_pup(folder / "slow", speed)
        """One that takes seconds to sit down, for who has something to do meanwhile."""
        contract = deployed.contract_of(self.robot)
        self.policy = deployed.standing_policy(folder / "p.onnx", contract)
        self.made: Emulation = deployed.emulate(folder / "ports")
        self._runs = 0

    @property
    def driving(self) -> list[int]:
        """Which servos carry a torque."""
        servos = self.made.servos.bus.bench.servos
        return [one.id for one in servos if one.memory.get(Register.TORQUE_ENABLE)]

    @property
    def watched(self) -> list[int]:
        """Which servos still drive: the others are limp, or their watchdogs have tripped."""
        servos = self.made.servos.bus.bench.servos
        watchdogs = {one.id: one.memory.get(Register.BUS_WATCHDOG) for one in servos}
        return [device for device in self.driving if watchdogs[device] != WATCHDOG_TRIPPED]

    def arguments(self, *more: str) -> list[str]:
        """Options of a deployment of its own."""
        ports = self.folder / "ports"
        return [
            *("--robot", str(self.robot), "--policy", str(self.policy)),
            *("--port", str(ports / "servos"), "--imu", str(ports / "imu")),
            *("--run", str(self.run), *more),
        ]

    @property
    def run(self) -> Path:
        """Folder of the newest deployment."""
        return self.folder / f"run{self._runs}"

    def deploy(self, *more: str, **options: Any) -> Deployed:  # noqa: ANN401 -- those of Popen
        """Start the command."""
        self._runs += 1
        said = self.folder / f"said{self._runs}"
        said.mkdir()
        program = PROGRAM.format(never=NEVER)
        return Deployed(said, ["-c", program, "deploy", *self.arguments(*more)], **options)

    def summary(self) -> dict[str, Any]:
        """What the newest deployment has left; its log is whole."""
        (path,) = self.run.glob("*.json")
        assert read(path.with_suffix(".mcap")).complete
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        return found


@pytest.fixture(scope="module")
def pup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pup]:
    """One for all of them."""
    pup = Pup(tmp_path_factory.mktemp("deploy"))
    with pup.made:
        yield pup


@pytest.fixture
def walking(pup: Pup) -> Iterator[Deployed]:
    """A deployment whose policy acts."""
    one = pup.deploy()
    try:
        one.walk()
        yield one
    finally:
        one.close()


def test_go_walk_quit(pup: Pup, walking: Deployed) -> None:
    """Exit code 0; the summary and the log tell the same, and nothing heavy was imported."""
    assert len(pup.driving) == 12
    wait(
        lambda: re.search("running +[1-9]", walking.output) is not None,
        lambda: f"second of running in\n{walking.output}\n{walking.errors}",
    )
    walking.say("quit")
    assert walking.finish() == EXIT_DONE
    assert not pup.driving
    summary, (path,) = pup.summary(), pup.run.glob("*.mcap")
    record = read(path)
    assert summary["env_steps"] > CONTROL_HZ / 2
    assert abs((record.ticks["state"] == "active").sum() - summary["env_steps"]) <= 2
    assert (record.ticks["state"] == "sit").any()
    assert summary["ended_in"] == "standby"
    assert summary["torque_off"]
    assert summary["error"] is None
    assert summary["log_lost"] == record.lost == 0
    assert [one["cause"] for one in summary["stops"]] == ["operator_stop"]
    assert f"summary  {path.with_suffix('.json')}" in walking.output
    assert "heavy: set()" in walking.errors


def test_sigterm_sits_it_down(pup: Pup, walking: Deployed) -> None:
    """As when a service is stopped: it ends by itself, its folder whole."""
    walking.process.send_signal(signal.SIGTERM)
    assert walking.finish() == EXIT_DONE
    assert not pup.driving
    assert "active -> sit" in walking.errors
    assert pup.summary()["stops"][0]["cause"] == "operator_stop"


def test_ctrl_c_twice_is_an_emergency_stop(pup: Pup) -> None:
    """The torque is off at once, and the exit code says that the stop is latched."""
    one = pup.deploy("--robot", str(pup.slow))
    try:
        one.walk()
        one.process.send_signal(signal.SIGINT)
        one.wait_for("active -> sit")
        one.pause()
        one.process.send_signal(signal.SIGINT)
        assert one.finish() == EXIT_SAFETY
    finally:
        one.close()
    assert not pup.driving
    summary = pup.summary()
    assert summary["ended_in"] == "estop"
    assert [one["cause"] for one in summary["stops"]] == ["operator_stop"]


def test_a_killed_process_leaves_its_servos_to_their_watchdogs(pup: Pup, walking: Deployed) -> None:
    """They stop by themselves; the next deployment starts without torque and can go."""
    walking.process.send_signal(signal.SIGKILL)
    walking.process.wait()
    wait(lambda: not pup.watched, lambda: f"rest, but servos {pup.watched} that drive")
    (path,) = pup.run.glob("*.mcap")
    wait(lambda: read(path).complete, lambda: "whole log of who was killed")
    assert len(read(path).ticks["state"]) > 10
    again = pup.deploy()
    try:
        again.wait_for("go lets it stand up")
        assert not pup.driving
        again.walk()
        again.say("quit")
        assert again.finish() == EXIT_DONE
    finally:
        again.close()


def test_everybody_goes_away(pup: Pup) -> None:
    """Nobody reads any more, as behind `| head`: no reason to stop; nobody speaks: that is one."""
    reading, writing = os.pipe()
    one = pup.deploy(stdout=writing)
    os.close(writing)
    try:
        os.read(reading, 1)
        os.close(reading)
        one.wait_for("nobody reads it any more")
        while "standby -> ramp" not in one.errors:
            one.say("go")  # one that comes too early does not count
            one.pause()
        one.wait_for("ramp -> active")
        one.hang_up()
        assert one.finish() == EXIT_DONE
    finally:
        one.close()
    assert not pup.driving
    assert "nobody is there any more" in one.errors
    assert pup.summary()["ended_in"] == "standby"


def test_a_terminal_that_is_closed_sits_it_down(pup: Pup) -> None:
    """Hang-up and end of input come together, in any order: no emergency stop comes of it."""
    master, slave = pty.openpty()
    one = pup.deploy(stdin=slave)
    os.close(slave)
    try:
        one.wait_for("go lets it stand up")
        os.write(master, b"\n")
        one.wait_for("ramp -> active")
        os.close(master)
        one.process.send_signal(signal.SIGHUP)
        assert one.finish() == EXIT_DONE
    finally:
        one.close()
    assert "EMERGENCY" not in one.errors
    assert not pup.driving


def test_a_learner_that_is_away_is_no_obstacle(pup: Pup) -> None:
    """It walks by its own policy, and what it has seen waits on disk."""
    one = pup.deploy("--learner", "127.0.0.1:9", "--steps", "30")
    try:
        one.walk()
        one.wait_for("the robot is at rest; its rows go to the learner")
        assert not pup.driving
        one.say("quit")
        assert one.finish() == EXIT_DONE
    finally:
        one.close()
    assert "warning learner: nobody answers at 127.0.0.1:9" in one.output
    summary = pup.summary()
    assert summary["env_steps"] == 30
    assert summary["rows_dropped"] == 0
    assert list((pup.run / "spool").rglob("*.rows"))
