"""A checkpoint exists whole or not at all, and what is restored is what was saved."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from robosac.errors import CheckpointError
from robosac.learner import checkpoint
from robosac.learner.checkpoint import (
    State,
    complete,
    digest,
    digests,
    freeze,
    restore,
    restore_newest,
)
from robosac.policy import OnnxPolicy
from robosac.replay import Chunk, SegmentLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from robosac.learner.learner import Learner
    from robosac.policy import Contract
    from tests.robosac.learner.conftest import DrawRows, MakeLearner

    FloatArray = NDArray[np.float32]

TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
RUN, OTHER_RUN = "a" * 32, "b" * 32


def chunk(rows: FloatArray, *, first: int = 0, run: str = RUN, robot: str = "go2") -> Chunk:
    """Rows of a robot's run."""
    return Chunk(robot=robot, run=run, first=first, rows=rows)


def learn(learner: Learner, updates: int) -> None:
    """Make updates."""
    for _ in range(updates):
        learner.update()


def bits(learner: Learner) -> str:
    """Digest of everything that is learned."""
    return digest(learner.algorithm.state())


def refusal(path: Path, learner: Learner) -> str:
    """Why a checkpoint is refused; the learner must be untouched."""
    before, state = bits(learner), learner.rng.bit_generator.state
    with pytest.raises(CheckpointError) as caught:
        restore(path, learner)
    assert bits(learner) == before
    assert learner.rng.bit_generator.state == state
    assert (learner.updates, learner.version) == (0, 0)
    reason = str(caught.value)
    assert str(path) in reason
    assert "\n" not in reason
    return reason


def forge(path: Path, tensors: Mapping[str, Tensor] | None = None, **fields: object) -> None:
    """Change a checkpoint as its writer would have: with new digests."""
    document = msgspec.json.decode((path / STATE).read_bytes())
    content = {TENSORS: (path / TENSORS).read_bytes()}
    if tensors is not None:
        content[TENSORS] = save(dict(tensors))
        document["digests"] = digests(tensors)
    document |= fields
    kept = {name: value for name, value in document.items() if value is not msgspec.UNSET}
    content[STATE] = msgspec.json.encode(kept)
    for name, text in content.items():
        (path / name).write_bytes(text)
    (path / SUMS).write_text(checkpoint._sums(content))  # noqa: SLF001 -- a forger would know it


# -- what is restored -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "policy_delay"),
    [(10_000, 1), (10_000, 3), (64, 1)],
    ids=["plain", "policy delayed", "ring wrapped"],
)
def test_learning_goes_on_to_the_bit(
    make_learner: MakeLearner, draw_rows: DrawRows, tmp_path: Path, capacity: int, policy_delay: int
) -> None:
    """Each of the next 20 updates of both, rows that come in between included, gives equal digests.

    Replay is refilled from disk, in whatever chunks the rows lie there.
    """
    settings: dict[str, Any] = {"learner": {"capacity": capacity}}
    settings["sac"] = {"policy_delay": policy_delay}
    rows = draw_rows(150)
    rows[::40, 0] = np.nan
    lived = make_learner(**settings)
    for first in range(0, 100, 10):
        lived.take(chunk(rows[first : first + 10], first=first))
    learn(lived, 7)
    saved = checkpoint.write(tmp_path, freeze(lived))
    again = make_learner(seed=5, **settings)
    for first in range(0, 100, 25):
        again.take(chunk(rows[first : first + 25], first=first))
    restore(saved, again)
    assert bits(again) == bits(lived)
    for first in range(100, 120):
        before = bits(lived)
        for learner in (lived, again):
            learner.take(chunk(rows[first : first + 1], first=first))
            learner.update()
        assert before != bits(lived) == bits(again)
        assert torch.equal(lived.metrics["critic_loss"], again.metrics["critic_loss"])
    assert (again.updates, again.env_steps, again.marks) == (27, 117, {("go2", RUN): 120})
    assert again.not_finite == lived.not_finite == 3


