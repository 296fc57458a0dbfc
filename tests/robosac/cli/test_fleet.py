"""The fleet process on a real Ray cluster of one small node, as the supervisor would start it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from robosac.cli.fleet_config import FleetConfig
from robosac.cli.runner_config import RunnerConfig
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = {"robosac.cli.runner", "robosac.runner.uplink"}
HEAD = """
import sys
from ray.cluster_utils import Cluster

arguments = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=arguments)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
HASTY = """
import sys
from robosac.cli import fleet
from robosac.fleet import cluster

cluster._JOIN_S = 1.0
sys.exit(fleet.main())
"""


class Fleets:
    """Fleet processes of a test, for one cluster."""

    def __init__(self, folder: Path, address: str, environment: dict[str, str]) -> None:
        self.folder, self.address, self._environment = folder, address, environment
        self._processes: list[subprocess.Popen[bytes]] = []

    def runner(self, index: int = 0, *, env: str = "Pendulum-v1") -> RunnerConfig:
        """A runner; nobody listens at its endpoint, so it waits for a learner."""
        return RunnerConfig(
            name=f"pendulum-{index}",
            robot=None,
            task=None,
            env=env,
            endpoint="tcp://127.0.0.1:9",
            folder=str(self.folder / f"runner-{index}"),
            seed=(0, index),
        )

    def start(self, *runners: RunnerConfig, address: str | None = None) -> subprocess.Popen[bytes]:
        """Start a fleet of these runners."""
        config = FleetConfig(address=address or self.address, runners=list(runners))
        module, argument = config.arguments()
        return self.start_command("-m", module, argument)

    def start_command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Python in the cluster's environment."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            process_group=0,
        )
        self._processes.append(process)
        return process

    def runners(self) -> list[int]:
        """Process ids of the runners and uplinks that work in this folder or below."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if MODULES & set(command) and any(f"{self.folder}/" in part for part in command):
                found.append(int(entry.name))
        return found

    def wait_for_runner(self, index: int = 0) -> None:
        """Wait until a runner and its uplink are at work."""
        until((self.folder / f"runner-{index}" / "spool").exists)

    def close(self) -> None:
        """End what a failed test has left."""
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a cluster with room for four runners, and the environment to use it in."""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # other tests may keep every core busy
    }
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert head.stdout is not None
    address = head.stdout.readline().strip()
    assert address, "Ray does not start here"
    yield address, environment
    head.communicate("")


@pytest.fixture
def fleets(tmp_path: Path, cluster: tuple[str, dict[str, str]]) -> Iterator[Fleets]:
    """Fleets that have not been started."""
    fleets = Fleets(tmp_path, *cluster)
    yield fleets
    fleets.close()


