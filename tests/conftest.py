"""What every test runs under: one thread, the OpenGL there is, no clock in Hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings

from sim import opengl

# Before numpy and torch are first imported: several threads on small arrays only cost time, and
# their sums differ from run to run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before a test imports dm_control by itself.
opengl.choose()

# A busy machine is no bug; pytest-timeout bounds every test.
settings.register_profile("robosac", deadline=None)
settings.load_profile("robosac")