def test_the_first_policy_after_a_restart_is_the_one_that_was_learned(
    lived: Learner, fresh: Learner, saved: Path
) -> None:
    """To the bit, and it is not the policy that a new learner begins with."""
    learn(lived, 20)
    saved = checkpoint.write(saved.parent, freeze(lived))
    obs = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)

    def actions(learner: Learner) -> FloatArray:
        policy = OnnxPolicy(learner.policy_file(learner.snapshot()))
        return np.array([policy.act(one) for one in obs])

    begun_with = actions(fresh)
    restore(saved, fresh)
    assert np.array_equal(actions(fresh), actions(lived))
    assert not np.allclose(actions(fresh), begun_with, atol=1e-3)


def test_sampling_goes_on_where_it_was(lived: Learner, fresh: Learner, saved: Path) -> None:
    """The same rows are drawn next, also after half of a 64-bit word has been used."""
    lived.rng.integers(7, dtype=np.uint32)  # leaves a half word in the generator
    again = checkpoint.write(saved.parent, freeze(lived))
    restore(again, fresh)
    for _ in range(3):
        one = lived.rng.integers(1000, size=5, dtype=np.uint32)
        assert np.array_equal(one, fresh.rng.integers(1000, size=5, dtype=np.uint32))


def test_every_counter_is_as_it_was(
    make_learner: MakeLearner, draw_rows: DrawRows, tmp_path: Path
) -> None:
    """Some are in the checkpoint, some in the rows; rows that came since are paid for."""
    settings: dict[str, Any] = {"learner": {"learning_starts": 20}}
    learner = make_learner(**settings)
    learner.snapshot()
    old = draw_rows(60, truncated=1.0, policy_version=1)
    new = draw_rows(40, truncated=1.0, policy_version=np.arange(40) % 2 + 1, dt=np.nan)
    new[4:] = draw_rows(36, truncated=1.0, policy_version=np.arange(36) % 2 + 1)
    learner.take(chunk(old))
    learner.snapshot()
    learner.take(chunk(new, first=60))
    learn(learner, 50)
    checkpoint.write(tmp_path, freeze(learner))
    again = make_learner(**settings)
    again.take(chunk(old))
    again.take(chunk(new, first=60))
    assert restore_newest(tmp_path, again) is not None
    for name in ("owed", "episodes", "falls", "not_finite", "policies", "published", "lags"):
        assert getattr(again, name) == getattr(learner, name), name
    assert (again.owed, again.policies, again.not_finite) == (26, 2, 4)
    assert again.lags == [*range(60), *(60 + i - 60 * (i % 2) for i in range(36))]
    assert again.updates_here == 0
    more = make_learner(**settings)
    more.take(chunk(old))
    more.take(chunk(new, first=60))
    more.take(chunk(draw_rows(7, terminated=1.0), first=100))
    assert restore_newest(tmp_path, more) is not None
    assert (more.owed, more.episodes, more.falls) == (33, 103, 7)


def test_a_version_never_means_two_policies(lived: Learner, fresh: Learner, saved: Path) -> None:
    """A robot may still act with policies that were published after the last checkpoint."""
    seen = {lived.snapshot().version for _ in range(100)} | set(lived.published)
    restore_newest(saved.parent, fresh)
    assert fresh.snapshot().version > max(seen)


def test_what_was_resumed_is_told_and_proven(lived: Learner, fresh: Learner, saved: Path) -> None:
    """Updates and digests are those of the checkpoint, transitions those of the replay."""
    resumed = restore_newest(saved.parent, fresh)
    assert resumed is not None
    assert (resumed.checkpoint, resumed.updates, resumed.env_steps) == (str(saved), 3, 100)
    assert resumed.digest == bits(lived)
    state = msgspec.json.decode((saved / STATE).read_bytes(), type=State)
    assert resumed.digests == state.digests
    parts = {"actor", "critics", "targets", "adam", "log_alpha", "generator"}
    assert resumed.digests.keys() == parts
    line = str(resumed)
    assert line.startswith("resumed: 100 transitions, 3 updates, digest ")
    assert line.endswith(f" {bits(lived)[:12]} of {saved}")


def test_rows_without_a_checkpoint_are_told_of(fresh: Learner, tmp_path: Path) -> None:
    """Killed before its first checkpoint, a run owes all that replay has paid for, and says so."""
    resumed = restore_newest(tmp_path / "never made", fresh)
    assert resumed is not None
    assert (resumed.checkpoint, resumed.updates, resumed.env_steps) == (None, 0, 100)
    assert str(resumed) == (
        "resumed: 100 transitions, no checkpoint: learning starts again from them"
    )
    assert fresh.owed == 100


