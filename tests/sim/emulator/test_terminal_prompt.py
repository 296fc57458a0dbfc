"""A terminal that counts down to its replies, for who measures how fast the bus can be."""

from __future__ import annotations

import statistics
import time

import serial

from robots.dynamixel.protocol import Instruction, encode
from sim.emulator.bench import Bench
from sim.emulator.bus import Bus
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.terminal import Terminal

PING = encode(1, Instruction.PING)
PONG_BYTES = 14
BAUD = 57_600
WIRE_S = (len(PING) + PONG_BYTES) * 10 / BAUD
PROMPT_S = 0.001


def test_a_prompt_reply_takes_the_time_of_the_wire_and_hardly_more() -> None:
    """Never less; and to count the time is no reason to miss the next question."""
    eeprom = {"baud_rate": 1, "return_delay": 0}
    bus = Bus(Bench([Servo(ServoOptions(id=1, eeprom=eeprom))]))
    took = []
    with (
        Terminal(bus, prompt_s=PROMPT_S) as terminal,
        serial.Serial(terminal.path, BAUD, timeout=2.0) as port,
    ):
        for _ in range(30):
            began = time.monotonic()
            port.write(PING)
            assert len(port.read(PONG_BYTES)) == PONG_BYTES
            took.append(time.monotonic() - began)
    assert min(took) >= WIRE_S
    assert statistics.median(took) < WIRE_S + 0.01
