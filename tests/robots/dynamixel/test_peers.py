"""The same bytes as other implementations, and their known defects, so that nobody trusts those.

dynamixel-sdk 4.1.0 is the vendor's; rustypot 1.13.1 is independent of both.  Both are peers in
tests only.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.dynamixel.protocol import (
    BROADCAST,
    Frame,
    Instruction,
    Status,
    crc16,
    encode,
    encode_status,
)
from tests.patience import PATIENCE_S

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dynamixel_sdk
    import rustypot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.robots.dynamixel.conftest import FakeServos

    Untyped = Any  # the SDK has no types

SDK = dynamixel_sdk.PacketHandler(2.0)
LOOKS_LIKE_A_HEADER = [0xFF, 0xFF, 0xFD, 0x00]


@pytest.fixture
def sdk_port(servos: FakeServos, monkeypatch: pytest.MonkeyPatch) -> Iterator[Untyped]:
    """The vendor's port on the scripted servos, patient, since replies end its waits."""
    monkeypatch.setattr(dynamixel_sdk.port_handler, "LATENCY_TIMER", 1000 * PATIENCE_S)
    port = dynamixel_sdk.PortHandler(servos.path)
    port.openPort()
    port.setBaudRate(1_000_000)
    yield port
    port.closePort()


@pytest.fixture
def peer(servos: FakeServos) -> rustypot.Xl330PyController:
    """The rustypot controller of the XL330 on the scripted servos."""
    return rustypot.Xl330PyController(servos.path, 1_000_000, PATIENCE_S)


def last(servos: FakeServos) -> bytes:
    """The last instruction that arrived, as it was on the wire."""
    return servos.heard[-1].raw


@given(data=st.binary(max_size=300))
def test_crc_is_the_vendors(data: bytes) -> None:
    """The CRC function of the SDK gives the same for any bytes."""
    assert SDK.updateCRC(0, list(data), len(data)) == crc16(data)


def test_sdk_writes_the_same_frames(servos: FakeServos, sdk_port: Untyped) -> None:
    """Ping, read, write, reboot, sync read and sync write are the vendor's byte for byte."""
    SDK.ping(sdk_port, 7)
    assert last(servos) == encode(7, Instruction.PING)
    SDK.read4ByteTxRx(sdk_port, 1, 132)
    assert last(servos) == encode(1, Instruction.READ, b"\x84\x00\x04\x00")
    SDK.write4ByteTxRx(sdk_port, 2, 116, 512)
    assert last(servos) == encode(2, Instruction.WRITE, b"\x74\x00\x00\x02\x00\x00")
    SDK.reboot(sdk_port, 3)
    assert last(servos) == encode(3, Instruction.REBOOT)
    for fast, instruction in ((False, Instruction.SYNC_READ), (True, Instruction.FAST_SYNC_READ)):
        reader = dynamixel_sdk.GroupSyncRead(sdk_port, SDK, 126, 10)
        for device in (3, 1, 2):
            reader.addParam(device)
        assert (reader.fastSyncRead() if fast else reader.txRxPacket()) == 0
        expected = encode(BROADCAST, instruction, b"\x7e\x00\x0a\x00\x03\x01\x02")
        assert last(servos) == expected


def test_sdk_reads_our_statuses(servos: FakeServos, sdk_port: Untyped) -> None:
    """What encode_status() and encode_fast() make, the vendor's parser takes."""
    for device, memory in servos.memory.items():
        memory[132:136] = bytes((device, 8, 0, 0))
    assert SDK.read4ByteTxRx(sdk_port, 3, 132) == (0x0803, 0, 0)
    for fast in (False, True):
        reader = dynamixel_sdk.GroupSyncRead(sdk_port, SDK, 132, 4)
        for device in (1, 2, 7):
            reader.addParam(device)
        assert (reader.fastSyncRead() if fast else reader.txRxPacket()) == 0
        assert [reader.getData(device, 132, 4) for device in (1, 2, 7)] == [0x801, 0x802, 0x807]


