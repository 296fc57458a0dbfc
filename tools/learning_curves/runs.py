"""What a run is, and what is kept of it."""

from __future__ import annotations

import msgspec


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One learning from nothing; nothing else tells two runs apart."""

    system: str
    """Who learns: robosac or sb3."""
    recipe: str
    """Recipe by name, with what is changed about it, as in `sac+sac.backup=single`."""
    env: str
    """Gymnasium id, dm_control/DOMAIN-TASK, or TASK/ROBOT as in walk/go2."""
    seed: int

    @property
    def name(self) -> str:
        """All of it in one line."""
        return f"{self.system} {self.recipe} {self.env} {self.seed}"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation of a run; the fields are the columns of the file."""

    system: str
    recipe: str
    env: str
    seed: int
    step: int
    """Environment steps of the training so far."""
    updates: int
    """Updates so far."""
    return_mean: float
    """Mean undiscounted return of the deterministic policy."""
    return_std: float
    """Standard deviation over the episodes of this evaluation."""
    speed_mps: float | None
    """Mean forward speed, where something measures it, m/s."""
    wall_s: float
    """Time of the training so far, without that of evaluations, s."""
    cpu_s: float
    """Processor time of the training so far, all threads, s."""
    q: float | None = None
    """Mean estimate of the critics where the exploring policy went."""
    q_true: float | None = None
    """Mean discounted return that followed there, with the entropy's part if critics learn it."""

    def reaches(self, speed_mps: float) -> bool:
        """Whether the robot was at least as fast; never where nothing measures its speed."""
        return self.speed_mps is not None and self.speed_mps >= speed_mps

    def ends(self, *, speed_mps: float, minutes: float) -> bool:
        """Whether a run is over that goes on to a speed, m/s, or for so many minutes."""
        return self.reaches(speed_mps) or self.wall_s >= 60 * minutes

    @property
    def run(self) -> Run:
        """The run it belongs to."""
        return Run(system=self.system, recipe=self.recipe, env=self.env, seed=self.seed)
