"""Logs that are cut, spoiled or no logs at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.errors import StorageError
from robosac.flight_log.log import FlightLog
from robosac.flight_log.parts import part_path, parts_of
from robosac.flight_log.record import read
from tests.robosac.flight_log.conftest import SPEC, fly, until

if TYPE_CHECKING:
    from pathlib import Path

CHUNKS = 3


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole log of several chunks."""
    path = tmp_path_factory.mktemp("flown") / "flight.mcap"
    with FlightLog(path, SPEC, clock=time.monotonic_ns) as log:
        step = 0
        for _ in range(CHUNKS):
            before = readable(path)
            while readable(path) == before:
                fly(log, range(step, step + 20))
                step += 20
                time.sleep(0.1)
    return path.read_bytes()


def readable(path: Path) -> int:
    """How many ticks of a log that is being written are in the file."""
    try:
        return len(read(path).ticks["number"])
    except (FileNotFoundError, StorageError):
        return 0


def test_a_cut_anywhere_leaves_what_stands_before_it(flown: bytes, path: Path) -> None:
    """The more of the file there is, the more ticks; never a wrong one, never an error."""
    path.write_bytes(flown)
    everything = read(path).ticks["reward"].tolist()
    counts = []
    for size in range(2000, len(flown), len(flown) // 40):
        path.write_bytes(flown[:size])
        record = read(path)
        assert not record.complete
        rewards = record.ticks["reward"].tolist()
        assert rewards == everything[: len(rewards)]
        counts.append(len(rewards))
    assert counts == sorted(counts)
    assert len(set(counts)) > CHUNKS - 1
    assert counts[-1] == len(everything)


def test_zeros_at_the_end_are_no_records(flown: bytes, path: Path) -> None:
    """A power cut leaves them where the file had grown and the disk had not yet got it."""
    path.write_bytes(flown[: len(flown) // 2] + bytes(5000))
    record = read(path)
    assert not record.complete
    assert len(record.ticks["number"]) > 0


def test_a_spoiled_chunk_ends_the_log(flown: bytes, path: Path) -> None:
    """What stands before it is read; a checksum keeps wrong figures out."""
    path.write_bytes(flown)
    whole = read(path).ticks
    for place in range(len(flown) // 3, len(flown) // 2, len(flown) // 200):
        spoiled = bytearray(flown)
        spoiled[place] ^= 0x10
        path.write_bytes(spoiled)
        for name, values in read(path).ticks.items():
            np.testing.assert_array_equal(values, whole[name][: len(values)], err_msg=name)


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"not a log at all" * 100])
def test_no_log_is_told_in_one_line(content: bytes, path: Path) -> None:
    """With what was expected and what to do."""
    path.write_bytes(content)
    with pytest.raises(StorageError, match="no record of a robosac flight log"):
        read(path)


def test_no_file_is_told_in_one_line(path: Path) -> None:
    """By its name."""
    with pytest.raises(StorageError, match="no file"):
        read(path)


def test_parts_are_those_of_one_log_in_order(path: Path) -> None:
    """Ten comes behind nine, a hole is none, and neighbours are other logs."""
    names = [part_path(path, part) for part in (0, 1, 9, 10)]
    for one in (
        *reversed(names),
        path.with_name("flight.old.mcap"),
        path.with_name("flights.mcap"),
    ):
        one.touch()
    assert parts_of(path) == names
    assert [one.name for one in names[:2]] == ["flight.mcap", "flight.1.mcap"]


def test_a_flight_without_ticks_is_a_log(path: Path) -> None:
    """Nothing has moved, and that is what it says."""
    with FlightLog(path, SPEC, clock=time.monotonic_ns) as log:
        until(path.exists, doing=log.poll)
    record = read(path)
    assert record.complete
    assert record.lost == 0
    assert record.ticks["position"].shape == (0, 2)
    assert record.ticks["number"].shape == (0,)
