"""Learning curves: runs that can be cut off, what is kept of them, and what is made of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from robosac.algorithms.algorithm import Sizes
from robosac.algorithms.config import SACConfig
from robosac.algorithms.sac import SAC
from robosac.errors import ConfigError, PolicyError
from tools import curves, provenance
from tools.learner_speed.products import flop_per_update
from tools.learner_speed.shape import Shape
from tools.learning_curves import overestimation, reference, stopwatch, variants
from tools.learning_curves.arithmetic import flop_per_step
from tools.learning_curves.drawing import ticks
from tools.learning_curves.plot import plot
from tools.learning_curves.results import Results
from tools.learning_curves.runs import Row, Run
from tools.learning_curves.table import tables
from tools.learning_curves.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.learner.learner import Learner
    from robosac.policy import OnnxPolicy

TOOL = Path(curves.__file__)
RUN = Run(system="robosac", recipe="sac", env="Hopper-v5", seed=0)
SMALL = "sac+sac.hidden=[8, 8]+learner.batch_size=8+learner.learning_starts=100"


def row(run: Run, step: int, mean: float, **others: Any) -> Row:  # noqa: ANN401 -- any column
    """An evaluation; times and updates follow from the steps."""
    numbers = {"updates": step, "return_std": 0.0, "speed_mps": None, "wall_s": step / 100}
    numbers |= {"cpu_s": step / 200, "return_mean": mean, "step": step}
    return msgspec.convert(msgspec.structs.asdict(run) | numbers | others, Row)


def like(**others: object) -> Run:
    """A run that differs from RUN in this."""
    return msgspec.structs.replace(RUN, **others)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leave torch's threads as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run_command(results: Path, *, system: str, recipe: str, steps: int) -> list[str]:
    """Arguments of one small run."""
    names = ["--systems", system, "--recipes", recipe, "--envs", "Pendulum-v1", "--seeds", "3"]
    numbers = ["--steps", str(steps), "--every", "100", "--episodes", "1", "--threads", "1"]
    return ["run", *names, *numbers, "--results", str(results)]


def test_a_run_is_kept_with_where_it_comes_from_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a run of robosac, its note, and a second call that finds nothing to do."""
    results = Results(tmp_path / "curves.csv")
    command = run_command(results.path, system="robosac", recipe=SMALL, steps=200)
    assert curves.main(command) == 0
    first, second = results.rows()
    assert (first.step, second.step) == (100, 200)
    assert (first.updates, second.updates) == (0, 100)
    assert 0 < first.wall_s < second.wall_s
    assert second.run == Run(system="robosac", recipe=SMALL, env="Pendulum-v1", seed=3)
    assert second.q is not None
    assert second.q_true is not None
    assert -2000 < second.return_mean < 0
    note = results.notes()[second.run.name]
    assert note["threads"] == 1
    assert "--seeds 3" in note["command"]
    assert note["versions"]["torch"] == torch.__version__
    assert note["recipe"]["learner"]["learning_starts"] == 100
    monkeypatch.setattr(curves, "make", None)
    assert curves.main(command) == 0


def test_a_killed_run_leaves_nothing_and_two_processes_do_not_make_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process is at a run, another one passes it by; killed, it has never been."""
    results = Results(tmp_path / "curves.csv")
    command = run_command(results.path, system="sb3", recipe="sac", steps=1_000_000)
    with subprocess.Popen(
        [sys.executable, str(TOOL), *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "100 steps" in process.stdout.readline()
        with monkeypatch.context() as patch:
            patch.setattr(curves, "make", None)
            assert curves.main(command) == 0
        os.kill(process.pid, signal.SIGKILL)
    assert "another process is at it" in capfd.readouterr().out
    assert results.rows() == []
    assert curves.main(run_command(results.path, system="sb3", recipe="sac", steps=150)) == 0
    assert [one.step for one in results.rows()] == [100, 150]


def test_a_commit_is_that_of_the_code_whatever_results_have_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New rows change nothing that a run was made with; a changed line of code does."""
    for where in ("tools/results", "robosac"):
        (tmp_path / where).mkdir(parents=True)
    tool, rows, code = (
        tmp_path / "tools/curves.py",
        tmp_path / "tools/results/a.csv",
        tmp_path / "robosac/a.py",
    )
    monkeypatch.setattr(provenance, "__file__", str(tool))
    assert provenance.commit() is None
    for file in (tool, rows, code):
        file.write_text("as it was\n")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm a"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    name = provenance.commit()
    assert name
    rows.write_text("a row more\n")
    assert provenance.commit() == name
    code.write_text("a line more\n")
    assert provenance.commit() == f"{name}-dirty"


