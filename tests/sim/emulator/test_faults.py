"""Faults: their names and options, and what each does to the bytes that arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.control_table import Register as R  # noqa: N817 -- on every line here
from robots.dynamixel.protocol import ErrorNumber, Instruction, Receiver, encode, fast_statuses
from sim.emulator.faults import KINDS, Fault, Faults, parse_fault
from sim.errors import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig

PING = encode(1, Instruction.PING)
SYNC_READ = Instruction.SYNC_READ


def test_a_fault_is_written_in_one_word() -> None:
    """Name, time, and options in any order."""
    assert parse_fault("drop") == Fault(name="drop")
    assert parse_fault("drop@2.5,id=3,p=0.25") == Fault(
        name="drop", at_s=2.5, id=3, probability=0.25
    )
    assert parse_fault("late@1,nth=2,instruction=0x82,for=0.5,amount=7") == Fault(
        name="late", at_s=1.0, nth=2, instruction=0x82, for_s=0.5, amount=7.0
    )
    assert parse_fault("jump@1,amount=-300").size == -300


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("droop@1", "no fault is called 'droop'; expected one of drop, "),
        ("drop@soon", "time is 'soon'; expected a number, zero or more"),
        ("drop@-1", "time is '-1'; expected a number"),
        ("drop@1,who=3", "got 'who'; expected one of id, "),
        ("drop@1,id=three", "id is 'three'; expected a whole number"),
        ("late@1,amount=inf", "amount is 'inf'; expected a number"),
        ("drop@1,p=nan", "p is 'nan'; expected a number"),
    ],
)
def test_what_cannot_be_understood_is_named(text: str, problem: str) -> None:
    """With what was expected, and the fault quoted."""
    with pytest.raises(FaultError) as caught:
        parse_fault(text)
    assert str(caught.value).startswith(f"fault {text!r}: ")
    assert problem in str(caught.value)


def test_every_kind_has_a_sentence() -> None:
    """With its amount, where that means anything."""
    for name, kind in KINDS.items():
        text = kind.what.format(kind.amount)
        assert text
        assert "{" not in text, name


def test_strikes_are_counted_and_diced() -> None:
    """The nth, by ID and instruction and time; the same seed gives the same strikes."""
    texts = ["drop@1,id=2,nth=2", "late@0,instruction=0x82,for=2"]
    faults = Faults([parse_fault(text) for text in texts])
    second = 1_000_000_000
    assert [one.name for one in faults.strike("reply", 0, [2], 0x82)] == ["late"]
    assert faults.strike("reply", second, [2], 1) == []
    assert faults.strike("reply", second, [3], 1) == []
    assert [one.name for one in faults.strike("reply", second, [2], 1)] == ["drop"]
    assert faults.strike("reply", second, [2], 1) == []
    assert faults.strike("reply", 2 * second, [2], 0x82) == []
    runs = []
    for _ in range(2):
        rare = Faults([parse_fault("drop@0,p=0.3")], seed=5)
        runs.append([bool(rare.strike("reply", 0, [1], 1)) for _ in range(1000)])
    assert runs[0] == runs[1]
    assert 200 < sum(runs[0]) < 400


def good(data: bytes) -> list[int]:
    """IDs of the good frames in bytes."""
    return [frame.id for frame in Receiver().feed(data)]


@pytest.mark.parametrize(
    ("fault", "size", "ids"),
    [
        ("drop", 0, []),
        ("truncate", 11, []),
        ("truncate@0,amount=99", 0, []),
        ("extra", 17, [1]),
        ("noise", 19, [1]),
        ("flip", 14, []),
        ("extra@0,amount=-5", 14, [1]),
        ("flip@0,amount=-5", 14, [1]),
        ("wrong-id", 14, [2]),
        ("duplicate", 28, [1, 1]),
        ("collision", 14, []),
        ("silence", 0, []),
        ("echo", 24, [1]),
        ("baud", 0, []),
    ],
)
def test_a_ping_under_each_fault(
    fault: str, size: int, ids: list[int], rig: Callable[..., Rig]
) -> None:
    """How many bytes arrive, and which good answers are among them."""
    made = rig(faults=[fault])
    made.port.sleep(0.001)
    answer = made.port.exchange(PING)
    assert len(answer) == size
    assert good(answer) == ids


def test_an_echo_comes_before_the_answer(rig: Callable[..., Rig]) -> None:
    """Exactly what was sent."""
    assert rig(faults=["echo"]).port.exchange(PING)[: len(PING)] == PING


def test_errors_are_answered_with_the_alert_bit_as_it_is(rig: Callable[..., Rig]) -> None:
    """Any number, in a frame that is whole."""
    made = rig(faults=["error@0,amount=6", "hardware-error@1,amount=8"])
    status = made.ask(1, Instruction.PING)
    assert (status.alert, status.number) == (False, ErrorNumber.DATA_LIMIT)
    made.port.sleep(1.1)
    status = made.ask(1, Instruction.PING)
    assert (status.alert, status.number) == (True, ErrorNumber.DATA_LIMIT)


def test_a_late_reply_falls_into_the_next_cycle(rig: Callable[..., Rig]) -> None:
    """Twenty milliseconds behind its time, others on time."""
    made = rig((1, 2), faults=["late@0,id=1,nth=1"])
    made.port.write(encode(0xFE, SYNC_READ, b"\x84\x00\x04\x00\x01\x02"))
    first = made.port.read(made.port.now_ns() + 5_000_000)
    assert good(first) == [2]
    made.port.write(encode(0xFE, SYNC_READ, b"\x84\x00\x04\x00\x01\x02"))
    rest = b""
    while made.bus.next_ns() is not None:
        rest += made.port.read(made.port.now_ns() + 50_000_000)
    assert good(rest) == [1, 2, 1]
    assert made.port.now_ns() > 20_000_000


@pytest.mark.parametrize(("struck", "order"), [(1, [2, 1, 3]), (2, [1, 3, 2]), (3, [1, 2, 3])])
def test_swapped_replies_are_all_there(
    struck: int, order: list[int], rig: Callable[..., Rig]
) -> None:
    """One comes behind the next one; the last has none to come behind."""
    made = rig((1, 2, 3), faults=[f"swap@0,id={struck}"])
    assert [status.id for status in made.sync_read((1, 2, 3))] == order


def test_a_dropped_reply_does_not_break_the_chain(rig: Callable[..., Rig]) -> None:
    """It was on the wire; servos behind it answer at their usual time."""
    times = []
    for faults in ([], ["drop@0,id=1"]):
        made = rig((1, 2), faults=faults)
        ids = [status.id for status in made.sync_read((1, 2))]
        times.append(made.port.now_ns())
    assert ids == [2]
    assert times[0] == times[1]


def test_fast_reads_are_struck_as_a_whole(rig: Callable[..., Rig]) -> None:
    """By instruction, and by every servo that takes part."""
    request = b"\x84\x00\x04\x00\x01\x02"
    for fault in ("drop@0,instruction=0x8A", "drop@0,id=2,nth=1"):
        made = rig((1, 2), faults=[fault])
        assert made.port.exchange(encode(0xFE, Instruction.FAST_SYNC_READ, request)) == b""
        assert len(made.sync_read((1, 2))) == 2


def test_errors_stand_in_fast_replies_too(rig: Callable[..., Rig]) -> None:
    """In the block of the servo that has them, all CRCs being right."""
    made = rig((1, 2), faults=["error@0,id=2,amount=5", "hardware-error@0,id=1,amount=8"])
    request = b"\x84\x00\x04\x00\x01\x02"
    answer = made.port.exchange(encode(0xFE, Instruction.FAST_SYNC_READ, request))
    blocks = fast_statuses(answer, 4)
    assert [(one.id, one.error) for one in blocks] == [(1, 0x80), (2, 5)]


def test_faults_of_servos_come_and_go(rig: Callable[..., Rig]) -> None:
    """Silence, locked EEPROM, fast reads unknown, another speed: each for a second."""
    fast = encode(0xFE, Instruction.FAST_SYNC_READ, b"\x84\x00\x04\x00\x01")
    made = rig(faults=["silence@1,for=1", "locked@3,for=1", "no-fast-read@5,for=1", "baud@7,for=1"])
    assert made.ask_all(1, Instruction.PING)
    made.port.sleep(1.5)
    assert not made.ask_all(1, Instruction.PING)
    made.port.sleep(1.0)
    assert made.write(R.MOVING_THRESHOLD, 5) == 0
    made.port.sleep(1.0)
    assert made.write(R.MOVING_THRESHOLD, 6) == ErrorNumber.ACCESS
    made.port.sleep(1.0)
    assert made.write(R.MOVING_THRESHOLD, 6) == 0
    assert made.port.exchange(fast)
    made.port.sleep(1.0)
    assert not made.port.exchange(fast)
    made.port.sleep(1.0)
    assert made.port.exchange(fast)
    made.port.sleep(1.0)
    assert not made.ask_all(1, Instruction.PING)
    made.port.sleep(1.0)
    assert made.ask_all(1, Instruction.PING)


def test_faults_of_servos_that_happen_once(rig: Callable[..., Rig]) -> None:
    """A reboot, a tripped watchdog, a changed return delay; only the servo that is named."""
    made = rig((1, 2), faults=["reboot@1,id=1", "watchdog@3,id=1", "return-delay@3,id=2"])
    made.port.sleep(1.1)
    assert not made.ask_all(1, Instruction.PING)
    assert made.ask_all(2, Instruction.PING)
    made.port.sleep(2.0)
    assert made.read(R.BUS_WATCHDOG, 1) == -1
    assert made.read(R.BUS_WATCHDOG, 2) == 0
    assert made.read(R.RETURN_DELAY, 2) == 250


def test_no_fault_makes_the_wire_say_something_wrong(rig: Callable[..., Rig]) -> None:
    """Two thousand spoilt replies: a good frame of the right ID carries the right value."""
    spoilt = ["truncate", "extra", "flip", "noise", "duplicate", "collision"]
    made = rig(faults=[f"{name}@0,p=0.2" for name in spoilt])
    request = encode(1, Instruction.READ, b"\x00\x00\x02\x00")
    kinds = set()
    for _ in range(2000):
        answer = made.port.exchange(request)
        frames = Receiver().feed(answer)
        kinds.add(len(frames))
        assert all(frame.parameters == b"\x00\x06\x04" for frame in frames)
    assert kinds == {0, 1, 2}
