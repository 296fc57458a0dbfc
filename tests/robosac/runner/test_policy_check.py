"""Policies off the control thread: a good one takes over, a bad one is refused and counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.policy import OnnxPolicy
from robosac.policy.contract import JointContract
from robosac.runner.policy_check import PolicyChecker
from robosac.runner.policy_fade import Fade
from robosac.runner.policy_store import PolicyFile
from robosac.tasks.observation import Term
from robosac.wire.messages import Declined, decode_from_robot
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robosac.policy import Contract
    from tests.robosac.conftest import PolicyMaker

OBS = np.array([1.0, 0.5, 0.25], np.float32)


@pytest.fixture
def checker(contract: Contract) -> Iterator[PolicyChecker]:
    """A running checker."""
    checker = PolicyChecker(contract)
    yield checker
    checker.close()


def written(folder: Path, version: int, file: bytes) -> PolicyFile:
    """A policy on disk."""
    path = folder / f"{version}.onnx"
    path.write_bytes(file)
    return PolicyFile(version=version, path=str(path))


def version_of(checker: PolicyChecker) -> int | None:
    """Version that acts from the next tick on."""
    checker.swap()
    return None if checker.acting is None else checker.acting.version


def test_a_good_policy_takes_over(
    checker: PolicyChecker, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """And acts as its weights say."""
    assert checker.acting is None
    checker.put(written(tmp_path, 1, make_policy(gain=1.0)))
    until(lambda: version_of(checker) == 1)
    checker.put(written(tmp_path, 2, make_policy(gain=2.0)))
    until(lambda: version_of(checker) == 2)
    assert checker.acting is not None
    np.testing.assert_allclose(checker.acting.policy.act(OBS), [3.5])
    assert checker.refused == 0


def bad_policies(contract: Contract, make_policy: PolicyMaker) -> dict[str, tuple[bytes, str]]:
    """Files that may not act, and what is said about them."""
    good = make_policy()
    other = msgspec.structs.replace(contract, env="Other-v0")
    wider = msgspec.structs.replace(
        contract,
        obs=(Term(name="observation", size=4, unit="", clip=None),),
        golden=(msgspec.structs.replace(contract.golden[0], obs=[0.0] * 4),),
    )
    return {
        "not a number": (make_policy(gain=np.nan), "not finite"),
        "infinite": (make_policy(gain=np.inf), "not finite"),
        "another environment": (make_policy(contract=other), "env: policy has 'Other-v0'"),
        "another observation": (make_policy(contract=wider), "obs.observation.size"),
        "cut": (good[: len(good) // 2], "not an ONNX file"),
        "empty": (b"", "not an ONNX file"),
    }


def test_bad_policies_are_refused_and_the_old_one_stays(
    checker: PolicyChecker, contract: Contract, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """Each is counted with its reason; the thread lives on."""
    checker.put(written(tmp_path, 1, make_policy()))
    until(lambda: version_of(checker) == 1)
    for count, (file, reason) in enumerate(bad_policies(contract, make_policy).values(), start=1):
        checker.put(written(tmp_path, 1 + count, file))
        until(lambda count=count: checker.refused == count)  # type: ignore[misc]
        assert reason in checker.reason
        assert checker.reason.startswith(f"version {1 + count}: ")
        assert version_of(checker) == 1
    checker.put(written(tmp_path, 99, make_policy()))
    until(lambda: version_of(checker) == 99)


def test_an_error_nobody_thought_of_is_a_refusal(
    checker: PolicyChecker,
    make_policy: PolicyMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dead thread would mean that no policy ever arrives again, and nobody is told."""
    with monkeypatch.context() as patch:
        patch.setattr(OnnxPolicy, "load", lambda *_, **__: 1 // 0)
        checker.put(written(tmp_path, 1, make_policy()))
        until(lambda: checker.refused == 1)
        assert "division" in checker.reason
    checker.put(written(tmp_path, 2, make_policy()))
    until(lambda: version_of(checker) == 2)


def test_of_many_that_wait_the_newest_is_taken(
    checker: PolicyChecker,
    make_policy: PolicyMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow robot does not work through what it has missed."""
    loaded: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    load = OnnxPolicy.load

    def slowly(path: str, *, here: Contract) -> OnnxPolicy:
        loaded.append(path)
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return load(path, here=here)

    monkeypatch.setattr(OnnxPolicy, "load", slowly)
    files = [written(tmp_path, version, make_policy()) for version in range(1, 21)]
    checker.put(files[0])
    assert begun.wait(PATIENCE_S)
    for file in files[1:]:
        checker.put(file)
    go_on.set()
    until(lambda: version_of(checker) == 20)
    assert loaded == [files[0].path, files[-1].path]


def test_a_file_that_newer_ones_have_pushed_out_is_no_refusal(
    checker: PolicyChecker, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """The uplink keeps a few files; the checker may come too late for one of them."""
    checker.put(PolicyFile(version=1, path=str(tmp_path / "gone.onnx")))
    checker.put(written(tmp_path, 2, make_policy()))
    until(lambda: version_of(checker) == 2)
    assert checker.refused == 0


def test_closing_ends_the_thread(contract: Contract) -> None:
    """Before the process ends: inside onnxruntime it would abort the process."""
    checker = PolicyChecker(contract)
    thread = next(one for one in threading.enumerate() if one.name == "policies")
    checker.close()
    assert not thread.is_alive()
    checker.close()


@pytest.fixture
def jointed(contract: Contract) -> Contract:
    """The contract of something that can be jerked."""
    numbers = dict.fromkeys(JointContract.__struct_fields__[1:], 1.0)
    return msgspec.structs.replace(contract, joints=(JointContract(name="knee", **numbers),))


@pytest.fixture
def walking(jointed: Contract, make_policy: PolicyMaker, tmp_path: Path) -> Iterator[PolicyChecker]:
    """A checker whose policy, of gain 1, has acted on something."""
    checker = PolicyChecker(jointed)
    checker.put(written(tmp_path, 1, make_policy(contract=jointed)))
    until(lambda: version_of(checker) == 1)
    checker.seen.append(OBS)
    yield checker
    checker.close()


def test_a_policy_that_jumps_waits_until_the_robot_stands(
    walking: PolicyChecker, jointed: Contract, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """The same one with its signs changed: refused in motion, told, and let in between episodes."""
    walking.put(written(tmp_path, 2, make_policy(gain=-1.0, contract=jointed)))
    until(lambda: walking.refused == 1)
    assert "actions jump by 1.75" in walking.reason
    assert version_of(walking) == 1
    message, _ = decode_from_robot([walking.declined.popleft()])
    assert message == Declined(version=2, reason=walking.reason)
    walking.begin(in_motion=False)
    assert version_of(walking) == 2
    assert not walking.declined


def acted(checker: PolicyChecker) -> float:
    """What the policy wants of the first joint now; its gain, for a policy of these tests."""
    assert checker.acting is not None
    return float(checker.acting.policy.act(OBS)[0])


def begun_with_a_jump(checker: PolicyChecker, file: PolicyFile) -> float:
    """Begin an episode in motion with a policy that jumps; returns what was wanted before."""
    before = acted(checker)
    checker.put(file)
    until(lambda: checker.refused == 1)
    checker.begin(in_motion=True)
    return before


def test_a_policy_that_jumps_fades_in_where_an_episode_begins_in_motion(
    walking: PolicyChecker, jointed: Contract, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """In even steps of half a second in all; a robot that never falls begins no other way."""
    before = begun_with_a_jump(
        walking, written(tmp_path, 2, make_policy(gain=-1.0, contract=jointed))
    )
    assert version_of(walking) == 2
    ticks = round(0.5 * (jointed.control_hz or 50.0))
    wanted = [before]
    for _ in range(ticks + 2):
        walking.swap()
        wanted.append(acted(walking))
    steps = np.diff(wanted)
    assert wanted[-1] == wanted[-2] == pytest.approx(-before)
    np.testing.assert_allclose(steps[: ticks + 1], -2 * before / (ticks + 1), rtol=1e-4)
    walking.begin(in_motion=True)
    assert acted(walking) == wanted[-1], "what acts already does not begin anew"


def test_a_newer_policy_does_not_cut_a_fade_short(
    walking: PolicyChecker, jointed: Contract, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """It is faded to instead: the newest comes every second, and would be the jump after all."""
    before = begun_with_a_jump(
        walking, written(tmp_path, 2, make_policy(gain=-1.0, contract=jointed))
    )
    first = acted(walking)
    walking.put(written(tmp_path, 3, make_policy(gain=-1.1, contract=jointed)))
    until(lambda: version_of(walking) == 3)
    second = acted(walking)
    assert before > first > second > 0.5 * before
    while not walking.acting.policy.over:  # type: ignore[union-attr]
        acted(walking)
    walking.swap()
    assert acted(walking) == pytest.approx(-1.1 * before)
    assert not isinstance(walking.acting.policy, Fade)  # type: ignore[union-attr]


def test_policies_that_follow_the_one_that_acts_are_not_held_up(
    walking: PolicyChecker, jointed: Contract, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """One that was refused in motion is overtaken by the next good one."""
    walking.put(written(tmp_path, 2, make_policy(gain=-1.0, contract=jointed)))
    until(lambda: walking.refused == 1)
    walking.put(written(tmp_path, 3, make_policy(gain=1.2, contract=jointed)))
    until(lambda: version_of(walking) == 3)
    walking.begin(in_motion=False)
    assert version_of(walking) == 3
    assert walking.refused == 1


def test_a_learner_that_has_moved_on_is_followed_from_the_next_episode_on(
    walking: PolicyChecker, jointed: Contract, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """All its policies jump, as after an absence; the newest takes over when the robot stands."""
    for version in (2, 3, 4):
        gain = 3.0 + 0.01 * version
        walking.put(written(tmp_path, version, make_policy(gain=gain, contract=jointed)))
        until(lambda version=version: walking.refused == version - 1)  # type: ignore[misc]
    assert version_of(walking) == 1
    walking.begin(in_motion=False)
    assert version_of(walking) == 4
    walking.put(written(tmp_path, 5, make_policy(gain=3.05, contract=jointed)))
    until(lambda: version_of(walking) == 5)


def test_what_has_no_joints_is_never_jerked(
    checker: PolicyChecker, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """Policies of other environments may change as they like."""
    checker.put(written(tmp_path, 1, make_policy()))
    until(lambda: version_of(checker) == 1)
    checker.seen.append(OBS)
    checker.put(written(tmp_path, 2, make_policy(gain=-1.0)))
    until(lambda: version_of(checker) == 2)
    assert checker.refused == 0


def test_a_policy_that_is_not_finite_on_what_was_seen_is_refused(
    checker: PolicyChecker, make_policy: PolicyMaker, tmp_path: Path
) -> None:
    """Its weights and golden vectors are, and so is all it does at zero and at the bounds."""
    checker.put(written(tmp_path, 1, make_policy()))
    until(lambda: version_of(checker) == 1)
    checker.seen.append(np.full(3, 3e38, np.float32))
    checker.put(written(tmp_path, 2, make_policy(gain=0.9)))
    until(lambda: checker.refused == 1)
    assert checker.reason == "version 2: action is not finite on a recent observation"
