"""Small learners; the graph of their policies is exported once per shape, which takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
import pytest

from robosac.algorithms.config import SACConfig
from robosac.learner import checkpoint
from robosac.learner.learner import Learner
from robosac.policy.contract import Contract, Golden
from robosac.policy.export import PolicyTemplate
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import Chunk
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    FloatArray = NDArray[np.float32]

SMALL = Recipe(
    name="small",
    learner=LearnerConfig(batch_size=32, learning_starts=0, capacity=10_000),
    sac=SACConfig(hidden=(16, 16)),
)


class MakeLearner(Protocol):
    """Builds a learner from the small recipe, with some of it replaced."""

    def __call__(
        self,
        *,
        seed: int = 0,
        contract: Contract | None = None,
        learner: Mapping[str, object] | None = None,
        sac: Mapping[str, object] | None = None,
    ) -> Learner:
        """Return a new learner."""


@pytest.fixture
def toy() -> Contract:
    """An environment of 3 observations, 2 more for the critics, and 2 actions."""
    return Contract(
        env="toy",
        action_lower=(-1.0, -1.0),
        action_upper=(1.0, 1.0),
        obs=(Term(name="observation", size=3, unit="", clip=None),),
        extra=2,
        golden=(Golden(sensors={}, obs=[0.1, -0.2, 0.3]), Golden(sensors={}, obs=[1.0, 2.0, 3.0])),
    )


@pytest.fixture(scope="session")
def templates() -> dict[object, PolicyTemplate]:
    """Exported graphs by what they depend on."""
    return {}


@pytest.fixture
def make_learner(
    monkeypatch: pytest.MonkeyPatch,
    toy: Contract,
    templates: dict[object, PolicyTemplate],
) -> MakeLearner:
    """Return the builder of learners."""

    def exported(actor: nn.Module, contract: Contract) -> PolicyTemplate:
        shapes = tuple((name, *value.shape) for name, value in actor.named_parameters())
        key = (shapes, contract.action_lower, contract.action_upper)
        if key not in templates:
            templates[key] = PolicyTemplate(actor, contract)
        return templates[key]

    monkeypatch.setattr("robosac.learner.learner.PolicyTemplate", exported)

    def make(
        *,
        seed: int = 0,
        contract: Contract | None = None,
        learner: Mapping[str, object] | None = None,
        sac: Mapping[str, object] | None = None,
    ) -> Learner:
        recipe = msgspec.structs.replace(
            SMALL,
            learner=msgspec.structs.replace(SMALL.learner, **(learner or {})),
            sac=msgspec.structs.replace(SMALL.sac, **(sac or {})),
        )
        return Learner(recipe, contract or toy, seed=seed)

    return make


class DrawRows(Protocol):
    """Draws transitions of the toy environment, with some of their fields replaced."""

    def __call__(self, count: int, *, seed: int = 0, **fields: object) -> FloatArray:
        """Return packed rows (count, width)."""


@pytest.fixture
def draw_rows(toy: Contract) -> DrawRows:
    """Return the source of transitions."""
    layout = toy.row_layout

    def draw(count: int, *, seed: int = 0, **fields: object) -> FloatArray:
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((count, layout.width)).astype(np.float32)
        usual: dict[str, object] = {
            "action": rng.uniform(-1, 1, (count, layout.action)),
            "terminated": 0.0,
            "truncated": 0.0,
            "policy_version": 0.0,
        }
        for name, value in (usual | fields).items():
            wide = np.asarray(value, dtype=np.float32)
            rows[:, layout.slice(name)] = wide[:, None] if wide.ndim == 1 else wide
        return rows

    return draw


@pytest.fixture
def lived(make_learner: MakeLearner, draw_rows: DrawRows) -> Learner:
    """A learner after three updates."""
    learner = make_learner()
    learner.take(Chunk(robot="go2", run="a" * 32, first=0, rows=draw_rows(100)))
    learner.snapshot()
    for _ in range(3):
        learner.update()
    return learner


@pytest.fixture
def fresh(make_learner: MakeLearner, draw_rows: DrawRows) -> Learner:
    """A new learner whose replay has been refilled."""
    learner = make_learner()
    learner.take(Chunk(robot="go2", run="a" * 32, first=0, rows=draw_rows(100)))
    return learner


@pytest.fixture
def saved(lived: Learner, tmp_path: Path) -> Path:
    """A checkpoint of the learner that has lived."""
    return checkpoint.write(tmp_path / "checkpoint", checkpoint.freeze(lived))
