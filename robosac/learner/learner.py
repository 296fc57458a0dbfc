"""The learner: replay, updates that experience has paid for, and snapshots of the policy."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import torch

from robosac import __version__
from robosac.algorithms.algorithm import CPU, Batch, Sizes
from robosac.algorithms.catalogue import build
from robosac.algorithms.first_steps import RandomFirst
from robosac.algorithms.normaliser import ObservationNormaliser
from robosac.learner.replayed import Replayed
from robosac.policy.contract import with_training
from robosac.policy.export import PolicyTemplate
from robosac.replay import ReplayMemory
from robosac.replay.layout import EXACT
from robosac.replay.mixture import Mixture
from robosac.replay.n_step import NStepMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from robosac.learner.ranks import Leader
    from robosac.learner.replayed import Graphs
    from robosac.policy import Contract
    from robosac.recipe import Recipe
    from robosac.replay import Chunk, RowLayout

    FloatArray = NDArray[np.float32]
    Metrics = dict[str, Tensor]


_LAGS_KEPT = 10_000
_VERSIONS_KEPT = 10_000
_UNSEEN = 1000
"""More versions than a robot can have got while none of the rows it made with them arrived."""


class Snapshot(NamedTuple):
    """The policy at one moment; turning it into a file can wait for another thread."""

    version: int
    env_steps: int
    updates: int
    random: bool
    """Whether it acts at random, whatever its weights are."""
    weights: dict[str, FloatArray]


class Learner:
    """Turns transitions into policies; has no threads, no sockets and no files."""

    def __init__(
        self,
        recipe: Recipe,
        contract: Contract,
        *,
        seed: int,
        device: torch.device = CPU,
        template: PolicyTemplate | None = None,
    ) -> None:
        """Build networks, replay and, unless one is given, the policy template of a robot."""
        self.recipe = recipe
        self.layout = contract.row_layout
        sizes = Sizes(self.layout.obs, self.layout.extra, self.layout.action)
        networks, sampling = np.random.SeedSequence(seed).spawn(2)
        self._sizes = sizes
        self.algorithm = build(
            recipe.algorithm, sizes, seed=int(networks.generate_state(1)[0]), device=device
        )
        self.contract = msgspec.structs.replace(
            with_training(contract, recipe=recipe.name, seed=seed, robosac=__version__),
            exploration_theta=self.algorithm.exploration_theta,
            exploration_hold=self.algorithm.exploration_hold,
        )
        self.rng = np.random.default_rng(sampling)
        self.memory = _memory(recipe, self.layout, recipe.learner.capacity)
        self._source: ReplayMemory | Mixture = self.memory
        self.prior_rows = self.prior_runs = 0
        """Rows of earlier runs that every batch is half of, and how many runs they are from."""
        self.normaliser: ObservationNormaliser | None = None
        """Statistics of what robots observe, where the recipe asks for them."""
        if recipe.learner.normalise_obs:
            self.normaliser = ObservationNormaliser(sizes.obs + sizes.extra)
        self.template = template or PolicyTemplate(self._policy(), contract)
        self.marks: dict[tuple[str, str], int] = {}
        """Next sequence number of every (robot, run) whose rows were taken in."""
        self.version = 0
        """Number of the newest policy; numbers are never used again, so some are left out."""
        self.policies = 0
        """Policies published."""
        self.published: dict[int, int] = {}
        """Transitions taken in when a version was published, of the newest versions."""
        self.owed = 0.0
        """Updates that experience has paid for and that have not been made."""
        self.not_finite = 0
        """Rows refused because a number in them was not finite, or none of a flag or a version."""
        self.metrics: dict[str, Tensor] = {}
        """Newest value of every metric, as tensors: nothing is computed before they are read."""
        self.episodes = self.falls = 0
        self._updates_before = self._published_at = 0
        self._published_random = False
        self._acted: deque[int] = deque(maxlen=_LAGS_KEPT)
        self._newest_acting = 0
        self._rows = np.empty((recipe.learner.batch_size, self.layout.width), dtype=np.float32)
        self._update: Callable[[], Metrics] = self._learn
        self._leader: Leader | None = None

    @property
    def env_steps(self) -> int:
        """Transitions ever taken in."""
        return self.memory.total

    @property
    def updates(self) -> int:
        """Updates ever made."""
        return self.algorithm.updates

    @property
    def updates_here(self) -> int:
        """Updates made by this process, which may have resumed."""
        return self.updates - self._updates_before

    @property
    def lags(self) -> list[int]:
        """Steps by which the acting policy was behind, of the newest rows.

        Rows are left out whose policy a crashed process published after its last checkpoint.
        """
        first = self.env_steps - len(self._acted)
        return [
            step - self.published[version]
            for step, version in enumerate(self._acted, start=first)
            if version in self.published
        ]

    @property
    def allowed_steps(self) -> int:
        """Transitions there may be in all while updates keep up: `slack` more than are paid off.

        Fewer where `slack` of them would owe more than `catch_up`: the rest would be forgiven.
        What was forgiven is paid off, so that no robot waits for updates that are never made.
        """
        config = self.recipe.learner
        unpaid = int(int(self.owed) / config.utd)
        ahead = min(config.slack, max(1, int(config.catch_up / config.utd) - 1))
        return max(config.learning_starts, self.env_steps) + ahead - unpaid

    def take(self, chunk: Chunk) -> None:
        """Take in durable rows of a robot's run, and note up to where."""
        self.ingest(chunk.rows, run=chunk.key, first=chunk.first)
        self.marks[chunk.key] = chunk.end

    def take_prior(self, chunks: Iterable[Chunk], *, rows: int, runs: int) -> None:
        """Take in what earlier runs recorded, at most so many rows; once, before any others.

        They count as observations, and as nothing else: they pay for no update, and there is none
        before the run's own rows have paid for it.
        """
        prior = _memory(self.recipe, self.layout, rows)
        for chunk in chunks:
            self._keep(prior, chunk.rows, run=chunk.key, first=chunk.first)
        if prior.total:
            self._source = Mixture(self.memory, prior)
            self.prior_rows, self.prior_runs = prior.total, runs

    def ingest(self, rows: FloatArray, *, run: object = None, first: int | None = None) -> None:
        """Take in packed transitions (n, width) and owe updates for those after learning_starts.

        They follow one another in a run, the first with this sequence number.
        """
        config, before = self.recipe.learner, self.env_steps
        kept = self._keep(self.memory, rows, run=run, first=before if first is None else first)
        self.not_finite += len(rows) - len(kept)
        self._account(kept)
        paid = max(0, self.env_steps - max(before, config.learning_starts))
        self.owed = min(self.owed + config.utd * paid, config.catch_up)

    def _keep(
        self, memory: ReplayMemory, rows: FloatArray, *, run: object, first: int
    ) -> FloatArray:
        """Add rows that can be learned from to a memory, and return them."""
        sound = self._sound(rows)
        kept = rows if sound.all() else rows[sound]
        if isinstance(memory, NStepMemory):
            memory.extend(kept, run=run, sequence=np.flatnonzero(sound) + first)
        else:
            memory.extend(kept)
        if self.normaliser is not None:
            at = self.layout.slices
            self.normaliser.take(kept[:, at.obs.start : at.extra.stop])
        if self.algorithm.reward_scale is not None:
            fields = self.layout.view(kept)
            ended = np.maximum(fields.terminated, fields.truncated)
            self.algorithm.reward_scale.take(fields.reward, ended, run=run)
        return kept

    def _sound(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which rows can be learned from (n,): a single one of the others may spoil everything."""
        fields = self.layout.view(rows)
        sound = np.isfinite(rows).all(axis=1)
        for flag in (fields.terminated, fields.truncated):
            sound &= (flag == 0) | (flag == 1)
        sound &= (fields.policy_version >= 0) & (fields.policy_version < EXACT)
        return sound

    def _account(self, rows: FloatArray) -> None:
        """Count what only the rows know: episodes, falls, and which policy acted."""
        fields = self.layout.view(rows)
        self.episodes += int(np.maximum(fields.terminated, fields.truncated).sum())
        self.falls += int(fields.terminated.sum())
        versions = fields.policy_version.astype(int).tolist()
        self._newest_acting = max(self._newest_acting, *versions, 0)
        self._acted.extend(versions)

    def update(self) -> None:
        """Make one update; there must be transitions."""
        self.metrics |= self._update()
        self.owed -= 1

    def replay_updates(self, device: Graphs) -> None:
        """From now on let a device replay what it has recorded of an update."""
        self._update = Replayed(self.algorithm, self._learn, device)

    def _learn(self) -> Metrics:
        """Sample rows and learn from them; return the metrics."""
        supply = self.algorithm.supply
        batch = _batch_views(supply.bring(self._sample), self.layout)
        if self._source.steps is not None:
            batch = batch._replace(steps=supply.bring(self._sampled_steps))
        if self.normaliser is not None:
            batch = self.normaliser.normalised(batch, supply)
        if self._leader is not None:
            batch = self._leader.share(batch)
        return self.algorithm.update(batch)

    def _sample(self) -> Tensor:
        """Rows of the next batch, which overwrite those of the last."""
        self._source.sample(len(self._rows), self.rng, self._rows)
        return torch.from_numpy(self._rows)

    def _sampled_steps(self) -> Tensor:
        """Steps of the rows that were just sampled."""
        assert self._source.steps is not None
        return torch.from_numpy(self._source.steps)

    def lead(self, leader: Leader) -> None:
        """Share every update with other processes, which start from what has been learned so far.

        Metrics are then those of this process's share.  Raises RankLostError, as update() does.
        """
        self._leader = leader
        leader.lead(self.algorithm, self.recipe, self._sizes)

    @property
    def policy_due(self) -> bool:
        """Whether the newest policy is to be published: enough updates, or no longer at random."""
        due = self.updates - self._published_at >= self.recipe.learner.publish_every
        return due or self._published_random != self._acts_at_random

    def snapshot(self, *, last: bool = False) -> Snapshot:
        """Copy the policy's weights as a new version; well under a millisecond.

        The last one of a run acts as it has learned, even where random steps were still to come.
        """
        random = self._acts_at_random and not last
        policy = self._policy(random=random)
        weights = {name: _copied(value) for name, value in policy.named_parameters()}
        self._published_at, self._published_random = self.updates, self._acts_at_random
        self.version += 1
        self.policies += 1
        self.published[self.version] = self.env_steps
        if len(self.published) > _VERSIONS_KEPT:
            del self.published[next(iter(self.published))]
        return Snapshot(self.version, self.env_steps, self.updates, random, weights)

    def policy_file(self, snapshot: Snapshot) -> bytes:
        """Write a snapshot as a policy file; may run on another thread.

        Raises PolicyError when learning has diverged.
        """
        contract = with_training(
            self.contract,
            version=snapshot.version,
            env_steps=snapshot.env_steps,
            updates=snapshot.updates,
        )
        if snapshot.random:  # afresh at every step, or actions would not be uniform
            contract = msgspec.structs.replace(contract, exploration_theta=1.0, exploration_hold=1)
        return self.template.fill(snapshot.weights, contract)

    @property
    def _acts_at_random(self) -> bool:
        return self.env_steps < self.recipe.learner.random_steps

    def _policy(self, *, random: bool = False) -> nn.Module:
        """The policy as robots get it: of raw observations, and able to act at random first."""
        policy = self.algorithm.policy
        if self.normaliser is not None:
            policy = self.normaliser.before(policy, obs=self.layout.obs)
        if self.recipe.learner.random_steps:
            policy = RandomFirst(policy, random=random)
        return policy

    def settle(self, *, owed: float, env_steps: int) -> None:
        """Go on after a restart: owe what was owed at `env_steps`, and what came since.

        Versions go on above those that a robot may still act with, so that none has two meanings.
        """
        config = self.recipe.learner
        since = max(0, self.env_steps - max(env_steps, config.learning_starts))
        self.owed = min(owed + config.utd * since, config.catch_up)
        newest = max(self.version, self._newest_acting)
        self.version = newest + _UNSEEN if newest else 0
        self._updates_before = self.updates


def _copied(value: Tensor) -> FloatArray:
    """Copy a tensor from wherever it is."""
    copied: FloatArray = value.detach().to("cpu", copy=True).numpy()
    return copied


def _memory(recipe: Recipe, layout: RowLayout, capacity: int) -> ReplayMemory:
    """Build a replay memory, which knows what followed on what only if it must."""
    n = recipe.learner.n_step
    if n == 1:
        return ReplayMemory(layout, capacity)
    return NStepMemory(layout, capacity, n=n, gamma=recipe.algorithm.gamma)


def _batch_views(rows: Tensor, layout: RowLayout) -> Batch:
    """Views into the sampled rows; the critics see the extra terms behind the actor's."""
    at = layout.slices
    return Batch(
        obs=rows[:, at.obs],
        critic_obs=rows[:, at.obs.start : at.extra.stop],
        action=rows[:, at.action],
        reward=rows[:, at.reward.start],
        terminated=rows[:, at.terminated.start],
        next_obs=rows[:, at.next_obs],
        next_critic_obs=rows[:, at.next_obs.start : at.next_extra.stop],
    )
