"""A chain of servos as arrays in SI units: set up, enabled, read and written each tick, stopped.

Who is at fault is said here, and what that means for the robot is decided elsewhere.
"""

from __future__ import annotations

import logging
import math
import operator
from typing import TYPE_CHECKING

import numpy as np

from robots.dynamixel.chain_state import ChainState
from robots.dynamixel.control_table import (
    RAD_PER_COUNT,
    RAD_PER_S_PER_COUNT,
    VOLT_PER_COUNT,
    WATCHDOG_S_PER_COUNT,
    WATCHDOG_TRIPPED,
    HardwareError,
    Register,
    model_named,
)
from robots.dynamixel.fast_read import AROUND_DATA, BEFORE_DATA, HEAD_BYTES
from robots.dynamixel.setup import ALL_REPLIES, BLOCK, BLOCK_SIZE, Setup, set_up, to_counts
from robots.dynamixel.snapshot import ask, snapshots
from robots.errors import BusError, ServoEnableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from robots.dynamixel.bus import Bus
    from robots.dynamixel.config import BusSpec
    from robots.dynamixel.protocol import Status

    FloatArray = NDArray[np.float32]
    IntArray = NDArray[np.int64]

_log = logging.getLogger(__name__)

_FORMATS = {1: "i1", 2: "<i2", 4: "<i4"}
_EVERYONE = slice(None)
_LOAD_PER_COUNT = 0.001
_SLOW = Register.PRESENT_VOLTAGE.address
_SLOW_SIZE = 4  # voltage, temperature, and one byte more, as replies of three are not read
_SLOW_PERIOD_NS = 1_000_000_000
_SEAM_COUNTS = 2048  # a jump by more when the torque comes on: the joint was turned by hand
_HELD_COUNTS = 114  # 10 degrees: how far a goal may be from the position when the torque comes on
_JUMP_SHARE = 1.5  # of the velocity limit, beyond which a change of position is impossible
_JUMP_COUNTS = 20  # that a position may change by noise
_STOP_ROUNDS = 2
_SAMPLE_ROUNDS = 3
_SILENT_READS = 3  # in a row without a usable answer, after which a servo is named in the log


def _layout(before: int = 0, behind: int = 0) -> np.dtype[np.void]:
    """A servo's registers among others bytes; those that say how the servo is also as one."""
    names = [register.name for register in BLOCK]
    formats = [_FORMATS[register.size] for register in BLOCK]
    offsets = [before + sum(one.size for one in BLOCK[:at]) for at in range(len(BLOCK))]
    flags = offsets[names.index(Register.TORQUE_ENABLE.name)]
    end = before + BLOCK_SIZE
    return np.dtype(
        {
            "names": [*names, "FLAGS"],
            "formats": [*formats, f"V{end - flags}"],
            "offsets": [*offsets, flags],
            "itemsize": end + behind,
        }
    )


_BLOCK = _layout()
_IN_FRAME = [_layout(BEFORE_DATA, AROUND_DATA - BEFORE_DATA + spare) for spare in (0, 1)]


