"""Hazards of the policy, P1 to P9, in virtual time."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from robosac.errors import RobosacError
from robosac.policy import OnnxPolicy
from robosac.runner.link import Acting
from robosac.runner.policy_check import PolicyChecker
from robosac.runner.policy_store import PolicyFile
from robots import State
from tools.hazards.loop import BenchLink, run_loop
from tools.hazards.policies import ScriptedPolicy, contract_of, holding_policy
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.trial import Trial, VirtualTrial, trot
from tools.hazards.verdict import always, bursts, judge_going_on, judge_stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robosac.policy import Contract

    FloatArray = NDArray[np.float32]

_REFUSED = "one is refused and held, two in a row sit down"
_ONCE, _AGAIN = 60, 90
_SLOW_S, _STALL_S = 0.06, 0.03
_PATIENCE_S = 10.0


def _gives(one: Hazard, value: float) -> Finding:
    """Let the policy give a number that is none, once, and later for good."""
    with VirtualTrial() as trial:

        def script() -> FloatArray:
            tick = trial.ticks + 1
            action = trot(tick)
            if tick == _AGAIN:
                trial.strike_now()
            if tick == _ONCE or tick >= _AGAIN:
                action[4] = value
            return action

        acting = Acting(ScriptedPolicy(script), 1)  # type: ignore[arg-type]  # acts like one
        link = BenchLink(lambda: acting)
        run_loop(trial, link, contract_of(trial.env), until=lambda: trial.ticks > 2 * _AGAIN)
        problems = _held_once(trial, before=_AGAIN)
        finding = judge_stop(trial, one, causes=["command_not_finite"], how="sit", latched=False)
        return replace(finding, problems=(*problems, *finding.problems))


def _held_once(trial: Trial, *, before: int) -> list[str]:
    """Whether the robot has held for the first fault, and gone on."""
    states = [state for tick, _, state in trial.states if _ONCE <= tick < before]
    if states == [State.HOLD, State.ACTIVE]:
        return []
    return [f"after one: {[state.value for state in states]}; expected hold, active"]


@hazard("P1", "the policy gives NaN", must=_REFUSED, within=2)
def not_a_number(one: Hazard) -> Finding:
    """In one joint: the others' targets are not taken either."""
    return _gives(one, np.nan)


@hazard("P2", "the policy gives infinity", must=_REFUSED, within=2)
def infinite(one: Hazard) -> Finding:
    """Refused, not clamped."""
    return _gives(one, np.inf)


@hazard("P3", "the policy gives a number too many", must=_REFUSED, within=2)
def misshapen(one: Hazard) -> Finding:
    """No joint gets its neighbour's target."""
    with VirtualTrial() as trial:
        trial.gait = lambda tick: np.append(trot(tick), np.zeros(int(tick == _ONCE), np.float32))
        trial.stand_up()
        trial.walk(_AGAIN)
        problems = _held_once(trial, before=_AGAIN)
        trial.strike_now()
        trial.gait = lambda tick: np.append(trot(tick), np.float32(0))
        finding = judge_stop(trial, one, causes=["command_shape"], how="sit", latched=False)
        return replace(finding, problems=(*problems, *finding.problems))


@hazard("P4", "the policy gives the same for ever", must="sits down", within=40)
def frozen(one: Hazard) -> Finding:
    """Somebody who no longer reacts must not drive a robot that moves."""
    with VirtualTrial() as trial:
        trial.gait = partial(trot, amplitude=0.5)
        trial.walk_until_struck()
        last = trial.gait(trial.ticks)
        trial.gait = lambda _: last.copy()
        return judge_stop(trial, one, causes=["frozen_command"], how="sit", latched=False)


@hazard("P5", "the policy asks for a hundred times too much", must="clamped, counted; walks on")
def out_of_range(one: Hazard) -> Finding:
    """Beyond the action box there is nothing, and the way to its edge has a speed."""
    del one
    with VirtualTrial() as trial:
        trial.walk_until_struck()
        trial.gait = lambda tick: trot(tick) + np.float32(100) * (np.arange(12) % 3 == 0)
        return judge_going_on(
            trial, counted=lambda: trial.robot.interventions["slew_limit"], what="slew limits"
        )


@hazard("P6", "inference takes three periods", must="one is held, many sit down", within=20)
def slow(one: Hazard) -> Finding:
    """What is skipped is not made up for."""
    with VirtualTrial() as trial:
        trial.walk_until_struck()
        trial.stall(_STALL_S)
        trial.walk(_AGAIN)
        problems = [] if trial.robot.state is State.ACTIVE else [f"one stall: {trial.path()}"]
        trial.strike_now()

        def think(tick: int) -> FloatArray:
            trial.line.sleep(_SLOW_S)
            return trot(tick)

        trial.gait = think
        causes = ["overrun", "stale_state"]
        finding = judge_stop(trial, one, causes=causes, how="sit", latched=False)
        problems += bursts(trial)
        return replace(finding, problems=(*problems, *finding.problems))


