"""Transitions of flight logs: recorded to the bit, and a prior like the rows of any other run."""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.errors import ConfigError, DamagedRecordError, StorageError
from robosac.flight_log import writer_link
from robosac.flight_log.fields import TRANSITIONS
from robosac.flight_log.log import FlightLog, log_spec
from robosac.flight_log.mcap_file import McapFile
from robosac.flight_log.messages import schemas, transition_message
from robosac.flight_log.parts import log_of, part_path
from robosac.flight_log.record import read as read_record
from robosac.flight_log.transitions import read_chunks, read_header
from robosac.learner import priors
from robosac.policy.contract import Contract, encode
from robosac.replay.prior import read, survey
from robosac.tasks.observation import Term
from tests.robosac.flight_log.conftest import SPEC, fly, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from robosac.replay import Chunk

    FloatArray = NDArray[np.float32]

CONTRACT = Contract(
    robot="twig",
    action_lower=(-1.0, -1.0),
    action_upper=(1.0, 1.0),
    obs=(Term(name="gyro", size=3, unit="rad/s"),),
    extra=2,
)
LAYOUT = CONTRACT.row_layout
INFO = {"contract": encode(CONTRACT).decode()}
RUN = "a" * 32
BATCH = 10


def drawn(count: int) -> FloatArray:
    """Rows of any bits, numbers that are none included."""
    bits = np.random.default_rng(0).integers(0, 2**32, (count, LAYOUT.width), dtype=np.uint32)
    return bits.view(np.float32)


def numbered(number: int) -> FloatArray:
    """A row that tells its number in every column."""
    return np.full(LAYOUT.width, number, np.float32)


def chunks(path: Path) -> list[Chunk]:
    """What a whole log holds."""
    torn: list[int] = []
    found = list(read_chunks(path, torn.append))
    assert not sum(torn)
    return found


def numbers(found: Iterable[Chunk]) -> list[int]:
    """Sequence number of every row, which must be the one that the row tells."""
    known = [(chunk.first + place, row) for chunk in found for place, row in enumerate(chunk.rows)]
    assert all((row == number).all() for number, row in known)
    return [number for number, _ in known]


def begun(path: Path, **info: str) -> McapFile:
    """Begin the file of a log."""
    spec = msgspec.json.encode(log_spec(SPEC)).decode()
    file = McapFile(path, {"spec": spec, "log": RUN} | INFO | info)
    file.register(TRANSITIONS, schemas(log_spec(SPEC))[TRANSITIONS])
    return file


def record(path: Path, *batches: Iterable[int], **info: str) -> None:
    """Write the file of a log, a chunk for every batch of transitions."""
    file = begun(path, **info)
    for batch in batches:
        for number in batch:
            message = transition_message(numbered(number).tobytes())
            file.add(TRANSITIONS, message, time_ns=number, sequence=number)
        file.flush()
    file.finish()


@pytest.fixture
def flown(path: Path) -> bytes:
    """A whole log of five chunks."""
    record(path, *(range(first, first + BATCH) for first in range(0, 5 * BATCH, BATCH)))
    return path.read_bytes()


def test_rows_come_back_to_the_bit(path: Path) -> None:
    """Of the robot and the log, in order, among ticks and events that are as they were."""
    rows = drawn(200)
    with FlightLog(path, SPEC, clock=time.monotonic_ns, info=INFO) as log:
        for number, row in enumerate(rows):
            fly(log, range(number, number + 1))
            log.transition(row)
        log.event("operator", "stop")
    assert log.lost == 0
    found = chunks(path)
    assert [chunk.first for chunk in found] == [0, *(chunk.end for chunk in found[:-1])]
    assert {chunk.key for chunk in found} == {("twig", read_header(path).run)}
    assert np.concatenate([chunk.rows for chunk in found]).tobytes() == rows.tobytes()
    logged = read_record(path)
    assert logged.ticks["number"].tolist() == logged.ticks["reward"].tolist() == list(range(200))
    assert "stop" in [event.text for event in logged.events]


