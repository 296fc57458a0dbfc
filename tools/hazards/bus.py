"""Hazards of the servo bus, B1 to B26, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from robots import RobotError
from robots.dynamixel.bus import Bus
from robots.dynamixel.control_table import Register
from robots.errors import ServoRefusedError, ServoSetupError
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.trial import STRIKE_S, Trial, VirtualTrial, trot
from tools.hazards.verdict import always, judge_going_on, judge_refusal, judge_stop

if TYPE_CHECKING:
    from collections.abc import Callable

SERVO = 3
"""The servo that most faults strike."""
_STUFFED = -131073
"""A number whose bytes hold a header that has to be stuffed."""
_ERRORS = range(1, 8)
_HOT_C = 65.0
PLAIN = "no-fast-read@0"
"""Makes every servo answer on its own, not all in one packet."""
_WALK_ON = "walks on; nothing false is read; counted"
_LATCH = "damped, FAULT latched"


def struck(name: str, **options: object) -> str:
    """A fault at the usual time, as on the emulator's command line."""
    words = (f"{key.rstrip('_')}={value}" for key, value in options.items())
    return ",".join((f"{name}@{STRIKE_S}", *words))


def _walks_on(*faults: str, what: str, count: Callable[[Trial], int]) -> Finding:
    """Faults that the robot must not stop for."""
    with VirtualTrial(*faults) as trial:
        trial.walk_until_struck()
        return judge_going_on(trial, counted=partial(count, trial), what=what)


def _stops(one: Hazard, fault: str, *causes: str, named: bool = False) -> Finding:
    """A fault that must damp the robot and latch; the log may have to name the servo, too."""
    with VirtualTrial(fault) as trial:
        trial.walk_until_struck()
        finding = judge_stop(trial, one, causes=causes, how="damp", latched=True)
        name = trial.heard.first(f"(servo {SERVO}", since=trial.strike_tick)
    if not named or name:
        return replace(finding, logged="; ".join(filter(None, (finding.logged, name))))
    problems = (*finding.problems, f"servo {SERVO} is not named in the log")
    return replace(finding, problems=problems)


def _refused(fault: str, error: type[RobotError], *words: str) -> Finding:
    """A fault that must be found before anything moves."""
    with VirtualTrial(fault) as trial:
        return judge_refusal(trial, error, *words)


def _timeouts(trial: Trial) -> int:
    return trial.rig.robot.stats.timeouts


def _unexpected(trial: Trial) -> int:
    stats = trial.rig.robot.stats
    return stats.unexpected + stats.flushed_bytes + stats.rejects.noise_bytes


def _bad_crc(trial: Trial) -> int:
    rejects = trial.rig.robot.stats.rejects
    return rejects.bad_crc + rejects.short + rejects.noise_bytes + trial.rig.robot.stats.timeouts


@hazard("B1", "one reply is lost", must=_WALK_ON)
def lost_reply(one: Hazard) -> Finding:
    """The sample before is kept, with its age."""
    del one
    return _walks_on(struck("drop", nth=1), what="timeouts", count=_timeouts)


@hazard("B2", "every reply of one servo is lost", must=f"{_LATCH}; the servo is named", within=7)
def lost_servo(one: Hazard) -> Finding:
    """The others are read on until the age rule stops the robot."""
    return _stops(one, struck("drop", id=SERVO), "stale_state", named=True)


@hazard("B3", "one reply is cut short", must=_WALK_ON)
def truncated_reply(one: Hazard) -> Finding:
    """What stands before the cut may be used."""
    del one
    return _walks_on(struck("truncate", nth=1), what="timeouts", count=_timeouts)


@hazard("B4", "every reply has random bytes behind it, for 1 s", must=_WALK_ON)
def extra_bytes(one: Hazard) -> Finding:
    """They are no part of any frame."""
    del one
    return _walks_on(struck("extra", **{"for": 1}), what="bytes thrown away", count=_unexpected)


@hazard("B5", "every fifth reply has a flipped bit, for 1 s", must=_WALK_ON)
def flipped_bits(one: Hazard) -> Finding:
    """The CRC finds them."""
    del one
    return _walks_on(struck("flip", p=0.2, **{"for": 1}), what="frames rejected", count=_bad_crc)


