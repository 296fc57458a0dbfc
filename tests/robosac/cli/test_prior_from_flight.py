"""`--prior` with the flight log of a robot that had no learner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from robosac.cli.main import main
from robosac.exit_codes import EXIT_DONE
from robosac.flight_log.transitions import read_chunks
from tests.robosac import deployed
from tests.robosac.cli.test_prior import RECIPE
from tests.robosac.deployed import Deployed
from tools.patient_pup import CONTROL_HZ, patient_pup

if TYPE_CHECKING:
    from pathlib import Path

WALKED, EPISODE = 40, 20
SHORT = {"forward_mps = 0.25\n": f"forward_mps = 0.25\nepisode_s = {EPISODE / CONTROL_HZ}\n"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Small networks and short times."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def walk(folder: Path, pup: Path) -> Path:
    """Deploy an emulated pup for some steps; returns its flight log."""
    policy = deployed.standing_policy(folder / "p.onnx", deployed.contract_of(pup))
    with deployed.emulate(folder / "ports"):
        devices = ["--port", str(folder / "ports/servos"), "--imu", str(folder / "ports/imu")]
        options = ["--robot", str(pup), "--policy", str(policy), "--run", str(folder / "flight")]
        command = ["-m", "robosac", "deploy", *options, *devices, "--steps", str(WALKED)]
        one = Deployed(folder, command)
        try:
            one.walk()
            assert one.finish() == EXIT_DONE
        finally:
            one.close()
    (log,) = (folder / "flight").glob("*.mcap")
    return log


def test_a_robot_walks_alone_and_a_learner_learns_from_its_log(
    tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From all of its steps and ends of episodes, in simulation; the log stays as it was."""
    pup = patient_pup(tmp_path / "pup", SHORT)
    log = walk(tmp_path, pup)
    content = log.read_bytes()
    contract = deployed.contract_of(pup)
    torn: list[int] = []
    rows = np.concatenate([chunk.rows for chunk in read_chunks(log, torn.append)])
    assert not torn
    fields = contract.row_layout.view(rows)
    assert np.flatnonzero(fields.truncated).tolist() == [EPISODE - 1, WALKED - 1]
    np.testing.assert_array_equal(fields.obs[1:EPISODE], fields.next_obs[: EPISODE - 1])
    assert (fields.dt > 0).all()

    run = tmp_path / "run"
    options = ["--steps", "25", "--sync", "--no-video", "--recipe", str(recipe), "--run", str(run)]
    assert main(["sim", "--robot", str(pup), *options, "--prior", str(log)]) == EXIT_DONE
    assert f"prior {WALKED} rows from 1 run\n" in capsys.readouterr().out
    summary: dict[str, Any] = msgspec.json.decode((run / "summary.json").read_bytes())
    assert (summary["prior_rows"], summary["prior_runs"]) == (WALKED, 1)
    assert (summary["env_steps"], summary["updates"]) == (25, 5)
    assert log.read_bytes() == content
