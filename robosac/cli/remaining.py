"""How many steps a run has still to make: what is in replay or in a spool counts as made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.errors import ConfigError
from robosac.replay import SegmentLog
from robosac.runner.spool import Spool

if TYPE_CHECKING:
    from robosac.replay import RowLayout
    from robosac.run_folder import RunConfig, RunFolder


def remaining_steps(folder: RunFolder, config: RunConfig, layout: RowLayout) -> int:
    """Return the missing steps; raises ConfigError when there are none.

    Raises StorageError when the replay is damaged or another process is writing it.
    """
    with SegmentLog(folder.replay, layout) as log:
        made = sum(sequences.count for sequences in log.sequences().values())
        marks = dict(log.marks)
    for spools in folder.path.glob("runner-*/spool"):
        for robot, run in Spool.leftovers(spools):
            with Spool(spools, layout, robot=robot, run=run) as spool:
                made += max(0, spool.end - max(spool.oldest, marks.get((robot, run), 0)))
    if made >= config.steps:
        raise ConfigError(
            f"run {folder.path} has made its {config.steps} steps; ask for more with --steps"
        )
    return config.steps - made
