"""The noise that explores: white to the bit, or correlated in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.runner.exploration import ExplorationNoise

if TYPE_CHECKING:
    from numpy.typing import NDArray


def noise(size: int = 2, seed: int = 0) -> ExplorationNoise:
    """Noise of a seed."""
    return ExplorationNoise(size, np.random.default_rng(seed))


def test_white_noise_is_the_generator_itself() -> None:
    """θ = 1 forgets everything: the same bits as drawing from the generator."""
    source, rng = noise(), np.random.default_rng(0)
    for _ in range(5):
        drawn = source.draw(1.0, 1)
        assert drawn.dtype == np.float32
        np.testing.assert_array_equal(drawn, rng.standard_normal(2, dtype=np.float32))


def test_correlated_noise_by_hand() -> None:
    """X ← (1-θ)·x + n, so 0.75·n1 + n2 is the second for θ = 0.25."""
    source, rng = noise(), np.random.default_rng(0)
    first, second = rng.standard_normal((2, 2), dtype=np.float32)
    np.testing.assert_allclose(source.draw(0.25), first)
    np.testing.assert_allclose(source.draw(0.25), 0.75 * first + second, rtol=1e-6)


def test_an_episode_starts_without_the_noise_of_the_last() -> None:
    """Otherwise its first action would be that of another situation."""
    source = noise()
    for _ in range(10):
        source.draw(0.15)
    source.reset()
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((11, 2), dtype=np.float32)[-1]
    np.testing.assert_array_equal(source.draw(0.15), expected)


def test_its_stationary_size_and_memory() -> None:
    """θ = 0.15: standard deviation 1/√(1 - 0.85²) = 1.898, correlation of neighbours 0.85."""
    source = noise(500)
    drawn = np.array([source.draw(0.15) for _ in range(400)])[100:]
    assert drawn.std() == pytest.approx(1.898, rel=0.02)
    assert np.mean(drawn[1:] * drawn[:-1]) / drawn.var() == pytest.approx(0.85, abs=0.01)


def test_what_was_drawn_does_not_change() -> None:
    """A policy may keep the array."""
    source = noise()
    drawn = source.draw(0.15)
    before = drawn.copy()
    source.draw(0.15)
    np.testing.assert_array_equal(drawn, before)


def held_for(hold: int, times: int) -> NDArray[np.int64]:
    """How long each of so many noises was held."""
    source = noise(1)
    drawn = np.array([source.draw(1.0, hold)[0] for _ in range(times)])
    (changes,) = np.nonzero(np.diff(drawn))
    return np.diff(changes)


def test_how_long_noise_is_held() -> None:
    """P(k) = k⁻²/Σ j⁻²: 0.631 once, 0.158 twice, 0.070 thrice, never more than 16 steps.

    Put back by k uniform, or by P(k) ∝ 1/k, whose first is 0.296.
    """
    lengths = held_for(16, 40_000)
    expected = np.arange(1, 17) ** -2.0
    expected /= expected.sum()
    found = np.bincount(lengths, minlength=17)[1:] / len(lengths)
    assert lengths.max() == 16
    np.testing.assert_allclose(expected[:3], [0.631, 0.158, 0.070], atol=1e-3)
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert lengths.mean() == pytest.approx(np.sum(np.arange(1, 17) * expected), rel=0.03)


def test_held_noise_is_that_of_every_action_at_once() -> None:
    """All actions hold theirs together, to the bit, and what comes next is another."""
    source = noise(3)
    drawn = [source.draw(1.0, 4).tolist() for _ in range(200)]
    distinct = {tuple(one) for one in drawn}
    assert 60 < len(distinct) < 160
    assert len({tuple(one[:1]) for one in drawn}) == len(distinct)


def test_an_episode_ends_what_is_held() -> None:
    """The first noise of every episode is fresh, however long the last one was to stay."""
    source = noise()
    firsts = []
    for _ in range(100):
        source.reset()
        firsts.append(tuple(source.draw(1.0, 16).tolist()))
    assert len(set(firsts)) == 100
