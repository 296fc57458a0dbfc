from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robosac.tasks import Observer, Term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


def f4(*numbers: float) -> FloatArray:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def observer() -> Observer:
    """Two readings of a pair and one of a single number, scaled and bounded."""
    return Observer(
        [
            Term(name="pair", size=2, unit="rad", scale=0.5, clip=3.0, history=3),
            Term(name="single", size=1, unit="m/s", scale=-2.0, clip=1.0),
        ]
    )


def test_terms_are_scaled_and_clipped_in_their_order() -> None:
    """0.5·4 = 2, 0.5·-9 is beyond -3; -2·0.25 = -0.5."""
    terms = [
        Term(name="pair", size=2, unit="rad", scale=0.5, clip=3.0),
        Term(name="single", size=1, unit="m/s", scale=-2.0, clip=1.0),
    ]
    readings = {"single": f4(0.25), "pair": f4(4, -9), "unused": f4(7)}
    obs = Observer(terms).observe(readings)
    np.testing.assert_array_equal(obs, [2, -3, -0.5])
    assert obs.dtype == np.float32
    np.testing.assert_array_equal(Observer(terms[::-1]).observe(readings), [-0.5, 2, -3])


def test_the_first_reading_fills_the_past() -> None:
    """There was nothing before it, and zeros would be a pose that never was."""
    obs = observer().observe({"pair": f4(2, 4), "single": f4(0)})
    np.testing.assert_array_equal(obs, [1, 2, 1, 2, 1, 2, 0])


def test_readings_are_stacked_oldest_first_and_the_oldest_leaves() -> None:
    """Term by term: all of one before the next."""
    watching = observer()
    for tick in range(5):
        obs = watching.observe({"pair": f4(tick, -tick), "single": f4(0.1 * tick)})
    np.testing.assert_allclose(obs, [1, -1, 1.5, -1.5, 2, -2, -0.8], rtol=1e-6)


def test_a_reset_forgets_the_past() -> None:
    """The next reading fills it anew."""
    watching = observer()
    watching.observe({"pair": f4(4, 4), "single": f4(0)})
    watching.reset()
    obs = watching.observe({"pair": f4(2, 2), "single": f4(0)})
    np.testing.assert_array_equal(obs, [1, 1, 1, 1, 1, 1, 0])


def test_an_observation_does_not_change_when_readings_do() -> None:
    """Neither the one returned nor the past that is kept."""
    watching = observer()
    reading = f4(2, 2)
    obs = watching.observe({"pair": reading, "single": f4(0)})
    reading[:] = 6
    np.testing.assert_array_equal(obs[:6], 1)
    again = watching.observe({"pair": f4(4, 4), "single": f4(0)})
    np.testing.assert_array_equal(again[:6], [1, 1, 1, 1, 2, 2])


def test_the_bound_is_the_clip_of_every_number() -> None:
    """In the order of the vector, without end where there is no clip."""
    assert observer().bound.tolist() == [3, 3, 3, 3, 3, 3, 1]
    assert observer().size == 7
    free = Observer([Term(name="any", size=2, unit="", clip=None)])
    assert free.bound.tolist() == [math.inf, math.inf]
    np.testing.assert_array_equal(free.observe({"any": f4(1e30, -1e30)}), f4(1e30, -1e30))


def test_no_terms_make_an_empty_observation() -> None:
    """A task whose critics see no more than the actor."""
    nothing = Observer([])
    assert nothing.size == 0
    assert nothing.observe({"pair": f4(1, 2)}).shape == (0,)


@given(
    arrays.arrays(np.float64, 2, elements=st.floats(-1e30, 1e30)),
    st.floats(0.01, 100),
    st.floats(-100, 100),
    st.integers(1, 4),
)
def test_observations_keep_their_bound(
    reading: NDArray[np.float64], clip: float, scale: float, history: int
) -> None:
    """Whatever is read, also in double precision."""
    term = Term(name="pair", size=2, unit="", clip=clip, scale=scale, history=history)
    watching = Observer([term])
    for _ in range(3):
        obs = watching.observe({"pair": reading.astype(np.float32)})
        assert obs.dtype == np.float32
        assert obs.shape == (2 * history,)
        assert (np.abs(obs) <= watching.bound).all()


@pytest.mark.parametrize("reading", [f4(1), f4(1, 2, 3), f4(1, 2)[None], np.float32(1)])
def test_a_reading_of_another_shape_is_refused_by_name(reading: FloatArray) -> None:
    """Or every number behind it would be another quantity."""
    with pytest.raises(ValueError, match=r"'pair' has shape .*expected \(2,\)"):
        observer().observe({"pair": reading, "single": f4(0)})


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 0},
        {"size": -1},
        {"history": 0},
        {"clip": 0.0},
        {"clip": -1.0},
        {"clip": math.nan},
        {"clip": math.inf},
        {"scale": math.nan},
        {"scale": math.inf},
    ],
    ids=str,
)
def test_terms_that_are_no_part_of_a_vector_are_refused(fields: dict[str, Any]) -> None:
    """In code and when they come in a policy's contract."""
    whole: dict[str, Any] = {"name": "pair", "size": 2, "unit": ""} | fields
    with pytest.raises(ValueError, match="'pair'"):
        Term(**whole)
    with pytest.raises(msgspec.ValidationError, match="'pair'"):
        msgspec.convert(whole, Term)
