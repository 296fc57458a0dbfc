"""`robosac doctor --learner`: what is wrong with the way to a learner, one line a finding."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import zmq

from robosac import __version__
from robosac.cli.console import say
from robosac.errors import ContractMismatchError, PolicyError, WireError
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.finding import Finding, show
from robosac.policy.contract import check, decode
from robosac.wire.probe import Visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.policy import Contract
    from robosac.wire.address import Address
    from robosac.wire.keys import RobotKeys
    from robosac.wire.messages import Status
    from robosac.wire.probe import Answer

_PROBES = 50
_FRAME_SIZES = (64 * 2**10, 2**20)
_SECONDS_EACH = 0.5
_CLOCKS_AGREE_S = 1.0


def examine(address: Address, keys: RobotKeys | None, here: Contract | None) -> int:
    """Print what is found about a learner; exit code 2 when a robot could not work with it.

    `here` is the contract of the robot that is to work with it, when it is known.
    """
    return EXIT_USER if show(findings(address, keys, here), say) else EXIT_DONE


def findings(address: Address, keys: RobotKeys | None, here: Contract | None) -> Iterator[Finding]:
    """Everything about the way to a learner, up to what ends it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with Visit(context, address, keys) as visit:
            answer = visit.ask()
            locked = f"encrypted, let in by the key of {keys.name}" if keys else "without keys"
            yield Finding("ok", "connection", f"a learner listens at {address}, {locked}")
            yield from _learner(answer.status)
            yield from _contract(answer.status, here)
            yield from _quality(visit)
    except WireError as error:
        yield Finding("error", "connection", str(error))
    finally:
        context.term()


def _learner(status: Status) -> Iterator[Finding]:
    """How far the learner is, and who works with it."""
    if status.robosac == __version__:
        yield Finding("ok", "version", f"robosac {__version__} at both ends")
    else:
        yield Finding("warning", "version", f"robosac {status.robosac} there, {__version__} here")
    policy = f"policy {status.policy}" if status.policy else "no policy yet"
    robots = ", ".join(status.robots) or "none"
    yield Finding(
        "ok", "learner", f"{status.rows} rows on disk, {policy}, robots connected: {robots}"
    )


def _contract(status: Status, here: Contract | None) -> Iterator[Finding]:
    """Whether the robot at hand does what the learner's run is about."""
    if not status.contract:
        yield Finding("ok", "contract", "none yet; the first robot that calls decides")
        return
    try:
        run = decode(status.contract)
        what = run.env or f"{run.robot} with task {run.task}"
        if here is None:
            yield Finding(
                "ok", "contract", f"the run is about {what}; compare with --robot or --env"
            )
            return
        check(run, here)
    except ContractMismatchError as error:
        for difference in error.differences:
            yield Finding("error", "contract", difference.replace("policy", "the learner's run", 1))
    except PolicyError as error:
        yield Finding("error", "contract", str(error))
    else:
        if run.row_layout == here.row_layout:
            yield Finding("ok", "contract", f"the run is about {what}, as here")
        else:
            got, expected = here.row_layout, run.row_layout
            yield Finding(
                "error", "contract", f"rows here are {got}; the learner's run has {expected}"
            )


def _quality(visit: Visit) -> Iterator[Finding]:
    """Clock, round trip and throughput; raises WireError."""
    answers = [visit.ask() for _ in range(_PROBES)]
    quickest = min(answers, key=_round_trip)
    agree = abs(quickest.ahead_s) < _CLOCKS_AGREE_S
    advice = "" if agree else "; logs cannot be compared, set the clocks by NTP"
    yield Finding(
        "ok" if agree else "warning",
        "clock",
        f"the learner's is {quickest.ahead_s:+.3f} s from this one{advice}",
    )
    trips_ms = [1000 * _round_trip(answer) for answer in answers]
    p99_ms = statistics.quantiles(trips_ms, n=100, method="inclusive")[-1]
    found = f"median {statistics.median(trips_ms):.2f} ms, p99 {p99_ms:.2f} ms of {len(trips_ms)}"
    yield Finding("ok", "round trip", found)
    for size in _FRAME_SIZES:
        rate = visit.throughput(size, seconds=_SECONDS_EACH)
        yield Finding("ok", "throughput", f"{rate / 1e6:.1f} MB/s in frames of {size // 2**10} KiB")


def _round_trip(answer: Answer) -> float:
    return answer.round_trip_s
