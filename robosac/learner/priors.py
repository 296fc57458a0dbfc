"""Earlier runs that a run learns from as well: found, compared with its robots, and taken in."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.errors import ConfigError
from robosac.flight_log.parts import is_log, log_of
from robosac.flight_log.transitions import read_header
from robosac.policy import contract as contracts
from robosac.policy.contract import RATE_TOLERANCE
from robosac.replay import prior
from robosac.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from robosac.learner.learner import Learner
    from robosac.policy import Contract
    from robosac.replay.prior import PriorSource

_NAMES = ("robot", "env")
_EQUAL = (
    *("task", "task_config", "joints", "action_lower", "action_upper"),
    *("obs", "extra", "history"),
)
"""Fields of a contract that say what the numbers of a row mean, and how they were rewarded."""
_FREE = {"control_hz", "episode_s"}
"""Numbers of a task that do not: the rate is compared by itself, a time limit ends no value."""
_SHOWN = 3
"""Differences that fit in a line."""


def find(paths: Sequence[Path], say: Callable[[str], None]) -> tuple[PriorSource, ...]:
    """Return what lies at these paths: folders of runs, their replay, a part of that, flight logs.

    `say` gets a line about an end that a crash has torn off.  Raises ConfigError, StorageError and
    PolicyError when one cannot be learned from, or not together with the first.
    """
    found: list[PriorSource] = []
    for path in paths:
        place = _rows_of(path)
        contract = _contract_of(place)
        source, torn_bytes = prior.survey(place, contract.row_layout)
        if any(source.path == other.path for other in found):
            raise ConfigError(f"prior {path} is named twice; expected every run once; name it once")
        if torn_bytes:
            say(f"prior {path}: an unfinished record of {torn_bytes} bytes at its end is left out")
        found.append(source)
    if found:
        check(found[1:], _contract_of(Path(found[0].path)))
    return tuple(found)


def verify(sources: Sequence[PriorSource]) -> None:
    """Raise StorageError unless everything is there as it was when the run began."""
    for source in sources:
        for _ in prior.read(source):
            pass


def objection(sources: Sequence[PriorSource], here: Contract) -> str | None:
    """Why a robot with this contract cannot learn from them; None is no objection.

    Raises StorageError and PolicyError when a contract is gone.
    """
    for source in sources:
        found = list(_differences(_contract_of(Path(source.path)), here))
        if found:
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            return (
                f"prior {source.path} does not fit: {'; '.join(found[:_SHOWN])}{more}; "
                "name a run of the same robot and task"
            )
    return None


def check(sources: Sequence[PriorSource], here: Contract) -> None:
    """Raise ConfigError when a robot with this contract cannot learn from them."""
    reason = objection(sources, here)
    if reason is not None:
        raise ConfigError(reason)


def take_in(sources: Sequence[PriorSource], learner: Learner) -> None:
    """Let a new learner have the rows.

    Raises StorageError when they are no longer what they were, ConfigError when none is usable.
    """
    if not sources:
        return
    rows = sum(source.rows for source in sources)
    chunks = chain.from_iterable(map(prior.read, sources))
    learner.take_prior(chunks, rows=rows, runs=len(sources))
    if not learner.prior_rows:
        raise ConfigError(
            f"prior {sources[0].path}: all of {rows} rows hold numbers that are not finite; "
            "expected some to learn from; name another --prior"
        )


def _rows_of(path: Path) -> Path:
    """Absolute path of the rows that a user means by a path; raises ConfigError."""
    path = path.expanduser().absolute()
    if not path.exists():
        raise ConfigError(
            f"prior {path}: got nothing there; expected the folder of an earlier run, or "
            "a flight log"
        )
    if is_log(path):
        return log_of(path)
    replay = RunFolder(path).replay
    return replay if replay.is_dir() else path


def _contract_of(rows: Path) -> Contract:
    """Read what the robots were like whose rows lie there.

    Raises ConfigError, StorageError and PolicyError.
    """
    if is_log(rows):
        return contracts.decode(read_header(rows).contract)
    replay = rows if rows.is_dir() else rows.parent
    path = RunFolder(replay.parent).contract_path
    try:
        return contracts.decode(path.read_bytes())
    except OSError:
        raise ConfigError(
            f"prior {rows}: got no run, for there is no {path} to say what its rows mean; "
            "expected the folder of an earlier run, or a flight log"
        ) from None


def _differences(theirs: Contract, ours: Contract) -> Iterator[str]:
    """What would have another meaning, or another reward; a line each."""
    them, us = _plain(theirs), _plain(ours)
    strangers = [line for name in _NAMES for line in _differing(name, them[name], us[name])]
    yield from strangers
    if strangers:
        return  # whatever else differs follows from this
    for name in _EQUAL:
        yield from _differing(name, them[name], us[name])
    got, expected = theirs.control_hz or 0.0, ours.control_hz or 0.0
    if not abs(got - expected) <= RATE_TOLERANCE * expected:
        yield f"control_hz: got {theirs.control_hz}, expected {ours.control_hz}"


def _differing(path: str, theirs: Any, ours: Any) -> Iterator[str]:  # noqa: ANN401 -- any JSON
    """Compare two documents down to their numbers."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from _differing(f"{path}.{key}", theirs.get(key), ours.get(key))
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield f"{path}: got {len(theirs)} of them, expected {len(ours)}"
            return
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differing(f"{path}[{index}]", one, other)
    elif theirs != ours:
        yield f"{path}: got {theirs!r}, expected {ours!r}"


def _plain(contract: Contract) -> dict[str, Any]:
    """A contract as JSON has it."""
    fields: dict[str, Any] = msgspec.json.decode(contracts.encode(contract))
    for name in _FREE:
        fields.get("task_config", {}).pop(name, None)
    return fields
