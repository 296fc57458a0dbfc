"""Real learners, uplinks and runners are killed, stopped and cut off; every row arrives once."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.patience import eventually
from tools import torture as tool
from tools.exactly_once.crew import Crew
from tools.exactly_once.network import PYTHON, ROOT, Namespaces, Network, why_no_namespaces
from tools.exactly_once.storm import Blow, Storm, draw
from tools.exactly_once.verdict import Verdict
from tools.torture import Outcome, Setup, torture

if TYPE_CHECKING:
    from pathlib import Path

NO_NAMESPACES = why_no_namespaces()


def test_what_happens_follows_from_the_seed() -> None:
    """The same seed gives the same blows, another one others, and kills are as many as asked."""
    first, again, other = (
        list(draw(random.Random(seed), kills=200, faults=True))  # noqa: S311 -- blows, not secrets
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert sum(blow.what == "kill" for blow in first) == 200
    killed = {blow.role for blow in first if blow.what == "kill"}
    assert killed == {"learner", "runner", "uplink", "robot"}
    commands = {blow.what.split()[0] for blow in first if blow.role == "link"}
    assert commands == {"stall", "half-open", "cut", "partition"}
    assert not {"pull", "link"} & {blow.what for blow in draw(random.Random(1), kills=99)}  # noqa: S311
    assert "pull" in {blow.what for blow in draw(random.Random(1), kills=99, cables=True)}  # noqa: S311
    stops = [blow.seconds for blow in first if blow.what == "stop"]
    assert 0.1 <= min(stops) < 0.5
    assert 6 < max(stops) <= 8


@pytest.mark.parametrize(
    ("verdict", "strange", "good"),
    [
        (Verdict(rows=5), [], True),
        (Verdict(rows=5, lost=2, problems=["two"]), [], False),
        (Verdict(rows=5, altered=1, problems=["one"]), [], False),
        (Verdict(rows=5), ["it ended early"], False),
        (Verdict(rows=0), [], False),
    ],
)
def test_whatever_is_wrong_is_no_success(
    verdict: Verdict, strange: list[str], *, good: bool
) -> None:
    """Nothing at all in replay is wrong as well."""
    outcome = Outcome(verdict=verdict, strange=strange, runs=1, dealt={}, duration_s=1.0)
    assert outcome.good == good


def test_the_last_lines_tell_what_was_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1, where to look, and the figures last."""
    verdict = Verdict(rows=5, lost=2, problems=["two are missing"])
    dealt = {"kill robot": 1, "kill uplink": 2, "stop runner": 4}
    outcome = Outcome(verdict=verdict, strange=["strange"], runs=1, dealt=dealt, duration_s=1.0)
    monkeypatch.setattr(tool, "torture", lambda *arguments: outcome)
    monkeypatch.setattr("sys.argv", ["torture.py", "--folder", str(tmp_path)])
    assert tool.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["two are missing", "strange"]
    assert lines[-2:] == [f"everything is kept in {tmp_path}", "lost 2 duplicated 0 kills 3"]


def test_a_process_that_ends_by_itself_is_reported(tmp_path: Path) -> None:
    """At once, with the log to look into: here the learner's port is taken."""
    network = Network(runners=1, faults=False)
    host, _, port = network.learner.partition(":")
    with socket.create_server((host, int(port))):
        crew = Crew(tmp_path / "crew", network, runners=1, rate_hz=10.0)
        try:
            crew.start()
            storm = Storm(crew, network)
            storm.begin()
            storm.end()
        finally:
            crew.close()
    assert storm.strange == ["learner has ended with exit code 2; see its log"]
    assert b"cannot be used" in (tmp_path / "crew" / "learner.log").read_bytes()


@pytest.mark.timeout(120)
def test_nine_kills(tmp_path: Path) -> None:
    """As a maintainer runs it; the last line is the verdict."""
    command = [*PYTHON, "tools/torture.py", "--kills", "9", "--seed", "1"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "torture")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "lost 0 duplicated 0 kills 9", done.stdout
    assert done.returncode == 0
    assert len((tmp_path / "torture" / "events.jsonl").read_text().splitlines()) >= 9


@pytest.mark.timeout(120)
def test_one_fault_of_every_kind(tmp_path: Path) -> None:
    """Delay with jitter and 1 Mbit/s all the time; each other fault strikes one of two links.

    The learner is stopped for so long that what is on its way to it is sent again, and not so
    long that its silence makes the runners begin anew.
    """
    faults = ("stall 1", "cut reset", "cut close", "half-open up 0", "half-open down 0")
    blows = [Blow(0.5, "stop", "uplink", 0, seconds=0.1)]
    blows += [Blow(0.5, fault, "link", number) for number, fault in enumerate(faults)]
    blows += [Blow(0.5, "partition 1.5", "link", 1), Blow(2.0, "stop", "learner", 0, seconds=2.9)]
    blows += [Blow(5.0, "cut reset", "link", 0)]
    outcome = torture(tmp_path / "torture", Setup(runners=2, rate_hz=100.0, faults=True), blows)
    assert outcome.good, (outcome.verdict, outcome.strange)
    assert outcome.verdict.rows > 500


@pytest.mark.skipif(NO_NAMESPACES is not None, reason=NO_NAMESPACES or "")
def test_namespaces_are_apart_and_leave_nothing() -> None:
    """A runner reaches its proxy and not the learner; afterwards nothing is left."""
    network = Namespaces(runners=2, faults=True)
    try:
        assert len(own_namespaces()) == 4
        assert eventually(lambda: reaches(network, "10.77.2.1:7777"))
        assert not reaches(network, "10.77.0.2:7777")
        assert network.endpoint(1) == "tcp://10.77.2.1:7777"
        network.pull(1)
        assert not reaches(network, "10.77.2.1:7777")
        network.plug_in(1)
        assert eventually(lambda: reaches(network, "10.77.2.1:7777"))  # the kernel takes a moment
    finally:
        network.close()
    assert own_namespaces() == []


def test_loopback_has_no_cables() -> None:
    """The error says what has."""
    network = Network(runners=1, faults=False)
    for act in (network.pull, network.plug_in):
        with pytest.raises(ValueError, match="expected namespaces"):
            act(0)


def own_namespaces() -> list[str]:
    """Those that this process has made."""
    listed = subprocess.check_output(["ip", "netns", "list"], text=True)
    return [line for line in listed.splitlines() if line.startswith(f"rbt{os.getpid()}")]


def reaches(network: Namespaces, address: str) -> bool:
    """Whether the second runner's machine can connect to an address."""
    host, _, port = address.partition(":")
    code = f"""
import socket
try:
    socket.create_connection(({host!r}, {port}), timeout=2).close()
    print("reached")
except ConnectionResetError:
    print("reached")  # by a proxy whose learner is not there
except OSError:
    print("unreachable")
"""
    command = [*network.runner_prefix(1), *PYTHON, "-c", code]
    return subprocess.check_output(command, text=True).strip() == "reached"
