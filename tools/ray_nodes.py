"""Kill one of two nodes of a Ray cluster in the middle of a run, as if its power had failed.

    python tools/ray_nodes.py --runners 8 --steps 8000

Both nodes are on this machine and see the same run folder.  Everything on the second one, raylet,
workers, runners and uplinks, gets SIGKILL at once, and what runners have in shared memory is gone.
With --only-ray runners and uplinks are spared, and have to end in order because nobody holds them
any more.  Should the others have made half of the steps before those that were killed are back,
they get a twentieth of the time until then, or a short run would be over too soon.  The run must
end by itself, and the replay on disk must hold every sequence number of every run once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robosac import recipe
from robosac.errors import DamagedRecordError
from robosac.policy import contract
from robosac.replay import SegmentLog
from robosac.replay.records import scan
from robosac.runner import journal

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from tools.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "ray", "torch", "mujoco", "numpy", "pyzmq")
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""Ray then needs about a second to see that a node is dead; by default it needs some fifteen."""
MODULES = {"robosac.cli.runner": "runner", "robosac.runner.uplink": "uplink"}
PATIENCE_S = 240.0


def processes() -> dict[int, tuple[int, list[str]]]:
    """Parent and command line of every process that lives, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, UnicodeDecodeError):
            continue
        if entry.name.isdecimal() and state != "Z":
            found[int(entry.name)] = (int(parent), command)
    return found


def below(root: int) -> dict[int, list[str]]:
    """Command lines of a process and all that it has brought into being."""
    everything = processes()
    tree = {root: everything[root][1]}
    while more := {pid for pid, (parent, _) in everything.items() if parent in tree} - set(tree):
        tree |= {pid: everything[pid][1] for pid in more}
    return tree


def role(command: list[str]) -> str:
    """What a process of a node is."""
    module = command[command.index("-m") + 1] if "-m" in command else ""
    return MODULES.get(module, "ray")


def chunks(replay: Path) -> Iterator[tuple[str, str, int]]:
    """Robot, run and number of rows of every record on disk so far."""
    for path in sorted(replay.glob("*.rows")):
        with path.open("rb") as file:
            try:
                for chunk, _ in scan(file):
                    yield chunk.robot, chunk.run, len(chunk.rows)
            except DamagedRecordError:
                return  # being written


def wait(what: str, condition: Any, run: subprocess.Popen[str]) -> None:  # noqa: ANN401 -- a callable
    """Wait for something in the run folder."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if run.poll() is not None:
            raise SystemExit(f"the run ended with exit code {run.returncode} before {what}")
        if time.monotonic() > deadline:
            raise SystemExit(f"{PATIENCE_S:g} s passed before {what}")
        time.sleep(0.02)


class Nodes:
    """A Ray cluster of two nodes on this machine."""

    def __init__(self, *, quick: bool) -> None:
        """Start both; `quick` makes Ray notice a dead node soon."""
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        common = {"num_cpus": 4, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        more = {"_system_config": QUICK} if quick else {}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=common | more)
        self._second = self._cluster.add_node(num_cpus=4, object_store_memory=80 * 2**20)
        self._cluster.wait_for_nodes()
        self.address: str = self._cluster.address

    def runners_on_second(self) -> list[str]:
        """Names of the runners that are on the second node."""
        commands = below(raylet(self._second)).values()
        return [json.loads(one[3])["name"] for one in commands if role(one) == "runner"]

    def survivors(self, hit: list[str]) -> list[int]:
        """Process ids of the runners on the first node that are not those which were killed."""
        tree = below(raylet(self._cluster.head_node))
        runners = {pid: command for pid, command in tree.items() if role(command) == "runner"}
        return [pid for pid, one in runners.items() if json.loads(one[3])["name"] not in hit]

    def kill_second(self, *, only_ray: bool) -> Counter[str]:
        """SIGKILL what runs on the second node; returns how many of each role there were."""
        tree = below(raylet(self._second))
        if only_ray:
            tree = {pid: command for pid, command in tree.items() if role(command) == "ray"}
        for pid in tree:
            os.kill(pid, signal.SIGKILL)
        return Counter(role(command) for command in tree.values())

    def close(self) -> None:
        """End what is left."""
        self._cluster.shutdown()


def raylet(node: Any) -> int:  # noqa: ANN401 -- Ray's Node, which has no types
    """Process id of what starts all workers of a node."""
    (process_info,) = node.all_processes["raylet"]
    pid: int = process_info.process.pid
    return pid


