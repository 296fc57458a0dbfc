"""The servos of one robot, the joints they turn and the battery they share, in one time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sim.emulator import servo_faults
from sim.emulator.faults import Faults
from sim.emulator.motion import SimpleJoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sim.emulator.faults import Fault
    from sim.emulator.motion import Plant
    from sim.emulator.servo import Servo

    Entry = tuple[float, Callable[[], None]]


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """How a servo sits on its joint: servo angle = direction * (joint angle - offset)."""

    direction: float = 1.0
    """-1.0 where the servo turns against the joint."""
    offset: float = 0.0
    """Joint angle in the middle of the servo's turn, rad."""


class Battery(msgspec.Struct, frozen=True, kw_only=True):
    """A voltage behind a resistance."""

    volts: float = 12.0
    """Voltage without load, V."""
    resistance: float = 0.05
    """Of battery and cables, ohm."""


class Bench:
    """Servos on their joints; time goes by in whole steps of the mechanics."""

    def __init__(
        self,
        servos: Sequence[Servo],
        *,
        plant: Plant | None = None,
        mounts: Sequence[Mount] | None = None,
        battery: Battery | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Mount the servos in the order of the plant's joints and switch them on at time zero."""
        self.servos = list(servos)
        self.plant = plant or SimpleJoints(len(self.servos))
        self.faults = faults or Faults()
        self.battery = battery or Battery()
        self.now_ns = 0
        """How far the mechanics has come, ns."""
        self.helpers: list[Callable[[Bench], None]] = []
        """Called after every step of the mechanics: whoever else touches the joints."""
        self._mounts = mounts or [Mount() for _ in self.servos]
        if not len(self.servos) == len(self._mounts) == len(self.plant.position):
            raise ValueError(
                f"{len(self.servos)} servos with {len(self._mounts)} mounts on "
                f"{len(self.plant.position)} joints; expected one of each per joint"
            )
        self._step_ns = round(1e9 * self.plant.timestep_s)
        self._amperes = 0.0
        self._due = sorted(self._agenda(self.faults.at("servo")), key=_when)
        self._sense()
        for servo in self.servos:
            servo.power_on()

    @property
    def volts(self) -> float:
        """Voltage that reaches the servos now, V."""
        sag = sum(fault.size for fault in self.faults.at("supply") if fault.covers(self.now_ns))
        return max(self.battery.volts - sag - self.battery.resistance * self._amperes, 0.0)

    def advance(self, until_ns: int) -> None:
        """Let servos and mechanics run until this time."""
        self._strike(min(until_ns, self.now_ns))
        while self.now_ns + self._step_ns <= until_ns:
            self._strike(self.now_ns)
            self._step()

    def inject(self, fault: Fault) -> None:
        """Have this fault, too, its time counting from now."""
        late = msgspec.structs.replace(fault, at_s=fault.at_s + self.now_ns / 1e9)
        self.faults.add(late)
        self._due += self._agenda([late])
        self._due.sort(key=_when)

    def _step(self) -> None:
        volts, dt = self.volts, self.plant.timestep_s
        self.now_ns += self._step_ns
        drives = [servo.step(self.now_ns, volts, dt) for servo in self.servos]
        self._amperes = sum(servo.actuator.supply_amperes for servo in self.servos)
        self.plant.step(
            [
                drive.seen_from(mount.direction)
                for drive, mount in zip(drives, self._mounts, strict=True)
            ]
        )
        for helper in self.helpers:
            helper(self)
        self._sense()

    def _sense(self) -> None:
        """Show every servo the angle and the speed of its own horn."""
        state = zip(
            self.servos, self._mounts, self.plant.position, self.plant.velocity, strict=True
        )
        for servo, mount, position, velocity in state:
            angle = mount.direction * (float(position) - mount.offset)
            servo.sense(angle, mount.direction * float(velocity))

    def _strike(self, now_ns: int) -> None:
        """Let faults of servos begin and end that are due."""
        while self._due and self._due[0][0] <= now_ns:
            self._due.pop(0)[1]()

    def _agenda(self, faults: Iterable[Fault]) -> list[Entry]:
        """Beginning and end of every fault of a servo among these, with their times, ns."""
        return [
            entry
            for fault in faults
            for servo in self.servos
            if fault.kind.place == "servo" and fault.concerns(servo.id)
            for entry in _entries(fault, servo)
        ]


def _when(entry: Entry) -> float:
    return entry[0]


def _entries(fault: Fault, servo: Servo) -> list[Entry]:
    """One fault of one servo on the agenda."""
    begin, end = 1e9 * fault.at_s, 1e9 * (fault.at_s + fault.for_s)
    return [
        (begin, lambda: servo_faults.begin(servo, fault.name, fault.size)),
        (end, lambda: servo_faults.end(servo, fault.name)),
    ]
