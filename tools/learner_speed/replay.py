"""Replay beside that of stable-baselines3: sampling a batch, taking chunks in, making them last."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch

from robosac.replay import Chunk, ReplayMemory, RowLayout, SegmentLog
from tools.learner_speed.timing import Figure, seconds, take_turns
from tools.learner_speed.updates import SHAPE, filled_buffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from stable_baselines3.common.buffers import ReplayBuffer

LAYOUT = RowLayout(obs=SHAPE.obs, extra=0, action=SHAPE.action)
ROWS = 1_000_000
BATCH = 256
CHUNKS = (64, 1024)
"""Rows of the chunks that are taken in."""
DURABLE_CHUNK = 16_384
"""Rows of a chunk that is on disk before the next one is taken in."""


@dataclass(frozen=True)
class ReplayFigures:
    """Durations and rates of a full replay of a million transitions."""

    sample_us: float
    """Median of single samples of a batch into a tensor that exists, µs."""
    sb3_sample_us: float
    sample_ratio: Figure
    """Times as fast as stable-baselines3."""
    push_per_s: dict[int, float]
    """Transitions a second by the rows of a chunk."""
    sb3_push_per_s: float
    durable_per_s: float
    """Transitions a second, every chunk synced to disk."""


def measure_replay(blocks: int) -> ReplayFigures:
    """Fill both, then sample, push and make durable."""
    ours, theirs = _filled(), filled_buffer(ROWS)
    rng, batch = np.random.default_rng(0), torch.empty(BATCH, LAYOUT.width)
    out = batch.numpy()
    turns = take_turns(
        {
            "ours": lambda: ours.sample(BATCH, rng, out),
            "theirs": lambda: theirs.sample(BATCH),
        },
        blocks,
        block_s=0,
    )
    return ReplayFigures(
        sample_us=1e6 * median(turn["ours"] for turn in turns),
        sb3_sample_us=1e6 * median(turn["theirs"] for turn in turns),
        sample_ratio=Figure.over(turn["theirs"] / turn["ours"] for turn in turns),
        push_per_s={rows: _pushes_per_s(ours, rows) for rows in CHUNKS},
        sb3_push_per_s=1 / seconds(_adding(theirs), 5000),
        durable_per_s=_durable_per_s(blocks),
    )


def _filled() -> ReplayMemory:
    memory, rng = ReplayMemory(LAYOUT, ROWS), np.random.default_rng(0)
    for _ in range(0, ROWS, 10_000):
        memory.extend(rng.standard_normal((10_000, LAYOUT.width), dtype=np.float32))
    return memory


def _pushes_per_s(memory: ReplayMemory, rows: int) -> float:
    chunk = np.ones((rows, LAYOUT.width), dtype=np.float32)
    return rows / seconds(lambda: memory.extend(chunk), 300_000 // rows)


def _adding(buffer: ReplayBuffer) -> Callable[[], None]:
    """Add one transition, as its own loop does."""
    obs, action = np.ones((1, SHAPE.obs), np.float32), np.ones((1, SHAPE.action), np.float32)
    one, no = np.ones(1, np.float32), np.zeros(1, np.float32)
    return lambda: buffer.add(obs, obs, action, one, no, [{}])


def _durable_per_s(blocks: int) -> float:
    """Rows a second through a log that is synced after every chunk."""
    rows, run, first = np.ones((DURABLE_CHUNK, LAYOUT.width), np.float32), uuid.uuid4().hex, count()
    with tempfile.TemporaryDirectory() as folder:
        log = SegmentLog(Path(folder), LAYOUT)

        def push() -> None:
            start = DURABLE_CHUNK * next(first)
            log.append(Chunk(robot="benchmark", run=run, first=start, rows=rows))
            log.sync()

        durations = [seconds(push) for _ in range(blocks)]
        log.close()
    return DURABLE_CHUNK / median(durations)