def experiment(options: argparse.Namespace, nodes: Nodes, folder: Path) -> dict[str, Any]:
    """Run, kill, wait for the end, and read from disk what has become of the rows."""
    started = time.monotonic()
    run = subprocess.Popen(
        [*command_of(options, nodes.address, folder)], stdout=subprocess.PIPE, text=True
    )
    replay = folder / "replay"
    try:
        wait(
            "there were enough rows and runners",
            lambda: (
                len(nodes.runners_on_second()) >= options.runners // 2
                and sum(rows for _, _, rows in chunks(replay)) >= options.kill_at
            ),
            run,
        )
        hit = nodes.runners_on_second()
        killed = nodes.kill_second(only_ray=options.only_ray)
        killed_at = time.monotonic()
        if not options.only_ray:
            forget_memory(folder, hit)
        before = list(chunks(replay))
        old = {one for _, one, _ in before}
        wait_for_return(nodes, hit, run, replay=replay, old=old, half=options.steps // 2)
        back_s = time.monotonic() - killed_at
        output, _ = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
    return {
        "exit_code": run.returncode,
        "wall_s": round(time.monotonic() - started, 1),
        "killed": dict(killed),
        "runners_hit": sorted(hit),
        "rows_at_kill": sum(rows for _, _, rows in before),
        "back_after_s": round(back_s, 1),
        "notices": [line for line in output.splitlines() if line.startswith(tuple(hit))],
        **on_disk(folder, options.steps),
    }


def wait_for_return(
    nodes: Nodes,
    hit: list[str],
    run: subprocess.Popen[str],
    *,
    replay: Path,
    old: set[str],
    half: int,
) -> None:
    """Wait until runners that were hit make rows of no old run; slow the others after half."""
    slowed: set[int] = set()
    looks = itertools.count()

    def are_back() -> bool:
        now = list(chunks(replay))
        if sum(rows for _, _, rows in now) >= half:
            slowed.update(nodes.survivors(hit))
            # Stopped for good they would keep steps that the learner has allowed them to make.
            tell(slowed, signal.SIGSTOP if next(looks) % 20 else signal.SIGCONT)
        return set(hit) <= {robot for robot, one, _ in now if one not in old}

    try:
        wait("the killed runners were at work again", are_back, run)
    finally:
        tell(slowed, signal.SIGCONT)


def tell(pids: set[int], what: signal.Signals) -> None:
    """Send a signal to those that still live."""
    for pid in pids & set(processes()):
        os.kill(pid, what)


def forget_memory(folder: Path, robots: list[str]) -> None:
    """Delete what runners kept in shared memory, which a machine loses with its power."""
    for robot in robots:
        for spool in (folder / f"runner-{robot.rpartition('-')[2]}" / "spool").iterdir():
            journal.remove(spool)


def command_of(options: argparse.Namespace, address: str, folder: Path) -> list[str]:
    """What a user would type."""
    what = ["--env", options.env] if options.env else ["--robot", options.robot]
    command = [sys.executable, "-m", "robosac", "sim", *what, "--recipe", options.recipe]
    numbers = ["--steps", str(options.steps), "--runners", str(options.runners)]
    return [*command, *numbers, "--fleet", address, "--run", str(folder), "--no-video"]


def on_disk(folder: Path, steps: int) -> dict[str, Any]:
    """Count rows, gaps and doubles in the segments, and what was left elsewhere."""
    layout = contract.decode((folder / "contract.json").read_bytes()).row_layout
    with SegmentLog(folder / "replay", layout) as log:
        sequences = log.sequences()
        audit = log.audit(log.marks)
    return {
        "steps_asked_for": steps,
        "rows": sum(one.count for one in sequences.values()),
        "runs": len(sequences),
        "runs_contiguous": sum(one.contiguous for one in sequences.values()),
        "lost": audit.lost,
        "duplicated": audit.duplicated,
        "spools_left": len(list(folder.glob("runner-*/spool/*"))),
        "processes_left": sum(
            any(str(folder) in part for part in command)
            for pid, (_, command) in processes().items()
            if pid != os.getpid()
        ),
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--robot", default="go2")
    parser.add_argument("--env", help="environment instead of a robot")
    parser.add_argument("--recipe", default=recipe.DEFAULT)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--runners", type=int, default=8)
    parser.add_argument("--kill-at", type=int, help="rows on disk; default: a third of the steps")
    parser.add_argument("--quick", action="store_true", help="Ray notices a dead node sooner")
    parser.add_argument("--only-ray", action="store_true", help="runners and uplinks are spared")
    parser.add_argument("--out", type=Path, default=RESULTS / "ray-nodes.json")
    options = parser.parse_args()
    options.kill_at = options.kill_at or options.steps // 3
    return options


def main() -> int:
    """Run the experiment, print and keep its numbers; exit code 1 when a row went astray."""
    options = arguments()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="ray-nodes-") as folder:
        nodes = Nodes(quick=options.quick)
        try:
            found = experiment(options, nodes, Path(folder) / "run")
        finally:
            nodes.close()
    content = {
        **provenance(f"python tools/ray_nodes.py {' '.join(sys.argv[1:])}".strip(), LIBRARIES),
        "load_before": round(load, 1),
        **found,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    whole = found["lost"] == found["duplicated"] == found["exit_code"] == 0
    return 0 if whole and found["rows"] >= options.steps else 1


if __name__ == "__main__":
    sys.exit(main())
