"""Messages as nobody should send them: mutations, extremes, bombs and noise."""

from __future__ import annotations

import hashlib
import math
import random
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from robosac.wire import messages
from robosac.wire.messages import Held, encode
from tools.hostile.toy import DOCUMENT, GOOD_RUN, WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Genuine = Callable[[random.Random], tuple[Any, bytes | None]]

Frames = list[bytes]
EXTREMES: list[Any] = [
    *(0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)),
    *(None, True, 1e308, math.nan, math.inf, -math.inf),
    *("", "x" * 1001, "go2\nroot: gone\x1b[2J", "../../etc", "\u202e", "mallory-1"),
    *(b"", b"\xff" * 100, [], {}, [[]], {"": 0}, [0, 2**53], [2**53, 0]),
]
NESTED = [b"\x91" * 3000, b"\x81\xa1x" * 3000, b"\x91" * 100_000]
COUNTS = [bytes([kind]) + b"\xff" * 4 for kind in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]


def chance(dice: random.Random, share: float) -> bool:
    """Whether something happens that happens so often."""
    return dice.random() < share


class Fuzzer:
    """Makes messages out of genuine ones, from a seed."""

    def __init__(self, seed: int, genuine: Genuine) -> None:
        """Take what draws one genuine message of the attacking side."""
        self.dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._genuine = genuine

    def draw(self) -> Frames:
        """Return the frames of the next message."""
        kind = self.dice.choices(
            (self._good, self._replaced, self._mutated, self._parts, self._bomb, self._noise),
            (20, 30, 30, 8, 2, 10),
        )[0]
        return kind()

    def _good(self) -> Frames:
        message, payload = self._genuine(self.dice)
        return encode(message, payload)

    def _replaced(self) -> Frames:
        """A genuine message with a field or two that are extreme, missing or too many."""
        message, payload = self._genuine(self.dice)
        fields: dict[str, Any] = msgspec.to_builtins(message, builtin_types=(bytes,))
        for _ in range(self.dice.randint(1, 2)):
            name = self.dice.choice([*fields, "unknown"])
            if chance(self.dice, 0.1):
                fields.pop(name, None)
            else:
                fields[name] = self.dice.choice(EXTREMES)
        head = msgspec.msgpack.encode(fields)
        return [head] if payload is None else [head, payload]

    def _mutated(self) -> Frames:
        frames = self._good()
        at = self.dice.randrange(len(frames))
        for _ in range(self.dice.choice((1, 1, 2, 5))):
            frames[at] = self._mutate(frames[at])
        return frames

    def _mutate(self, frame: bytes) -> bytes:
        dice, data = self.dice, bytearray(frame or b"\x00")
        at = dice.randrange(len(data))
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.choice((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xD9, 0xDC, 0xDF, 0xFF))
            case 2:
                del data[at:]
            case 3:
                data[at:at] = dice.randbytes(dice.randint(1, 8))
            case 4:
                del data[at : at + dice.randint(1, 8)]
            case _:
                other = self._good()[0]
                data[at:] = other[dice.randrange(len(other)) :]
        return bytes(data)

    def _parts(self) -> Frames:
        """Too many frames, too few, empty ones."""
        frames = [frame for _ in range(3) for frame in self._good()]
        frames += [b""] * self.dice.randint(0, 3)
        self.dice.shuffle(frames)
        return frames[: self.dice.randint(1, 6)]

    def _bomb(self) -> Frames:
        """Nesting, counts of billions, and a name of a megabyte."""
        big = msgspec.msgpack.encode({"type": "Ping", "n\n" * self.dice.randint(1, 500_000): 1})
        frames = [self.dice.choice([*NESTED, *COUNTS, big])]
        return frames if chance(self.dice, 0.5) else [*self._good()[:1], *frames]

    def _noise(self) -> Frames:
        return [self.dice.randbytes(self.dice.choice((0, 1, 5, 60, 700)))]


RUNS = [f"{number:032x}" for number in range(100)]
NUMBERS = (0, 0, 0, 1, 7, 100, 4096, 2**31, 2**53 - 5, 2**53)


def from_robot(dice: random.Random) -> tuple[messages.FromRobot, bytes | None]:
    """Draw a message that the learner can read, if not what it likes to hear."""
    run, number = dice.choice(RUNS), dice.choice(NUMBERS)
    message: messages.FromRobot
    payload = None
    match dice.randrange(8):
        case 0:
            message = hello(dice)
        case 1 | 2:
            rows = np.full((dice.choice((0, 1, 4, 30)), WIDTH), dice.choice((0.0, 1.0, math.nan)))
            payload = rows.astype("<f4").tobytes()
            message = messages.Rows(run=run, first=number, oldest=dice.choice((0, number)))
        case 3:
            names = [f"{dice.choice(('speed', 'odd'))} {dice.randrange(300)}" for _ in range(5)]
            rewards = dict.fromkeys(names, dice.choice((0.0, math.inf, math.nan)))
            message = messages.Episode(
                run=run, end=number, return_=math.nan, length=number, rewards=rewards
            )
        case 4:
            message = messages.Ping(policy=number, pending=number, dropped=number)
        case 5:
            message = messages.Declined(version=number, reason="no\n" * dice.randrange(300))
        case 6:
            message = messages.Bye(run=run, made=number, oldest=dice.choice((0, number)))
        case _:
            message, payload = messages.Probe(), dice.randbytes(dice.choice((0, 10, 10_000)))
    return message, payload


def hello(dice: random.Random) -> messages.Hello:
    """A greeting: mostly one that is accepted, of a few robots; sometimes with many runs."""
    runs = {run: Held(0, dice.choice(NUMBERS)) for run in RUNS[: dice.choice((0, 1, 100))]}
    return messages.Hello(
        robot=f"mallory-{dice.randrange(dice.choice((3, 3, 3, 3000)))}",
        run=dice.choice(RUNS) if chance(dice, 0.5) else uuid.UUID(int=dice.getrandbits(128)).hex,
        runs=runs,
        contract=dice.choice((DOCUMENT, DOCUMENT, DOCUMENT, *_broken_contracts())),
        paced=chance(dice, 0.5),
    )


def _broken_contracts() -> Iterator[bytes]:
    """Contracts that nobody could learn by."""
    for extra in (
        b'"task_config":{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'"extra":99999999',
        b'"action_upper":[1e39]',
        b'"golden":[]',
        b'"env":"\xff"',
    ):
        yield DOCUMENT[:-1] + b"," + extra + b"}"


def from_learner(dice: random.Random) -> tuple[messages.FromLearner, bytes | None]:
    """Draw a message that a robot can read."""
    run, number = dice.choice(RUNS), dice.choice(NUMBERS)
    file = dice.randbytes(dice.choice((0, 100, 5000)))
    sha256 = hashlib.sha256(file).hexdigest() if chance(dice, 0.5) else "0" * 64
    status = messages.Status(
        robosac="",
        contract=b"",
        rows=number,
        policy=number,
        robots=[],
        wall_ns=-1,
        received=number,
    )
    message = dice.choice(
        (
            messages.Ack(run=run, expected=number),
            messages.Credit(run=dice.choice((*RUNS[:3], GOOD_RUN)), credit=number),
            messages.Policy(version=number, sha256=sha256),
            messages.Pong(learning=chance(dice, 0.5)),
            messages.Farewell(run=run),
            messages.Unknown(),
            messages.Enough(),
            messages.Welcome(expected={run: number}, version=number, sha256=sha256),
            status,
        )
    )
    return message, file if isinstance(message, messages.CARRIES_FRAME) else None