def events(fleet: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """What is told; what Ray prints among it goes to the log of a run.

    That Ray takes its time with a runner is news of the machine that is busy, and left out.
    """
    assert fleet.stdout is not None
    for line in fleet.stdout:
        if line.startswith(b"{") and b"as soon as it knows a node for it" not in line:
            yield msgspec.json.decode(line)


def finish(fleet: subprocess.Popen[bytes]) -> tuple[int, list[dict[str, Any]]]:
    """Wait for the end; returns the exit code and what was told."""
    code = fleet.wait(PATIENCE_S)
    return code, list(events(fleet))


def parent_of(pid: int) -> int:
    """Process id of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def cut_lifeline(fleet: subprocess.Popen[bytes]) -> None:
    """Ask a fleet to stop."""
    assert fleet.stdin is not None
    fleet.stdin.close()
    fleet.stdin = None


def test_a_fleet_is_described_by_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of Ray have another working folder; a robot that is a name stays one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    plain = Fleets(Path("run"), "auto", {}).runner()
    runners = [
        msgspec.structs.replace(plain, env=None, robot="mine", keys="keys/go2"),
        msgspec.structs.replace(plain, env=None, robot="go2"),
        plain,
    ]
    module, argument = FleetConfig(address="auto", runners=runners).arguments()
    config = FleetConfig.from_argument(argument)
    assert (module, config.address) == ("robosac.cli.fleet", "auto")
    assert [one.robot for one in config.runners] == [str(tmp_path / "mine"), "go2", None]
    assert [one.keys for one in config.runners] == [str(tmp_path / "keys/go2"), None, None]
    assert {one.folder for one in config.runners} == {str(tmp_path / "run/runner-0")}


def test_describing_a_fleet_needs_no_ray(tmp_path: Path) -> None:
    """`robosac sim` describes it in a process that never imports Ray."""
    code = "import sys, robosac.cli.fleet_config, robosac.cli.sim; print('ray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"


def test_without_ray_the_extra_is_named(fleets: Fleets, tmp_path: Path) -> None:
    """On one line, with exit code 2."""
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('gone', name='ray')")
    module, argument = FleetConfig(address="local", runners=[fleets.runner()]).arguments()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from {module} import main; main()"
    _, (told,) = finish(fleets.start_command("-c", code, argument))
    assert told["message"] == "ray is not installed; run: pip install 'robosac[fleet]'"
    assert told["code"] == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "--fleet is ray://head:10001; expected local, auto, or HOST:PORT"),
        ("head", "--fleet is head; expected local, auto, or HOST:PORT"),
        ("127.0.0.1:1", "nobody answers at 127.0.0.1:1 ([Errno 111] Connection refused); expected"),
        ("head:99999", "--fleet is head:99999; expected local, auto, or HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(
    fleets: Fleets, address: str, message: str
) -> None:
    """At once, with exit code 2."""
    code, (told,) = finish(fleets.start(fleets.runner(), address=address))
    assert code == told["code"] == 2
    assert told["event"] == "error"
    assert told["message"].startswith(message)


def test_what_answers_and_is_no_cluster_is_not_waited_for(fleets: Fleets) -> None:
    """Ray would try for a minute; a user is told what is expected."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        _, argument = FleetConfig(address=address, runners=[fleets.runner()]).arguments()
        code, (told,) = finish(fleets.start_command("-c", HASTY, argument))
    assert code == told["code"] == 2
    assert told["message"].startswith(f"Ray at {address} does not let this machine in; expected")


def test_more_runners_than_have_room_are_refused(fleets: Fleets) -> None:
    """With what is needed, what there is, and how many would do."""
    code, (told,) = finish(fleets.start(*(fleets.runner(index) for index in range(9))))
    assert code == told["code"] == 2
    assert "9 runners need 2.25 CPUs; the Ray cluster at" in told["message"]
    assert "has 1 of 1 free; add nodes, or start at most 4 with --runners" in told["message"]
    assert fleets.runners() == []


def test_a_fleet_stops_when_asked(fleets: Fleets) -> None:
    """Every runner ends in order and says what it has made; nothing is left behind."""
    fleet = fleets.start(fleets.runner(0), fleets.runner(1))
    fleets.wait_for_runner(0)
    fleets.wait_for_runner(1)
    until(lambda: len(fleets.runners()) == 4)
    cut_lifeline(fleet)
    made = {"event": "made", "steps": 0, "complete": False, "restarts": 0}
    assert finish(fleet) == (0, [made, made])
    assert fleets.runners() == []


def test_sigterm_stops_a_fleet_as_well(fleets: Fleets) -> None:
    """Though Ray would rather leave at once."""
    fleet = fleets.start(fleets.runner())
    fleets.wait_for_runner()
    assert fleets.runners()
    fleet.terminate()
    code, (made,) = finish(fleet)
    assert (code, made["event"]) == (0, "made")
    assert fleets.runners() == []


def test_a_killed_fleet_leaves_no_runner(fleets: Fleets) -> None:
    """Ray ends its workers, and their runners end in order."""
    fleet = fleets.start(fleets.runner())
    fleets.wait_for_runner()
    assert fleets.runners()
    fleet.kill()
    until(lambda: fleets.runners() == [])


def test_a_runner_that_is_wrong_ends_the_fleet(fleets: Fleets) -> None:
    """With its own message and code; the others are asked to stop."""
    wrong = fleets.runner(1, env="NoSuchEnvironment-v7")
    code, told = finish(fleets.start(fleets.runner(0), wrong))
    (error,) = (one for one in told if one["event"] == "error")
    assert code == error["code"] == 2
    assert "NoSuchEnvironment-v7" in error["message"]
    assert sum(one["event"] == "made" for one in told) == 2
    assert fleets.runners() == []


def test_a_killed_runner_is_started_again_and_counted(fleets: Fleets) -> None:
    """On the node where it was; the user is told."""
    fleet = fleets.start(fleets.runner())
    fleets.wait_for_runner()
    reports = fleets.folder / "runner-0"
    for pid in fleets.runners():
        with contextlib.suppress(ProcessLookupError):  # an uplink whose runner is gone ends itself
            os.kill(pid, signal.SIGKILL)
    told = next(events(fleet))
    text = "pendulum-0 was killed by signal 9 and is started again"
    assert told == {"event": "notice", "text": text}
    until(lambda: len(list(reports.glob("report-*.json"))) == 2)
    cut_lifeline(fleet)
    code, (made,) = finish(fleet)
    assert (code, made["restarts"]) == (0, 1)


def test_a_killed_worker_is_replaced_by_ray(fleets: Fleets) -> None:
    """Its runner ends in order, and another goes on; the user is told where."""
    fleet = fleets.start(fleets.runner())
    fleets.wait_for_runner()
    first = set(fleets.runners())
    workers = {parent_of(pid) for pid in first} - first
    for pid in workers - {1}:
        os.kill(pid, signal.SIGKILL)
    told = next(events(fleet))
    assert told["event"] == "notice"
    assert told["text"].startswith("pendulum-0 is started by Ray again, at ")
    until(lambda: len(list((fleets.folder / "runner-0").glob("report-*.json"))) == 2)
    until(lambda: not first & set(fleets.runners()))
    cut_lifeline(fleet)
    code, (made,) = finish(fleet)
    assert (code, made["restarts"]) == (0, 1)


RECIPE = """
name = "small"

[learner]
batch_size = 16
learning_starts = 50

[sac]
hidden = [16, 16]
"""


@pytest.mark.timeout(120)
def test_a_run_brings_a_cluster_of_its_own(fleets: Fleets, tmp_path: Path) -> None:
    """Its runners call the learner under this machine's address; nothing is left behind."""
    (tmp_path / "small.toml").write_text(RECIPE)
    run = tmp_path / "run"
    command = ["-m", "robosac", "sim", "--env", "Pendulum-v1", "--no-video", "--run", str(run)]
    command += ["--recipe", str(tmp_path / "small.toml"), "--steps", "200", "--runners", "2"]
    command += ["--fleet", "local", "--bind", "0.0.0.0:0", "--insecure"]
    process = fleets.start_command(*command)
    assert process.wait(2 * PATIENCE_S) == 0, (run / "processes.log").read_text()
    summary = msgspec.json.decode((run / "summary.json").read_bytes())
    assert (summary["lost"], summary["duplicated"], summary["env_steps"]) == (0, 0, 200)
    reports = [msgspec.json.decode(path.read_bytes()) for path in run.glob("runner-?/report-*")]
    assert len(reports) == 2
    assert sum(report["made"] for report in reports) == 200
    assert fleets.runners() == []
