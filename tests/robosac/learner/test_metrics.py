"""Metrics on disk: every line is JSON, nothing is lost in silence."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.errors import StorageError
from robosac.learner.metrics import MetricsWriter, plain
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.learner.metrics import Figures


def lines(folder: Path) -> list[dict[str, object]]:
    """Read metrics.jsonl back."""
    content = (folder / "metrics.jsonl").read_bytes()
    assert content.endswith(b"\n")
    return [msgspec.json.decode(line) for line in content.splitlines()]


def write_until_refused(writer: MetricsWriter, figures: Figures) -> Exception:
    """Go on writing until the writer raises, as the update loop would."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            writer.write(1, figures)
        except Exception as error:  # noqa: BLE001 -- the test looks at what it is
            return error
        time.sleep(0.01)
    pytest.fail("the error of the thread never surfaced")


def test_one_line_of_json_per_write(tmp_path: Path) -> None:
    """In order, with the step; None stays null, numbers that JSON lacks become strings (trap 31).

    Put back by encoding figures as they are: a loss that is no number is then one not measured.
    """
    writer = MetricsWriter(tmp_path)
    writer.write(10, {"return_mean": 1.5, "speed_mps": None, "episodes": 3})
    writer.write(20, {"return_mean": float("nan"), "loss": float("inf"), "low": float("-inf")})
    writer.close()
    assert lines(tmp_path) == [
        {"env_steps": 10, "return_mean": 1.5, "speed_mps": None, "episodes": 3},
        {"env_steps": 20, "return_mean": "nan", "loss": "inf", "low": "-inf"},
    ]


def test_plain_figures_are_left_as_they_are() -> None:
    """Only what JSON cannot hold is changed."""
    assert plain({"a": 1, "b": 2.5, "c": None}) == {"a": 1, "b": 2.5, "c": None}
    assert plain({"a": float("nan")}) == {"a": "nan"}


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    """What an earlier process wrote stays."""
    for step in (1, 2):
        writer = MetricsWriter(tmp_path)
        writer.write(step, {"q": 0.0})
        writer.close()
    assert [line["env_steps"] for line in lines(tmp_path)] == [1, 2]


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    """Every measured, finite figure is a scalar at its step."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    writer = MetricsWriter(tmp_path)
    for step in (100, 200, 300):
        nan = float("nan") if step == 200 else 0.5
        writer.write(step, {"return_mean": step / 2, "q": nan, "speed_mps": None})
    writer.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert board.Tags()["scalars"] == ["return_mean", "q"]
    found = [(item.step, item.value) for item in board.Scalars("return_mean")]
    assert found == [(100, 50.0), (200, 100.0), (300, 150.0)]
    assert [item.step for item in board.Scalars("q")] == [100, 300]


def test_figures_may_change_after_write(tmp_path: Path) -> None:
    """The writer keeps what was said, not the caller's dictionary."""
    writer = MetricsWriter(tmp_path)
    figures: Figures = {"q": 1.0}
    writer.write(1, figures)
    figures["q"] = 2.0
    writer.close()
    assert lines(tmp_path) == [{"env_steps": 1, "q": 1.0}]


def test_a_disk_error_surfaces_at_the_next_write(tmp_path: Path) -> None:
    """The thread cannot raise, so the caller does; close() raises it again."""
    (tmp_path / "metrics.jsonl").mkdir()
    writer = MetricsWriter(tmp_path)
    error = write_until_refused(writer, {"q": 1.0})
    assert isinstance(error, StorageError)
    assert str(tmp_path) in str(error)
    with pytest.raises(StorageError):
        writer.close()


def test_any_other_error_surfaces_as_it_is(tmp_path: Path) -> None:
    """A figure that JSON cannot hold is our bug, and must not end the metrics in silence."""
    writer = MetricsWriter(tmp_path)
    figures: Figures = {"q": np.zeros(2)}  # type: ignore[dict-item]
    error = write_until_refused(writer, figures)
    assert isinstance(error, TypeError)
    with pytest.raises(TypeError):
        writer.close()


def test_close_ends_the_thread(tmp_path: Path) -> None:
    """Everything that waited is on disk, and no thread of ours is left."""
    before = threading.enumerate()
    writer = MetricsWriter(tmp_path)
    for step in range(500):
        writer.write(step, {"q": 0.0})
    writer.close()
    assert len(lines(tmp_path)) == 500
    assert set(threading.enumerate()) <= set(before)
