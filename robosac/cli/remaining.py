"""How many steps a run has still to make: what is in replay or in a spool counts as made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from robosac.errors import ConfigError, LockedError
from robosac.replay import SegmentLog
from robosac.runner.spool import Spool

if TYPE_CHECKING:
    from robosac.replay import RowLayout
    from robosac.run_folder import RunConfig, RunFolder

_PATIENCE_S = 10.0
_LOOK_S = 0.1


def remaining_steps(folder: RunFolder, config: RunConfig, layout: RowLayout) -> int:
    """Return the missing steps; 0 when some are only to be delivered, or summed up.

    Processes of a run that was killed end by themselves within seconds, and are waited for.  Raises
    ConfigError when there is nothing left to do, StorageError when the replay is damaged or another
    process keeps writing it.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            on_disk, in_spools = _count(folder, layout)
            break
        except LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)
    made, wanted = on_disk + in_spools, config.steps or 0
    if made >= wanted and not in_spools and folder.summary_path.exists():
        raise ConfigError(
            f"run {folder.path} has made {made} of {wanted} steps; ask for more with --steps"
        )
    return max(0, wanted - made)


def _count(folder: RunFolder, layout: RowLayout) -> tuple[int, int]:
    """Rows in the replay, and rows in spools that the replay does not have."""
    with SegmentLog(folder.replay, layout) as log:
        on_disk = sum(sequences.count for sequences in log.sequences().values())
        marks = dict(log.marks)
    in_spools = 0
    for spools in folder.path.glob("runner-*/spool"):
        for robot, run in Spool.leftovers(spools):
            with Spool(spools, layout, robot=robot, run=run) as spool:
                in_spools += max(0, spool.end - max(spool.oldest, marks.get((robot, run), 0)))
    return on_disk, in_spools
