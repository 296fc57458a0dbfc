"""From one policy to another in motion, when the other would want something quite different."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.runner.link import Policy

    FloatArray = NDArray[np.float32]


class Fade:
    """A policy that gives way to a newer one little by little, so that no joint is jerked.

    What is learned from is the action itself, so a mixture of two policies is as good as either.
    """

    def __init__(
        self, older: Policy, newer: Policy, *, ticks: int, left: int | None = None
    ) -> None:
        """Mix the actions of both for so many ticks, or for those that are left."""
        self._older, self._newer = older, newer
        self._ticks, self._left = ticks, ticks if left is None else left

    @property
    def contract(self) -> Contract:
        """That of the newer one."""
        return self._newer.contract

    @property
    def over(self) -> bool:
        """Whether the newer one acts alone."""
        return not self._left

    def act(self, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        """Action (A,) for one observation (O,); every call is a tick."""
        action = self._newer.act(obs, noise)
        if self._left:
            share = self._left / (self._ticks + 1)
            action = share * self._older.act(obs, noise) + (1 - share) * action
            self._left -= 1
        return action

    def actions(self, obs: Sequence[FloatArray]) -> FloatArray:
        """Deterministic actions (n, A) of the newer one for observations (O,)."""
        return self._newer.actions(obs)

    def towards(self, newest: Policy) -> Fade:
        """The same on the way to another one, with as far to go."""
        return Fade(self._older, newest, ticks=self._ticks, left=self._left)