@hazard("B6", "a servo answers under another's ID, half the time, for 1 s", must=_WALK_ON)
def wrong_id(one: Hazard) -> Finding:
    """Its values are nobody's."""
    del one
    fault = struck("wrong-id", id=SERVO, p=0.5, **{"for": 1})
    return _walks_on(
        fault, what="unexpected frames", count=lambda trial: trial.rig.robot.stats.unexpected
    )


@hazard("B7", "every fifth reply comes twice, for 1 s", must=_WALK_ON)
def duplicates(one: Hazard) -> Finding:
    """The second is thrown away."""
    del one
    return _walks_on(
        struck("duplicate", p=0.2, **{"for": 1}), what="bytes thrown away", count=_unexpected
    )


@hazard("B8", "every eighth reply comes in the next cycle, for 1 s", must=_WALK_ON)
def late_replies(one: Hazard) -> Finding:
    """It is never taken for the answer to that cycle's question."""
    del one
    fault = struck("late", p=0.125, amount=20, **{"for": 1})
    return _walks_on(fault, what="timeouts", count=_timeouts)


@hazard("B9", "every twentieth reply changes places with the next, for 1 s", must=_WALK_ON)
def swapped_replies(one: Hazard) -> Finding:
    """No joint gets another's value."""
    del one
    return _walks_on(PLAIN, struck("swap", p=0.05, **{"for": 1}), what="timeouts", count=_timeouts)


@hazard("B11", "noise stands before every reply, for 1 s", must=_WALK_ON)
def noise(one: Hazard) -> Finding:
    """It is counted."""
    del one
    return _walks_on(struck("noise", **{"for": 1}), what="bytes thrown away", count=_unexpected)


@hazard("B12", "servos listen at another speed", must="refused at open, with a hint")
def baud_mismatch(one: Hazard) -> Finding:
    """Nobody answers; the usual reason is said."""
    del one
    return _refused("baud@0", ServoSetupError, "no servo answers", "baud")


@hazard("B13", "servos wait 500 µs before they answer", must="repaired at open, and said")
def return_delay(one: Hazard) -> Finding:
    """The register is put right, or every reply would cost half a millisecond."""
    del one
    with VirtualTrial("return-delay@0,amount=250") as trial:
        trial.stand_up()
        trial.walk(ON_A_LITTLE)
        delays = [trial_servo.return_delay_us for trial_servo in trial.rig.bus.bench.servos]
        logged = trial.heard.first("RETURN") or trial.heard.first("Return")
        problems = always(trial)
        if any(delays):
            problems.append(f"return delays {delays} µs; expected zeros")
        if not logged:
            problems.append("the repair is not in the log")
        return Finding("repaired, walks", logged, None, tuple(problems))


ON_A_LITTLE = 25
"""How long a robot walks to show that it can, ticks."""


@hazard("B14", "servos do not know fast reads", must="plain reads instead, said once; walks on")
def no_fast_read(one: Hazard) -> Finding:
    """Two failures are enough to know."""
    del one
    with VirtualTrial(PLAIN) as trial:
        trial.walk_until_struck()
        finding = judge_going_on(trial, counted=lambda: 1 + trial.ticks, what="ticks")
        said = [text for _, text in trial.heard.lines if "plain sync read" in text]
        problems = [*finding.problems]
        if len(said) != 1:
            problems.append(f"said {len(said)} times; expected once")
        return Finding(finding.seen, "; ".join(said[:1]), None, tuple(problems))


@hazard("B15", "numbers whose bytes have to be stuffed", must="exact in both directions")
def stuffing(one: Hazard) -> Finding:
    """A header inside a number does not end a frame."""
    del one
    with VirtualTrial() as trial:
        bus = Bus(trial.line)
        bus.write(SERVO, Register.HOMING_OFFSET, _STUFFED)
        servo = trial.rig.bus.bench.servos[SERVO - 1]
        there, back = (
            servo.memory.get(Register.HOMING_OFFSET),
            bus.read(SERVO, Register.HOMING_OFFSET),
        )
        bus.write(SERVO, Register.HOMING_OFFSET, 0)
        problems = [
            f"{way} is {got}; expected {_STUFFED}"
            for way, got in (("what the servo has", there), ("what is read back", back))
            if got != _STUFFED
        ]
        trial.stand_up()
        trial.walk(ON_A_LITTLE)
        return Finding("exact, walks", f"{there} and {back}", None, (*problems, *always(trial)))


