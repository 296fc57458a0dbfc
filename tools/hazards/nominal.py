"""Walking without any fault, for as long as one likes: nothing may trip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.policy import OnnxPolicy
from tools.hazards.policies import contract_of
from tools.hazards.registry import Finding
from tools.hazards.trial import VirtualTrial
from tools.hazards.verdict import always

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

_LIMITS = ("slew_limit", "position_limit")
"""What may hold a target back without anything being wrong."""


def walk(seconds: float, policy: Path | None = None) -> Finding:
    """Walk in virtual time, by a policy file or a scripted trot, and count what the guards did.

    Raises RobosacError for a file that does not fit.
    """
    with VirtualTrial() as trial:
        here = contract_of(trial.env)
        acting = None if policy is None else OnnxPolicy.load(policy, here=here)
        obs, _ = trial.stand_up()
        trial.robot.interventions.clear()
        metres = 0.0
        for _ in range(round(seconds / trial.period_s)):
            action = trial.gait(trial.ticks + 1) if acting is None else acting.act(obs)
            obs, _, _, _, info = trial.step(action)
            metres += info["forward_mps"] * info["dt"]
        done = dict(trial.robot.interventions)
        problems = always(trial)
        problems += [f"{name} tripped {n} times" for name, n in done.items() if name not in _LIMITS]
        if len(trial.states) > 1:
            problems.append(f"{trial.path()}; expected active all the time")
        if trial.env.overruns:
            problems.append(f"{trial.env.overruns} periods skipped")
        seen = f"walked {metres:.1f} m in {seconds:g} s"
        return Finding(seen, f"interventions {done or 'none'}", None, tuple(problems))
