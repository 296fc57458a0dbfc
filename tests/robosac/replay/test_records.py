"""The record format: its bytes are fixed, and no bytes at all can do more than be refused."""

from __future__ import annotations

import io
import struct
import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from robosac.errors import DamagedRecordError
from robosac.replay.records import HEADER_SIZE, MAX_PAYLOAD, VERSION, Chunk, encode, scan

FloatArray = NDArray[np.float32]

RUN = "0123456789abcdef0123456789abcdef"

GOLDEN = bytes.fromhex(
    "5253524301002e0018000000a12f686c95a7676f322d6c6162d92030313233343536373839616263"
    "646566303132333435363738396162636465660702030000803f000000c00000003f000080400000"
    "a0400000c040"
)


def chunk(first: int, rows: FloatArray) -> Chunk:
    """Return a chunk of the robot and run that these tests use."""
    return Chunk(robot="go2-lab", run=RUN, first=first, rows=rows)


def numbered(first: int, count: int, width: int = 3) -> FloatArray:
    """Rows that tell their number in every column."""
    return np.arange(first, first + count, dtype=np.float32)[:, None] + np.zeros(
        width, dtype=np.float32
    )


def read(data: bytes) -> tuple[list[Chunk], int, DamagedRecordError | None]:
    """Return the intact chunks, where they end, and the damage behind them."""
    chunks, end = [], 0
    try:
        for part, end in scan(io.BytesIO(data)):  # noqa: B007 - the last end is wanted
            chunks.append(part)
    except DamagedRecordError as damage:
        return chunks, end, damage
    return chunks, end, None


def sealed(meta: bytes, payload: bytes, version: int = VERSION) -> bytes:
    """Return a record whose checksum holds, whatever is in it."""
    header = struct.pack("<4sHHI", b"RSRC", version, len(meta), len(payload))
    return header + struct.pack("<I", zlib.crc32(header + meta + payload)) + meta + payload


def test_golden_bytes() -> None:
    """Logs and spools of earlier versions stay readable: change the version with the format."""
    rows = np.array([[1, -2, 0.5], [4, 5, 6]], dtype=np.float32)
    assert encode(chunk(7, rows)) == GOLDEN
    (decoded,), end, damage = read(GOLDEN)
    assert (decoded.robot, decoded.run, decoded.first, decoded.end) == ("go2-lab", RUN, 7, 9)
    np.testing.assert_array_equal(decoded.rows, rows)
    assert (end, damage) == (len(GOLDEN), None)


@given(first=st.integers(0, 2**62), count=st.integers(1, 20), width=st.integers(1, 9))
def test_what_is_encoded_is_decoded(first: int, count: int, width: int) -> None:
    """Any shape and any sequence number make the round trip."""
    rows = np.random.default_rng(count).standard_normal((count, width), dtype=np.float32)
    (decoded,), _, damage = read(encode(chunk(first, rows)))
    assert damage is None
    assert (decoded.key, decoded.first) == (("go2-lab", RUN), first)
    assert decoded.rows.dtype == np.float32
    np.testing.assert_array_equal(decoded.rows, rows)


def test_rows_that_are_not_contiguous_in_memory_are_written_in_order() -> None:
    """A strided view is written as the rows it shows."""
    rows = numbered(0, 6, width=4)[::2, ::-1]
    (decoded,), _, _ = read(encode(chunk(0, rows)))
    np.testing.assert_array_equal(decoded.rows, rows)


def test_scan_yields_every_record_and_where_it_ends() -> None:
    """The ends are where a file could be cut."""
    records = [encode(chunk(first, numbered(first, 2))) for first in (0, 2, 4)]
    ends = [end for _, end in scan(io.BytesIO(b"".join(records)))]
    assert ends == [len(b"".join(records[:count])) for count in (1, 2, 3)]


def test_scan_begins_where_the_file_stands() -> None:
    """The spool reads from an offset of its index; ends count from the file's beginning."""
    record = encode(chunk(0, numbered(0, 2)))
    file = io.BytesIO(b"junk" + record)
    file.seek(4)
    assert [(part.first, end) for part, end in scan(file)] == [(0, 4 + len(record))]