def test_a_restart_owes_no_more_than_can_be_caught_up(
    make_learner: MakeLearner, draw_rows: DrawRows, tmp_path: Path
) -> None:
    """A replay full of rows that nobody has learned from starts no burst (trap 25).

    Put back by owing for every row that came since.
    """
    learner = make_learner(learner={"catch_up": 30, "learning_starts": 0})
    learner.ingest(draw_rows(100))
    restore_newest(tmp_path / "never made", learner)
    assert learner.owed == 30


def test_a_new_run_resumes_nothing(make_learner: MakeLearner, tmp_path: Path) -> None:
    """There is nothing to tell; versions begin at 1."""
    learner = make_learner()
    assert restore_newest(tmp_path, learner) is None
    assert learner.snapshot().version == 1


def test_the_newest_is_restored(lived: Learner, fresh: Learner, saved: Path) -> None:
    """By order of writing, not by number of updates."""
    learn(lived, 4)
    checkpoint.write(saved.parent, freeze(lived))
    resumed = restore_newest(saved.parent, fresh)
    assert resumed is not None
    assert resumed.updates == fresh.updates == 7


def test_a_digest_tells_learners_apart() -> None:
    """Name, shape, type and every bit count."""
    ones = {"a": torch.ones(2, 3), "b": torch.zeros(2)}
    others = [
        {"a": torch.ones(2, 3), "c": torch.zeros(2)},
        {"a": torch.ones(3, 2), "b": torch.zeros(2)},
        {"a": torch.ones(2, 3), "b": torch.zeros(2, dtype=torch.int32)},
        {"a": torch.ones(2, 3), "b": torch.tensor([0.0, -0.0])},
    ]
    assert len({digest(one) for one in [ones, *others]}) == 5
    assert digest(ones) == digest({name: ones[name].clone() for name in ("b", "a")})


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [TENSORS, STATE, SUMS])
def test_damage_is_refused(saved: Path, fresh: Learner, name: str) -> None:
    """A missing, an empty, a cut and a flipped file; the advice depends on what else there is."""
    path = saved / name
    content = path.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        assert "delete it to learn again from the rows of the replay" in refusal(saved, fresh)
    path.write_bytes(content[:-1])
    refusal(saved, fresh)
    path.write_bytes(b"")
    refusal(saved, fresh)
    path.unlink()
    refusal(saved, fresh)
    path.write_bytes(content)
    restore(saved, fresh)


def test_deleting_a_damaged_checkpoint_resumes_from_the_one_before(
    lived: Learner, fresh: Learner, saved: Path
) -> None:
    """As the error says; the next checkpoint is then the newest again."""
    before = bits(lived)
    learn(lived, 4)
    newest = checkpoint.write(saved.parent, freeze(lived))
    content = bytearray((newest / TENSORS).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / TENSORS).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        restore_newest(saved.parent, fresh)
    assert str(newest) in str(caught.value)
    assert str(caught.value).endswith(f"delete it to resume from {saved.name}")
    shutil.rmtree(newest)
    resumed = restore_newest(saved.parent, fresh)
    assert resumed is not None
    assert (resumed.checkpoint, resumed.digest, bits(fresh)) == (str(saved), before, before)
    learn(fresh, 1)
    again = checkpoint.write(saved.parent, freeze(fresh))
    assert complete(saved.parent) == [saved, again]


def test_another_recipe_is_refused(saved: Path, make_learner: MakeLearner) -> None:
    """The error says which part differs."""
    reason = refusal(saved, make_learner(learner={"utd": 2.0}))
    assert "another recipe (learner differ)" in reason
    assert "another recipe (sac differ)" in refusal(saved, make_learner(sac={"gamma": 0.9}))


