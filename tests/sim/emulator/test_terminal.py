"""The bus behind a pseudo-terminal, in real time: speeds, pacing, and ports that go away."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
import serial

from robots.dynamixel.protocol import Instruction, Receiver, encode
from sim.emulator.bench import Bench
from sim.emulator.bus import Bus
from sim.emulator.faults import Faults, parse_fault
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.terminal import Terminal
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sim.emulator.motors import Drive

PING = encode(1, Instruction.PING)


def make_bus(*, code: int = 3, ids: Sequence[int] = (1,), faults: Sequence[str] = ()) -> Bus:
    """A bus at the speed of this code, without return delay."""
    eeprom = {"baud_rate": code, "return_delay": 0}
    servos = [Servo(ServoOptions(id=one, eeprom=eeprom)) for one in ids]
    return Bus(Bench(servos, faults=Faults([parse_fault(text) for text in faults])))


def ask(path: str, baud: int, *, data: bytes = PING, size: int = 14, wait_s: float = 2.0) -> bytes:
    """What comes back within a while, as a program with pyserial sees it."""
    with serial.Serial(path, baud, timeout=wait_s, write_timeout=wait_s) as port:
        port.write(data)
        return bytes(port.read(size))


@pytest.mark.parametrize(
    ("code", "baud"), [(1, 57_600), (3, 1_000_000), (4, 2_000_000), (6, 4_000_000), (7, 4_500_000)]
)
def test_any_program_can_open_it(code: int, baud: int) -> None:
    """At every speed of the servos, those without a name of their own included."""
    with Terminal(make_bus(code=code)) as terminal:
        assert Receiver().feed(ask(terminal.path, baud))[0].status.data[:2] == b"\x06\x04"


def test_a_wrong_speed_is_answered_by_silence() -> None:
    """And the right one at once afterwards, by the same servo."""
    with Terminal(make_bus()) as terminal:
        assert ask(terminal.path, 2_000_000, wait_s=0.1) == b""
        assert len(ask(terminal.path, 1_000_000)) == 14


def test_clients_may_come_and_go() -> None:
    """The port outlives them."""
    with Terminal(make_bus()) as terminal:
        for _ in range(3):
            assert len(ask(terminal.path, 1_000_000)) == 14


def test_replies_take_their_time() -> None:
    """Twelve servos at 57600 bit/s: 48 ms of wire, and not much more."""
    ids = bytes(range(1, 13))
    request = encode(0xFE, Instruction.SYNC_READ, b"\x7e\x00\x0a\x00" + ids)
    with Terminal(make_bus(code=1, ids=ids)) as terminal:
        started = time.monotonic()
        assert len(ask(terminal.path, 57_600, data=request, size=252)) == 252
        taken = time.monotonic() - started
    assert 0.0484 <= taken < 1.0


class WatchedBus(Bus):
    """A bus that tells when the adapter has been pulled out."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.gone = threading.Event()

    def hang_up(self) -> None:
        super().hang_up()
        self.gone.set()


def test_unplugging_is_seen_and_undone(tmp_path: Path) -> None:
    """The client gets an error; the link leads to the port that returns, where all is quiet."""
    link = tmp_path / "bus"
    bus = WatchedBus(make_bus(code=1).bench)
    with Terminal(bus, link=link) as terminal:
        with serial.Serial(str(link), 57_600, timeout=PATIENCE_S) as port:
            port.write(PING * 400)
            assert len(port.read(14)) == 14
            terminal.inject(parse_fault("unplug@0,for=0.1"))
            with pytest.raises(serial.SerialException):
                port.read(1_000_000)
        assert bus.gone.wait(PATIENCE_S)
        until(link.exists)
        assert terminal.path == os.path.realpath(link)
        with serial.Serial(str(link), 57_600, timeout=PATIENCE_S) as port:
            port.write(PING)
            assert len(port.read(14)) == 14
            port.timeout = 0.2
            assert port.read(1000) == b""
    assert not link.exists()


def test_a_blocked_adapter_makes_writes_time_out() -> None:
    """The buffer fills, and the client is told after its timeout."""
    with (
        Terminal(make_bus(faults=["block@0"])) as terminal,
        serial.Serial(terminal.path, 1_000_000, write_timeout=0.1) as port,
        pytest.raises(serial.SerialTimeoutException),
    ):
        port.write(bytes(100_000))


def test_what_nobody_fetches_is_lost_and_counted() -> None:
    """Not kept until the emulator stands still."""
    bus = make_bus(faults=["extra@0,amount=60000"])
    with Terminal(bus) as terminal, serial.Serial(terminal.path, 1_000_000) as port:
        port.write(PING)
        until(lambda: terminal.overruns > 0)


def test_closing_raises_what_ended_the_thread() -> None:
    """A bench that breaks does not break in silence."""

    class BrokenError(Exception):
        pass

    class Broken(Servo):
        def step(self, now_ns: int, volts: float, dt: float) -> Drive:
            raise BrokenError

    terminal = Terminal(Bus(Bench([Broken()])))
    terminal.open()
    until(lambda: terminal.failure is not None)
    with pytest.raises(BrokenError):
        terminal.close()
    terminal.close()


def test_a_suspended_emulator_does_not_catch_up() -> None:
    """A second in which the thread did not run never happened to the servos."""
    bus = make_bus()
    with Terminal(bus) as terminal:
        until(lambda: bus.bench.now_ns > 0)
        terminal._origin_ns -= 30_000_000_000  # noqa: SLF001 -- as if the process had slept
        assert len(ask(terminal.path, 1_000_000)) == 14
        assert bus.bench.now_ns < PATIENCE_S * 1e9