def test_a_run_may_be_over_when_it_is_fast_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first evaluation that is as fast; it is not made again for that speed."""
    results = Results(tmp_path / "curves.csv")
    monkeypatch.setattr(Watch, "_play", walking(speeds=[0.2, 0.6, 0.9]))
    for system, recipe in (("robosac", SMALL), ("sb3", "sac")):
        command = run_command(results.path, system=system, recipe=recipe, steps=300)
        assert curves.main([*command, "--until", "0.5"]) == 0
        run = Run(system=system, recipe=recipe, env="Pendulum-v1", seed=3)
        rows = [one for one in results.rows() if one.run == run]
        assert [(one.step, one.speed_mps) for one in rows] == [(100, 0.2), (200, 0.6)]
        assert results.has(run, steps=300, speed_mps=0.5)
        assert not results.has(run, steps=300, speed_mps=0.7)
        assert not results.has(run, steps=300)


def test_a_run_is_over_after_so_many_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is evaluated there and then, counts as made, and with more time is made anew."""
    results = Results(tmp_path / "curves.csv")
    for system, recipe in (("robosac", SMALL), ("sb3", "sac")):
        command = run_command(results.path, system=system, recipe=recipe, steps=300)
        run = Run(system=system, recipe=recipe, env="Pendulum-v1", seed=3)
        assert curves.main([*command, "--minutes", "1e-6"]) == 0
        assert [row.step for row in results.rows() if row.run == run] == [1]
        assert curves.main([*command, "--minutes", "1e-6"]) == 0
        assert capsys.readouterr().out.endswith("is in the table\n")
        assert curves.main([*command, "--minutes", "60"]) == 0
        assert [row.step for row in results.rows() if row.run == run] == [100, 200, 300]


def walking(speeds: list[float]) -> Any:  # noqa: ANN401 -- stands in for a method
    """An evaluation in which nothing is played: every run is as fast as is said, in turn."""

    def play(watch: Watch, *_: object) -> SimpleNamespace:
        return SimpleNamespace(return_=0.0, speed_mps=speeds[len(watch.rows)])

    return play


def test_a_budget_that_is_spent_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of no time leaves everything for another day."""
    monkeypatch.setattr(curves, "make", None)
    command = run_command(tmp_path / "curves.csv", system="sb3", recipe="sac", steps=100)
    assert curves.main([*command, "--budget", "-1"]) == 0
    assert capsys.readouterr().out == "the budget is spent\n"


def test_a_longer_run_takes_the_place_of_a_shorter_one(tmp_path: Path) -> None:
    """Results of a run come from one run; others stay as they are, to the digits that are kept."""
    results = Results(tmp_path / "curves.csv")
    other = row(like(seed=1, recipe="sac+a,b"), 10, 1.5, q=2.0, q_true=None)
    results.add(other.run, [other], {"threads": 1})
    results.add(RUN, [row(RUN, 10, 1.0)], {"threads": 1})
    results.add(RUN, [row(RUN, 10, 2.0), row(RUN, 20, 1234.56789)], {"threads": 2})
    assert results.rows() == [other, row(RUN, 10, 2.0), row(RUN, 20, 1234.57)]
    assert {name: note["threads"] for name, note in results.notes().items()} == {
        RUN.name: 2,
        other.run.name: 1,
    }
    assert results.has(RUN, steps=20)
    assert not results.has(RUN, steps=21)
    assert not results.has(like(system="sb3"), steps=1)


def test_a_recipe_is_changed_by_name() -> None:
    """What follows a plus is a change; text needs no quotes."""
    recipe = variants.find("sac+sac.backup=single+learner.utd=2+sac.hidden=[8, 8]")
    assert recipe.sac is not None
    assert (recipe.sac.backup, recipe.learner.utd, recipe.sac.hidden) == ("single", 2.0, (8, 8))
    assert variants.find("sac") != recipe


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sac+sac.bakup=single", "there is no sac.bakup"),
        ("sac+backup=single", "there is no backup"),
        ("sac+td3.tau=0.1", "there is no td3.tau"),
        ("sac+sac.backup=none", "backup"),
        ("sac+sac.gamma=2", "sac.gamma is 2"),
    ],
)
def test_a_change_that_cannot_be_is_refused(name: str, words: str) -> None:
    """Unknown keys and values that do not fit."""
    with pytest.raises(ConfigError, match=re.escape(words)):
        variants.find(name)


def test_stable_baselines3_makes_its_own_recipes_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it does not have is left to robosac; when nothing is left to do, that is said."""
    command = run_command(tmp_path / "curves.csv", system="sb3", recipe="droq", steps=100)
    assert curves.main(command) == 2
    assert "no recipe droq; expected sac, td3 or ddpg" in capsys.readouterr().err
    both = curves.parse(["run", "--recipes", "sac", "droq", "--envs", "A-v0", "--seeds", "0"])
    made = [(run.recipe, run.system) for run in curves.wanted(both)]
    assert made == [("sac", "robosac"), ("sac", "sb3"), ("droq", "robosac")]


