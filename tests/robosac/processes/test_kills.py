"""Any process of a run may be killed at any moment: nothing is lost, nothing comes twice."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from robosac.learner import checkpoint

if TYPE_CHECKING:
    from tests.robosac.processes.conftest import SimRun

pytestmark = pytest.mark.timeout(120)


def test_learner_uplink_and_runner_are_killed_and_the_run_goes_on(run: SimRun) -> None:
    """Each in the middle; --resume ends the run with exactly the steps that were asked for."""
    run.start("--steps", "500")
    run.wait_for_rows(100)
    run.wait(lambda: bool(checkpoint.complete(run.folder / "checkpoint")))
    run.kill("learner")
    code, error = run.finish()
    assert (code, error.count("\n")) == (4, 1)
    assert "learner was killed by signal 9" in error
    assert "--resume" in error
    assert run.roles() == {}
    before = run.rows()
    newest = checkpoint.complete(run.folder / "checkpoint")[-1]
    digest = checkpoint.digest(load_file(newest / "tensors.safetensors"))

    run.resume()
    run.wait_for_rows(sum(before.values()) + 50)
    run.kill("uplink")
    run.wait_for_rows(sum(before.values()) + 120)
    run.kill("runner")
    code, error = run.finish()
    assert (code, error.count("\n")) == (4, 1)
    assert "runner-0 was killed by signal 9" in error
    assert run.roles() == {}
    after = run.rows()
    assert all(after[key] >= count for key, count in before.items())
    assert run.read("learner.json")["resumed_from"]["digest"] == digest

    run.resume()
    assert run.finish()[0] == 0
    summary = run.read("summary.json")
    assert (summary["lost"], summary["duplicated"], summary["env_steps"]) == (0, 0, 500)
    assert sum(run.rows().values()) == 500
    assert len(run.rows()) == 3
    assert not list(run.folder.glob("runner-*/spool/*"))
    assert run.roles() == {}


def test_a_killed_supervisor_leaves_no_orphan_and_ctrl_c_a_whole_folder(run: SimRun) -> None:
    """With two runners; the same folder is then resumed twice and ends complete."""
    run.start("--steps", "500", "--runners", "2")
    run.wait_for_rows(100)
    everybody = {"supervisor": 1, "learner": 1, "runner": 2, "uplink": 2}
    run.wait(lambda: run.roles() == everybody)
    run.kill("supervisor")
    assert run.finish() == (-9, "")
    run.wait(lambda: run.roles() == {})

    run.resume()
    run.wait_for_rows(250)
    run.interrupt()
    code, error = run.finish()
    assert code == 130
    assert error == "robosac: interrupted; the run folder is whole, go on with --resume\n"
    assert run.roles() == {}
    assert (run.folder / "policy" / "final.onnx").exists()
    assert checkpoint.complete(run.folder / "checkpoint")
    report = run.read("learner.json")
    assert report["env_steps"] == sum(run.rows().values())
    assert (report["lost"], report["duplicated"]) == (0, 0)

    run.resume()
    assert run.finish()[0] == 0
    summary = run.read("summary.json")
    assert (summary["lost"], summary["duplicated"], summary["env_steps"]) == (0, 0, 500)
    assert sum(run.rows().values()) == 500
    assert {report.parent.name for report in run.folder.glob("runner-*/report-*.json")} == {
        "runner-0",
        "runner-1",
    }


def test_a_full_disk_ends_the_run_with_one_line(run: SimRun) -> None:
    """The learner cannot write its replay: exit code 2, the reason, and everything is closed."""
    run.start("--steps", "2000")
    run.wait_for_rows(100)
    written = (run.folder / "replay" / "replay-000000.rows").stat().st_size
    limits = (written + 2000, resource.RLIM_INFINITY)
    resource.prlimit(run.pid("learner"), resource.RLIMIT_FSIZE, limits)
    code, error = run.finish()
    assert (code, error.count("\n")) == (2, 1)
    assert "file size limit reached" in error
    assert run.roles() == {}
    assert sum(run.rows().values()) >= 100


def test_a_busy_port_is_one_line(run: SimRun) -> None:
    """Before anything is learned; the folder may be resumed with another port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run.start("--steps", "100", "--bind", f"127.0.0.1:{port}")
        code, error = run.finish()
    assert (code, error.count("\n")) == (2, 1)
    assert f"port {port} of 127.0.0.1 cannot be used (address already in use)" in error
    assert run.roles() == {}
