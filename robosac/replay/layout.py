"""Where each part of a transition lies in one packed float32 row."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

if TYPE_CHECKING:
    import builtins

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float32]

MAX_WIDTH = 16_384
"""Most columns of a row; a larger layout is a mistake or an attack."""
EXACT = 2**24
"""Whole numbers below this are exact in float32."""

_VECTORS = {"obs", "extra", "action", "next_obs", "next_extra", "executed"}

ColumnT_co = TypeVar("ColumnT_co", covariant=True)


class Transition(NamedTuple, Generic[ColumnT_co]):
    """One control step, or a batch of them; the order of the fields is the order of the columns."""

    obs: ColumnT_co
    """What the actor saw, (O,)."""
    extra: ColumnT_co
    """What only the critics see, (X,)."""
    action: ColumnT_co
    """What the policy requested, (A,), in [-1, 1]."""
    reward: ColumnT_co
    """Reward of the step."""
    terminated: ColumnT_co
    """1 when the task ended in next_obs, else 0."""
    truncated: ColumnT_co
    """1 when the episode was cut for another reason, such as time, else 0."""
    next_obs: ColumnT_co
    """What the actor saw afterwards, (O,); of the same episode, whatever ended it."""
    next_extra: ColumnT_co
    """What only the critics saw afterwards, (X,)."""
    executed: ColumnT_co
    """What the safety wrapper let through, (A,), in [-1, 1]."""
    guards: ColumnT_co
    """Bit mask of the guards that intervened, below EXACT."""
    dt: ColumnT_co
    """Duration of the step, s."""
    policy_version: ColumnT_co
    """Version of the policy that chose the action, below EXACT."""


class RowLayout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """The sizes of a transition's vectors, which fix every column of its row."""

    obs: int
    """Size of the actor's observation, O."""
    extra: int
    """Size of the observation that only the critics get, X; may be 0."""
    action: int
    """Size of the action, A."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be a robot's."""
        if self.obs < 1 or self.extra < 0 or self.action < 1 or self.width > MAX_WIDTH:
            message = (
                f"{self} has rows of {self.width} columns; expected obs and action at least 1, "
                f"extra at least 0, and at most {MAX_WIDTH} columns"
            )
            raise ValueError(message)

    @property
    def width(self) -> int:
        """Number of columns of a row."""
        return 2 * (self.obs + self.extra + self.action) + 6

    @cached_property
    def slices(self) -> Transition[builtins.slice]:
        """The columns of every field."""
        sizes = {"extra": self.extra, "next_extra": self.extra}
        sizes |= dict.fromkeys(("obs", "next_obs"), self.obs)
        sizes |= dict.fromkeys(("action", "executed"), self.action)
        columns, start = [], 0
        for name in Transition._fields:
            columns.append(slice(start, start + sizes.get(name, 1)))
            start = columns[-1].stop
        return Transition(*columns)

    def slice(self, name: str) -> builtins.slice:
        """Return the columns of one field; a scalar field has a slice of one column."""
        if name not in Transition._fields:
            message = f"no field {name!r} in a row; expected one of {', '.join(Transition._fields)}"
            raise ValueError(message)
        columns: builtins.slice = getattr(self.slices, name)
        return columns

    def pack(self, transition: Transition[ArrayLike], out: FloatArray | None = None) -> FloatArray:
        """Write one transition into a row (width,), into `out` when given, and return the row.

        Raises ValueError when a field has another size or a whole number would not stay exact.
        """
        row = np.empty(self.width, dtype=np.float32) if out is None else out
        self._check(row)
        for name, value, columns in zip(Transition._fields, transition, self.slices, strict=True):
            if np.size(value) != columns.stop - columns.start:
                size = columns.stop - columns.start
                message = f"{name} has {np.size(value)} numbers; expected {size} as in {self}"
                raise ValueError(message)
            row[columns] = value
        _check_exact("guards", transition.guards)
        _check_exact("policy_version", transition.policy_version)
        return row

    def view(self, rows: FloatArray) -> Transition[FloatArray]:
        """Return the fields of rows (..., width) without copying.

        Vectors keep a last axis, (..., O); scalar fields lose it, (...).
        """
        self._check(rows)
        fields = (rows[..., columns] for columns in self.slices)
        return Transition(
            *(
                field if name in _VECTORS else field[..., 0]
                for name, field in zip(Transition._fields, fields, strict=True)
            )
        )

    def _check(self, rows: FloatArray) -> None:
        """Refuse an array that cannot hold rows of this layout."""
        if rows.dtype != np.float32 or rows.ndim == 0 or rows.shape[-1] != self.width:
            expected = f"float32 (..., {self.width}) for {self}"
            message = f"array of {rows.dtype} {rows.shape}; expected {expected}"
            raise ValueError(message)


def _check_exact(name: str, value: ArrayLike) -> None:
    """Refuse a whole number that float32 cannot hold."""
    number = float(np.asarray(value).item())
    if not (0 <= number < EXACT and number.is_integer()):
        message = f"{name} is {number}; expected a whole number from 0 to {EXACT - 1}"
        raise ValueError(message)
