"""Every hazard by its number: what is injected, what the robot must do, and how to try it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

EXPECTED = (
    *(f"B{number}" for number in range(1, 31)),
    *(f"I{number}" for number in range(1, 10)),
    *(f"P{number}" for number in range(1, 10)),
    *(f"H{number}" for number in range(1, 13)),
    *(f"O{number}" for number in range(1, 5)),
)
"""Numbers of the list of faults that must all be tried."""


class NotBegunError(Exception):
    """The robot did not get as far as the fault, so its trial has shown nothing."""


@dataclass(frozen=True)
class Finding:
    """What came of one hazard."""

    seen: str
    """What the robot did."""
    logged: str
    """What the log says of it, and when."""
    ticks: int | None = None
    """Control ticks from the cause to the reaction; None where there is none to wait for."""
    problems: tuple[str, ...] = ()
    """What was not as it must be."""
    begun: bool = True
    """Whether the fault was there at all."""

    @property
    def safe(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


@dataclass(frozen=True)
class Hazard:
    """A fault, what it must lead to, and the trial."""

    id: str
    fault: str
    required: str
    within: int | None
    """Most control ticks from the cause to the reaction; None where none is timed."""
    live: bool
    """Whether the trial takes real time."""
    run: Callable[[Hazard], Finding] = field(repr=False)

    def try_out(self) -> Finding:
        """Inject the fault and judge; a trial that breaks down has shown nothing."""
        try:
            return self.run(self)
        except NotBegunError as error:
            return Finding("", "", None, (f"the trial never began: {error}",), begun=False)
        except Exception as error:  # noqa: BLE001 -- the other hazards are tried all the same
            _log.exception("trial of %s", self.id)
            return Finding("", "", None, (f"the trial broke down: {error!r}",))


HAZARDS: dict[str, Hazard] = {}
"""Every hazard, in the order in which the modules are read."""


def hazard(
    number: str, fault: str, *, must: str, within: int | None = None, live: bool = False
) -> Callable[[Callable[[Hazard], Finding]], Callable[[Hazard], Finding]]:
    """Register a trial under its number; `within` is in control ticks of 20 ms."""
    if number not in EXPECTED or number in HAZARDS:
        raise ValueError(f"hazard {number!r}; expected one of the list, and each of them once")

    def register(run: Callable[[Hazard], Finding]) -> Callable[[Hazard], Finding]:
        HAZARDS[number] = Hazard(number, fault, must, within, live, run)
        return run

    return register