def test_a_record_cut_at_any_byte_is_refused_where_it_begins() -> None:
    """What precedes a torn record is read, and the damage says where it begins."""
    intact, torn = encode(chunk(0, numbered(0, 2))), encode(chunk(2, numbered(2, 2)))
    for size in range(1, len(torn)):
        chunks, end, damage = read(intact + torn[:size])
        assert [part.first for part in chunks] == [0]
        assert end == len(intact)
        assert damage is not None
        assert (damage.offset, damage.got) == (len(intact), f"{size} bytes")


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    """Header, meta and rows are all under the checksum."""
    record = encode(chunk(0, numbered(0, 2)))
    for position in range(len(record) * 8):
        spoilt = bytearray(record)
        spoilt[position // 8] ^= 1 << position % 8
        chunks, _, damage = read(bytes(spoilt))
        assert not chunks, f"bit {position}"
        assert damage is not None
        assert damage.offset == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_but_never_crash(data: bytes) -> None:
    """Random bytes raise DamagedRecordError and nothing else."""
    read(data)


@given(
    version=st.sampled_from([VERSION, VERSION, VERSION + 1]),
    meta=st.binary(max_size=80)
    | st.lists(st.integers(-(2**63), 2**64 - 1) | st.text(max_size=3), max_size=6).map(
        msgspec.msgpack.encode
    ),
    payload=st.binary(max_size=64),
)
def test_any_sealed_content_is_refused_or_read_but_never_crashes(
    version: int, meta: bytes, payload: bytes
) -> None:
    """A checksum protects against accidents only: behind it, everything is checked again."""
    read(sealed(meta, payload, version))


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        (["go2-lab", RUN, 0, 2, 4], "24 bytes of rows"),
        (["go2-lab", RUN, 0, 0, 3], "refused"),
        (["go2-lab", RUN, -1, 2, 3], "refused"),
        (["go2-lab", RUN, 2**62 + 1, 2, 3], "refused"),
        (["../../etc", RUN, 0, 2, 3], "refused"),
        (["go2-lab\n", RUN, 0, 2, 3], "refused"),
        (["go2-lab", RUN.upper(), 0, 2, 3], "refused"),
        (["go2-lab", RUN, 0, 2], "refused"),
        (["go2-lab", RUN, 0, 2, 3, 1], "refused"),
        ({"robot": "go2-lab"}, "refused"),
    ],
)
def test_a_sealed_record_with_impossible_meta_is_refused(meta: object, problem: str) -> None:
    """Bounds and patterns hold behind a valid checksum too."""
    data = sealed(msgspec.msgpack.encode(meta), bytes(24))
    chunks, _, damage = read(data)
    assert not chunks
    assert damage is not None
    assert problem in damage.got


def test_a_meta_that_is_no_utf_8_is_refused() -> None:
    """The decoder's UnicodeDecodeError does not escape."""
    meta = msgspec.msgpack.encode(["go2-lab", RUN, 0, 2, 3]).replace(b"go2", b"\xff\xfe\xfd")
    _, _, damage = read(sealed(meta, bytes(24)))
    assert damage is not None


def test_a_size_that_is_a_lie_allocates_nothing() -> None:
    """Sizes are checked before anything is read for them."""

    class Reluctant(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size == HEADER_SIZE, "only the header may be read"
            return super().read(size)

    header = struct.pack("<4sHHII", b"RSRC", VERSION, 0, 2**32 - 1, 0)
    with pytest.raises(DamagedRecordError, match=f"at most 256 and {MAX_PAYLOAD} bytes"):
        list(scan(Reluctant(header + bytes(500))))


def test_another_version_is_named() -> None:
    """A log of a later version is refused with both versions."""
    with pytest.raises(DamagedRecordError, match="got format version 2; expected version 1"):
        list(scan(io.BytesIO(sealed(b"", b"", version=2))))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 20_000), (300_000, 20)])
def test_a_chunk_that_no_record_can_hold_is_refused(shape: tuple[int, int]) -> None:
    """What scan() would refuse is never written."""
    with pytest.raises(ValueError, match=f"record of {shape[0]} rows by {shape[1]} columns"):
        encode(chunk(0, np.zeros(shape, dtype=np.float32)))


@pytest.mark.parametrize(
    ("robot", "run", "first", "rows", "problem"),
    [
        ("", RUN, 0, numbered(0, 1), "robot name ''"),
        ("a/b", RUN, 0, numbered(0, 1), "robot name 'a/b'"),
        ("a" * 65, RUN, 0, numbered(0, 1), "robot name 'aaa"),
        ("go2", RUN[:-1], 0, numbered(0, 1), "expected the 32 hex digits"),
        ("go2", RUN, -1, numbered(0, 1), "sequence number -1"),
        ("go2", RUN, 0, numbered(0, 1)[0], r"expected float32 \(n, width\)"),
        ("go2", RUN, 0, numbered(0, 1).astype(np.float64), "rows of float64"),
    ],
)
def test_a_chunk_that_cannot_be_is_refused(
    robot: str, run: str, first: int, rows: FloatArray, problem: str
) -> None:
    """Names, numbers and rows are checked in the constructor."""
    with pytest.raises(ValueError, match=problem):
        Chunk(robot=robot, run=run, first=first, rows=rows)


def test_since_drops_the_rows_before_a_sequence_number() -> None:
    """The tail keeps its own sequence numbers."""
    whole = chunk(10, numbered(10, 4))
    firsts = {
        sequence: whole.since(sequence).rows[:, 0].tolist() for sequence in (0, 10, 12, 14, 99)
    }
    assert firsts == {
        0: [10, 11, 12, 13],
        10: [10, 11, 12, 13],
        12: [12, 13],
        14: [],
        99: [],
    }
    assert (whole.since(12).first, whole.since(99).first, whole.since(3).end) == (12, 14, 14)
