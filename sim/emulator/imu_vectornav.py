"""A VectorNav VN-100 at byte level, as its driver's reference describes it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from sim.emulator.imu_device import ImuDevice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim.emulator.imu_device import ImuSource
    from sim.emulator.imu_faults import ImuFault

SAMPLE_HZ = 800
_BAD_CHECKSUM, _BAD_COMMAND, _BAD_PARAMETER, _BAD_REGISTER, _TOO_SLOW = 3, 4, 7, 8, 12
"""Error numbers; unverified on hardware."""
_FIELD_BYTES = {0: 8, 4: 16, 5: 12, 8: 12}
"""Fields of the Common group that can be asked for here."""
_READ_ONLY = frozenset({1, 2, 3, 4})


class VectorNavDevice(ImuDevice):
    """Registers, text output until it is turned off, and binary output 1."""

    model = "vn100"

    def __init__(
        self,
        source: ImuSource,
        *,
        baud: int = 921600,
        uart: int = 2,
        faults: Iterable[ImuFault] = (),
        seed: int = 0,
    ) -> None:
        """Begin with the factory's settings, but for the speed; the cable is on that port."""
        super().__init__(source, baud=baud, faults=faults, seed=seed)
        self.registers = {
            1: "VN-100T-CR",
            2: "7",
            3: "0100001234",
            4: "2.1.0.0",
            5: str(baud),
            6: "14",
            7: "40",
            35: "1,0,1,1",
            75: "0,0,00",
        }
        """Content of every register, as it stands in answers."""
        self.stuck = set[int]()
        """Registers that take a new value with a friendly answer and keep the old one."""
        self._uart = uart
        self._heard = b""
        self._text_due_ns = 0

    def hear(self, data: bytes, now_ns: int) -> None:
        """Answer every whole line."""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            start = line.find(b"$")
            if start >= 0:
                self.say(_line(self._answer(line[start:].strip())), now_ns)

    def rate_hz(self) -> float:
        """Rate of binary output 1 if it goes to our port, else that of the text."""
        port, divisor, *_ = self._output()
        if port in (self._uart, 3) and divisor:
            return SAMPLE_HZ / divisor
        return float(self.registers[7]) if self.registers[6] != "0" else 0.0

    def message(self, clock_ns: int, *, broken: bool) -> bytes:
        """The binary message; text in front of it, or alone, as long as text is on."""
        text = b""
        if self.registers[6] != "0" and clock_ns >= self._text_due_ns:
            text = self.text()
            self._text_due_ns = clock_ns + round(1e9 / float(self.registers[7]))
        port, divisor, groups, fields = self._output()
        if port not in (self._uart, 3) or not divisor:
            return text
        parts = self._fields(clock_ns, broken=broken)
        body = struct.pack("<BH", groups, fields)
        body += b"".join(parts[bit] for bit in _FIELD_BYTES if fields >> bit & 1)
        return text + b"\xfa" + body + struct.pack(">H", crc16(body))

    def text(self) -> bytes:
        """A line of attitude and vectors, all zero."""
        return _line("VNYMR,+000.000,+000.000,+000.000" + ",+00.0000" * 9)

    def _fields(self, clock_ns: int, *, broken: bool) -> dict[int, bytes]:
        """The sample in x forward, y right, z down against North-East-Down; zeros without sign."""
        (w, x, y, z), (gx, gy, gz), (ax, ay, az) = self._source()
        return {
            0: struct.pack("<Q", max(clock_ns, 0)),
            4: struct.pack("<4f", x, 0.0 - y, 0.0 - z, w),
            5: struct.pack("<3f", math.nan if broken else gx, 0.0 - gy, 0.0 - gz),
            8: struct.pack("<3f", ax, 0.0 - ay, 0.0 - az),
        }

    def _output(self) -> tuple[int, int, int, int]:
        """Port, divisor, groups and fields of binary output 1."""
        port, divisor, groups, fields = [*self.registers[75].split(","), "0"][:4]
        return int(port), int(divisor), int(groups, 16), int(fields, 16)

    def _answer(self, line: bytes) -> str:
        body, _, digits = line.removeprefix(b"$").decode("latin-1").partition("*")
        if digits != "XX" and digits != f"{_xor(body):02X}":
            return _error(_BAD_CHECKSUM)
        command, _, rest = body.partition(",")
        register, _, content = rest.partition(",")
        number = int(register) if register.isdecimal() else -1
        if command not in ("VNRRG", "VNWRG"):
            return _error(_BAD_COMMAND)
        if number not in self.registers:
            return _error(_BAD_REGISTER)
        if command == "VNRRG":
            return f"VNRRG,{register},{self.registers[number]}"
        problem = self._problem(number, content)
        if problem:
            return _error(problem)
        if number not in self.stuck:
            self.registers[number] = content
        return f"VNWRG,{register},{content}"

    def _problem(self, register: int, content: str) -> int:
        """Number of the error that this content of a register makes; zero when it is fine."""
        if register in _READ_ONLY or not content:
            return _BAD_PARAMETER
        if register != 75:  # noqa: PLR2004 - binary output 1
            return 0
        try:
            port, divisor, groups, fields = content.split(",")
            known = sum(1 << bit for bit in _FIELD_BYTES)
            sound = int(groups, 16) == 1 and not int(fields, 16) & ~known and int(port) in range(4)
            hertz = SAMPLE_HZ / int(divisor)
        except (ValueError, ZeroDivisionError):
            return _BAD_PARAMETER
        size = 6 + sum(n for bit, n in _FIELD_BYTES.items() if int(fields, 16) >> bit & 1)
        if not sound:
            return _BAD_PARAMETER
        return _TOO_SLOW if size * 10 * hertz > self.baud else 0


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _line(body: str) -> bytes:
    return f"${body}*{_xor(body):02X}\r\n".encode("latin-1")


def _error(number: int) -> str:
    return f"VNERR,{number:02d}"


def _xor(body: str) -> int:
    total = 0
    for byte in body.encode("latin-1"):
        total ^= byte
    return total