def test_numbers_that_an_earlier_version_did_not_have(
    saved: Path, fresh: Learner, make_learner: MakeLearner
) -> None:
    """A checkpoint without them is of a run with their defaults; unknown ones are refused."""
    state = msgspec.json.decode((saved / STATE).read_bytes())
    recipe, contract = state["recipe"], state["contract"]
    del recipe["td3"], recipe["sac"]["dropout"], contract["exploration_theta"]
    forge(saved, recipe=recipe, contract=contract)
    assert restore(saved, fresh).updates == 3
    recipe["sac"]["invented"] = 1
    forge(saved, recipe=recipe)
    assert "another recipe (sac differ)" in refusal(saved, make_learner())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", "other"),
        ("action_upper", (1.0, 2.0)),
        ("task_config", {"weight": 2.0}),
        ("extra", 3),
    ],
)
def test_another_robot_or_task_is_refused(
    saved: Path, make_learner: MakeLearner, toy: Contract, field: str, value: object
) -> None:
    """Reward weights count too: the critics have learned them."""
    other = msgspec.structs.replace(toy, **{field: value})
    reason = refusal(saved, make_learner(contract=other))
    assert f"another robot or task ({field} differ)" in reason


def test_the_seed_and_the_examples_may_differ(
    lived: Learner, saved: Path, make_learner: MakeLearner, draw_rows: DrawRows, toy: Contract
) -> None:
    """A checkpoint replaces what the seed made; golden vectors may differ in their last bit."""
    other = msgspec.structs.replace(toy, golden=toy.golden[:1])
    learner = make_learner(seed=9, contract=other)
    learner.take(chunk(draw_rows(100)))
    restore(saved, learner)
    assert bits(learner) == bits(lived)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": 1}, "has schema 1, this robosac reads 2"),
        ({"updates": "many"}, "Expected `int`"),
        ({"updates": -1}, "Expected `int` >= 0"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"sampling": {}}, "does not fit this learner"),
        ({"sampling": {"bit_generator": "MT19937"}}, "does not fit this learner"),
        ({"digests": {}}, "the tensors are not those that state.json tells of"),
        ({"marks": {"go2": 1}}, "replay has 0 rows of robot go2"),
    ],
)
def test_a_state_of_another_kind_is_refused(
    saved: Path, fresh: Learner, fields: dict[str, Any], reason: str
) -> None:
    """Even with digests that agree."""
    forge(saved, **fields)
    assert reason in refusal(saved, fresh)


@pytest.mark.parametrize("name", State.__struct_fields__)
def test_a_missing_field_is_refused(saved: Path, fresh: Learner, name: str) -> None:
    """No field has a value that could be taken for granted."""
    forge(saved, None, **{name: msgspec.UNSET})
    assert f"missing required field `{name}`" in refusal(saved, fresh)


def test_a_generator_of_too_many_bits_is_refused(saved: Path, fresh: Learner) -> None:
    """As numpy refuses it."""
    sampling = msgspec.json.decode((saved / STATE).read_bytes())["sampling"]
    sampling["state"]["state"] = hex(2**200)
    forge(saved, sampling=sampling)
    assert "does not fit this learner" in refusal(saved, fresh)


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    """Take a tensor out."""
    return lambda tensors: tensors.pop(name)


