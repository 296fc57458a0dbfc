"""Other people's Dynamixel hosts, unmodified, talk to the emulated servos over a terminal.

They share no code with the emulator, so an error in its frames would show here.  What they are
known to do wrong is stated where it is met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dynamixel_sdk as sdk
import pytest
import rustypot

from sim.emulator.bench import Bench
from sim.emulator.bus import Bus
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.terminal import Terminal
from tests.patience import until

if TYPE_CHECKING:
    from collections.abc import Iterator

BAUD = 1_000_000
IDS = list(range(1, 13))
STUFFED = b"\xff\xff\xfd"
INDIRECT_DATA = 224
"""Plain memory as long as nothing is mapped to it: any bytes may be written and read."""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Twelve XM430-W210 at 1 Mbit/s."""
    eeprom = {"baud_rate": 3, "return_delay": 0}
    servos = [Servo(ServoOptions(id=one, eeprom=eeprom)) for one in IDS]
    with Terminal(Bus(Bench(servos))) as terminal:
        yield terminal


@pytest.fixture
def rusty(terminal: Terminal) -> Iterator[Any]:
    """Rustypot at the port."""
    controller = rustypot.Xl430PyController(terminal.path, BAUD, 2.0)
    yield controller
    controller.close()


def test_rustypot_pings(rusty: Any) -> None:  # noqa: ANN401 -- rustypot is a compiled module
    """Those who are there, and nobody else."""
    rusty.set_timeout(0.05)
    assert [rusty.ping(device) for device in (1, 12, 13)] == [True, True, False]


def test_rustypot_reads_and_writes(rusty: Any) -> None:  # noqa: ANN401 -- as above
    """One servo moves to where it is sent."""
    rusty.write_register(3, "torque_enable", 1)
    rusty.write_register(3, "goal_position", 2500)
    assert rusty.read_register(3, "goal_position") == 2500
    until(lambda: abs(rusty.read_register(3, "present_position") - 2500) < 10)


@pytest.mark.parametrize("fast", [False, True])
def test_rustypot_reads_and_writes_many(fast: bool, rusty: Any) -> None:  # noqa: ANN401, FBT001 -- as above; two cases
    """Plain and fast sync reads say the same."""
    rusty.set_fast_sync_read(fast)
    goals = [2000 + 10 * device for device in IDS]
    rusty.sync_write_register(IDS, "goal_position", goals)
    assert rusty.sync_read_register(IDS, "goal_position") == goals
    assert len(rusty.sync_read_raw_data(IDS, 126, 10)) == 12


@pytest.mark.parametrize("fast", [False, True])
def test_rustypot_understands_payloads_like_headers(fast: bool, rusty: Any) -> None:  # noqa: ANN401, FBT001 -- as above
    """FF FF FD is stuffed both ways, and not in fast replies."""
    rusty.set_fast_sync_read(fast)
    for data in (STUFFED + b"\x00", STUFFED + b"\xfd", b"\x01" + STUFFED, STUFFED * 4):
        rusty.write_raw_data(1, INDIRECT_DATA, list(data))
        assert bytes(rusty.read_raw_data(1, INDIRECT_DATA, len(data))) == data
        (read,) = rusty.sync_read_raw_data([1], INDIRECT_DATA, len(data))
        assert bytes(read) == data


def test_rustypot_sees_errors(rusty: Any) -> None:  # noqa: ANN401 -- as above
    """Numbers, and the alert bit; plain calls of it would report success."""
    assert rusty.write_register_with_error(1, "goal_position", 5000) in (4, 6)
    rusty.write_register(1, "torque_enable", 1)
    assert rusty.write_register_with_error(1, "return_delay_time", 1) == 7


def test_rustypot_reboots(rusty: Any) -> None:  # noqa: ANN401 -- as above
    """The servo comes back with its torque off."""
    rusty.write_register(5, "torque_enable", 1)
    rusty.reboot(5)
    rusty.set_timeout(0.05)
    until(lambda: bool(rusty.ping(5)))
    assert rusty.read_register(5, "torque_enable") == 0


@pytest.fixture
def vendor(terminal: Terminal) -> Iterator[tuple[Any, Any]]:
    """The vendor's own port and packet handlers."""
    port = sdk.PortHandler(terminal.path)
    assert port.openPort()
    assert port.setBaudRate(BAUD)
    yield port, sdk.PacketHandler(2.0)
    port.closePort()


