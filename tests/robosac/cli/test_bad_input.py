"""What a user gets wrong is answered in one line and exit code 2, and touches nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

import robots
from robosac import recipe
from robosac.cli.deploy import Deploy
from robosac.cli.main import main
from robosac.exit_codes import EXIT_INTERRUPTED, EXIT_SAFETY, EXIT_USER
from robosac.run_folder import RunConfig, RunFolder
from robots.errors import ServoEnableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robosac.policy import Contract

GO2 = robots.find("go2").path


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command answers with."""
    assert main(arguments) == EXIT_USER
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("robosac: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--robot", "go3"], "go2"),
        (["--task", "wlak"], "walk"),
        (["--recipe", "sax"], "sac"),
        (["--env", "Pendulun-v1"], "Pendulum-v1"),
        (["--env", "dm_control/walker-wlak"], "dm_control/walker-walk"),
        (["--env", "CartPole-v1"], "Discrete"),
        (["--steps", "0"], "at least 1"),
        (["--runners", "0"], "at least 1"),
        (["--seed", "-1"], "at least 0"),
        (["--resume"], "--run"),
        (["--env", "Pendulum-v1", "--pace", "realtime"], "needs a robot"),
        (["--sync", "--runners", "2"], "--runners"),
        (["--sync", "--ranks", "2"], "--ranks"),
        (["--ranks", "0"], "at least 1"),
        (["--device", "abacus"], "expected cpu, cuda or cuda:NUMBER"),
        (["--device", "meta"], "expected cpu, cuda or cuda:NUMBER"),
        (["--device", "cuda:999"], "finds"),
        (["--device", "cuda", "--ranks", "2"], "--ranks is 2; expected 1"),
        (["--ranks", "3"], "divisor of the batch size 256"),
        (["--ranks", "2", "--recipe", "crossq"], "statistics of a whole batch"),
        (["--ranks", "2", "--recipe", "flash"], "statistics of a whole batch"),
        (["--ranks", "2", "--recipe", "droq"], "drops units of a whole batch"),
        (["--emulate", "--robot", "go2"], "[bus]"),
        (["--emulate", "--env", "Pendulum-v1"], "--env"),
        (["--emulate", "--sync"], "--sync"),
        (["--emulate", "--pace", "free"], "leave out --env, --sync and --pace"),
        (["--env", "Pendulum-v1", "--robot", "pup"], "leave out --robot and --task, or --env"),
        (["--bind", "here"], "here"),
        (["--bind", "0.0.0.0:5555"], "--insecure to let everybody in"),
        (["--spool-limit", "0"], "--spool-limit is 0; expected at least 1"),
        (["--learner", "127.0.0.1:5999", "--name", "bad name"], "--name: robot name 'bad name-0'"),
        (["--keys", "keys/learner"], "--keys without --runner-keys"),
        (["--runner-keys", "keys"], "--runner-keys without --keys"),
        (["--run", "runs/first", "--resume", "--keys", "keys/learner"], "without --runner-keys"),
    ],
)
def test_unusable_options_are_named_with_what_was_expected(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line offers the nearest name or the bound, and no run folder appears."""
    monkeypatch.chdir(tmp_path)
    assert expected in complaint(["sim", *arguments], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('base = "base"', 'base = "base"\ncolour = "red"', "colour"),
        ("lower = -1.0472, upper = 1.0472", "lower = 1.0472, upper = -1.0472", "swap them"),
        ("FR_hip_joint", "FR_hop_joint", "FR_hop_joint"),
        ('name = "go2"', 'name = "go2', "line 1"),
        ("kp = 60.0", "kp = nan", "finite"),
    ],
)
def test_a_broken_robot_toml_is_named_with_the_problem(
    before: str, after: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown keys, limits the wrong way round, joints the model lacks, no TOML at all."""
    folder = tmp_path / "mine"
    shutil.copytree(GO2, folder)
    text = (folder / "robot.toml").read_text("utf-8")
    assert before in text
    (folder / "robot.toml").write_text(text.replace(before, after, 1), "utf-8")
    line = complaint(["sim", "--robot", str(folder), "--run", str(tmp_path / "run")], capsys)
    assert expected in line
    assert not (tmp_path / "run").exists()


def test_an_existing_run_folder_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is overwritten; the line says how to go on."""
    (tmp_path / "precious").write_text("data")
    assert "--resume" in complaint(["sim", "--run", str(tmp_path)], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_place_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even root can make a folder in /proc."""
    assert "/proc/robosac" in complaint(["sim", "--run", "/proc/robosac"], capsys)


def test_resume_of_something_else_says_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without config.json is no run."""
    line = complaint(["sim", "--run", str(tmp_path), "--resume"], capsys)
    assert "no run in" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--recipe", "sac"], "--recipe sac: the run in RUN was begun with layernorm and goes"),
        (["--seed", "7"], "--seed 7: the run in RUN was begun with 3"),
        (["--runners", "4"], "--runners 4: the run in RUN was begun with 2"),
        (["--robot", "pup"], "--robot pup: the run in RUN was begun without"),
        (["--sync"], "--sync: the run in RUN was begun without"),
        (["--env", "Pendulum-v1", "--recipe", "layernorm", "--device", "abacus"], "expected cpu"),
    ],
)
def test_what_contradicts_a_run_that_goes_on_is_refused(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks for another recipe should not learn hours later that the old one went on.

    What agrees may be repeated: the last line comes as far as its device.
    """
    run = tmp_path / "run"
    RunFolder(run).create(
        RunConfig(
            robosac="0",
            robot=None,
            task=None,
            env="Pendulum-v1",
            recipe=recipe.find("layernorm"),
            steps=100,
            seed=3,
            pace="learner",
            runners=2,
        )
    )
    before = sorted(run.iterdir())
    line = complaint(["sim", "--resume", "--run", str(run), *options], capsys)
    assert expected.replace("RUN", str(run)) in line
    assert sorted(run.iterdir()) == before


def _renamed(contract: Contract) -> Contract:
    first, *rest = contract.joints
    joints = (msgspec.structs.replace(first, name="FR_hop_joint"), *rest)
    return msgspec.structs.replace(contract, joints=joints)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda contract: msgspec.structs.replace(contract, robot="other"), "robot"),
        (lambda contract: msgspec.structs.replace(contract, control_hz=50.0), "50 Hz"),
        (_renamed, "FR_hop_joint"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_by_field(
    change: Callable[[Contract], Contract],
    expected: str,
    go2_contract: Contract,
    policy_file: Callable[[Contract], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Another robot, another rate, renamed joints: the line names the field."""
    path = policy_file(change(go2_contract))
    assert expected in complaint(["eval", str(path), "--robot", "go2"], capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seed", "-1"], "--seed is -1; expected at least 0"),
        (["--episodes", "0"], "--episodes is 0; expected at least 1"),
        (["--video", "."], "--video is ., and . is a folder; expected a file's name"),
        (["--video", "/proc/version/walk.mp4"], "/proc/version is a file, not a folder"),
    ],
)
def test_what_cannot_be_measured_or_written_is_refused_before_anything_is(
    arguments: list[str],
    expected: str,
    go2_contract: Contract,
    policy_file: Callable[[Contract], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An evaluation takes a minute; nobody wants to hear of a typo after it."""
    assert expected in complaint(["eval", str(policy_file(go2_contract)), *arguments], capsys)


def test_a_policy_is_not_exported_to_where_none_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder is no file."""
    line = complaint(["export", str(tmp_path), "--out", str(tmp_path)], capsys)
    assert f"--out is {tmp_path}" in line


def test_a_policy_that_fits_is_accepted(
    go2_contract: Contract,
    policy_file: Callable[[Contract], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The refusals above are not due to the file itself."""
    assert main(["eval", str(policy_file(go2_contract)), "--episodes", "1", "--json"]) == 0
    assert '"falls":0' in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no onnx", b"\x08\x0a" * 100])
def test_a_file_that_is_no_policy_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever bytes are in it."""
    path = tmp_path / "policy.onnx"
    path.write_bytes(content)
    assert str(path) in complaint(["eval", str(path)], capsys)


def test_a_missing_policy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the path that was looked at."""
    assert "none.onnx" in complaint(["eval", str(tmp_path / "none.onnx")], capsys)


def test_doctor_of_an_unknown_robot_offers_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    """As every command does."""
    assert "go2" in complaint(["doctor", "--robot", "go3"], capsys)


def test_a_reader_who_has_had_enough_sees_no_traceback() -> None:
    """`robosac doctor | head -1` ends quietly."""
    command = [sys.executable, "-m", "robosac", "doctor", "--robot", "go2"]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (process.returncode, process.stderr) == (EXIT_INTERRUPTED, b"")


def test_torque_that_may_be_on_is_a_matter_of_safety(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, also when nothing has moved yet."""

    def fail(_: Deploy) -> int:
        raise ServoEnableError("servos 4 did not confirm that their torque is off")

    monkeypatch.setattr(Deploy, "execute", fail)
    ports = ["--robot", "pup", "--port", "/dev/null", "--imu", "/dev/null", "--policy", "p.onnx"]
    assert main(["deploy", *ports]) == EXIT_SAFETY
    assert "did not confirm" in capsys.readouterr().err
