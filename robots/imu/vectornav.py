"""Driver of the VectorNav VN-100."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from robots.imu.errors import ImuRefusedError
from robots.imu.port import open_port
from robots.imu.reader import SerialImu
from robots.imu.vectornav_codec import (
    FIELDS,
    GROUPS,
    SAMPLE_HZ,
    SIZE,
    VectorNavDecoder,
    decode_line,
    encode_line,
)

if TYPE_CHECKING:
    from robots.imu.config import ImuSpec
    from robots.imu.port import SerialPort

BAUDS = (921600, 460800, 230400, 115200, 57600, 38400, 19200, 9600)
"""Rates that a VN-100 can talk at; tried only to say which one it is."""
ANSWER_S = 0.25
"""Longest wait for one answer, s."""
TRIES = 3
"""How often a command is sent before the IMU counts as silent."""
RELATIVE_HEADING = "1"
"""Heading mode without the compass (register 35, second field); unverified on hardware."""


class VectorNav(SerialImu):
    """A VN-100 that streams time, attitude, angular rate and specific force."""

    def __init__(self, spec: ImuSpec, port: str) -> None:
        """Take description and port; raises ValueError if the VN-100 cannot deliver that rate."""
        if SAMPLE_HZ % spec.rate_hz:
            raise ValueError(
                f"imu rate_hz {spec.rate_hz:g}; expected {SAMPLE_HZ} divided by a whole number, "
                "such as 200, 160 or 100"
            )
        if SIZE * 10 * spec.rate_hz > spec.baud:
            raise ValueError(
                f"imu rate_hz {spec.rate_hz:g} needs {SIZE * 10 * spec.rate_hz:.0f} baud, got "
                f"{spec.baud}; raise the baud in the IMU and in robot.toml, or lower the rate"
            )
        super().__init__(spec, port)

    def _make_decoder(self) -> VectorNavDecoder:
        return VectorNavDecoder()

    def _set_up(self, port: SerialPort) -> None:
        """Silence the text, choose the heading mode, ask for our message and read that back."""
        dialogue = _Dialogue(port)
        model = dialogue.ask("VNRRG,01")
        if model is None:
            port.close()
            raise ImuRefusedError(self.path, self._silence())
        if not model.startswith("VNRRG,01,VN-100"):
            raise ImuRefusedError(
                self.path,
                f"is a {model.removeprefix('VNRRG,01,')}, expected a VN-100; correct model in "
                "robot.toml",
            )
        self.identity = (
            f"{model.removeprefix('VNRRG,01,')}, serial {self._read_register(dialogue, '03')}, "
            f"firmware {self._read_register(dialogue, '04')}"
        )
        self._write(dialogue, "06,0", "text output off")
        self._set_heading(dialogue)
        divisor = round(SAMPLE_HZ / self.spec.rate_hz)
        self._write(
            dialogue,
            f"75,{self.spec.uart},{divisor},{GROUPS:02X},{FIELDS:04X}",
            "the binary message",
        )
        self._check_output(dialogue, [self.spec.uart, divisor, GROUPS, FIELDS])

    def _silence_hint(self) -> str:
        return "check uart in robot.toml: the cable may be on the VN-100's other serial port"

    def _silence(self) -> str:
        """Find the rate it does answer at, so that the user need not."""
        for baud in BAUDS:
            if baud != self.spec.baud and self._answers_at(baud):
                return (
                    f"answers at {baud} baud, expected {self.spec.baud}; correct baud in "
                    "robot.toml, or set the IMU's with register 5"
                )
        return f"no answer at {self.spec.baud} baud nor at any other; check cable, supply and port"

    def _answers_at(self, baud: int) -> bool:
        port = open_port(self.path, baud)
        try:
            return _Dialogue(port).ask("VNRRG,01", tries=1) is not None
        finally:
            port.close()

    def _set_heading(self, dialogue: _Dialogue) -> None:
        """Set the heading mode; the other fields of the register stay as they are."""
        answer = self._read_register(dialogue, "35")
        fields = answer.split(",")
        if len(fields) < 2:  # noqa: PLR2004 - the mode is the second field
            raise ImuRefusedError(
                self.path,
                f"register 35 reads {answer!r}, expected four fields; check firmware",
            )
        if fields[1] != RELATIVE_HEADING:
            fields[1] = RELATIVE_HEADING
            self._write(dialogue, ",".join(["35", *fields]), "relative heading")

    def _check_output(self, dialogue: _Dialogue, expected: list[int]) -> None:
        answer = self._read_register(dialogue, "75")
        parts = answer.split(",")
        try:
            got = [int(part, base) for part, base in zip(parts, (10, 10, 16, 16), strict=True)]
        except ValueError:
            got = []
        if got != expected:
            port, divisor, groups, fields = expected
            raise ImuRefusedError(
                self.path,
                f"register 75 reads {answer}, expected {port},{divisor},{groups:02X},{fields:04X}; "
                "power the IMU off and on, and check its firmware",
            )

    def _read_register(self, dialogue: _Dialogue, register: str) -> str:
        """Content of a register as text."""
        answer = dialogue.ask(f"VNRRG,{register}")
        if answer is None or not answer.startswith("VNRRG"):
            raise ImuRefusedError(
                self.path,
                f"reading register {register} gave {answer or 'no answer'}, expected its content; "
                "power the IMU off and on",
            )
        return answer.removeprefix(f"VNRRG,{register},")

    def _write(self, dialogue: _Dialogue, content: str, meaning: str) -> None:
        answer = dialogue.ask(f"VNWRG,{content}")
        if answer is None or not answer.startswith("VNWRG"):
            raise ImuRefusedError(
                self.path,
                f"setting {meaning} (register {content}) gave {answer or 'no answer'}, expected "
                "VNWRG; power the IMU off and on, and check its firmware",
            )


class _Dialogue:
    """Commands and answers in text, while messages of any kind may stream in between."""

    def __init__(self, port: SerialPort) -> None:
        """Talk over this port."""
        self._port = port

    def ask(self, command: str, *, tries: int = TRIES) -> str | None:
        """Body of the answer to a command, or of the IMU's error; None if there is none."""
        for _ in range(tries):
            self._port.reset_input_buffer()
            self._port.write(encode_line(command))
            answer = self._answer(command[:8])
            if answer is not None:
                return answer
        return None

    def _answer(self, start: str) -> str | None:
        received = b""
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            received += self._port.read(self._port.in_waiting or 1)
            *lines, received = received.split(b"\n")
            for line in lines:
                body = decode_line(line[max(line.rfind(b"$VN"), 0) :])
                if body is not None and body.startswith((start, "VNERR")):
                    return body
        return None