def test_a_writer_that_is_killed_doubles_nothing(path: Path) -> None:
    """The next gets what may have died with the first; a part stands for the whole log."""
    made = itertools.count()
    with FlightLog(path, SPEC, clock=time.monotonic_ns, info=INFO) as log:

        def fly_on() -> None:
            log.transition(numbered(next(made)))
            log.poll()

        until(lambda: path.exists() and path.stat().st_size > 0, doing=fly_on)
        os.kill(log.writer_pid, signal.SIGKILL)
        until(part_path(path, 1).exists, doing=fly_on)
    assert log.lost == 0
    assert numbers(chunks(path)) == list(range(next(made)))
    assert log_of(part_path(path, 1)) == path


def test_what_finds_no_room_is_a_gap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted as lost, and not bridged: the rows on either side do not follow one another."""
    monkeypatch.setattr(writer_link, "_ENTRIES_MAX", 50)
    with FlightLog(path, SPEC, clock=time.monotonic_ns, info=INFO) as log:
        until(path.exists)
        os.kill(log.writer_pid, signal.SIGSTOP)
        for number in range(80):
            log.transition(numbered(number))
        lost = log.lost
        os.kill(log.writer_pid, signal.SIGCONT)
        until(lambda: not log.crowded, doing=log.poll)
        for number in range(80, 85):
            log.transition(numbered(number))
    assert log.lost == lost >= 30
    found = chunks(path)
    assert numbers(found) == [*range(80 - lost), *range(80, 85)]
    assert 80 in [chunk.first for chunk in found]


def test_at_its_limit_a_log_takes_no_transitions(path: Path) -> None:
    """Each that is not recorded counts as lost."""
    made = itertools.count()
    with FlightLog(path, SPEC, clock=time.monotonic_ns, info=INFO, limit_mib=0.001) as log:

        def fly_on() -> None:
            log.transition(numbered(next(made)))
            log.poll()

        until(lambda: "limit of" in log.state, doing=fly_on)
        for _ in range(20):
            fly_on()
    kept = numbers(chunks(path))
    assert kept == list(range(len(kept)))
    assert log.lost == next(made) - len(kept) >= 20


def test_parts_and_gaps(path: Path) -> None:
    """What an earlier part has counts once, in whichever chunk it comes again."""
    record(path, range(4), (4, 5, 9, 10))
    record(part_path(path, 1), (5, 9, 10, 11), (20, 21))
    found = chunks(path)
    assert [(chunk.first, len(chunk.rows)) for chunk in found] == [
        *((0, 4), (4, 2), (9, 2), (11, 1), (20, 2)),
    ]
    assert numbers(found) == [*range(6), 9, 10, 11, 20, 21]


def test_it_is_pinned_like_any_prior(flown: bytes, path: Path) -> None:
    """By rows and digest; a log that has grown is the prior that it was, nothing is written."""
    path.write_bytes(flown[: len(flown) // 2])
    torn, torn_bytes = survey(path, LAYOUT)
    assert 0 < torn.rows < 5 * BATCH
    path.write_bytes(flown)
    assert survey(path, LAYOUT).source.rows == 5 * BATCH
    assert numbers(read(torn)) == list(range(torn.rows))
    assert torn_bytes > 0
    assert (path.read_bytes(), list(path.parent.iterdir())) == (flown, [path])
    path.unlink()
    record(path, range(5 * BATCH), log="b" * 32)
    with pytest.raises(StorageError, match="got other rows; expected the"):
        list(read(torn))


@pytest.mark.parametrize("zeros", [0, 50])
def test_a_cut_anywhere_leaves_what_stands_before_it(flown: bytes, path: Path, zeros: int) -> None:
    """As kills and power cuts leave it: whole chunks, in order, and the rest is told."""
    counts, torn = [], list[int]()
    for size in range(flown.index(b"zstd"), len(flown) - 100, 7):
        path.write_bytes(flown[:size] + bytes(zeros))
        found = numbers(read_chunks(path, torn.append))
        assert found == list(range(len(found)))
        assert len(found) % BATCH == 0
        counts.append(len(found))
    assert counts == sorted(counts)
    assert set(counts) == {0, 10, 20, 30, 40, 50}
    assert len(torn) > len(counts) / 2


def test_damage_makes_no_row(flown: bytes, path: Path) -> None:
    """One line with the file, wherever it is noticed; where it is not, every row is right."""
    refused: list[str] = []
    places = range(flown.index(b"zstd"), flown.rindex(b"/transitions"), 19)
    for place in places:
        spoiled = bytearray(flown)
        spoiled[place] ^= 0x10
        path.write_bytes(spoiled)
        try:
            assert set(numbers(chunks(path))) <= set(range(5 * BATCH))
        except StorageError as error:
            refused.append(str(error))
    assert len(refused) > len(places) / 4
    assert all(line.startswith(str(path)) and "\n" not in line for line in refused)


def test_damage_is_told_by_its_place(flown: bytes, path: Path) -> None:
    """So that what stands before it can be had."""
    place = flown.rindex(b"zstd", 0, flown.rindex(b"/transitions")) + 40
    path.write_bytes(flown[:place] + bytes([flown[place] ^ 1]) + flown[place + 1 :])
    with pytest.raises(DamagedRecordError, match=r"at byte \d+: got damage .*expected a rec") as at:
        survey(path, LAYOUT)
    path.write_bytes(flown[: at.value.offset])
    assert survey(path, LAYOUT).source.rows == 4 * BATCH


def test_a_log_of_an_earlier_version_is_refused(path: Path) -> None:
    """It has readings, and nothing to say what a learner would have received."""
    with FlightLog(path, SPEC, clock=time.monotonic_ns) as log:
        fly(log, range(3))
    with pytest.raises(StorageError, match=r"flight log without transitions, of robosac \d.*--pri"):
        survey(path, LAYOUT)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"log": "../x"}, "a header that cannot be read .*run '../x'"),
        ({"spec": "{}"}, "a header that cannot be read"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(
    path: Path, info: dict[str, str], words: str
) -> None:
    """Names of robot and run go into files and onto the wire."""
    record(path, range(3), **info)
    with pytest.raises(StorageError, match=words):
        survey(path, LAYOUT)


def test_it_must_be_of_the_same_robot(path: Path) -> None:
    """By the contract that the log carries."""
    record(path, range(3))
    found = priors.find([path], pytest.fail)
    assert (found[0].path, found[0].rows) == (str(path), 3)
    priors.check(found, CONTRACT)
    with pytest.raises(ConfigError, match="does not fit: robot: got 'twig', expected 'pup'"):
        priors.check(found, msgspec.structs.replace(CONTRACT, robot="pup"))


def test_a_part_is_the_whole_log(path: Path) -> None:
    """So that `*.mcap` counts no row twice: it is told."""
    record(path, range(3))
    record(part_path(path, 1), range(2, 5))
    assert priors.find([part_path(path, 1)], pytest.fail)[0].rows == 5
    with pytest.raises(ConfigError, match=r"flight\.1\.mcap is named twice"):
        priors.find([path, part_path(path, 1)], pytest.fail)


def test_rows_must_be_rows(path: Path) -> None:
    """Of the width that the contract says, and all of one."""
    record(path, range(3))
    other = msgspec.structs.replace(LAYOUT, obs=4)
    with pytest.raises(StorageError, match=f"rows of {LAYOUT.width} columns; expected"):
        survey(path, other)
    for number, row in enumerate((b'{"row":"xy"}', b'{"row":"00"}', b"[]", b'{"row":""}')):
        spoiled = path.with_name(f"{number}.mcap")
        file = begun(spoiled)
        file.add(TRANSITIONS, row, time_ns=0, sequence=0)
        file.finish()
        with pytest.raises(StorageError, match="a transition that cannot be read"):
            survey(spoiled, LAYOUT)


def test_what_holds_nothing_is_refused(path: Path) -> None:
    """A flight that never began, and files that are no logs."""
    record(path)
    with pytest.raises(StorageError, match="got no rows; expected"):
        survey(path, LAYOUT)
    other = path.with_name("other.mcap")
    for content in (b"", b"\x89MCAP0\r\n", b"anything else"):
        other.write_bytes(content)
        with pytest.raises(StorageError, match="no record of a robosac flight log"):
            survey(other, LAYOUT)
