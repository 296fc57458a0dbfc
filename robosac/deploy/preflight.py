"""What is checked, and said, before a real robot may stand up; nothing here moves it."""

from __future__ import annotations

import math
import socket
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from robosac.finding import Finding
from robosac.lateness import Histogram
from robots.safety.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from robosac.env import RobotEnv
    from robosac.policy import OnnxPolicy
    from robosac.runner.realtime import Granted
    from robosac.wire.address import Address
    from robots import RobotSpec, RobotState, SafeRobot

    FloatArray = NDArray[np.float32]

_CYCLES = 50
_CYCLE_SHARE = 0.7
"""Share of the control period that reading all sensors may take at the median."""
_INFERENCES = 200
_INFERENCE_SHARE = 0.2
_WATCH_S = 1.0
_PRESENCE_S = 3.0
_LATE_SHARE = 0.25
"""Share of the control period by which one wake-up in a hundred may be late."""
_ORDINARY_HZ = 100.0
"""Highest control rate that is tried without real-time priority."""


def check_policy(policy: OnnxPolicy) -> Iterator[Finding]:
    """Say what the policy is; that it fits has been checked when it was loaded."""
    contract = policy.contract
    training = contract.training
    yield Finding(
        "ok",
        "policy",
        f"{policy.sha256[:12]} for {contract.robot}, task {contract.task}, "
        f"{contract.control_hz:g} Hz, {training.env_steps} steps of training",
    )
    yield Finding(
        "ok",
        "contract",
        f"{len(contract.joints)} joints and {len(contract.obs)} terms of observation by name; "
        f"{len(contract.golden)} golden vectors replayed, sensors included",
    )
    evaluation = training.evaluation
    if evaluation is None:
        yield Finding("warning", "evaluation", "none in the file; measure it with `robosac eval`")
    elif evaluation.falls:
        yield Finding(
            "warning", "evaluation", f"{evaluation.falls} falls in {evaluation.episodes} episodes"
        )
    else:
        speed = evaluation.speed_mps
        at = "" if speed is None else f" at {speed:.2f} m/s"
        yield Finding("ok", "evaluation", f"{evaluation.episodes} episodes{at}, no fall")


def check_readings(robot: SafeRobot) -> Iterator[Finding]:
    """Look at what the sensors of a connected robot say."""
    state, spec = robot.read(), robot.spec
    yield _freshness(robot, state)
    yield _attitude(robot, state)
    yield _joints(robot, state)
    if state.temperature is not None:
        yield _temperature(spec, state.temperature)
    if state.voltage is not None:
        yield _supply(spec.safety.voltage_min, state.voltage)


def _temperature(spec: RobotSpec, temperature: FloatArray) -> Finding:
    """Whether every joint (J,), °C, is as cool as it must be to move."""
    hottest = int(np.argmax(temperature))
    found, limit = float(temperature[hottest]), spec.safety.sit_c
    words = f"{found:.0f} °C at {spec.joint_names[hottest]}"
    if found < limit:
        return Finding("ok", "temperature", words)
    return Finding("error", "temperature", f"{words}; expected less than {limit:g}, let it cool")


def _supply(least: float | None, voltage: float) -> Finding:
    """Whether there is voltage enough to move, V."""
    if least is None or voltage >= least:
        return Finding("ok", "supply", f"{voltage:.1f} V")
    return Finding(
        "error", "supply", f"{voltage:.1f} V; expected at least {least:g}, charge the battery"
    )


def _freshness(robot: SafeRobot, state: RobotState) -> Finding:
    """Whether joints and IMU were measured just now."""
    oldest_s = robot.spec.safety.stale_damp_s
    old = [
        f"{what} are {age_s:.2f} s old"
        for what, age_s in (("joints", state.joint_age_s), ("IMU samples", state.imu_age_s))
        if not age_s < oldest_s
    ]
    if old:
        advice = f"expected less than {oldest_s:g}; look at cable and supply"
        return Finding("error", "freshness", f"{' and '.join(old)}; {advice}")
    return Finding("ok", "freshness", "joints and IMU are measured anew")


def _attitude(robot: SafeRobot, state: RobotState) -> Finding:
    """Whether it can stand up from how it lies."""
    vertical = -float(state.gravity[2])
    if not math.isfinite(vertical):
        return Finding("error", "attitude", "the IMU gives no attitude; expected numbers")
    tilt = math.degrees(math.acos(max(-1.0, min(1.0, vertical))))
    if tilt < robot.spec.safety.tilt_deg:
        return Finding("ok", "attitude", f"{tilt:.0f} degrees from upright")
    return Finding("warning", "attitude", f"{tilt:.0f} degrees from upright; put it on its feet")


