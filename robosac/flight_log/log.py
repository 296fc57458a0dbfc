"""The flight log as the control loop sees it."""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec
import numpy as np

from robosac import __version__
from robosac.errors import StorageError
from robosac.flight_log.fields import FIELDS, LogSpec
from robosac.flight_log.frames import STAMP, ToWriter, WriterConfig
from robosac.flight_log.parts import parts_of
from robosac.flight_log.writer_link import WriterLink
from robots import Guard, RobotState, State
from robots.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from robots import BaseMotion, RobotSpec

    FloatArray = NDArray[np.float32]

_EVENTS_MAX = 4096
_EVENTS_BURST = 32
_FLOOR_BYTES = 200 * 2**20
_FLOAT = np.dtype("<f4")
_UNKNOWN: dict[str, float] = {"f": math.nan, "d": math.nan, "q": -1, "B": 0, "?": False}
_NAMES = {field.name for field in FIELDS}
_SENSORS = tuple(name for name in RobotState.__dataclass_fields__ if name in _NAMES)
_MOTION = (("base_position", "position"), ("base_velocity", "velocity"), ("base_yaw", "yaw"))
_STATES = tuple(state.value for state in State)
_INDEX = {state: index for index, state in enumerate(State)}


class TickValues(TypedDict, total=False):
    """What may be said of a tick besides the reading; what is left out is logged as not known."""

    dt_s: float
    """Time since the tick before, s."""
    late_s: float
    """How late the tick began, s."""
    act_s: float
    """From the reading to the command that answers it, s."""
    requested: FloatArray
    """Action of the policy (J,)."""
    executed: FloatArray
    """Action after the guards (J,)."""
    target: FloatArray
    """Joint positions written (J,), rad."""
    guards: int
    """Guards that fired, one bit each."""
    policy_version: int
    """Policy that acted."""
    reward: float
    """Reward of the step that led here."""
    terminated: bool
    """Whether the episode ended for good."""
    truncated: bool
    """Whether it was cut off."""


def log_spec(spec: RobotSpec) -> LogSpec:
    """Names of everything on a robot, for its log."""
    return LogSpec(
        robot=spec.name,
        joints=spec.joint_names,
        feet=spec.feet,
        states=_STATES,
        guards={str(guard.name).lower(): guard.value for guard in Guard if guard},
    )


class RowPacker:
    """Packs ticks into rows, see fields.row_struct(); a NumPy structure takes twice as long."""

    def __init__(self, spec: LogSpec) -> None:
        """Prepare the row of a tick of which nothing is known."""
        self._blank: list[bytes] = []
        self._singles: dict[str, tuple[int, Callable[[Any], bytes]]] = {}
        self._several: dict[str, int] = {}
        for index, field in enumerate(FIELDS):
            single = struct.Struct(f"<{field.code}")
            unknown = single.pack(_UNKNOWN[field.code])
            if field.is_single():
                self._singles[field.name] = index, single.pack
                self._blank.append(unknown)
            else:
                self._several[field.name] = index
                self._blank.append(unknown * len(field.names(spec)))

    def pack(self, values: Iterable[tuple[str, Any]]) -> bytes:
        """Return a row; None and arrays of the wrong length count as not known."""
        row = self._blank.copy()
        for name, value in values:
            if value is None:
                continue
            if name in self._several:
                index = self._several[name]
                part = np.asarray(value, _FLOAT).tobytes()
                if len(part) == len(row[index]):
                    row[index] = part
            else:
                index, packed = self._singles[name]
                row[index] = packed(value)
        return b"".join(row)


