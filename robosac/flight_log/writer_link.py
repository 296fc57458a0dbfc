"""The control loop's side of the writer process."""

from __future__ import annotations

import subprocess
import time
from collections import deque

import msgspec

from robosac.flight_log.frames import KEPT, FromWriter, ToWriter, WriterConfig
from robosac.runner.pipe import FramePipe

_BURST = 32
_ENTRIES_MAX = 4096
_STUCK_S = 5.0
_RESTART_S = 0.2
_RESTART_MAX_S = 10.0
_WAIT_S = 0.05
_CLOSE_S = 5.0
_EXIT_S = 3.0


class WriterLink:
    """Starts the writer process and hands it entries through a pipe that never blocks.

    An entry is kept here until it is in the file, so that a writer that dies is replaced by
    another, with another file, which gets what would have died with the first.  What finds no room,
    because no writer has taken anything for long, is lost and counted.  Nothing that happens to
    writer or disk raises or waits.
    """

    def __init__(self, config: WriterConfig) -> None:
        """Start a process; raises OSError when that fails."""
        self._config = config
        self._entries: deque[tuple[int, bytes]] = deque()
        self._no_room = self._refused = self._refused_before = self._left = 0
        self._mute_deaths = 0
        self._closed = False
        self._restart_at: float | None = None
        self._said = self._death = ""
        self._start()

    @property
    def lost(self) -> int:
        """Entries that are in no file and never will be."""
        return self._no_room + self._refused_before + self._refused + self._left

    @property
    def pid(self) -> int:
        """The newest writer process."""
        return self._process.pid

    @property
    def crowded(self) -> bool:
        """Whether so much waits that nothing should be added that can wait."""
        return self._closed or len(self._entries) > _ENTRIES_MAX // 2

    @property
    def state(self) -> str:
        """How the recording is, in words."""
        words = self._death or self._said or "recording"
        stuck_s = time.monotonic() - self._flowed_at
        if self._entries and stuck_s > _STUCK_S and words == "recording":
            words = f"the writer has taken nothing for {stuck_s:.0f} s: {len(self._entries)} wait"
        return f"{words}; {self.lost} entries lost" if self.lost else words

    def put(self, kind: ToWriter, payload: bytes) -> None:
        """Take one entry; it goes out with poll()."""
        if self._closed or len(self._entries) >= _ENTRIES_MAX:
            self._no_room += 1
        else:
            self._entries.append((kind, payload))

    def poll(self) -> None:
        """Hand over what the pipe takes now, hear from the writer, replace a dead one."""
        if self._closed:
            return
        if self._restart_at is not None:
            self._restart()
            return
        for kind, payload in self._pipe.receive():
            self._handle(FromWriter(kind), payload)
        if self._pipe.closed:
            self._bury()
        else:
            self._send()

    def close(self) -> None:
        """Wait a bounded time until the file has everything and has ended; may be repeated."""
        if self._closed:
            return
        deadline = time.monotonic() + _CLOSE_S
        self._entries.append((ToWriter.END, b""))
        while self._entries and time.monotonic() < deadline:
            if self._restart_at is None:
                self._pipe.wait(_WAIT_S)
            else:
                time.sleep(_WAIT_S)
            self.poll()
        self._left += sum(kind != ToWriter.END for kind, _ in self._entries)
        self._entries.clear()
        self._closed = True
        self._pipe.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._death = f"writer process {self._process.pid} is still writing"

    def _send(self) -> None:
        for _ in range(_BURST):
            if self._sent == len(self._entries) or self._pipe.unsent:
                break
            self._pipe.send(*self._entries[self._sent])
            self._sent += 1
        self._pipe.flush()

    def _handle(self, kind: FromWriter, payload: bytes) -> None:
        self._flowed_at = time.monotonic()
        if kind is FromWriter.STATE:
            self._said = payload.decode()
            return
        kept, self._refused = KEPT.unpack(payload)
        self._mute_deaths, self._death = 0, ""
        while self._forgotten < kept:
            self._entries.popleft()
            self._forgotten += 1
            self._sent -= 1

    def _start(self) -> None:
        self._sent = self._forgotten = 0
        self._flowed_at = time.monotonic()
        self._pipe, self._process = FramePipe.to_process("robosac.flight_log.writer", self._config)

    def _bury(self) -> None:
        """Plan the next start: at once after a writer that had got to work, else ever later."""
        code = self._process.poll()
        if code is None:
            return
        self._refused_before += self._refused
        self._refused = 0
        self._pipe.close()
        pause_s = min(_RESTART_S * 2.0**self._mute_deaths, _RESTART_MAX_S)
        self._restart_at = time.monotonic() + (pause_s if self._mute_deaths else 0.0)
        self._mute_deaths += 1
        reason = f": {self._said}" if self._said else ""
        self._death = f"the writer has died with exit code {code}{reason}; another one starts"
        self._said = ""

    def _restart(self) -> None:
        """Start another writer when it is time, with another part of the log."""
        assert self._restart_at is not None
        if time.monotonic() < self._restart_at:
            return
        self._config = msgspec.structs.replace(self._config, part=self._config.part + 1)
        try:
            self._start()
        except OSError as error:
            self._mute_deaths += 1
            self._death = f"no writer process can be started: {error.strerror}"
            self._restart_at = time.monotonic() + _RESTART_MAX_S
            return
        self._restart_at = None
