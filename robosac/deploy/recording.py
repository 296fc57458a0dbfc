"""The flight log of a process: what its robot is like, and what is said of it and its operator."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from robosac.flight_log.fields import CONTRACT
from robosac.flight_log.log import EventHandler, FlightLog
from robosac.policy import contract as contracts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robosac.policy import Contract
    from robots import Robot

LIMIT_MIB = 1024
"""Disk that one log may take, MiB."""
_LOGGED = ("robots", "robosac")


@contextlib.contextmanager
def recording(
    path: Path, robot: Robot, contract: Contract, *, limit_mib: int = LIMIT_MIB
) -> Iterator[FlightLog]:
    """Keep a log at `path`; what the loggers of this package say becomes its events.

    Raises StorageError when there is one already, or can be none.
    """
    info = {
        "robot": contract.robot,
        "model_sha256": contract.model_sha256,
        "task": contract.task,
        "task_config": msgspec.json.encode(contract.task_config).decode(),
        CONTRACT: contracts.encode(contract).decode(),
    }
    with FlightLog(path, robot.spec, clock=robot.now, info=info, limit_mib=limit_mib) as log:
        handler, loggers = EventHandler(log), [logging.getLogger(name) for name in _LOGGED]
        usual = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
        try:
            yield log
        finally:
            for logger, level in zip(loggers, usual, strict=True):
                logger.setLevel(level)
                logger.removeHandler(handler)