def having(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], object]:
    """Put a tensor in."""
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("actor.head.bias"), "no tensor actor.head.bias"),
        (without("generator"), "no tensor generator"),
        (without("adam.alpha.steps"), "no tensor adam.alpha.steps"),
        (having("surprise", torch.ones(1)), "unknown tensor surprise"),
        (having("actor.head.bias", torch.zeros(5)), "actor.head.bias is (5,)"),
        (having("log_alpha", torch.zeros(1)), "log_alpha is (1,) torch.float32, expected ()"),
        (
            having("actor.head.bias", torch.zeros(4, dtype=torch.float64)),
            "actor.head.bias is (4,) torch.float64, expected (4,) torch.float32",
        ),
        (having("generator", torch.zeros(5056, dtype=torch.uint8)), "does not fit this learner"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_whole(
    saved: Path,
    fresh: Learner,
    change: Callable[[dict[str, Tensor]], object],
    reason: str,
) -> None:
    """One that is missing, one too many, one of another shape or type: nothing is loaded."""
    tensors = load((saved / TENSORS).read_bytes())
    change(tensors)
    forge(saved, tensors)
    assert reason in refusal(saved, fresh)


def test_tensors_of_another_checkpoint_are_refused(
    lived: Learner, saved: Path, fresh: Learner
) -> None:
    """They would fit; the state tells of others."""
    learn(lived, 1)
    other = load(checkpoint.write(saved.parent, freeze(lived)).joinpath(TENSORS).read_bytes())
    state = msgspec.json.decode((saved / STATE).read_bytes())
    forge(saved, other, digests=state["digests"])
    assert "the tensors are not those that state.json tells of" in refusal(saved, fresh)


def test_a_file_that_holds_no_tensors_is_refused(saved: Path, fresh: Learner) -> None:
    """Its digest may agree."""
    (saved / TENSORS).write_bytes(b"no tensors")
    forge(saved)
    assert "does not fit this learner" in refusal(saved, fresh)


def test_missing_rows_are_an_error(
    make_learner: MakeLearner, draw_rows: DrawRows, saved: Path
) -> None:
    """A checkpoint that has seen 100 rows of a run does not go on with 99, whatever else is there.

    Nor with a hundred of which the learner cannot take one.
    """
    learner = make_learner()
    learner.take(chunk(draw_rows(99)))
    learner.take(chunk(draw_rows(500), robot="go3"))
    reason = refusal(saved, learner)
    assert f"replay has 99 rows of robot go2, run {RUN}, expected at least 100" in reason
    assert reason.endswith("put back this run's own replay folder, or start a new run")
    rows = draw_rows(100)
    rows[5] = np.nan
    spoiled = make_learner()
    spoiled.take(chunk(rows))
    assert "replay has 99 transitions, expected at least 100" in refusal(saved, spoiled)


def test_the_replay_of_another_run_is_an_error(
    make_learner: MakeLearner, draw_rows: DrawRows, saved: Path, tmp_path: Path
) -> None:
    """Though it has more rows, of a robot of the same name; the learner is as it was."""
    learner = make_learner()
    with SegmentLog(tmp_path / "replay", learner.layout) as log:
        log.append(chunk(draw_rows(1000), run=OTHER_RUN))
        for one in log.rows():
            learner.take(one)
    assert f"replay has 0 rows of robot go2, run {RUN}, expected at" in refusal(saved, learner)
    with pytest.raises(CheckpointError, match="replay has 0 rows"):
        restore_newest(saved.parent, learner)


def test_every_robot_counts(
    lived: Learner, draw_rows: DrawRows, fresh: Learner, tmp_path: Path
) -> None:
    """Rows of one robot do not make up for those of another; the error names one and counts all."""
    lived.take(chunk(draw_rows(10), robot="a1", run=OTHER_RUN))
    lived.take(chunk(draw_rows(10), robot="b1", run=OTHER_RUN))
    saved = checkpoint.write(tmp_path, freeze(lived))
    fresh.take(chunk(draw_rows(50), first=100))
    reason = refusal(saved, fresh)
    assert f"0 rows of robot a1, run {OTHER_RUN}, expected at least 10, and of 1 more" in reason
    fresh.take(chunk(draw_rows(10), robot="a1", run=OTHER_RUN))
    fresh.take(chunk(draw_rows(11), robot="b1", run=OTHER_RUN))
    restore(saved, fresh)


def test_a_diverged_learner_is_not_saved(lived: Learner, saved: Path) -> None:
    """The last good checkpoint stays the newest."""
    with torch.no_grad():
        next(iter(lived.algorithm.modules["critics"].parameters()))[0, 0] = torch.inf
    with pytest.raises(CheckpointError, match=r"critics\.0\.0\.weight is not finite after 3"):
        checkpoint.write(saved.parent, freeze(lived))
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_what_is_frozen_does_not_change(lived: Learner, draw_rows: DrawRows, saved: Path) -> None:
    """It is written by another thread, while the learner goes on."""
    before, frozen = bits(lived), freeze(lived)
    lived.take(chunk(draw_rows(9), first=100))
    lived.snapshot()
    learn(lived, 2)
    path = checkpoint.write(saved.parent, frozen)
    for name in (TENSORS, STATE):
        assert (path / name).read_bytes() == (saved / name).read_bytes()
    assert digest(load((path / TENSORS).read_bytes())) == before
