"""Rules that find the mistakes robot models ship with, before a policy learns them.

Every rule stands for a bug that reached users of some simulator: actuators in another order than
the joints, a left leg that is not the mirror of the right one, soft limits outside the hard ones,
knees with the hip's torque, feet that start in the ground, inertias left at 1, damping twenty times
too high.
"""

from sim.lint.run import lint
from sim.lint.subject import Finding

__all__ = ["Finding", "lint"]
