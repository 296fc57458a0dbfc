"""What is found before a robot may stand up: each check's good end and its bad ones."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pytest

from robosac.deploy import preflight
from robosac.finding import Finding, show
from robosac.policy import OnnxPolicy
from robosac.policy.contract import Contract, Evaluation, Training
from robosac.runner.realtime import Granted
from robosac.wire.address import Address
from tests.robosac.deploy.conftest import UPSIDE_DOWN, Rig, severities

if TYPE_CHECKING:
    from tests.robosac.conftest import PolicyMaker

NAN = np.full(4, np.nan, np.float32)
FIFO = Granted(50)


def readings(rig: Rig, **sensors: Any) -> dict[str, Finding]:  # noqa: ANN401
    """Findings about what the sensors say."""
    rig.robot.connect()
    rig.say(**sensors)
    return {finding.what: finding for finding in preflight.check_readings(rig.robot)}


def test_all_is_well_with_a_robot_on_its_feet(rig: Rig) -> None:
    """Hottest joint and supply are told; nothing has moved."""
    found = readings(rig)
    assert {finding.severity for finding in found.values()} == {"ok"}
    assert found.keys() == {"freshness", "attitude", "joints", "temperature", "supply"}
    assert found["supply"].text == "11.1 V"
    assert found["temperature"].text == "30 °C at FR_hip_joint"
    assert rig.machine.stiff == 0


def test_a_robot_that_lies_is_a_warning(rig: Rig) -> None:
    """Somebody will put it on its feet."""
    found = readings(rig, **UPSIDE_DOWN)["attitude"]
    assert found == ("warning", "attitude", "180 degrees from upright; put it on its feet")


def test_an_imu_without_attitude_is_an_error(rig: Rig) -> None:
    """Not a number is not upright."""
    assert readings(rig, quaternion=NAN)["attitude"].severity == "error"


@pytest.mark.parametrize(
    ("sensors", "words"),
    [
        ({"joint_age_s": 0.5}, "joints are 0.50 s old; expected less than 0.1"),
        ({"imu_age_s": np.inf}, "IMU samples are inf s old"),
        ({"imu_age_s": np.nan}, "IMU samples are nan s old"),
    ],
)
def test_old_samples_are_an_error(rig: Rig, sensors: dict[str, float], words: str) -> None:
    """A silent device is named."""
    found = readings(rig, **sensors)["freshness"]
    assert found.severity == "error"
    assert found.text.startswith(words)


@pytest.mark.parametrize(
    ("sensors", "what", "severity", "words"),
    [
        ({}, "temperature", "ok", "30 °C at FR_hip_joint"),
        ({}, "supply", "ok", "11.1 V"),
        ({"temperature": 64.9}, "temperature", "ok", "65 °C"),
        ({"temperature": 65.0}, "temperature", "error", "expected less than 65, let it cool"),
        ({"voltage": 9.9}, "supply", "ok", "9.9 V"),
        ({"voltage": 9.8}, "supply", "error", "expected at least 9.9, charge the battery"),
    ],
)
def test_a_hot_servo_or_a_flat_battery_is_no_start(
    rig: Rig, sensors: dict[str, float], what: str, severity: str, words: str
) -> None:
    """With the number from which it would have to sit down again."""
    temperature = np.full(12, 30, np.float32)
    temperature[0] = sensors.get("temperature", 30.0)
    rig.machine.measured = {"voltage": 11.1, **sensors, "temperature": temperature}
    found = readings(rig)[what]
    assert found.severity == severity
    assert words in found.text


def test_joints_where_they_cannot_be_are_named(rig: Rig) -> None:
    """Beyond a stop that gives way a little they are turned by hand; without position, errors."""
    rig.robot.connect()
    position = rig.robot.read().position
    lower, upper = rig.robot.spec.column("lower"), rig.robot.spec.column("upper")
    far = position.copy()
    far[4] = upper[4] + 0.5
    far[0] = lower[0] - 0.01
    found = readings(rig, position=far)["joints"]
    assert found.severity == "warning"
    assert found.text == "FL_thigh_joint beyond mechanical limits; turn by hand"
    far[7] = np.nan
    found = readings(rig, position=far)["joints"]
    assert (found.severity, found.text) == ("error", "RR_thigh_joint tell no position")


@pytest.mark.parametrize(("takes_ms", "severity"), [(0, "ok"), (14, "ok"), (16, "error")])
def test_reading_must_fit_into_the_period(rig: Rig, takes_ms: int, severity: str) -> None:
    """With time left for everything else; the bus is what is too slow otherwise."""
    rig.robot.connect()
    rig.machine.on_read = lambda: rig.machine.wait_until(rig.machine.now() + takes_ms * 10**6)
    (found,) = preflight.check_cycle(rig.env)
    assert found.severity == severity
    assert found.text.startswith(f"read in {takes_ms:.1f} ms")
    assert ("baud rate" in found.text) is (severity == "error")


@pytest.mark.parametrize(
    ("granted", "hertz", "late_ms", "expected"),
    [
        (FIFO, 50.0, 0, {"priority": "ok", "timing": "ok"}),
        (FIFO, 200.0, 0, {"priority": "ok", "timing": "ok"}),
        (Granted(None), 50.0, 0, {"priority": "warning", "timing": "ok"}),
        (Granted(None), 200.0, 0, {"priority": "error", "timing": "ok"}),
        (FIFO, 50.0, 10, {"priority": "ok", "timing": "warning"}),
    ],
)
def test_a_fast_loop_needs_priority_and_punctuality(
    granted: Granted, hertz: float, late_ms: int, expected: dict[str, str]
) -> None:
    """Without priority fast ones are refused; late wake-ups are told."""
    clock = [0]

    def wait(due_ns: int) -> None:
        clock[0] = max(clock[0], due_ns) + late_ms * 10**6

    found = preflight.check_clock(granted, control_hz=hertz, now_ns=lambda: clock[0], wait=wait)
    assert severities(list(found)) == expected


EVALUATION = Evaluation(
    episodes=5, return_mean=1.0, return_std=0.1, speed_mps=0.26, falls=0, seed=0
)


@pytest.mark.parametrize(
    ("evaluation", "severity", "words"),
    [
        (None, "warning", "none in the file; measure it with `robosac eval`"),
        (EVALUATION, "ok", "5 episodes at 0.26 m/s, no fall"),
        (msgspec.structs.replace(EVALUATION, falls=2), "warning", "2 falls in 5 episodes"),
    ],
)
def test_it_is_told_what_a_policy_can_do(
    make_policy: PolicyMaker,
    contract: Contract,
    evaluation: Evaluation | None,
    severity: str,
    words: str,
) -> None:
    """One that falls, or that nobody has measured, is a warning."""
    training = Training(env_steps=40_000, evaluation=evaluation)
    told = msgspec.structs.replace(contract, training=training, control_hz=50.0)
    policy = OnnxPolicy(make_policy(contract=told))
    found = {finding.what: finding for finding in preflight.check_policy(policy)}
    assert found["evaluation"] == (severity, "evaluation", words)
    assert "40000 steps of training" in found["policy"].text
    assert found["contract"].text.endswith("1 golden vectors replayed, sensors included")


@pytest.mark.parametrize(("step_ms", "severity"), [(0.1, "ok"), (5.0, "warning")])
def test_a_slow_policy_is_a_warning(
    step_ms: float,
    severity: str,
    contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fifth of the period is enough for it."""
    clock = [0]

    def act(obs: object) -> None:
        clock[0] += round(step_ms * 1e6)

    monkeypatch.setattr(preflight, "time", SimpleNamespace(monotonic_ns=lambda: clock[0]))
    policy = cast("OnnxPolicy", SimpleNamespace(contract=contract, act=act))
    (found,) = preflight.check_inference(policy, control_hz=50.0)
    assert found.severity == severity


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize(("needed", "severity"), [(True, "error"), (False, "warning")])
def test_a_learner_that_is_away_is_an_error_only_where_it_is_needed(
    *, needed: bool, severity: str
) -> None:
    """With a policy of its own a robot goes on, and that is said."""
    found = preflight.check_presence(Address("127.0.0.1", free_port()), needed=needed)
    assert found is not None
    assert found.severity == severity
    assert found.text.startswith("nobody answers at 127.0.0.1:")
    assert ("goes on with its own policy" in found.text) is not needed


def test_whoever_listens_is_looked_at_by_others() -> None:
    """Nothing is found about a learner that is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        assert preflight.check_presence(address, needed=True) is None


def test_findings_are_said_as_they_come_and_errors_counted() -> None:
    """One line each, the severity first."""
    said: list[str] = []

    def findings() -> Any:  # noqa: ANN401
        yield Finding("ok", "supply", "11.1 V")
        assert said == ["ok      supply: 11.1 V"]
        yield Finding("error", "joints", "gone")
        yield Finding("warning", "timing", "late")

    assert show(findings(), said.append) == 1
    assert said[1:] == ["error   joints: gone", "warning timing: late"]