@contextmanager
def _checker(contract: Contract) -> Iterator[PolicyChecker]:
    checker = PolicyChecker(contract)
    try:
        yield checker
    finally:
        checker.close()


def _check(checker: PolicyChecker, file: Path, *, version: int) -> None:
    """Offer a file and wait for what comes of it, as between two episodes."""
    acting, refused = checker.acting, checker.refused
    checker.put(PolicyFile(version=version, path=str(file)))
    deadline = time.monotonic() + _PATIENCE_S
    while (checker.acting, checker.refused) == (acting, refused):
        if time.monotonic() > deadline:
            raise TimeoutError(f"policy {version} was not checked within {_PATIENCE_S:g} s")
        time.sleep(0.001)
        checker.begin(in_motion=False)


@hazard("P7", "the policy file is missing", must="refused by name; the old policy stays")
def missing(one: Hazard) -> Finding:
    """A robot without a policy does not move."""
    del one
    with tempfile.TemporaryDirectory() as folder, VirtualTrial() as trial:
        return _refused_files(trial, {"no such file": Path(folder) / "none.onnx"})


@hazard("P8", "the policy file is corrupt, for another robot, or altered", must="refused by field")
def corrupt(one: Hazard) -> Finding:
    """Every one for its own reason."""
    del one
    with tempfile.TemporaryDirectory() as folder, VirtualTrial() as trial:
        contract = contract_of(trial.env)
        good = holding_policy(contract)
        files = {
            "ONNX": good[: len(good) // 2],
            "robot": holding_policy(msgspec.structs.replace(contract, robot="go2")),
            "graph": good.replace(b"constant", b"konstant", 1),
        }
        paths = {}
        for number, (word, file) in enumerate(files.items()):
            paths[word] = Path(folder) / f"{number}.onnx"
            paths[word].write_bytes(file)
        return _refused_files(trial, paths)


def _refused_files(trial: Trial, files: dict[str, Path]) -> Finding:
    """Whether each is refused with its word, alone and while another policy acts."""
    contract = contract_of(trial.env)
    problems, said = [], []
    with _checker(contract) as checker:
        acting = checker.acting = Acting(OnnxPolicy(holding_policy(contract), here=contract), 1)
        for word, path in files.items():
            try:
                OnnxPolicy.load(path, here=contract)
            except RobosacError as error:
                said.append(str(error))
            else:
                problems.append(f"{word}: loaded; expected a refusal")
                continue
            if word.lower() not in said[-1].lower():
                problems.append(f"{word!r} is not in {said[-1]!r}")
            if path.exists():
                _check(checker, path, version=2)
        if checker.acting is not acting:
            problems.append("the old policy does not act any more")
    reasons = "; ".join(text.replace(str(next(iter(files.values())).parent), "") for text in said)
    return Finding("refused; the old one acts", reasons, None, tuple(problems))


@hazard("P9", "the policy is swapped while walking", must="between ticks; version in the next row")
def swapped(one: Hazard) -> Finding:
    """No row has an action of one policy and the version of another."""
    del one
    with tempfile.TemporaryDirectory() as folder, VirtualTrial() as trial:
        contract = contract_of(trial.env)
        wanted = {version: 0.01 * version for version in (1, 2, 3)}
        policies = {}
        for version, action in wanted.items():
            path = Path(folder) / f"{version}.onnx"
            path.write_bytes(holding_policy(contract, action=action))
            policies[version] = path
        with _checker(contract) as checker:
            _check(checker, policies[1], version=1)

            def choose() -> Acting:
                for version, tick in ((2, _ONCE), (3, _AGAIN)):
                    if trial.ticks == tick and checker.acting is not None:
                        _check(checker, policies[version], version=version)
                assert checker.acting is not None
                return checker.acting

            link = BenchLink(choose)
            run_loop(trial, link, contract, until=lambda: trial.ticks >= 2 * _ONCE)
        problems = [*always(trial), *_mixed(contract, link, wanted)]
        if trial.stopped() is not None:
            problems.append(trial.path())
        return Finding("walks on", f"{len(link.rows)} rows of 3 versions", None, tuple(problems))


def _mixed(contract: Contract, link: BenchLink, wanted: dict[int, float]) -> list[str]:
    """Rows whose action is not that of the version they tell."""
    layout = contract.row_layout
    rows = np.stack(link.rows)
    versions = rows[:, layout.slice("policy_version")].ravel()
    actions = rows[:, layout.slice("action")]
    expected = np.array([wanted.get(int(version), np.nan) for version in versions])
    wrong = int((~np.isclose(actions, expected[:, None], atol=1e-6)).any(axis=1).sum())
    problems = [f"{wrong} rows with the action of another version"] if wrong else []
    if sorted(set(versions.astype(int))) != sorted(wanted) or (np.diff(versions) < 0).any():
        problems.append(f"versions {sorted(set(versions))}; expected {sorted(wanted)} in order")
    return problems