class Chain:
    """The servos of one robot; open(), enable(), then read() and write() each tick, stop().

    Losing the port raises PortLostError everywhere but in stop(); a servo that does not answer
    raises in open() and enable() only.
    """

    def __init__(self, bus: Bus, spec: BusSpec, limits: Sequence[tuple[float, float]]) -> None:
        """Use an open bus; limits are lower and upper position of every joint, rad.

        Raises ValueError when there are not as many limits as servos.
        """
        if len(limits) != len(spec.servos):
            raise ValueError(f"{len(limits)} limits for {len(spec.servos)} servos")
        self.bus = bus
        self.spec = spec
        self.state = ChainState.unknown(len(spec.servos))
        """What was read last; read() changes it in place, open() begins a new one."""
        self.enabled = False
        """Whether enable() has succeeded and neither stop() nor damp() was called since."""
        self.damped = False
        """Whether damp() has succeeded and stop() was not called since."""
        self._limits = tuple(limits)
        self._ids = spec.ids
        self._setup: Setup | None = None
        self._spare = 0
        self._missed = [0] * len(spec.servos)
        self._flags = b""
        self._slow_due_ns = 0
        self._slow_next = 0
        self._counts: IntArray = np.zeros(len(spec.servos), dtype=np.int64)
        self._answered_ns: IntArray = np.zeros(len(spec.servos), dtype=np.int64)
        self._goals = np.zeros(len(spec.servos), dtype=[("id", "u1"), ("goal", "<i4")])
        self._goals["id"] = spec.ids
        self._units()

    def _units(self) -> None:
        """Factors between registers and joints, computed once."""
        servos = self.spec.servos
        sign = np.array([servo.sign for servo in servos])
        amperes = [model_named(servo.model).ampere_per_count or _LOAD_PER_COUNT for servo in servos]
        constants = np.array([servo.torque_constant for servo in servos])
        self._zero = np.array([to_counts(servo, 0.0) for servo in servos])
        self._rad_per_count = sign * RAD_PER_COUNT
        self._rad_per_s_per_count = sign * RAD_PER_S_PER_COUNT
        self._effort_per_count = sign * constants * np.array(amperes)
        counts = np.array(
            [
                sorted(to_counts(servo, limit) for limit in pair)
                for servo, pair in zip(servos, self._limits, strict=True)
            ]
        )
        within = (Register.MIN_POSITION_LIMIT.low, Register.MAX_POSITION_LIMIT.high)
        self._lower = np.clip(np.ceil(counts[:, 0]), *within)
        self._upper = np.clip(np.floor(counts[:, 1]), *within)

    def open(self) -> tuple[str, ...]:
        """Check every servo, torque off, and repair what may be; what was repaired.

        Raises ServoSetupError with everything that differs, NoReplyError, ServoRefusedError.
        """
        self.enabled = self.damped = False
        self.state = ChainState.unknown(len(self._ids))
        self._flags = self._frame = b""
        self.bus.rehearse = self._rehearse
        self._setup = set_up(self.bus, self.spec, self._limits)
        per_s = np.array(self._setup.velocity_limits) * RAD_PER_S_PER_COUNT / RAD_PER_COUNT
        self._counts_per_s = _JUMP_SHARE * per_s
        self._slowest_counts_per_s = float(self._counts_per_s.min())
        for _ in range(_SAMPLE_ROUNDS):  # fast reads that do not work cost two before plain ones do
            if self.read().stamp_ns.all():
                break
        self._read_slow(range(len(self._ids)))  # who starts a robot wants to know before it moves
        return self._setup.repaired

    def describe(self) -> list[str]:
        """What open() has found out, a line for the bus and one for each servo; none before it."""
        setup, bus = self._setup, self.bus
        if setup is None:
            return []
        read = "fast" if setup.fast else "plain"
        line = (
            f"servo bus: {bus.port.baud} bit/s, {read} sync read, "
            f"adapter latency {1e3 * bus.port.latency_s:g} ms, "
            f"bus watchdog {1e3 * WATCHDOG_S_PER_COUNT * self.spec.watchdog_counts:.0f} ms"
        )
        repairs = [f"repaired {text}" for text in setup.repaired]
        return [line, *map(str, setup.found), *repairs]

    def enable(self) -> None:
        """Arm the watchdogs and switch the torque on, every joint staying where it is.

        From then on read() or write() must follow each other within the watchdog's time.  A
        second enable() without stop() between them does nothing; after damp() the torque goes off
        first.
        Raises ServoEnableError, after the torque was switched off again, when any servo is not
        as it must be; NoReplyError and ServoRefusedError likewise.
        """
        if self._setup is None:
            raise ServoEnableError("servos were not set up; call open() first")
        if self.enabled:
            _log.warning("servos are enabled already; stop() them first")
            return
        if self.damped and (left := self.stop()):
            raise ServoEnableError(f"servos {', '.join(map(str, left))} did not take torque off")
        try:
            self._enable(self._setup)
        except BaseException:  # an interrupt leaves no torque on either
            self.stop()
            raise
        self.enabled = True

    def _enable(self, setup: Setup) -> None:
        """Enable without cleaning up."""
        before = snapshots(self.bus, self._ids)
        for registers in before:
            registers.expect(Register.TORQUE_ENABLE, 0)
        for index, registers in enumerate(before):
            self._prepare(index, registers[Register.PRESENT_POSITION], setup)
        for registers, pwm in zip(snapshots(self.bus, self._ids), setup.pwm_limits, strict=True):
            registers.expect(Register.BUS_WATCHDOG, self.spec.watchdog_counts)
            registers.expect(Register.GOAL_PWM, pwm)
        self.bus.sync_write(Register.TORQUE_ENABLE.address, dict.fromkeys(self._ids, b"\x01"))
        after = snapshots(self.bus, self._ids)
        for registers, earlier in zip(after, before, strict=True):
            registers.expect(Register.TORQUE_ENABLE, 1)
            registers.expect(Register.HARDWARE_ERROR, 0)
            registers.expect(Register.BUS_WATCHDOG, self.spec.watchdog_counts)
            position = registers[Register.PRESENT_POSITION]
            moved = position - earlier[Register.PRESENT_POSITION]
            if abs(moved) >= _SEAM_COUNTS:
                raise ServoEnableError(
                    f"{registers.label}: position jumped by {moved} counts when the torque came "
                    "on; it was turned past the encoder's seam, turn it back by hand"
                )
            if abs(registers[Register.GOAL_POSITION] - position) > _HELD_COUNTS:
                raise ServoEnableError(
                    f"{registers.label}: goal {registers[Register.GOAL_POSITION]} with torque on; "
                    f"expected the position, {position} counts"
                )
        self._first_sample()

    def _first_sample(self) -> None:
        """Read the state that the first goals start from; all of it, and nothing wrong in it."""
        for _ in range(_SAMPLE_ROUNDS):
            began_ns = self.bus.port.now_ns()
            fresh = self.read().stamp_ns >= began_ns
            if fresh.all():
                break
        found = self.faults()
        found += [
            f"{servo.joint} (servo {servo.id}): no fresh position"
            for servo, is_fresh in zip(self.spec.servos, fresh, strict=True)
            if not is_fresh
        ]
        if found:
            raise ServoEnableError(f"{'; '.join(found)}; call open() again")

    def _prepare(self, index: int, position: int, setup: Setup) -> None:
        """Let a servo, its torque off, aim at where it is with all its might; arm its watchdog."""
        servo, (low, high) = self.spec.servos[index], setup.position_limits[index]
        if not low <= position <= high:
            raise ServoEnableError(
                f"servo {servo.id} ({servo.joint}) is at {position} counts; expected {low} to "
                f"{high}, its position limits: turn the joint back by hand"
            )
        self.bus.write(servo.id, Register.BUS_WATCHDOG, 0)  # one that has tripped refuses goals
        self.bus.write(servo.id, Register.GOAL_PWM, setup.pwm_limits[index])  # damp() takes it away
        self.bus.write(servo.id, Register.GOAL_POSITION, position)
        self.bus.write(servo.id, Register.BUS_WATCHDOG, self.spec.watchdog_counts)

    def read(self) -> ChainState:
        """Ask every servo once and return the state, the same object each time.

        Raises ServoEnableError before open(), PortLostError, WriteBlockedError.
        """
        if self._setup is None:
            raise ServoEnableError("servos were not set up; call open() first")
        read = self.bus.fast_frame if self._setup.fast else self.bus.sync_read
        now_ns = self.bus.port.now_ns()
        found = read(self._setup.data_address, BLOCK_SIZE + self._spare, self._ids)
        if isinstance(found, bytes):
            self._take_frame(found, now_ns)
            complete = True
        else:
            self._take_statuses(found, now_ns)
            complete = None not in found
        if not complete:
            # Replies that are on their way now have another length than those to the next read.
            self._spare ^= 1
        elif now_ns >= self._slow_due_ns:  # else waiting has cost time enough
            self._slow_due_ns = now_ns + _SLOW_PERIOD_NS // len(self._ids)
            self._read_slow([self._slow_next])
            self._slow_next = (self._slow_next + 1) % len(self._ids)
        return self.state

    def _name_silent(self, found: Sequence[Status | None]) -> None:
        """Say once of every outage which servos it is, so that an old sample has a name."""
        silent = []
        for index, status in enumerate(found):
            usable = status is not None and not status.number
            self._missed[index] = 0 if usable else self._missed[index] + 1
            if self._missed[index] == _SILENT_READS:
                servo = self.spec.servos[index]
                number = f", error number {status.number}" if status is not None else ""
                silent.append(f"{servo.joint} (servo {servo.id}{number})")
        if silent:
            _log.warning("no usable answer %d times in a row: %s", _SILENT_READS, ", ".join(silent))

    def _take_frame(self, frame: bytes, now_ns: int) -> None:
        """Put a fast reply in which all is well into the state; quickly, if it was so before."""
        self._frame = frame
        block = np.frombuffer(frame, _IN_FRAME[self._spare], len(self._ids), HEAD_BYTES)
        flags = block["FLAGS"].tobytes()
        if flags == self._flags and self._near(block["PRESENT_POSITION"], now_ns):
            self._measure(_EVERYONE, block, now_ns)
            return
        self.state.alert[:] = False
        self.state.error[:] = 0
        self._missed = [0] * len(self._ids)
        self._take_blocks(np.arange(len(self._ids)), block, now_ns)
        self._flags = flags if (self.state.stamp_ns == now_ns).all() else b""

    def _rehearse(self) -> None:
        """Do with the last frame what will be done with the next one; it changes nothing.

        What ran a moment ago runs several times faster than after a sleep of milliseconds.
        """
        if self._flags:
            self._take_frame(self._frame, int(self._answered_ns[0]))
            self._aim(self.state.position.astype(np.float64))

    def _near(self, counts: NDArray[np.int32], now_ns: int) -> bool:
        """Whether no servo is farther from where it was than even the slowest one gets."""
        moved = max(map(abs, map(operator.sub, counts.tolist(), self._counts.tolist())))
        elapsed_s = (now_ns - int(self._answered_ns[0])) * 1e-9
        return bool(moved <= self._slowest_counts_per_s * elapsed_s + _JUMP_COUNTS)

    def _take_statuses(self, found: Sequence[Status | None], now_ns: int) -> None:
        """Put what servos have answered into the state."""
        state, known, parts = self.state, [], []
        for place, status in enumerate(found):
            if status is not None:
                state.alert[place] = status.alert
                state.error[place] = status.number
                if not status.number:
                    known.append(place)
                    parts.append(status.data[:BLOCK_SIZE])
        self._flags = b""
        block = np.frombuffer(b"".join(parts), dtype=_BLOCK)
        self._take_blocks(np.array(known, dtype=np.intp), block, now_ns)
        self._name_silent(found)

    def _take_blocks(self, index: NDArray[np.intp], block: NDArray[np.void], now_ns: int) -> None:
        """Put the registers of some servos into the state."""
        state = self.state
        mapped = block["STATUS_RETURN_LEVEL"] == ALL_REPLIES
        state.forgetful[index] = ~mapped
        index, block = index[mapped], block[mapped]
        state.torque[index] = block["TORQUE_ENABLE"] != 0
        state.hardware_error[index] = block["HARDWARE_ERROR"]
        state.watchdog[index] = block["BUS_WATCHDOG"]
        possible = self._possible(index, block["PRESENT_POSITION"], now_ns)
        self._answered_ns[index] = now_ns
        state.jumps[index] = np.where(possible, 0, state.jumps[index] + 1)
        self._measure(index[possible], block[possible], now_ns)

    def _measure(
        self, index: NDArray[np.intp] | slice, block: NDArray[np.void], now_ns: int
    ) -> None:
        """Put what some servos have measured, all of it credible, into the state."""
        state, counts = self.state, block["PRESENT_POSITION"]
        self._counts[index] = counts
        state.position[index] = (counts - self._zero[index]) * self._rad_per_count[index]
        state.velocity[index] = block["PRESENT_VELOCITY"] * self._rad_per_s_per_count[index]
        state.effort[index] = block["PRESENT_CURRENT"] * self._effort_per_count[index]
        state.stamp_ns[index] = self._answered_ns[index] = now_ns

    def _possible(
        self, index: NDArray[np.intp], counts: NDArray[np.int32], now_ns: int
    ) -> NDArray[np.bool_]:
        """Whether driven servos can have moved to these positions since they answered last.

        What they could reach does not grow while their answers are impossible: an encoder that has
        jumped is not believed after a while.  Limp joints may be turned by hand, however fast.
        """
        elapsed_s = (now_ns - self._answered_ns[index]) * 1e-9
        reach = self._counts_per_s[index] * elapsed_s + _JUMP_COUNTS
        possible: NDArray[np.bool_] = np.abs(counts - self._counts[index]) <= reach
        possible |= self.state.stamp_ns[index] == 0
        possible |= not self.enabled
        return possible

    def _read_slow(self, places: Sequence[int]) -> None:
        """Ask some servos for voltage and temperature."""
        found = self.bus.sync_read(_SLOW, _SLOW_SIZE, [self._ids[place] for place in places])
        for place, status in zip(places, found, strict=True):
            if status is not None and not status.number:
                counts = Register.PRESENT_VOLTAGE.decode(status.data[:2])
                self.state.voltage[place] = counts * VOLT_PER_COUNT
                self.state.temperature[place] = status.data[2]

    def write(self, positions: ArrayLike) -> FloatArray:
        """Send goals, rad, shape (J,), and return what was sent: clipped, in whole counts.

        Raises ValueError, and sends nothing, when one is not finite or their number is wrong.
        """
        wanted = np.asarray(positions, dtype=np.float64)
        if wanted.shape != self._zero.shape or not all(map(math.isfinite, wanted.tolist())):
            raise ValueError(f"goals {wanted}; expected {len(self._ids)} finite positions, rad")
        counts = self._aim(wanted)
        goal = Register.GOAL_POSITION
        self.bus.sync_write_joined(goal.address, goal.size, self._goals.tobytes())
        applied: FloatArray = ((counts - self._zero) * self._rad_per_count).astype(np.float32)
        return applied

    def _aim(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take goals, rad, clipped and in whole counts, which are returned."""
        counts = np.rint(self._zero + wanted / self._rad_per_count)
        np.maximum(counts, self._lower, out=counts)
        np.minimum(counts, self._upper, out=counts)
        self._goals["goal"] = counts
        return counts

    def damp(self) -> bool:
        """Let the motors brake with the torque on; False, and nothing is certain, if one does not.

        Pulse width 0 shorts the windings, so that the back-EMF brakes; that real servos short them
        at Goal PWM 0, and do not let them float, is unverified.  Whether each has taken it is read
        back the first time.  Nothing to do where the torque is off, which is not damping.
        Never raises for the bus.
        """
        if not (self.enabled or self.damped):
            return False
        begun, self.enabled = self.damped, False
        try:
            self.bus.sync_write(Register.GOAL_PWM.address, dict.fromkeys(self._ids, b"\0\0"))
            self.damped = begun or self._brakes()
        except BusError as error:
            _log.warning("damping the servos: %s", error)
            self.damped = False
        return self.damped

    def _brakes(self) -> bool:
        """Whether every servo has torque on and pulse width 0."""
        found = ask(self.bus, self._ids)
        for device, registers in zip(self._ids, found, strict=True):
            on = registers is not None and registers[Register.TORQUE_ENABLE] == 1
            if registers is None or not on or registers[Register.GOAL_PWM] != 0:
                _log.warning("servo %d does not brake; its torque goes off instead", device)
                return False
        return True

    def stop(self) -> tuple[int, ...]:
        """Switch the torque of everything off; IDs of servos that have not confirmed it.

        It never raises for the bus: who cannot be reached has not confirmed.
        """
        self.enabled = self.damped = False
        remaining = self._ids
        for _ in range(_STOP_ROUNDS):
            try:
                self.bus.torque_off()
                found = self.bus.sync_read(Register.TORQUE_ENABLE.address, 1, remaining, retry=True)
            except BusError as error:
                _log.warning("stopping the servos: %s", error)
                continue
            remaining = tuple(
                device
                for device, status in zip(remaining, found, strict=True)
                if status is None or status.number or status.data != b"\x00"
            )
            if not remaining:
                break
        return remaining

    def faults(self) -> list[str]:
        """What is wrong with servos by name, as far as the state tells; empty when nothing is."""
        return [
            f"{servo.joint} (servo {servo.id}): {fault}"
            for index, servo in enumerate(self.spec.servos)
            for fault in self._faults(index)
        ]

    def _faults(self, index: int) -> list[str]:
        """What is wrong with one servo."""
        state, found = self.state, []
        errors = int(state.hardware_error[index])
        if errors or state.alert[index]:
            names = HardwareError.names_of(errors)
            found.append(f"{Register.HARDWARE_ERROR.label} is {errors:#04x}, {names}")
        if state.error[index]:
            found.append(f"answers with error number {state.error[index]}")
        if state.forgetful[index]:
            found.append("has restarted")
        elif self.enabled and not state.torque[index]:
            found.append(f"{Register.TORQUE_ENABLE.label} is 0, its torque is off")
        if state.watchdog[index] == WATCHDOG_TRIPPED:
            found.append(f"{Register.BUS_WATCHDOG.label} has tripped")
        return found
