"""A runner without a robot: `python -m tools.exactly_once.runner CONFIG`, CONFIG being JSON.

It hands rows to the real uplink at a steady rate.  On its standard input, the line `finish` asks it
to say goodbye and wait until everything is durable; the end asks it to leave at once.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from pathlib import Path

import msgspec

from robosac.errors import RobosacError
from robosac.runner.uplink_link import UplinkLink
from tools.exactly_once.counter import Counter
from tools.exactly_once.rows import CONTRACT, rows_of

_BLOCK = 256


class RunnerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is started with."""

    robot: str
    endpoint: str
    folder: str
    """Where the spools lie; every run of the robot has the same."""
    counters: str
    """Where it is counted what was recorded."""
    rate_hz: float
    keys: str | None = None
    """Folder with this robot's keys."""


class Orders:
    """What the parent has asked for."""

    def __init__(self) -> None:
        """Begin to listen."""
        self.finish = threading.Event()
        """Make no more rows and say goodbye."""
        self.leave = threading.Event()
        """Go at once."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for _ in sys.stdin:
            self.finish.set()
        self.leave.set()
        self.finish.set()


def stream(config: RunnerConfig, run: str, link: UplinkLink, orders: Orders) -> int:
    """Record rows at the rate, to absolute deadlines, until told to finish; returns how many."""
    counter = Counter(Path(config.counters), robot=config.robot, run=run)
    made, started = 0, time.monotonic()
    while not orders.finish.is_set():
        if made % _BLOCK == 0:
            block = rows_of(config.robot, run, made, _BLOCK)
        link.poll()
        link.record(block[made % _BLOCK])
        made += 1
        counter.set(made)
        time.sleep(max(0.0, started + made / config.rate_hz - time.monotonic()))
    return made


def main() -> int:
    """Run the process; what goes wrong is one line and exit code 2."""
    logging.basicConfig(format="runner: %(message)s")
    config = msgspec.json.decode(sys.argv[1], type=RunnerConfig)
    orders, run = Orders(), uuid.uuid4().hex
    try:
        link = UplinkLink(
            CONTRACT,
            endpoint=config.endpoint,
            robot=config.robot,
            run=run,
            folder=Path(config.folder),
            paced=False,
            keys=None if config.keys is None else Path(config.keys),
            stopped=orders.leave.is_set,
        )
        try:
            link.wait_until_ready()
            link.finish(stream(config, run, link, orders))
        finally:
            link.close()
    except RobosacError as error:
        print(f"runner {config.robot} run {run}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