def test_sdk_does_not_stuff_what_it_sends(servos: FakeServos, sdk_port: Untyped) -> None:
    """Known defect: a value that looks like a header goes out as one; ours is stuffed."""
    SDK.writeTxRx(sdk_port, 1, 116, 4, LOOKS_LIKE_A_HEADER)
    ours = encode(1, Instruction.WRITE, b"\x74\x00" + bytes(LOOKS_LIKE_A_HEADER))
    assert ours[10:15] == b"\xff\xff\xfd\xfd\x00"
    assert last(servos) != ours
    assert bytes(LOOKS_LIKE_A_HEADER) in last(servos)[4:]


def test_sdk_drops_errors_of_sync_reads(servos: FakeServos, sdk_port: Untyped) -> None:
    """Known defect: a servo that reports an alert is a success like any other."""
    servos.errors[2] = 0x80
    reader = dynamixel_sdk.GroupSyncRead(sdk_port, SDK, 132, 4)
    for device in (1, 2):
        reader.addParam(device)
    assert reader.txRxPacket() == 0
    assert reader.isAvailable(2, 132, 4)


def test_rustypot_writes_the_same_frames(
    servos: FakeServos, peer: rustypot.Xl330PyController
) -> None:
    """Ping, read, write and sync write are the same, stuffing included."""
    assert peer.ping(7)
    assert last(servos) == encode(7, Instruction.PING)
    peer.read_raw_data(1, 132, 4)
    assert last(servos) == encode(1, Instruction.READ, b"\x84\x00\x04\x00")
    peer.write_raw_data(1, 116, LOOKS_LIKE_A_HEADER)
    expected = encode(1, Instruction.WRITE, b"\x74\x00" + bytes(LOOKS_LIKE_A_HEADER))
    assert last(servos) == expected
    assert servos.memory[1][116:120] == bytes(LOOKS_LIKE_A_HEADER)
    peer.sync_write_raw_data([3, 1], 116, [[1, 2, 3, 4], LOOKS_LIKE_A_HEADER])
    assert peer.ping(1)
    values = b"\x03\x01\x02\x03\x04\x01" + bytes(LOOKS_LIKE_A_HEADER)
    expected = encode(BROADCAST, Instruction.SYNC_WRITE, b"\x74\x00\x04\x00" + values)
    assert servos.heard[-2].raw == expected


def test_rustypot_reads_our_statuses(servos: FakeServos, peer: rustypot.Xl330PyController) -> None:
    """Values that are stuffed on the wire, and error bytes, arrive at the peer as we sent them."""
    for memory in servos.memory.values():
        memory[126:136] = b"\xff\xff\xfd\xff\xff\xff\x00\x08\xff\xfd"
    servos.errors[2] = 0x80
    assert list(peer.read_raw_data(1, 126, 10)) == list(servos.memory[1][126:136])
    found = peer.sync_read_raw_data_with_error([1, 2], 126, 10)
    assert [(bytes(value), error) for value, error in found] == [
        (bytes(servos.memory[1][126:136]), 0),
        (bytes(servos.memory[2][126:136]), 0x80),
    ]


def test_rustypot_hides_refusals(servos: FakeServos, peer: rustypot.Xl330PyController) -> None:
    """Known defect: a plain write that the servo refuses is a success."""

    def refuse(frame: Frame, replies: list[bytes]) -> list[bytes]:
        return [encode_status(Status(frame.id, 7, b""))]

    servos.spoil = refuse
    peer.write_raw_data(1, 7, [2])
    assert peer.write_raw_data_with_error(1, 7, [2]) == 7


def test_rustypot_reaches_no_address_above_255(peer: rustypot.Xl330PyController) -> None:
    """Known defect: the second bank of indirect registers is out of its reach."""
    with pytest.raises(OverflowError):
        peer.read_raw_data(1, 634, 1)
