"""What all emulated IMUs have in common: a clock, a line of limited speed, and faults.

Nothing here waits: every call carries the present time, so the same device runs behind a
pseudo-terminal in real time and in tests at exact times.
"""

from __future__ import annotations

import abc
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sim.emulator.imu_faults import ImuFault

if TYPE_CHECKING:
    from collections.abc import Iterable

Vector = Sequence[float]
ImuSource = Callable[[], tuple[Vector, Vector, Vector]]
"""What the IMU feels: quaternion w x y z, gyro in rad/s, specific force in m/s²; z up.

Called whenever a sample is due, behind a pseudo-terminal from that one's thread.
"""

_BITS_PER_BYTE = 10
_SLOWEST = 0.02
"""Smallest share of its rate that drift leaves."""
_BEHIND_NS = 250_000_000
"""Delay of the caller after which missed samples are left out, ns."""


class ImuDevice(abc.ABC):
    """An IMU that answers commands and streams; times are ns since it was switched on."""

    model: str
    """What robot.toml calls it."""
    cannot: frozenset[str] = frozenset()
    """Faults that this kind of IMU cannot have."""

    def __init__(
        self,
        source: ImuSource,
        *,
        baud: int = 115200,
        faults: Iterable[ImuFault] = (),
        seed: int = 0,
    ) -> None:
        """Feel what the source says and talk at this speed, bit/s; raises ValueError."""
        self.baud = baud
        """Speed of the IMU's own port, bit/s."""
        self._source = source
        self._faults = deque[ImuFault]()
        self.dice = random.Random(seed)  # noqa: S311 - dice, not secrets
        """Chance of faults, and noise."""
        self._line = deque[tuple[int, bytes]]()
        self._line_free_ns = 0
        self._next_ns = 0
        self._last_message = b""
        for fault in faults:
            self.add(fault)

    def add(self, fault: ImuFault) -> None:
        """Have this fault too; raises ValueError if such an IMU cannot have it."""
        if fault.name in self.cannot:
            raise ValueError(
                f"{type(self).__name__} cannot have the fault {fault.name!r}; expected another one"
            )
        self._faults.append(fault)

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()

    @abc.abstractmethod
    def hear(self, data: bytes, now_ns: int) -> None:
        """Take bytes from a host that talks at the IMU's own speed."""

    @abc.abstractmethod
    def rate_hz(self) -> float:
        """Samples per second as configured; zero when it streams nothing."""

    @abc.abstractmethod
    def message(self, clock_ns: int, *, broken: bool) -> bytes:
        """Bytes of one sample at this time of the IMU's clock; broken: with a field that is none.

        Empty when nothing is to be sent.
        """

    @abc.abstractmethod
    def text(self) -> bytes:
        """A line of text as it may stand between the messages."""

    def unplugged(self, now_ns: int) -> bool:
        """Whether the adapter is gone."""
        return self._present("unplug", now_ns) is not None

    def speed(self, now_ns: int) -> int:
        """Speed that the IMU really talks at, bit/s."""
        fault = self._present("baud", now_ns)
        return self.baud if fault is None else round(fault.size)

    def due_ns(self) -> int:
        """When there is something to do next."""
        return min(self._next_ns, self._line[0][0]) if self._line else self._next_ns

    def step(self, now_ns: int, host_baud: int) -> bytes:
        """Measure when it is time, and return what has arrived at the host by now."""
        while self._next_ns <= now_ns:
            tick_ns = self._next_ns
            if now_ns - tick_ns > _BEHIND_NS:
                tick_ns = now_ns
            rate = self.rate_hz() * self._slowdown(tick_ns)
            self._next_ns = tick_ns + round(1e9 / (rate or 100.0))
            if rate and self._line_free_ns <= self._next_ns:
                self._stream(tick_ns)
        arrived = b""
        while self._line and self._line[0][0] <= now_ns:
            arrived += self._line.popleft()[1]
        return self._as_heard(arrived, self.speed(now_ns), host_baud)

    def say(self, data: bytes, now_ns: int) -> None:
        """Put bytes on the line behind those that are on it; silence swallows them."""
        if self._present("silence", now_ns) is None:
            self._put(data, now_ns, pieces=1)

    def _stream(self, now_ns: int) -> None:
        """Put one sample on the line, as far as the faults let it."""
        if self._struck("drop", now_ns):
            return
        if self._struck("text", now_ns):
            self.say(self.text(), now_ns)
        message = self._message(now_ns)
        flip = self._struck("flip", now_ns)
        if message and flip:
            message = self._flip(message, round(flip.size))
        split = self._struck("split", now_ns)
        if message and self._present("silence", now_ns) is None:
            self._put(message, now_ns, pieces=round(split.size) if split else 1)

    def _message(self, now_ns: int) -> bytes:
        """Bytes of the sample of now, or once more those of the one before."""
        if self._last_message and self._struck("repeat", now_ns):
            return self._last_message
        broken = self._struck("nan", now_ns) is not None
        self._last_message = self.message(now_ns + self._clock_jumps(now_ns), broken=broken)
        return self._last_message

    def _put(self, data: bytes, now_ns: int, *, pieces: int) -> None:
        """Send at the line's speed; pieces have pauses as long as themselves between them."""
        size = -(-len(data) // pieces)
        start_ns = max(now_ns, self._line_free_ns)
        for first in range(0, len(data), size):
            piece = data[first : first + size]
            taken_ns = round(len(piece) * _BITS_PER_BYTE * 1e9 / self.speed(now_ns))
            self._line.append((start_ns + taken_ns, piece))
            self._line_free_ns = start_ns + taken_ns
            start_ns += 2 * taken_ns

    def _flip(self, message: bytes, bits: int) -> bytes:
        """Flip so many different bits, wherever they are."""
        number = int.from_bytes(message, "little")
        for place in self.dice.sample(range(8 * len(message)), bits):
            number ^= 1 << place
        return number.to_bytes(len(message), "little")

    def _as_heard(self, data: bytes, speed: int, host_baud: int) -> bytes:
        """What a host at its own speed makes of the bytes: noise, if the speeds differ."""
        if speed == host_baud:
            return data
        return self.dice.randbytes(len(data) * host_baud // speed)

    def _slowdown(self, now_ns: int) -> float:
        fault = self._present("drift", now_ns)
        if fault is None:
            return 1.0
        return max(1 - fault.size / 100 * (now_ns / 1e9 - fault.at_s), _SLOWEST)

    def _clock_jumps(self, now_ns: int) -> int:
        """Sum of all jumps of the IMU's clock so far, ns."""
        return sum(
            round(fault.size * 1e9)
            for fault in tuple(self._faults)
            if fault.name == "clock-jump" and fault.at_s * 1e9 <= now_ns
        )

    def _present(self, name: str, now_ns: int) -> ImuFault | None:
        """The latest fault of this name that lasts now."""
        lasting = [one for one in tuple(self._faults) if one.name == name and one.covers(now_ns)]
        return lasting[-1] if lasting else None

    def _struck(self, name: str, now_ns: int) -> ImuFault | None:
        """The fault of this name if it strikes the message of now."""
        fault = self._present(name, now_ns)
        return fault if fault and self.dice.random() < fault.probability else None