def test_the_vendors_sdk_pings(vendor: tuple[Any, Any]) -> None:
    """One, and all."""
    port, packets = vendor
    assert packets.ping(port, 3) == (1030, sdk.COMM_SUCCESS, 0)
    found, result = packets.broadcastPing(port)
    assert result == sdk.COMM_SUCCESS
    assert found == {device: [1030, 50] for device in IDS}


def test_the_vendors_sdk_reads_and_writes(vendor: tuple[Any, Any]) -> None:
    """Errors arrive as numbers; a registered write waits for its action."""
    port, packets = vendor
    assert packets.write1ByteTxRx(port, 1, 64, 1) == (sdk.COMM_SUCCESS, 0)
    assert packets.write4ByteTxRx(port, 1, 116, 2500) == (sdk.COMM_SUCCESS, 0)
    until(lambda: abs(packets.read4ByteTxRx(port, 1, 132)[0] - 2500) < 10)
    assert packets.write1ByteTxRx(port, 1, 9, 1) == (sdk.COMM_SUCCESS, 7)
    assert packets.write1ByteTxRx(port, 1, 65, 2) == (sdk.COMM_SUCCESS, 4)
    assert packets.regWriteTxRx(port, 1, 65, 1, [1]) == (sdk.COMM_SUCCESS, 0)
    assert packets.read1ByteTxRx(port, 1, 65)[0] == 0
    assert packets.action(port, 1) == sdk.COMM_SUCCESS
    assert packets.reboot(port, 1) == (sdk.COMM_SUCCESS, 0)


def goal(value: int) -> list[int]:
    """Bytes of a goal as the SDK wants them."""
    return list(value.to_bytes(4, "little"))


def test_the_vendors_sdk_reads_and_writes_many(vendor: tuple[Any, Any]) -> None:
    """Sync and bulk."""
    port, packets = vendor
    writes = sdk.GroupSyncWrite(port, packets, 116, 4)
    reads = sdk.GroupSyncRead(port, packets, 116, 4)
    for device in IDS:
        assert writes.addParam(device, goal(1000 + device))
        assert reads.addParam(device)
    assert writes.txPacket() == sdk.COMM_SUCCESS
    assert reads.txRxPacket() == sdk.COMM_SUCCESS
    assert [reads.getData(device, 116, 4) for device in IDS] == [1000 + one for one in IDS]
    bulk_writes = sdk.GroupBulkWrite(port, packets)
    assert bulk_writes.addParam(1, 116, 4, goal(7))
    assert bulk_writes.addParam(2, 65, 1, [1])
    assert bulk_writes.txPacket() == sdk.COMM_SUCCESS
    bulk_reads = sdk.GroupBulkRead(port, packets)
    assert bulk_reads.addParam(1, 116, 4)
    assert bulk_reads.addParam(2, 65, 1)
    assert bulk_reads.txRxPacket() == sdk.COMM_SUCCESS
    assert (bulk_reads.getData(1, 116, 4), bulk_reads.getData(2, 65, 1)) == (7, 1)


def test_the_vendors_sdk_reads_many_fast(vendor: tuple[Any, Any]) -> None:
    """One packet; the SDK checks its last CRC, which covers the others."""
    port, packets = vendor
    reads = sdk.GroupSyncRead(port, packets, 132, 4)
    for device in IDS:
        assert reads.addParam(device)
    assert reads.fastSyncRead() == sdk.COMM_SUCCESS
    assert {reads.getData(device, 132, 4) for device in IDS} == {2048}


def test_the_vendors_sdk_unstuffs_but_does_not_stuff(vendor: tuple[Any, Any]) -> None:
    """What it reads is right; what it writes goes out unstuffed, which the servo takes, too.

    Its stuffing function returns a list that is dropped, in version 4.1.0.
    """
    port, packets = vendor
    data = list(STUFFED + b"\x01")
    assert packets.writeTxRx(port, 1, INDIRECT_DATA, 4, data) == (sdk.COMM_SUCCESS, 0)
    assert packets.readTxRx(port, 1, INDIRECT_DATA, 4) == (data, sdk.COMM_SUCCESS, 0)


def test_the_vendors_sdk_sees_alerts_in_plain_reads_only(
    terminal: Terminal, vendor: tuple[Any, Any]
) -> None:
    """A sync read of it throws the error bytes away and reports success."""
    port, packets = vendor
    terminal.bus.bench.servos[0].actuator.latch(8)
    assert packets.read4ByteTxRx(port, 1, 132) == (2048, sdk.COMM_SUCCESS, 0x80)
    reads = sdk.GroupSyncRead(port, packets, 132, 4)
    assert reads.addParam(1)
    assert reads.txRxPacket() == sdk.COMM_SUCCESS
