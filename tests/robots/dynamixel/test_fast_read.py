"""Fast replies that are good throughout, everything that is none, and when they are given up."""

from __future__ import annotations

import pytest

from robots.dynamixel.fast_read import FAILURES, LONGEST_PAUSE, SHORTEST_PAUSE, FastRead, FastTrust
from robots.dynamixel.protocol import Instruction, Receiver, Status, crc16, encode_fast

IDS = (1, 2, 3, 7)
SIZE = 10
STEP = SIZE + 4
READ = FastRead(bytes((126, 0, SIZE, 0)), SIZE, IDS)
STATUSES = [Status(device, 0, bytes((device, 0xFF, 0xFF, 0xFD, 0x00)) * 2) for device in IDS]
WHOLE = encode_fast(STATUSES)


def sealed(raw: bytearray, first: int) -> bytes:
    """The reply with right CRCs from this block on."""
    for end in range(8 + STEP * (first + 1), len(raw) + 1, STEP):
        raw[end - 2 : end] = crc16(bytes(raw[: end - 2])).to_bytes(2, "little")
    return bytes(raw)


def trust(answers: str) -> FastTrust:
    """After fast reads that were answered, y, or not, n."""
    made = FastTrust()
    for answer in answers:
        assert made.due()
        (made.succeeded if answer == "y" else made.failed)()
    return made


def plain_reads(made: FastTrust, most: int = 10_000) -> int:
    """How many plain reads come before the next fast one, at most so many."""
    return next((count for count in range(most) if made.due()), most)


def test_the_request_is_a_frame() -> None:
    """It asks the servos in order, and its reply is as long as announced."""
    (frame,) = Receiver("instruction").feed(READ.request)
    assert frame.instruction == Instruction.FAST_SYNC_READ
    assert frame.parameters == bytes((126, 0, SIZE, 0, *IDS))
    assert READ.length == len(WHOLE)


def test_a_whole_reply() -> None:
    """It is whole, and tells what everybody said."""
    assert READ.whole(WHOLE)
    assert READ.statuses(WHOLE) == (STATUSES, 0)


def test_no_wrong_bit_is_whole() -> None:
    """Whichever bit of a reply is flipped, it is not whole."""
    for bit in range(8 * len(WHOLE)):
        broken = bytearray(WHOLE)
        broken[bit // 8] ^= 1 << bit % 8
        assert not READ.whole(bytes(broken))


@pytest.mark.parametrize("raw", [b"", WHOLE[:-1], WHOLE + b"\x00", b"\x00" + WHOLE[:-1]])
def test_no_other_length_is_whole(raw: bytes) -> None:
    """Neither is what has lost a byte or has one too many."""
    assert not READ.whole(raw)


@pytest.mark.parametrize("error", [0x80, 0x07, 0x81])
def test_a_complaint_is_not_whole(error: int) -> None:
    """An alert or an error number asks for a closer look, which finds it."""
    statuses = [STATUSES[0], STATUSES[1]._replace(error=error), *STATUSES[2:]]
    raw = encode_fast(statuses)
    assert not READ.whole(raw)
    assert READ.statuses(raw) == (statuses, 0)


def test_another_order_is_not_whole() -> None:
    """Only servos that answer where they are due have answered."""
    raw = encode_fast([STATUSES[0], STATUSES[2], STATUSES[1], STATUSES[3]])
    assert not READ.whole(raw)
    assert READ.statuses(raw) == ([STATUSES[0], None, None, STATUSES[3]], 2)


@pytest.mark.parametrize("place", range(len(IDS)))
def test_every_block_has_a_right_crc(place: int) -> None:
    """A block whose CRC is wrong ends what is known, although all CRCs behind it are right."""
    raw = bytearray(WHOLE)
    raw[8 + STEP * (place + 1) - 1] ^= 0x01
    broken = sealed(raw, place + 1)
    assert not READ.whole(broken)
    found, _ = READ.statuses(broken)
    assert found == [*STATUSES[:place], *[None] * (len(IDS) - place)]


def test_one_failure_is_no_reason() -> None:
    """Fast reads go on when failures do not follow each other."""
    made = trust("y" + 5 * "ny")
    assert not made.given_up
    assert made.due()


def test_who_never_answered_is_not_asked_again() -> None:
    """Then somebody may not know fast reads at all."""
    made = trust(FAILURES * "n")
    assert made.given_up
    assert made.left is None
    assert plain_reads(made) == 10_000


def test_who_has_answered_is_asked_again() -> None:
    """One who knows fast reads is tried after a while, ever more seldom while it fails."""
    made = trust("y" + FAILURES * "n")
    pauses = []
    for _ in range(8):
        assert made.given_up
        pauses.append(plain_reads(made))
        made.failed()
    assert pauses[:3] == [SHORTEST_PAUSE, 2 * SHORTEST_PAUSE, 4 * SHORTEST_PAUSE]
    assert pauses[-2:] == [LONGEST_PAUSE] * 2
    plain_reads(made)
    made.succeeded()
    assert not made.given_up


def test_the_past_is_forgotten_after_a_while() -> None:
    """Fast reads that have worked for longer than the next pause make it short again."""
    for good, pause in ((1, 2 * SHORTEST_PAUSE), (2 * SHORTEST_PAUSE + 1, SHORTEST_PAUSE)):
        made = trust("y" + FAILURES * "n")
        plain_reads(made)
        for _ in range(good):
            made.succeeded()
        for _ in range(FAILURES):
            made.failed()
        assert plain_reads(made) == pause