def test_a_run_that_fails_does_not_keep_the_others_from_being_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning that diverges is told; the exit code remembers it."""

    def make(run: Run, options: object) -> list[Row]:
        del options
        if run.seed == 3:
            raise PolicyError("weights are not finite")
        return [row(run, 100, 1.0)]

    monkeypatch.setattr(curves, "make", make)
    results = Results(tmp_path / "curves.csv")
    command = run_command(results.path, system="robosac", recipe="sac", steps=100)
    assert curves.main([*command, "--seeds", "3", "4"]) == 1
    assert "3: FAILED: weights are not finite" in capsys.readouterr().out
    assert [one.seed for one in results.rows()] == [4]


def test_time_spent_beside_the_training_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks go on from where they stood."""
    now = {"wall": 10.0, "cpu": 1.0}
    clock = SimpleNamespace(monotonic=lambda: now["wall"], process_time=lambda: now["cpu"])
    monkeypatch.setattr(stopwatch, "time", clock)
    watch = stopwatch.Stopwatch()
    now |= {"wall": 15.0, "cpu": 3.0}
    with watch.stopped():
        now |= {"wall": 100.0, "cpu": 90.0}
    now |= {"wall": 101.0, "cpu": 90.5}
    assert (watch.wall_s, watch.cpu_s) == (6.0, 2.5)


def test_what_follows_an_action_is_discounted_with_the_bonus_of_the_next_ones() -> None:
    """By hand: 3; 2 + (3 + 0.25)/2; 1 + (3.625 + 0.5)/2."""
    rewards, bonus = np.array([[1, 2, 3], [9, 0.5, 0.25]], np.float32)
    assert overestimation.returns(rewards, bonus, gamma=0.5).tolist() == [3.0625, 3.625, 3.0]


