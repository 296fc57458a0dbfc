"""The serial port, on a pseudo-terminal whose other end the test holds."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
import tty
from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.port import Port
from robots.errors import PortBusyError, PortError, PortLostError, WriteBlockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PING = bytes.fromhex("FF FF FD 00 01 03 00 01 19 4E")
REPLY = bytes.fromhex("FF FF FD 00 01 07 00 55 00 06 04 26 65 5D")


class Wire:
    """A pseudo-terminal: a path for the port, and the far end of the cable."""

    def __init__(self) -> None:
        self.far, self.near = os.openpty()
        tty.setraw(self.near)
        self.path = os.ttyname(self.near)

    def unplug(self) -> None:
        """Close both ends that the test holds."""
        for end in (self.far, self.near):
            if end >= 0:
                os.close(end)
        self.far = self.near = -1


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A cable of its own for every test."""
    wire = Wire()
    yield wire
    wire.unplug()


@pytest.fixture
def port(wire: Wire) -> Iterator[Port]:
    """The open port at the near end."""
    with Port(wire.path, 1_000_000) as port:
        yield port


def soon() -> int:
    """A deadline that is far enough for what is already on its way, ns."""
    return time.monotonic_ns() + 1_000_000_000


def soonest() -> int:
    """A deadline for what should not come, ns."""
    return time.monotonic_ns() + 5_000_000


def test_bytes_go_both_ways(wire: Wire, port: Port) -> None:
    """All 256 values pass unchanged, so the line is raw."""
    every = bytes(range(256))
    port.write(every)
    assert os.read(wire.far, 1000) == every
    os.write(wire.far, every[::-1])
    received = b""
    while len(received) < 256:
        received += port.read(soon())
    assert received == every[::-1]


def test_a_read_ends_at_its_deadline(port: Port) -> None:
    """Silence is an empty answer, at the deadline and not much later."""
    before = time.monotonic()
    assert port.read(time.monotonic_ns() + 20_000_000) == b""
    assert 0.019 < time.monotonic() - before < 5
    assert port.read(time.monotonic_ns() - 1) == b""


def test_a_read_past_its_deadline_still_takes_what_is_there(wire: Wire, port: Port) -> None:
    """Bytes that arrived before the deadline are not lost by asking late."""
    os.write(wire.far, b"here")
    assert port.read(soon()) == b"here"
    os.write(wire.far, b"there")
    assert port.read(time.monotonic_ns() - 1) == b"there"


