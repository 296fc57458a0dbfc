"""A scripted bus of servos on a pseudo-terminal, without timing and without mechanics."""

from __future__ import annotations

import os
import select
import threading
import tty
from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.protocol import (
    BROADCAST,
    Frame,
    Instruction,
    Receiver,
    Status,
    encode_fast,
    encode_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Spoil = Callable[[Frame, list[bytes]], list[bytes]]

MODEL, FIRMWARE = 1030, 45
MEMORY = 640


class FakeServos:
    """Servos that are 640 bytes of memory each, and answer at once.

    What they answer to an instruction passes through `spoil`, one element for each frame; what it
    returns is sent.  `heard` keeps every instruction; `served` and `sent` count bytes, those taken
    whose answers are on their way, and those of the answers.
    """

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.memory = {device: bytearray(MEMORY) for device in ids}
        for device, memory in self.memory.items():
            memory[0:2] = MODEL.to_bytes(2, "little")
            memory[6], memory[7] = FIRMWARE, device
        self.errors = dict.fromkeys(ids, 0)
        self.heard: list[Frame] = []
        self.served = self.sent = 0
        self.spoil: Spoil = lambda _, replies: replies
        self.far, self._near = os.openpty()
        tty.setraw(self._near)
        self.path = os.ttyname(self._near)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Send bytes that nobody asked for."""
        self.sent += os.write(self.far, data)

    def close(self) -> None:
        """Stop answering and unplug the cable."""
        os.close(self._stopped)
        self._thread.join()
        for end in (self.far, self._near, self._stop):
            os.close(end)

    def _serve(self) -> None:
        receiver = Receiver("instruction")
        while True:
            ready, _, _ = select.select([self.far, self._stop], [], [])
            if self._stop in ready:
                return
            data = os.read(self.far, 4096)
            for frame in receiver.feed(data):
                self.heard.append(frame)
                sent = self.spoil(frame, self._answer(frame))
                if any(sent):
                    self.send(b"".join(sent))
            self.served += len(data)

    def _answer(self, frame: Frame) -> list[bytes]:
        parameters = frame.parameters
        address, size = (int.from_bytes(parameters[at : at + 2], "little") for at in (0, 2))
        if frame.instruction == Instruction.SYNC_WRITE:
            step = size + 1
            for start in range(4, len(parameters), step):
                self._store(parameters[start], address, parameters[start + 1 : start + step])
            return []
        if frame.instruction in {Instruction.SYNC_READ, Instruction.FAST_SYNC_READ}:
            present = [device for device in parameters[4:] if device in self.memory]
            statuses = [self._status(device, address, size) for device in present]
            if frame.instruction == Instruction.FAST_SYNC_READ:
                return [encode_fast(statuses)] if present == [*parameters[4:]] else []
            return [encode_status(status) for status in statuses]
        return [
            encode_status(self._single(frame, device, address, size))
            for device in (self.memory if frame.id == BROADCAST else (frame.id,))
            if device in self.memory
        ]

    def _single(self, frame: Frame, device: int, address: int, size: int) -> Status:
        if frame.instruction == Instruction.PING:
            memory = self.memory[device]
            return Status(device, self.errors[device], bytes((memory[0], memory[1], memory[6])))
        if frame.instruction == Instruction.READ:
            return self._status(device, address, size)
        if frame.instruction == Instruction.WRITE:
            self._store(device, address, frame.parameters[2:])
        return Status(device, self.errors[device], b"")

    def _status(self, device: int, address: int, size: int) -> Status:
        data = bytes(self.memory[device][address : address + size])
        return Status(device, self.errors[device], data)

    def _store(self, device: int, address: int, data: bytes) -> None:
        if device in self.memory:
            self.memory[device][address : address + len(data)] = data


@pytest.fixture
def servos() -> Iterator[FakeServos]:
    """Servos with the IDs 1, 2, 3 and 7."""
    servos = FakeServos((1, 2, 3, 7))
    yield servos
    servos.close()
