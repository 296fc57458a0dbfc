"""Hazards of the IMU, I1 to I9: the driver's decoder on an emulated device's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.emulator.imu_faults import ImuFault
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.trial import STRIKE_S, VirtualTrial
from tools.hazards.verdict import judge_going_on, judge_stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from robots.imu.stream import Counts

_WALK_ON = "walks on; nothing false is read; counted"
_STALE = "holds from 40 ms, damps from 100 ms, FAULT latched"
_WITHIN = 7


def _walks_on(fault: ImuFault, what: str, count: Callable[[Counts], int]) -> Finding:
    with VirtualTrial(imu_faults=[fault]) as trial:
        trial.walk_until_struck()
        return judge_going_on(trial, counted=lambda: count(trial.imu.counts), what=what)


def _goes_stale(one: Hazard, fault: ImuFault) -> Finding:
    """The age rule holds first, then damps."""
    with VirtualTrial(imu_faults=[fault]) as trial:
        trial.walk_until_struck()
        finding = judge_stop(trial, one, causes=["stale_state"], how="damp", latched=True)
        if " > hold > damp" in trial.path():
            return finding
        problems = (*finding.problems, "no hold before it was damped")
        return Finding(finding.seen, finding.logged, finding.ticks, problems)


def _fault(
    name: str, *, for_s: float = 1.0, probability: float = 1.0, amount: float | None = None
) -> ImuFault:
    return ImuFault(name=name, at_s=STRIKE_S, for_s=for_s, probability=probability, amount=amount)


@hazard("I1", "every message arrives in three pieces, for 1 s", must=_WALK_ON)
def split(one: Hazard) -> Finding:
    """They are put together; what is counted is good samples."""
    del one
    return _walks_on(_fault("split"), "samples", lambda counts: counts.samples)


@hazard("I2", "every third message has a flipped bit, for 1 s", must=_WALK_ON)
def flipped(one: Hazard) -> Finding:
    """The CRC rejects them."""
    del one
    return _walks_on(
        _fault("flip", probability=0.33),
        "messages rejected",
        lambda counts: counts.checksum_errors + counts.resyncs,
    )


@hazard("I3", "every message is lost", must=_STALE, within=_WITHIN)
def dropped(one: Hazard) -> Finding:
    """The last sample grows old."""
    return _goes_stale(one, _fault("drop", for_s=60))


@hazard("I4", "the same message again and again", must=_STALE, within=_WITHIN)
def repeated(one: Hazard) -> Finding:
    """What brings nothing new does not make a sample younger."""
    return _goes_stale(one, _fault("repeat", for_s=60))


@hazard("I5", "the IMU's clock jumps by 10 s", must="walks on by the host's clock; counted")
def clock_jump(one: Hazard) -> Finding:
    """Ages are the host's business."""
    del one
    return _walks_on(_fault("clock-jump"), "clock jumps", lambda counts: counts.time_jumps)


@hazard("I6", "half the messages hold a number that is none, for 1 s", must=_WALK_ON)
def not_a_number(one: Hazard) -> Finding:
    """Such a sample is dropped whole."""
    del one
    fault = _fault("nan", probability=0.5)
    return _walks_on(fault, "samples dropped", lambda counts: counts.not_finite)


@hazard("I7", "text stands between the messages, for 1 s", must=_WALK_ON)
def text(one: Hazard) -> Finding:
    """The decoder finds its way back."""
    del one
    return _walks_on(_fault("text"), "lines of text", lambda counts: counts.ascii_lines)
