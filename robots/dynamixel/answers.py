"""Answers of several servos to one request, as they come one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.dynamixel.protocol import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots.dynamixel.protocol import Frame


class Answers:
    """Replies to one request, taken in the order in which the servos were asked."""

    def __init__(self, devices: Sequence[int], size: int) -> None:
        """Expect size bytes of data from each servo."""
        self.found: list[Status | None] = [None] * len(devices)
        self.unexpected = 0
        self.conflicts = 0
        self._devices = devices
        self._length = size + 1
        self._next = 0

    @property
    def complete(self) -> bool:
        """Whether everybody has answered; while somebody is missing another may answer twice."""
        return self._next == len(self._devices) and None not in self.found

    def take(self, frame: Frame) -> None:
        """Take a frame when it is the answer of a servo that is due."""
        device, _, parameters, _ = frame
        index = self._next
        devices = self._devices
        while index < len(devices) and devices[index] != device:
            index += 1
        refused = bool(parameters[0] & 0x7F)
        if index == len(devices) or not (len(parameters) == self._length or refused):
            self.unexpected += 1
            self._doubt(frame)
            return
        self.found[index] = Status(device, parameters[0], parameters[1:])
        self._next = index + 1

    def _doubt(self, frame: Frame) -> None:
        """Believe neither of two different answers of the same servo."""
        for index, status in enumerate(self.found):
            if status is not None and status.id == frame.id and status != frame.status:
                self.found[index] = None
                self.conflicts += 1