class FlightLog(Closing):
    """Records ticks, transitions and events without ever keeping the control thread waiting.

    Another process writes.  tick(), transition() and poll() belong to the control thread;
    event() may be called on any.  Once the log is open nothing raises because of the writer or the
    disk: what is not recorded is counted in `lost`, said in `state`, and noted in the log itself
    when it goes on.
    """

    def __init__(
        self,
        path: Path,
        spec: RobotSpec,
        *,
        clock: Callable[[], int],
        info: dict[str, str] | None = None,
        limit_mib: float = 1024.0,
    ) -> None:
        """Start the writer.  Raises StorageError when there is a log at `path`, or can be none.

        `clock` is robot time, ns, and is paired with the wall clock here, once: what happens to the
        wall clock later does not touch the log.  `info` goes into the file: digests of robot.toml
        and policy, settings of the task.
        """
        names = log_spec(spec)
        self._clock = clock
        self._packer = RowPacker(names)
        self._events: deque[tuple[int, bytes]] = deque()
        self._flooded, self._flooding = 0, threading.RLock()
        self._ticks = self._transitions = self._event_number = self._told = 0
        self._outcome: TickValues = {}
        config = WriterConfig(
            path=str(path),
            part=0,
            spec=names,
            info={"robosac": __version__, "log": uuid.uuid4().hex, **(info or {})},
            epoch_ns=time.time_ns() - clock(),
            limit_bytes=round(limit_mib * 2**20),
            floor_bytes=_FLOOR_BYTES,
        )
        _check_place(path)
        try:
            self._link = WriterLink(config)
        except OSError as error:
            raise StorageError.from_os(path, error) from error

    @property
    def lost(self) -> int:
        """Ticks, transitions and events that are not recorded and never will be."""
        return self._link.lost + self._flooded

    @property
    def state(self) -> str:
        """How the recording is, in words for the operator."""
        return self._link.state

    @property
    def crowded(self) -> bool:
        """Whether much waits for the writer, more than it takes in a second."""
        return self._link.crowded

    @property
    def writer_pid(self) -> int:
        """Process that writes, for reports of memory and for tests."""
        return self._link.pid

    def tick(
        self,
        state: RobotState,
        safety: State,
        *,
        motion: BaseMotion | None = None,
        **values: Unpack[TickValues],
    ) -> None:
        """Record one control tick; takes some twenty microseconds."""
        sensors = [(name, getattr(state, name)) for name in _SENSORS]
        if motion is not None:
            sensors += [(name, getattr(motion, part)) for name, part in _MOTION]
        known = (("guards", 0), ("number", self._ticks), ("state", _INDEX[safety]))
        told = (*self._outcome.items(), *values.items())
        self._link.put(ToWriter.TICK, self._packer.pack((*sensors, *known, *told)))
        self._outcome = {}
        self._ticks += 1
        self.poll()

    def transition(self, row: FloatArray) -> None:
        """Record a packed transition; it goes out with the next tick or poll()."""
        stamp = STAMP.pack(self._clock(), self._transitions)
        self._link.put(ToWriter.TRANSITION, stamp + np.asarray(row, _FLOAT).tobytes())
        self._transitions += 1

    def outcome(self, *, reward: float, terminated: bool, truncated: bool) -> None:
        """Say what the last step has brought; it is logged with the tick that it led to."""
        self._outcome = {"reward": reward, "terminated": terminated, "truncated": truncated}

    def event(self, kind: str, text: str, **fields: Any) -> None:  # noqa: ANN401 -- whatever JSON takes
        """Note that something happened, on whatever thread; it goes out with the next poll()."""
        if len(self._events) >= _EVENTS_MAX:
            with self._flooding:
                self._flooded += 1
            return
        stamp_ns = self._clock()
        message = {"kind": kind, "text": text, "fields": fields}
        try:
            coded = msgspec.json.encode(message, enc_hook=_plain)
        except UnicodeEncodeError:
            coded = msgspec.json.encode({"kind": ascii(kind), "text": ascii(message), "fields": {}})
        self._events.append((stamp_ns, coded))

    def poll(self) -> None:
        """Hand over what waits; to be called now and then while there are no ticks."""
        for _ in range(min(len(self._events), _EVENTS_BURST)):
            stamp_ns, coded = self._events.popleft()
            self._event_number += 1
            self._link.put(ToWriter.EVENT, STAMP.pack(stamp_ns, self._event_number) + coded)
        self._tell_losses()
        self._link.poll()

    def close(self) -> None:
        """Let the writer finish, for a bounded time; may be called any number of times."""
        self.poll()
        while self._events:
            self.poll()
        self._link.close()

    def _tell_losses(self) -> None:
        """Note in the log, once there is room again, what did not get into it."""
        lost = self.lost
        if lost > self._told and not (self._events or self._link.crowded):
            count, self._told = lost - self._told, lost
            self.event("log", f"{count} entries are not recorded", entries=count)


class EventHandler(logging.Handler):
    """Puts what is logged elsewhere, such as the transitions of the safety layer, into the log."""

    def __init__(self, log: FlightLog) -> None:
        """Add it to a logger such as "robots"."""
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Note one record; never logs anything itself."""
        self._log.event(record.name, record.getMessage(), level=record.levelname)


def _check_place(path: Path) -> None:
    """Make the folder; raises StorageError when a log stands there already, or none can."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existing = parts_of(path)
    except OSError as error:
        raise StorageError.from_os(path, error) from error
    if existing:
        raise StorageError(
            existing[0],
            got="a log that exists",
            expected="a name that is free",
            advice="name another file; logs are never written over",
        )


def _plain(value: object) -> object:
    """What JSON has no form for: NumPy's numbers as numbers, anything else by its name."""
    plain = getattr(value, "tolist", None)
    return str(value) if plain is None else plain()
