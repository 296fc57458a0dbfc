"""What may befall a log, with real processes: deaths, stops, disks that are full."""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from robosac.flight_log import writer_link
from robosac.flight_log.frames import ToWriter, WriterConfig
from robosac.flight_log.log import FlightLog, log_spec
from robosac.flight_log.parts import part_path, parts_of
from robosac.flight_log.record import read
from robosac.flight_log.writer import FlightWriter
from robosac.runner.pipe import FramePipe
from tests.robosac.flight_log.conftest import SPEC, fly, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAM = """
import sys, time
from pathlib import Path
from robosac.flight_log.log import FlightLog
from tests.robosac.flight_log.conftest import SPEC, fly
log = FlightLog(Path(sys.argv[1]), SPEC, clock=time.monotonic_ns)
print(log.writer_pid, flush=True)
for step in range(10**6):
    fly(log, range(step, step + 1))
    print(step, flush=True)
    time.sleep(0.002)
"""


class Pilot:
    """Logs ticks on this thread and knows how many there were."""

    def __init__(self, log: FlightLog) -> None:
        self.log = log
        self.made = 0

    def fly(self, count: int = 1) -> None:
        """Log this many."""
        fly(self.log, range(self.made, self.made + count))
        self.made += count

    def fly_until(self, what: Callable[[], bool]) -> None:
        """Log ticks as long as it takes."""
        until(what, doing=self.fly)


@pytest.fixture
def pilot(log: FlightLog) -> Pilot:
    """Who flies the open log."""
    return Pilot(log)


def whole(path: Path) -> bool:
    """Whether a part has ticks on disk: it is larger than head and first chunk."""
    return path.exists() and path.stat().st_size > 8192


def test_a_writer_that_is_killed_is_replaced_and_nothing_is_lost(pilot: Pilot, path: Path) -> None:
    """The next one begins another part, and gets what died with the first."""
    for part in (1, 2):
        pilot.fly_until(lambda part=part: whole(part_path(path, part - 1)))  # type: ignore[misc]
        os.kill(pilot.log.writer_pid, signal.SIGKILL)
        pilot.fly_until(part_path(path, part).exists)
    assert "died" in pilot.log.state or pilot.log.state == "recording"
    pilot.fly_until(lambda: pilot.log.state == "recording")
    pilot.log.close()
    record = read(path)
    assert len(parts_of(path)) == 3
    assert record.ticks["number"].tolist() == list(range(pilot.made))
    assert record.ticks["reward"].tolist() == list(range(pilot.made))
    assert (record.lost, pilot.log.lost) == (0, 0)
    assert not record.complete


