"""Every field of a transition has its own columns, and views lead to the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.replay import RowLayout, Transition

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LAYOUT = RowLayout(obs=3, extra=2, action=2)

TRANSITION: Transition[ArrayLike] = Transition(
    obs=[1, 2, 3],
    extra=[4, 5],
    action=[-1, 1],
    reward=0.5,
    terminated=True,
    truncated=False,
    next_obs=[6, 7, 8],
    next_extra=[9, 10],
    executed=[-0.5, 0.5],
    guards=0b101,
    dt=0.02,
    policy_version=7,
)


def test_columns_are_in_the_documented_order() -> None:
    """The order of the columns is a format: logs of earlier versions rely on it."""
    expected = [1, 2, 3, 4, 5, -1, 1, 0.5, 1, 0, 6, 7, 8, 9, 10, -0.5, 0.5, 5, 0.02, 7]
    np.testing.assert_array_equal(LAYOUT.pack(TRANSITION), np.array(expected, dtype=np.float32))


def test_slices_follow_one_another_without_gap_or_overlap() -> None:
    """Every column belongs to exactly one field."""
    columns = [index for part in LAYOUT.slices for index in range(LAYOUT.width)[part]]
    assert columns == list(range(LAYOUT.width))


def test_a_layout_without_extra_has_empty_columns_for_it() -> None:
    """A task without observations for the critics pays nothing for them."""
    layout = RowLayout(obs=17, extra=0, action=6)
    assert layout.width == 52
    assert layout.slice("extra") == slice(17, 17)
    assert layout.slice("reward") == slice(23, 24)


def test_view_reads_what_pack_wrote() -> None:
    """pack() and view() are inverse."""
    view = LAYOUT.view(LAYOUT.pack(TRANSITION))
    for name, packed, viewed in zip(Transition._fields, TRANSITION, view, strict=True):
        np.testing.assert_array_equal(viewed, np.asarray(packed, dtype=np.float32), err_msg=name)


def test_view_of_a_batch_does_not_copy() -> None:
    """Writing to a view writes to the rows, and to no other field."""
    rows = np.zeros((5, LAYOUT.width), dtype=np.float32)
    view = LAYOUT.view(rows)
    assert view.next_obs.shape == (5, 3)
    assert view.reward.shape == (5,)
    for number, field in enumerate(view, start=1):
        field[...] = number
    np.testing.assert_array_equal(rows[2, LAYOUT.slice("executed")], [9, 9])
    assert rows.min() == 1
    assert np.shares_memory(view.guards, rows)


def test_pack_fills_the_row_it_is_given() -> None:
    """The control loop packs into memory it owns."""
    rows = np.full((2, LAYOUT.width), np.nan, dtype=np.float32)
    row = LAYOUT.pack(TRANSITION, out=rows[1])
    assert np.shares_memory(row, rows)
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1]).all()


@pytest.mark.parametrize("name", ["obs", "extra", "action", "next_obs", "next_extra", "executed"])
def test_pack_refuses_a_vector_that_numpy_would_broadcast(name: str) -> None:
    """One number in place of a vector is an error, not a constant vector."""
    with pytest.raises(ValueError, match=f"{name} has 1 numbers; expected [23]"):
        LAYOUT.pack(TRANSITION._replace(**{name: [0.0]}))


@pytest.mark.parametrize("name", ["guards", "policy_version"])
@pytest.mark.parametrize("value", [2**24, -1, 0.5, float("nan")])
def test_pack_refuses_whole_numbers_that_float32_cannot_hold(name: str, value: float) -> None:
    """A mask or a version that would be rounded is an error."""
    with pytest.raises(ValueError, match=f"{name} is .*expected a whole number"):
        LAYOUT.pack(TRANSITION._replace(**{name: value}))


def test_the_largest_exact_number_survives() -> None:
    """All 24 guards may intervene in one step."""
    row = LAYOUT.pack(TRANSITION._replace(guards=2**24 - 1))
    assert int(LAYOUT.view(row).guards) == 2**24 - 1


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros(19, dtype=np.float32),
        np.zeros((4, 21), dtype=np.float32),
        np.zeros((), dtype=np.float32),
        np.zeros((4, 20), dtype=np.float64),
    ],
)
def test_rows_of_another_shape_or_type_are_refused(rows: np.ndarray) -> None:
    """Rows of another robot are not silently cut into this one's fields."""
    with pytest.raises(ValueError, match=r"expected float32 \(\.\.\., 20\)"):
        LAYOUT.view(rows)


def test_an_unknown_field_is_named_with_those_that_exist() -> None:
    """A typing mistake is answered with the choice."""
    with pytest.raises(ValueError, match=r"no field 'next_action' in a row; expected one of obs, "):
        LAYOUT.slice("next_action")


@pytest.mark.parametrize(
    ("obs", "extra", "action"), [(0, 0, 1), (1, -1, 1), (1, 0, 0), (8_000, 0, 1_000)]
)
def test_sizes_that_cannot_be_are_refused(obs: int, extra: int, action: int) -> None:
    """Sizes are checked in the constructor."""
    with pytest.raises(ValueError, match=f"obs={obs}, extra={extra}, action={action}"):
        RowLayout(obs=obs, extra=extra, action=action)


def test_a_layout_that_comes_over_the_wire_is_checked_too() -> None:
    """Decoding runs the same checks as constructing."""
    assert msgspec.json.decode(msgspec.json.encode(LAYOUT), type=RowLayout) == LAYOUT
    with pytest.raises(msgspec.ValidationError, match="expected obs and action at least 1"):
        msgspec.json.decode(b'{"obs": 3, "extra": 0, "action": 0}', type=RowLayout)