class Eternal(gymnasium.Env["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]):
    """Pays 1 a step for ever; a time limit of one step says that it is over."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Begin."""
        del seed, options
        return np.zeros(2, np.float32), {}

    def step(
        self, action: np.ndarray[Any, Any]
    ) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        """Go on."""
        del action
        return np.zeros(2, np.float32), 1.0, False, True, {}


@pytest.mark.parametrize(("env", "known"), [("Eternal-v0", True), ("dm_control/a-b", False)])
def test_critics_are_compared_with_what_follows_beyond_a_time_limit(
    env: str, *, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Critics that say 130 of a state that is worth 1/(1-γ) = 100 are 30 too high."""
    config = SACConfig(hidden=(4,), initial_alpha=1e-9)
    algorithm = SAC(config, Sizes(2, 0, 1), seed=0)
    with torch.no_grad():
        for head in algorithm.critics.heads():
            head.weight.zero_()
            head.bias.fill_(130.0)
    contract = SimpleNamespace(env=env, action_size=1)
    learner = SimpleNamespace(algorithm=algorithm, contract=contract, normaliser=None)
    policy = SimpleNamespace(act=lambda obs, noise: noise, contract=contract)
    monkeypatch.setattr(overestimation, "EPISODES", 1)
    found = overestimation.estimate(
        cast("Learner", learner), cast("OnnxPolicy", policy), Eternal(), seed=0
    )
    assert (found is not None) == known
    if found is not None:
        assert found.q == pytest.approx(130)
        assert found.q_true == pytest.approx(100, rel=overestimation.NEGLIGIBLE)


def stored() -> list[Row]:
    """Three seeds of ours and two of theirs; one of ours went further."""
    ours = [like(seed=seed) for seed in range(3)]
    theirs = [like(seed=seed, system="sb3") for seed in range(2)]
    rows = [row(ours[0], 99_000, 0.0), row(ours[0], 100_000, 1000.0, q=12.0, q_true=10.0)]
    rows += [row(run, 100_000, 1500.0, q=14.0, q_true=10.0) for run in ours[1:]]
    rows += [row(ours[1], 110_000, 9999.0)]
    rows += [row(run, 100_000, 1100.0 + 400 * run.seed, wall_s=4000) for run in theirs]
    return rows


def test_the_arithmetic_of_a_recipe_is_that_of_its_formula(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Plain SAC by the formula; an update more is one more; DroQ's policy has a turn in twenty.

    CrossQ for a processor is to cost no more than plain SAC.
    """
    recipes = ["sac", "sac+learner.utd=2", "droq", "crossq256"]
    shape = Shape()
    sizes = Sizes(shape.obs, 0, shape.action)
    counted = [flop_per_step(variants.find(name), sizes) for name in recipes]
    plain = flop_per_update(shape, 256)
    assert counted[:2] == [plain, 2 * plain]
    assert 11 < counted[2] / plain < 12
    assert counted[3] <= plain
    assert curves.main(["arithmetic", "--recipes", *recipes[1:3], "--envs", "HalfCheetah-v5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sac+learner.utd=2 on HalfCheetah-v5: 1.15 GFLOP a step, 2.0 x sac",
        "droq on HalfCheetah-v5: 6.75 GFLOP a step, 11.7 x sac",
    ]


def test_the_table_has_means_spreads_and_published_figures_side_by_side() -> None:
    """At the last step that all runs of a recipe have in common; numbers worked out by hand."""
    lines = list(tables(stored(), speed_mps=0.5))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    ours = next(line for line in cells if line[:2] == ["sac", "robosac"])
    assert ours[2:] == (["100,000", "3", "1,333 ± 289", "0.41", "1,000", "500", "100", "+3.3"])
    theirs = next(line for line in cells if line[:2] == ["sac", "stable-baselines3"])
    assert theirs[2:7] == ["100,000", "2", "1,300 ± 283", "0.40", "4,000"]
    published = next(line for line in cells if line[0] == "SAC")
    assert published[1:6] == ["published, v4", "99,996", "10", "1,103 ± 388", "0.34"]
    verdict = next(line for line in lines if line.startswith("sac on Hopper-v5"))
    assert "return +33, spread 286: not below; wall time 0.25 x" in verdict


def test_a_return_below_the_spread_is_told() -> None:
    """Ours 1000 and steady, theirs 1300 give or take 283."""
    rows = [one for one in stored() if one.system == "sb3"]
    rows += [row(like(seed=seed), 100_000, 1000.0) for seed in range(3)]
    assert any("spread 200: BELOW" in line for line in tables(rows, speed_mps=0.5))


def test_the_table_says_how_soon_robots_walk() -> None:
    """Medians over the seeds that got there."""
    runs = [like(env="walk/go2", seed=seed) for seed in range(3)]
    rows = [row(run, 1000, 1.0, speed_mps=0.1 + 0.2 * run.seed) for run in runs]
    rows += [row(run, 3000, 9.0, speed_mps=0.4 + 0.2 * run.seed) for run in runs]
    lines = list(tables(rows, speed_mps=0.5))
    assert lines[-1] == "| sac | robosac | walk/go2 | 2 of 3 | 2,000 | 20 | 5 |"


def test_the_picture_has_a_line_and_a_band_for_every_group() -> None:
    """Read back as XML: curves of ours, of theirs and of a publication, and what they are."""
    rows = [*stored(), *(row(like(env="A<b", seed=seed), 10, 1.0) for seed in range(2))]
    picture = ET.fromstring(plot(rows, published=["SAC", "Nobody"]))  # noqa: S314 -- our own
    tag = "{http://www.w3.org/2000/svg}"
    assert len(list(picture.iter(f"{tag}polyline"))) == 4
    assert len(list(picture.iter(f"{tag}polygon"))) == 3
    words = {text.text for text in picture.iter(f"{tag}text")}
    assert {"Hopper-v5: return, 2 or 3 seeds", "A<b: return, 2 seeds"} < words
    assert {"robosac sac", "stable-baselines3 sac"} < words
    assert not any("Nobody" in (word or "") for word in words)


def test_axes_are_marked_at_round_numbers() -> None:
    """About five of them, whatever the range."""
    assert ticks(-700, 9900) == [0, 2000, 4000, 6000, 8000]
    assert ticks(0, 100_000) == [0, 20_000, 40_000, 60_000, 80_000, 100_000]
    assert ticks(0.1, 0.35) == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.35])


def test_nothing_to_show_and_nowhere_to_learn_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty table is an error of the user; an environment that is none fails its run."""
    missing = run_command(tmp_path / "none.csv", system="robosac", recipe="sac", steps=100)
    assert curves.main([*missing, "--envs", "Hoper-v5"]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert curves.main(["table", "--results", str(tmp_path / "none.csv")]) == 2
    assert "make some with `curves.py run`" in capsys.readouterr().err


def test_published_curves_are_those_of_the_papers() -> None:
    """Figures at 100,000 steps, rounded as they are quoted; and the scale's own ends."""
    expected = {"SAC": (1103, 388), "DroQ": (1813, 942), "FlashSAC": (2121, 1176)}
    for name, figures in expected.items():
        point = reference.at(reference.curves("Hopper-v5")[name], 100_000)
        assert point is not None
        assert (point.mean, point.std) == pytest.approx(figures, abs=0.6)
    assert reference.normalised("Walker2d-v5", 2.791) == 0
    assert reference.normalised("Walker2d-v5", 3946.0) == 1
    assert reference.normalised("Pendulum-v1", 0) is None
    assert reference.curves("Pendulum-v1") == {}
