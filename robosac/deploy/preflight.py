"""What is checked, and said, before a real robot may stand up; nothing here moves it."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from robosac.finding import Finding
from robosac.lateness import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.env import RobotEnv
    from robosac.policy import OnnxPolicy
    from robosac.runner.realtime import Granted
    from robots import RobotState, SafeRobot

_CYCLES = 50
_CYCLE_SHARE = 0.7
"""Share of the control period that reading all sensors may take at the median."""
_INFERENCES = 200
_INFERENCE_SHARE = 0.2
_WATCH_S = 1.0
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
    tilt = math.degrees(math.acos(max(-1.0, min(1.0, -float(state.gravity[2])))))
    upright = tilt < spec.safety.tilt_deg
    yield Finding(
        "ok" if upright else "warning",
        "attitude",
        f"{tilt:.0f} degrees from upright" + ("" if upright else "; put it on its feet"),
    )
    yield _joints(robot, state)
    if state.temperature is not None:
        hottest = int(np.argmax(state.temperature))
        name = spec.joint_names[hottest]
        yield Finding("ok", "temperature", f"{state.temperature[hottest]:.0f} °C at {name}")
    if state.voltage is not None:
        yield Finding("ok", "supply", f"{state.voltage:.1f} V")


def _joints(robot: SafeRobot, state: RobotState) -> Finding:
    """Whether every joint is where it can be; stops give way a little, and so does this."""
    spec = robot.spec
    soft_lower, soft_upper = spec.soft_limits()
    outside = state.position < 2 * spec.column("lower") - soft_lower
    outside |= state.position > 2 * spec.column("upper") - soft_upper
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