@hazard("B16", "a servo sets its alert bit", must=f"{_LATCH}; register 70 by name", within=3)
def alert(one: Hazard) -> Finding:
    """An error that does not take the torque off by itself."""
    return _stops(one, struck("hardware-error", id=SERVO, amount=1), "hardware_error")


@hazard(
    "B17",
    "a servo answers with error number 1 to 7",
    must="typed error with number; DAMP",
    within=7,
)
def error_numbers(one: Hazard) -> Finding:
    """At open it is refused, while walking the age rule stops the robot."""
    problems = []
    for number in _ERRORS:
        finding = _refused(f"error@0,id={SERVO},amount={number}", RobotError, f"servo {SERVO}")
        problems += [f"error {number} at open: {text}" for text in finding.problems]
    fault = struck("error", id=SERVO, amount=4)
    walking = _stops(one, fault, "stale_state", "hardware_error", named=True)
    return Finding(walking.seen, walking.logged, walking.ticks, (*problems, *walking.problems))


@hazard("B18", "a servo restarts while walking", must=f"{_LATCH}, no silent enable", within=7)
def reboot(one: Hazard) -> Finding:
    """It comes back without torque and without what was set up."""
    return _stops(one, struck("reboot", id=SERVO), "hardware_error", "stale_state")


@hazard("B19", "a servo's bus watchdog trips", must=f"{_LATCH}, no silent enable", within=5)
def watchdog(one: Hazard) -> Finding:
    """It holds where it is and refuses goals."""
    return _stops(one, struck("watchdog", id=SERVO), "hardware_error")


@hazard("B20", "a servo heats up by 8 °C/s", must="sits down before it cuts out", within=75)
def overheating(one: Hazard) -> Finding:
    """Timed from 65 °C; temperatures are read once a second."""
    with VirtualTrial(struck("overheat", id=SERVO, amount=8)) as trial:
        trial.walk_until_struck()
        servo = trial.rig.bus.bench.servos[SERVO - 1]
        while servo.actuator.temperature < _HOT_C and trial.stopped() is None:
            trial.tick()
        if trial.stopped() is None:
            trial.strike_now()
        return judge_stop(trial, one, causes=["temperature"], how="sit", latched=False)


@hazard("B21", "the supply drops by 3 V", must=_LATCH, within=10)
def brown_out(one: Hazard) -> Finding:
    """Servos report it, or the voltage does."""
    return _stops(one, struck("sag", amount=3), "hardware_error", "voltage")


@hazard("B22", "a servo shuts down for overload", must=_LATCH, within=3)
def overload(one: Hazard) -> Finding:
    """Its own torque is off at once; the others must follow."""
    return _stops(one, struck("hardware-error", id=SERVO, amount=32), "hardware_error")


@hazard("B23", "an encoder jumps by 45 degrees", must=_LATCH, within=7)
def encoder_jump(one: Hazard) -> Finding:
    """The first samples are dropped, the third stops the robot."""
    return _stops(one, struck("jump", id=SERVO), "encoder_jump")


@hazard("B24", "a position reading stands still", must="sits down", within=60)
def stuck(one: Hazard) -> Finding:
    """No driver can see that a reading is false: the joint does not follow its target."""
    with VirtualTrial(struck("stuck", id=SERVO)) as trial:
        trial.judge_readings = False
        trial.gait = partial(trot, amplitude=0.5)
        trial.walk_until_struck()
        return judge_stop(trial, one, causes=["stuck"], how="sit", latched=False)


@hazard("B25", "a servo's settings are locked", must="refused at open, with the cause")
def locked(one: Hazard) -> Finding:
    """What would have to be repaired cannot be."""
    del one
    return _refused(f"locked@0,id={SERVO}", ServoRefusedError, f"servo {SERVO}", "locked")


@hazard("B26", "two servos share an ID", must="refused at open, with the cause")
def collision(one: Hazard) -> Finding:
    """Their answers collide."""
    del one
    return _refused(f"collision@0,id={SERVO}", RobotError, f"{SERVO}")
