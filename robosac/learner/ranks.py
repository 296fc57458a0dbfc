"""Several processes that share the work of every update: data-parallel learning.

Rank 0 is the learner; robots, replay and files are its own.  The others follow it (follower.py):
they have its networks and nothing else.  Each rank computes gradients on its share of a batch, all
average these over gloo, and all make the same step; each draws the random numbers of the whole
batch.  So the numbers are those of one process, up to rounding, and a checkpoint does not know how
many ranks there were.

The ranks find each other by a file that only this user can read and talk over the loopback
interface, which is trusted: gloo knows no secret.  torchrun would have them meet at a port that is
open to the network, and unpickle what they find there.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
import torch.distributed as dist

from robosac.algorithms.algorithm import Batch, Sizes
from robosac.errors import RankLostError
from robosac.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from robosac.algorithms.algorithm import Algorithm

_log = logging.getLogger(__name__)

_PATIENCE = timedelta(seconds=25)
"""How long rank 0 waits for the others, who have nothing else to do; less than what a process that
was asked to stop is given."""
_END_S = 10.0
_STDERR = 2


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower is started with."""

    store: str
    """File by which the ranks find each other."""
    rank: int
    ranks: int
    threads: int
    """Threads of every rank."""


class Order(enum.IntEnum):
    """What rank 0 wants of the others, each with a number that says how much follows."""

    BEGIN = 0
    """Take over an algorithm: so many bytes that describe it, then all of its tensors."""
    UPDATE = 1
    """Make an update: rows of so many columns follow."""


class Beginning(msgspec.Struct, frozen=True):
    """What an algorithm is built from; weights and random numbers follow as tensors."""

    recipe: Recipe
    sizes: tuple[int, int, int]
    updates: int


class Leader:
    """Rank 0: starts the others and says what is done."""

    def __init__(self, ranks: int) -> None:
        """Start them and wait until all are there; raises RankLostError when one does not come."""
        self._ranks, self._sizes = ranks, Sizes(0, 0, 0)
        self.threads = max(1, len(os.sched_getaffinity(0)) // ranks)
        """Threads of every rank, so that all together fill the cores there are."""
        self._followers: list[subprocess.Popen[bytes]] = []
        with tempfile.TemporaryDirectory(prefix="robosac-ranks-") as folder:
            store = str(Path(folder) / "store")
            try:
                for rank in range(1, ranks):
                    place = Place(store=store, rank=rank, ranks=ranks, threads=self.threads)
                    self._followers.append(_start(place))
                meet(store, 0, ranks, _PATIENCE)
            except BaseException:
                self._end()
                raise

    def lead(self, algorithm: Algorithm, recipe: Recipe, sizes: Sizes) -> None:
        """Give everybody this algorithm as it is now; its updates are shared from now on.

        Raises RankLostError when one of the others is gone, as share() and every update do.
        """
        self._sizes = sizes
        content = msgspec.json.encode(Beginning(recipe, sizes, algorithm.updates))
        algorithm.divide(0, self._ranks, mean)
        broadcast(torch.tensor([Order.BEGIN, len(content)]))
        broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        for tensor in algorithm.state().values():
            broadcast(tensor)

    def share(self, batch: Batch) -> Batch:
        """Hand out a batch whose rows divide evenly, and return the share of rank 0."""
        rows = pack(batch)
        own = torch.empty(len(rows) // self._ranks, rows.shape[1])
        broadcast(torch.tensor([Order.UPDATE, rows.shape[1]]))
        scatter(own, list(rows.chunk(self._ranks)))
        return unpack(own, self._sizes)

    def close(self) -> None:
        """End the others."""
        self._end()
        dist.destroy_process_group()

    def _end(self) -> None:
        """Cut their lifelines; who has ended before that is named in the log."""
        for rank, follower in enumerate(self._followers, start=1):
            if follower.poll() is not None:
                _log.error("rank %d has ended with exit code %d", rank, follower.returncode)
            assert follower.stdin is not None
            follower.stdin.close()
        for follower in self._followers:
            try:
                follower.wait(_END_S)
            except subprocess.TimeoutExpired:
                follower.kill()
                follower.wait()


@contextlib.contextmanager
def leading(ranks: int) -> Iterator[Leader | None]:
    """Lead so many ranks, this process among them, to the end; nobody where it is alone."""
    if ranks == 1:
        yield None
        return
    with contextlib.closing(Leader(ranks)) as leader:
        yield leader


def meet(store: str, rank: int, ranks: int, patience: timedelta) -> None:
    """Wait until every rank is there; from then on calls of this process wait so long for others.

    Nobody goes on before all have read the file.  Raises RankLostError.
    """
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with _losing():
        dist.init_process_group(
            "gloo",
            store=dist.FileStore(store, ranks),  # type: ignore[attr-defined]
            rank=rank,
            world_size=ranks,
            timeout=patience,
        )
        dist.barrier()


def mean(gradients: list[Tensor]) -> list[Tensor]:
    """Average gradients over all ranks, all of them in one message."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _losing():
        dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def broadcast(tensor: Tensor) -> None:
    """Let this tensor be on every rank what it is on rank 0."""
    with _losing():
        dist.broadcast(tensor, 0)


def scatter(own: Tensor, shares: list[Tensor] | None) -> None:
    """Let every rank have its share of what rank 0 has."""
    with _losing():
        dist.scatter(own, shares, 0)


def pack(batch: Batch) -> Tensor:
    """All columns of a batch (B, C), side by side; obs is the first part of critic_obs."""
    columns = [batch.critic_obs, batch.action, batch.next_critic_obs]
    columns += [batch.reward[:, None], batch.terminated[:, None]]
    columns += [] if batch.steps is None else [batch.steps[:, None]]
    return torch.cat(columns, dim=1)


def unpack(rows: Tensor, sizes: Sizes) -> Batch:
    """The batch that pack() has packed."""
    seen = sizes.obs + sizes.extra
    vectors, scalars = rows.tensor_split([2 * seen + sizes.action], dim=1)
    critic_obs, action, next_critic_obs = torch.split(vectors, [seen, sizes.action, seen], dim=1)
    reward, terminated, *steps = scalars.unbind(1)
    return Batch(
        obs=critic_obs[:, : sizes.obs],
        critic_obs=critic_obs,
        action=action,
        reward=reward,
        terminated=terminated,
        next_obs=next_critic_obs[:, : sizes.obs],
        next_critic_obs=next_critic_obs,
        steps=steps[0] if steps else None,
    )


def _start(place: Place) -> subprocess.Popen[bytes]:
    """Start a follower; what it says goes where the learner's errors go."""
    argument = msgspec.json.encode(place).decode()
    return subprocess.Popen(  # noqa: S603 -- our own module
        [sys.executable, "-m", "robosac.learner.follower", argument],
        stdin=subprocess.PIPE,
        stdout=_STDERR,  # standard output is the learner's, and JSON
    )


@contextlib.contextmanager
def _losing() -> Iterator[None]:
    """Say in one line what torch says in many, and by several types, when a rank is gone."""
    try:
        yield
    except RuntimeError as error:
        _log.exception("a rank does not answer")
        raise RankLostError from error
