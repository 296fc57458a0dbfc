"""The writer process: puts what the control loop hands over into one MCAP file.

`python -m robosac.flight_log.writer CONFIG`, started by WriterLink with one end of a FramePipe.  It
ends when the control loop is gone, after writing all it was handed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from robosac.errors import StorageError
from robosac.flight_log.fields import EVENTS, TRANSITIONS
from robosac.flight_log.frames import KEPT, STAMP, FromWriter, ToWriter, WriterConfig
from robosac.flight_log.mcap_file import McapFile
from robosac.flight_log.messages import TickEncoder, schemas, transition_message
from robosac.flight_log.parts import part_path, parts_of
from robosac.runner.pipe import FramePipe

_log = logging.getLogger(__name__)
_TAKE_S = 0.1
_FLUSH_S = 1.0
_SYNC_S = 4.0
_POLITENESS = 5
_ROOM_AGAIN = 1.1
"""How much more than the floor must be free before recording goes on."""


class FlightWriter:
    """Moves frames from the pipe to the file, and leaves them in the pipe while the disk is full.

    Where the frames wait then is bounded; the control loop counts what finds no room.
    """

    def __init__(self, config: WriterConfig, pipe: FramePipe) -> None:
        """Make the file; raises OSError."""
        self._config, self._pipe = config, pipe
        path = Path(config.path)
        self._folder = path.parent
        self._others = sum(one.stat().st_size for one in parts_of(path))
        metadata = config.info | {
            "spec": msgspec.json.encode(config.spec).decode(),
            "epoch_ns": str(config.epoch_ns),
            "part": str(config.part),
        }
        self._file = McapFile(part_path(path, config.part), metadata)
        for topic, schema in schemas(config.spec).items():
            self._file.register(topic, schema)
        self._encoder = TickEncoder(config.spec)
        self._taken = self._refused = 0
        self._trouble = self._limit_note = ""
        self._told: str | None = None
        self._ended = False
        self._sync_at = time.monotonic() + _SYNC_S
        self._hang_up = select.poll()
        self._hang_up.register(pipe, 0)

    def run(self) -> None:
        """Work until the control loop says so or is gone, then end the file."""
        self._note("log", f"part {self._config.part} of the log begins")
        self._settle()
        settle_at = time.monotonic() + _FLUSH_S
        while not (self._ended or self._pipe.closed):
            self._await_end(_TAKE_S)
            self._take()
            if time.monotonic() >= settle_at:
                self._settle()
                while self._trouble and not self._await_end(_FLUSH_S):
                    self._settle()
                settle_at = time.monotonic() + _FLUSH_S
        self._finish()

    def _take(self) -> None:
        """Add everything that has arrived to the chunk in progress."""
        for kind, payload in self._pipe.receive():
            match ToWriter(kind):
                case ToWriter.TICK:
                    self._add_tick(payload)
                case ToWriter.EVENT:
                    stamp_ns, number = STAMP.unpack_from(payload)
                    self._add(EVENTS, payload[STAMP.size :], stamp_ns=stamp_ns, sequence=number)
                case ToWriter.TRANSITION:
                    self._add_transition(payload)
                case ToWriter.END:
                    self._ended = True
            self._taken += 1

    def _add_tick(self, row: bytes) -> None:
        if self._limit_note:
            self._refused += 1
            return
        number, stamp_ns, messages = self._encoder.encode(row)
        for topic, message in messages.items():
            self._add(topic, message, stamp_ns=stamp_ns, sequence=number)

    def _add_transition(self, payload: bytes) -> None:
        if self._limit_note:
            self._refused += 1
            return
        stamp_ns, number = STAMP.unpack_from(payload)
        message = transition_message(payload[STAMP.size :])
        self._add(TRANSITIONS, message, stamp_ns=stamp_ns, sequence=number)

    def _add(self, topic: str, message: bytes, *, stamp_ns: int, sequence: int) -> None:
        time_ns = self._config.epoch_ns + stamp_ns
        self._file.add(topic, message, time_ns=time_ns, sequence=sequence & 0xFFFFFFFF)

    def _note(self, kind: str, text: str) -> None:
        """Add an event of this process; number 0 tells it from those of the control loop."""
        message = msgspec.json.encode({"kind": kind, "text": text, "fields": {}})
        stamp_ns = time.time_ns() - self._config.epoch_ns
        self._add(EVENTS, message, stamp_ns=stamp_ns, sequence=0)

    def _settle(self) -> None:
        """Put the chunk into the file, and tell the control loop what it may forget."""
        before, self._trouble = self._trouble, self._flush()
        if not self._trouble:
            self._pipe.send(FromWriter.KEPT, KEPT.pack(self._taken, self._refused))
            self._watch_limit()
            if before:
                self._note("log", f"recording again after: {before}")
        state = self._trouble or self._limit_note
        if state != self._told:
            self._told = state
            self._pipe.send(FromWriter.STATE, state.encode())
        self._pipe.flush()

    def _flush(self) -> str:
        """Write and now and then sync; returns what is wrong, empty when nothing is."""
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        floor = self._config.floor_bytes * (_ROOM_AGAIN if self._trouble else 1)
        if free < floor:
            return f"disk nearly full: {free >> 20} MiB free, {self._config.floor_bytes >> 20} kept"
        try:
            self._file.flush()
            if time.monotonic() >= self._sync_at:
                self._file.sync()
                self._sync_at = time.monotonic() + _SYNC_S
        except OSError as error:
            return StorageError.from_os(self._config.path, error).got
        return ""

    def _watch_limit(self) -> None:
        """Stop recording all but events at the limit; these are few."""
        limit = self._config.limit_bytes
        if not self._limit_note and self._others + self._file.size >= limit:
            self._limit_note = f"limit of {limit / 2**20:g} MiB reached; only events are recorded"
            self._note("log", self._limit_note)

    def _await_end(self, timeout_s: float) -> bool:
        """Wait; whether the control loop is gone, which ends the wait.

        Frames that arrive do not: a sender that wakes a sleeper pays for it, here the control loop.
        """
        return bool(self._hang_up.poll(timeout_s * 1000))

    def _finish(self) -> None:
        """Write what is left; where that fails, the file is whole up to its last chunk."""
        self._take()
        self._note("log", "the log ends")
        try:
            self._file.finish()
        except OSError as error:
            _log.warning("%s", StorageError.from_os(self._config.path, error))
            return
        self._pipe.send(FromWriter.KEPT, KEPT.pack(self._taken, self._refused))
        self._pipe.drain(_FLUSH_S)


def main(argument: str) -> None:
    """Write until the control loop is gone; the end of the pipe is the only signal to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_POLITENESS)
    config = msgspec.json.decode(argument, type=WriterConfig)
    pipe = FramePipe(socket.socket(fileno=config.pipe))
    try:
        writer = FlightWriter(config, pipe)
    except OSError as error:
        pipe.send(FromWriter.STATE, str(StorageError.from_os(config.path, error)).encode())
        pipe.drain(_FLUSH_S)
        sys.exit(1)
    writer.run()


if __name__ == "__main__":
    main(sys.argv[1])