def test_a_read_that_slept_past_its_deadline_takes_what_came(
    wire: Wire, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives after the system has called time, but before we run again, is not missing."""
    honest = select.select

    def called_too_early(*_: object) -> tuple[list[int], list[int], list[int]]:
        monkeypatch.setattr(select, "select", honest)
        os.write(wire.far, b"late")
        assert honest([port._fd], [], [], 5.0)[0]  # noqa: SLF001 -- it has arrived
        return [], [], []

    monkeypatch.setattr(select, "select", called_too_early)
    assert port.read(time.monotonic_ns()) == b"late"


def test_a_second_owner_is_refused(wire: Wire, port: Port) -> None:
    """Two ports on one device, by whatever name, are one too many; the first keeps working."""
    with pytest.raises(PortBusyError, match=f"process {os.getpid()}"):
        Port(wire.path, 1_000_000).open()
    port.write(b"x")
    assert os.read(wire.far, 10) == b"x"


def test_links_are_the_same_port(wire: Wire, port: Port, tmp_path: Path) -> None:
    """A link to the device, as in /dev/serial/by-id, has the same lock."""
    link = tmp_path / "servos"
    link.symlink_to(wire.path)
    with pytest.raises(PortBusyError):
        Port(link, 1_000_000).open()


def test_another_program_is_a_second_owner(wire: Wire) -> None:
    """A program that locks the device itself, as pyserial does when asked to, is respected."""
    other = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(PortBusyError):
        Port(wire.path, 1_000_000).open()
    os.close(other)


def test_another_process_is_refused(wire: Wire, port: Port) -> None:
    """The lock holds between processes."""
    program = (
        "import sys\n"
        "from robots.dynamixel.port import Port\n"
        "from robots.errors import PortBusyError\n"
        "try:\n"
        "    Port(sys.argv[1], 1_000_000).open()\n"
        "except PortBusyError:\n"
        "    print('busy')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, wire.path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "busy\n"


def test_closing_releases(wire: Wire) -> None:
    """A closed port can be opened again, and closing twice is fine."""
    port = Port(wire.path, 1_000_000)
    for _ in range(2):
        port.open()
        port.close()
        port.close()
    with pytest.raises(PortLostError, match="not open"):
        port.read(soonest())
    with pytest.raises(PortLostError, match="not open"):
        port.write(b"x")


def test_what_is_no_serial_port_is_refused(tmp_path: Path) -> None:
    """A missing device, a file, and a folder have an error of ours, and leave no lock held."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path in (tmp_path / "missing", file, tmp_path):
        for _ in range(2):
            with pytest.raises(PortError, match=str(path)):
                Port(path, 1_000_000).open()


def test_impossible_settings_are_refused() -> None:
    """Neither baud nor timeout may be zero."""
    with pytest.raises(ValueError, match="baud 0"):
        Port("/dev/null", 0)
    with pytest.raises(ValueError, match="timeout 0"):
        Port("/dev/null", 57600, write_timeout_s=0)


def test_low_latency_is_reported(port: Port) -> None:
    """A pseudo-terminal has no low-latency mode and no timer; that is reported, not an error."""
    assert not port.low_latency
    assert port.latency_s == 0.0


def test_unplugging_is_latched(wire: Wire, port: Port) -> None:
    """A vanished port is an error at once, for reading and writing, and stays one."""
    wire.unplug()
    with pytest.raises(PortLostError, match="is gone"):
        port.read(soon())
    for _ in range(2):
        with pytest.raises(PortLostError, match="is gone"):
            port.write(b"x")
        with pytest.raises(PortLostError, match="is gone"):
            port.flush()


def test_unplugging_shows_when_writing(wire: Wire, port: Port) -> None:
    """The first to notice may be a write."""
    wire.unplug()
    with pytest.raises(PortLostError, match="is gone"):
        port.write(b"x")


def test_a_blocked_write_ends(wire: Wire) -> None:
    """When nobody takes the bytes, the write fails in its time and says how much went out."""
    with Port(wire.path, 1_000_000, write_timeout_s=0.02) as port:
        before = time.monotonic()
        with pytest.raises(WriteBlockedError) as caught:
            port.write(bytes(200_000))
        assert 0.019 < time.monotonic() - before < 5
        assert 0 < caught.value.written < caught.value.size == 200_000


def test_a_slow_taker_is_waited_for(wire: Wire) -> None:
    """Bytes beyond the driver's buffer go out as soon as there is room."""
    helper = subprocess.Popen(
        [sys.executable, "-c", "import os\nn = 0\nwhile n < 60000: n += len(os.read(0, 4096))"],
        stdin=wire.far,
    )
    with Port(wire.path, 1_000_000, write_timeout_s=10) as port:
        port.write(bytes(60_000))
    assert helper.wait(10) == 0


def test_flushing_counts(wire: Wire, port: Port) -> None:
    """What is thrown away is counted."""
    os.write(wire.far, bytes(33))
    assert port.read(soon())[:1] == b"\0"
    os.write(wire.far, bytes(10))
    flushed = 0
    while not flushed:
        flushed = port.flush()
    assert flushed == 10
    assert port.flush() == 0


def test_an_echo_is_found_and_removed(wire: Wire, port: Port) -> None:
    """An adapter that returns what is written is noticed, wherever the bytes are split."""
    for cut in range(len(PING) + 1):
        port.write(PING)
        assert os.read(wire.far, 100) == PING
        os.write(wire.far, PING[:cut])
        if cut < len(PING):
            assert port.read(soonest()) in {b"", PING[:cut]}
            port.flush()
    assert port.echoes is None or port.echoes
    port.write(PING)
    os.write(wire.far, PING + REPLY)
    assert port.read(soon()) == REPLY
    assert port.echoes


def test_echoes_that_never_come_are_not_remembered_for_ever(wire: Wire, port: Port) -> None:
    """Whoever only writes needs no more memory with time, and hears what comes afterwards."""
    for _ in range(1000):
        port.write(PING)
        assert os.read(wire.far, 100) == PING
    assert len(vars(port)["_echo"]) <= 4096
    os.write(wire.far, REPLY)
    assert port.read(soon()) == REPLY


def test_a_known_echo_is_no_noise(wire: Wire, port: Port) -> None:
    """Once known, echoes of writes without a reply vanish, also while flushing."""
    port.write(PING)
    os.write(wire.far, PING + REPLY)
    assert port.read(soon()) == REPLY
    port.write(b"no reply comes")
    port.write(PING)
    os.write(wire.far, b"no reply ")
    assert port.read(soonest()) == b""
    os.write(wire.far, b"comes" + PING[:4])
    assert port.flush() == 0
    os.write(wire.far, PING[4:] + REPLY)
    assert port.read(soon()) == REPLY


def test_no_echo_is_found_out_once(wire: Wire, port: Port) -> None:
    """A reply that differs from what was written settles that there is no echo."""
    port.write(PING)
    os.write(wire.far, REPLY[:4])
    assert port.read(soonest()) == REPLY[:4]
    os.write(wire.far, REPLY[4:])
    assert port.read(soon()) == REPLY[4:]
    assert port.echoes is False
    port.write(PING)
    os.write(wire.far, PING)
    assert port.read(soon()) == PING


def test_a_broken_echo_is_handed_on(wire: Wire, port: Port) -> None:
    """An echo that came back wrong is not swallowed, and the next one is recognised again."""
    port.write(PING)
    os.write(wire.far, PING + REPLY)
    assert port.read(soon()) == REPLY
    port.write(PING)
    os.write(wire.far, b"\0" + PING[1:] + REPLY)
    assert port.read(soon()) == b"\0" + PING[1:] + REPLY
    port.write(PING)
    os.write(wire.far, PING + REPLY)
    assert port.read(soon()) == REPLY