def _joints(robot: SafeRobot, state: RobotState) -> Finding:
    """Whether every joint is where it can be; stops give way a little, and so does this."""
    spec = robot.spec
    if not np.isfinite(state.position).all():
        known = np.isfinite(state.position)
        silent = [name for name, one in zip(spec.joint_names, known, strict=True) if not one]
        return Finding("error", "joints", f"{', '.join(silent)} tell no position")
    outside = state.position != Limits(spec).possible(state.position)
    if not outside.any():
        return Finding("ok", "joints", f"all {len(spec.joints)} within their limits")
    names = [name for name, out in zip(spec.joint_names, outside, strict=True) if out]
    return Finding(
        "warning", "joints", f"{', '.join(names)} beyond mechanical limits; turn by hand"
    )


def check_cycle(env: RobotEnv) -> Iterator[Finding]:
    """Measure how long reading every sensor takes, torque off."""
    robot, period_ms = env.robot, 1000 / env.task.control_hz
    took_ms = []
    for _ in range(_CYCLES):
        before_ns = robot.now()
        robot.read()
        took_ms.append((robot.now() - before_ns) / 1e6)
    median, longest = statistics.median(took_ms), max(took_ms)
    fits = median <= _CYCLE_SHARE * period_ms
    advice = "" if fits else "; raise the bus's baud rate or lower the adapter's latency timer"
    yield Finding(
        "ok" if fits else "error",
        "sensors",
        f"read in {median:.1f} ms (longest of {_CYCLES}: {longest:.1f}) of {period_ms:g}{advice}",
    )


def check_inference(policy: OnnxPolicy, *, control_hz: float) -> Iterator[Finding]:
    """Measure how long the policy takes."""
    obs = np.zeros(policy.contract.obs_size, np.float32)
    took = Histogram()
    for _ in range(_INFERENCES):
        before_ns = time.monotonic_ns()
        policy.act(obs)
        took.add(time.monotonic_ns() - before_ns)
    p99_ms, period_ms = took.report()["p99_us"] / 1000, 1000 / control_hz
    yield Finding(
        "ok" if p99_ms <= _INFERENCE_SHARE * period_ms else "warning",
        "inference",
        f"p99 {p99_ms:.2f} ms of {period_ms:g}",
    )


def _priority(granted: Granted, control_hz: float) -> Finding:
    """Whether the kernel gives the loop what its rate needs."""
    if granted.priority is not None:
        return Finding("ok", "priority", str(granted))
    if control_hz <= _ORDINARY_HZ:
        return Finding("warning", "priority", str(granted))
    return Finding("error", "priority", f"{granted}; {control_hz:g} Hz needs it")


def check_clock(
    granted: Granted, *, control_hz: float, now_ns: Callable[[], int], wait: Callable[[int], None]
) -> Iterator[Finding]:
    """Say what priority there is, and measure how late this thread wakes up for a second."""
    yield _priority(granted, control_hz)
    late, period_ns = Histogram(), round(1e9 / control_hz)
    due_ns = now_ns()
    for _ in range(round(_WATCH_S * control_hz)):
        due_ns += period_ns
        wait(due_ns)
        late.add(now_ns() - due_ns)
    found = late.report()
    fits = found["p99_us"] * 1000 <= _LATE_SHARE * period_ns
    yield Finding(
        "ok" if fits else "warning",
        "timing",
        f"wakes up p50 {found['p50_us'] / 1000:.2f}, p99 {found['p99_us'] / 1000:.2f}, "
        f"max {found['max_us'] / 1000:.2f} ms late",
    )


def check_presence(address: Address, *, needed: bool) -> Finding | None:
    """Say when nobody listens where the learner should be: an error only where it is needed."""
    try:
        socket.create_connection((address.host, address.port), _PRESENCE_S).close()
    except OSError as error:
        away = f"nobody answers at {address} ({error.strerror or error})"
        if needed:
            return Finding("error", "learner", f"{away}; start it, or give --policy as well")
        text = f"{away}; it goes on with its own policy, and rows wait on disk for the learner"
        return Finding("warning", "learner", text)
    return None
