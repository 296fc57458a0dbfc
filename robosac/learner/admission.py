"""Which contracts a learner can learn by: whatever it takes to build networks and policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robosac.errors import PolicyError
from robosac.policy import contract as contracts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robosac.policy import Contract

_NESTING_MAX = 20
_GOLDEN_MAX = 100


def read_contract(document: bytes) -> Contract:
    """Read what a robot writes of itself; raises PolicyError with everything wrong with it.

    The first contract is that of the whole run and lies in its folder: one that nobody could learn
    by would spoil the run for every other robot.
    """
    contract = contracts.decode(document)
    found = list(_faults(contract))
    if found:
        raise PolicyError(f"contract cannot be learned by: {'; '.join(found)}; mend the robot's")
    return contract


def _faults(contract: Contract) -> Iterator[str]:
    try:
        _ = contract.row_layout
    except ValueError as error:
        yield str(error)
    lower, upper = contract.action_lower, contract.action_upper
    if len(lower) != len(upper):
        yield f"{len(lower)} action_lower and {len(upper)} action_upper, expected as many"
    elif not (_finite(lower) and _finite(upper) and all(np.less(lower, upper))):
        yield "action_lower is not below action_upper everywhere, expected finite bounds"
    if len(contract.joints) not in (0, contract.action_size):
        yield f"{len(contract.joints)} joints, expected one for each of {contract.action_size}"
    if not 1 <= len(contract.golden) <= _GOLDEN_MAX:
        yield f"{len(contract.golden)} golden vectors, expected 1 to {_GOLDEN_MAX}"
    for golden in contract.golden[:_GOLDEN_MAX]:
        if len(golden.obs) != contract.obs_size or not _finite(golden.obs):
            yield f"golden vector of {len(golden.obs)}, expected {contract.obs_size} finite numbers"
    if _deeper(contract.task_config, _NESTING_MAX):
        yield f"task_config is nested deeper than {_NESTING_MAX}"


def _finite(numbers: Sequence[float]) -> bool:
    """Whether all are finite, in float32 too."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(numbers, np.float64).astype(np.float32)).all())


def _deeper(value: Any, levels: int) -> bool:  # noqa: ANN401 -- whatever JSON can hold
    """Whether a document has more levels of nesting than these."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_deeper(one, levels - 1) for one in value)