@pytest.fixture
def flight(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that logs ticks and prints the number of each."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("writer_too", [False, True], ids=["control loop", "both, as by power"])
def test_what_was_logged_outlives_the_process(
    flight: subprocess.Popen[str], path: Path, *, writer_too: bool
) -> None:
    """The writer ends the file properly; where it dies too, about the last second is missing."""
    assert flight.stdout is not None
    writer = int(flight.stdout.readline())
    until(lambda: whole(path))
    if writer_too:
        os.kill(writer, signal.SIGKILL)
    flight.kill()
    made = int(flight.stdout.readlines()[-1]) + 1  # one more may be logged and not printed
    if writer_too:
        ticks = read(path).ticks["number"]
        assert ticks.tolist() == list(range(len(ticks)))
        assert 0 < len(ticks) <= made + 1
        return
    until(lambda: read(path).complete)
    assert made <= len(read(path).ticks["number"]) <= made + 1


def test_a_writer_that_stands_still_stops_nobody(
    pilot: Pilot, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks cost the same, what finds no room is counted, and the log itself says so later."""
    monkeypatch.setattr(writer_link, "_ENTRIES_MAX", 100)
    monkeypatch.setattr(writer_link, "_STUCK_S", 0.2)
    pilot.fly_until(lambda: whole(path))
    os.kill(pilot.log.writer_pid, signal.SIGSTOP)
    costs = []
    while pilot.log.lost < 50 or "taken nothing" not in pilot.log.state:
        started = time.perf_counter()
        pilot.fly()
        costs.append(time.perf_counter() - started)
    assert statistics.median(costs) < 1e-3
    os.kill(pilot.log.writer_pid, signal.SIGCONT)
    pilot.fly_until(lambda: not pilot.log.crowded)
    pilot.fly()
    lost = pilot.log.lost
    pilot.log.close()
    record = read(path)
    assert (record.lost, pilot.log.lost) == (lost, lost)
    assert len(record.ticks["number"]) == pilot.made - lost
    told = [event.fields["entries"] for event in record.events if "not recorded" in event.text]
    assert sum(told) == lost
    assert f"{lost} entries lost" in pilot.log.state


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let processes that start inside make files of this size at most, as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_disk_that_gets_room_again_has_everything(path: Path) -> None:
    """While it is full the state says so; entries wait, and nothing is torn."""
    with file_limit(16384):
        pilot = Pilot(FlightLog(path, SPEC, clock=time.monotonic_ns))
    with pilot.log:
        pilot.fly_until(lambda: "file size limit" in pilot.log.state)
        assert path.stat().st_size <= 16384
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pilot.log.writer_pid, resource.RLIMIT_FSIZE, unlimited)
        pilot.fly_until(lambda: pilot.log.state == "recording")
    record = read(path)
    assert record.complete
    assert record.ticks["number"].tolist() == list(range(pilot.made))
    assert any("recording again" in event.text for event in record.events)


def test_a_disk_that_stays_full_is_told(
    pilot: Pilot, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not recorded is counted, what is on the disk can be read, closing takes no longer."""
    monkeypatch.setattr(writer_link, "_CLOSE_S", 0.5)
    pilot.fly_until(lambda: whole(path) and len(read(path).ticks["number"]) > 0)
    full = (path.stat().st_size, resource.RLIM_INFINITY)
    resource.prlimit(pilot.log.writer_pid, resource.RLIMIT_FSIZE, full)
    pilot.fly_until(lambda: "file size limit" in pilot.log.state)
    pilot.log.close()
    record = read(path)
    kept = len(record.ticks["number"])
    assert not record.complete
    assert 0 < kept < pilot.made
    assert pilot.log.lost >= pilot.made - kept
    assert "entries lost" in pilot.log.state


def test_at_its_limit_a_log_takes_events_only(path: Path) -> None:
    """The state says so, and every tick that is not recorded counts as lost."""
    pilot = Pilot(FlightLog(path, SPEC, clock=time.monotonic_ns, limit_mib=16 / 1024))
    with pilot.log:
        pilot.fly_until(lambda: "limit of" in pilot.log.state)
        before = pilot.made
        pilot.fly(100)
        pilot.log.event("operator", "stop")
    record = read(path)
    kept = len(record.ticks["number"])
    assert kept <= before
    assert pilot.log.lost == pilot.made - kept >= 100
    assert [event.text for event in record.events if event.kind == "operator"] == ["stop"]
    assert path.stat().st_size < 32 * 1024 + 256 * kept


def test_a_folder_that_is_gone_is_told(path: Path) -> None:
    """Writers that cannot begin follow each other ever more slowly; nothing raises."""
    with FlightLog(path, SPEC, clock=time.monotonic_ns) as log:
        pilot = Pilot(log)
        pilot.fly_until(lambda: whole(path))
        path.rename(path.with_name("elsewhere"))
        path.parent.rename(path.parent.with_name("moved"))
        os.kill(log.writer_pid, signal.SIGKILL)
        pilot.fly_until(lambda: "exit code 1" in log.state)
        path.parent.with_name("moved").rename(path.parent)
        pilot.fly_until(lambda: log.state == "recording")
    assert log.lost == 0


def test_a_computer_that_starts_no_process_is_told(
    pilot: Pilot, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No writer can follow the dead one: the robot goes on, and so does the log later."""
    monkeypatch.setattr(writer_link, "_RESTART_MAX_S", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(path.with_name("nothing")))
        os.kill(pilot.log.writer_pid, signal.SIGKILL)
        pilot.fly_until(lambda: "no writer process can be started" in pilot.log.state)
    pilot.fly_until(lambda: pilot.log.state == "recording")
    pilot.log.close()
    assert read(path).ticks["number"].tolist() == list(range(pilot.made))


def test_a_disk_that_is_nearly_full_is_left_alone(path: Path) -> None:
    """Other things need the rest: below the floor nothing is written, and the state says so."""
    ours, theirs = FramePipe.pair()
    config = WriterConfig(
        pipe=theirs.fileno(),
        path=str(path),
        part=0,
        spec=log_spec(SPEC),
        info={},
        epoch_ns=0,
        limit_bytes=2**30,
        floor_bytes=2**60,
    )
    assert msgspec.json.decode(msgspec.json.encode(config), type=WriterConfig) == config
    pipe = FramePipe(theirs)
    writer = FlightWriter(config, pipe)
    thread = threading.Thread(target=writer.run)
    thread.start()
    heard: list[bytes] = []
    until(lambda: bool(heard), doing=lambda: heard.extend(text for _, text in ours.receive()))
    assert b"nearly full" in heard[0]
    assert path.stat().st_size == 0
    ours.send(ToWriter.END)
    ours.close()
    thread.join()
    pipe.close()
    assert read(path).complete
