"""What every test runs under: one thread, no window, no clock in Hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings

# Before numpy, torch and MuJoCo are first imported: several threads on small arrays only cost
# time, and their sums differ from run to run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

# A busy machine is no bug; pytest-timeout bounds every test.
settings.register_profile("robosac", deadline=None)
settings.load_profile("robosac")
