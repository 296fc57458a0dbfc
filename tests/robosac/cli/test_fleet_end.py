"""When a fleet is over: placements that a test scripts, on a clock that a test moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from robosac.cli import fleet as fleet_module
from robosac.cli.fleet import Fleet
from robosac.cli.fleet_config import FleetConfig
from robosac.cli.runner_config import RunnerConfig
from robosac.errors import ConfigError
from robosac.fleet.placed_runner import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from robosac.fleet.cluster import Cluster
    from robosac.lifeline import Lifeline

ENOUGH = Outcome(steps=5, complete=True)
STOPPED = Outcome(steps=2)
NEVER = 10_000.0


class Scripted:
    """A placement that ends at a time, or some time after it is asked to stop."""

    def __init__(self, name: str, clock: Clock, *, at_s: float, outcome: Outcome = ENOUGH) -> None:
        self.name, self._clock, self._at_s, self._outcome = name, clock, at_s, outcome
        self.open_ended, self.restarts = True, 0
        self.lost_since: float | None = None
        self.stops_after_s = NEVER
        self.killed = False
        self.texts: list[str] = []

    @property
    def over(self) -> bool:
        return self._clock.now >= self._at_s

    @property
    def silent_s(self) -> float:
        return 0.0 if self.lost_since is None else self._clock.now - self.lost_since

    def outcome(self) -> Outcome:
        return self._outcome

    def news(self) -> Iterator[str]:
        while self.texts:
            yield self.texts.pop()

    def stop(self) -> None:
        if self._clock.now + self.stops_after_s < self._at_s:
            self._at_s, self._outcome = self._clock.now + self.stops_after_s, STOPPED

    def kill(self) -> None:
        self.killed = True


class Clock:
    """Time passes while the fleet waits for placements."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._scripts: Iterator[Scripted] = iter(())
        self.lifeline = SimpleNamespace(cut=False)
        self.cut_at = NEVER

    def monotonic(self) -> float:
        return self.now

    def ended(self, going: Sequence[Scripted], *, timeout_s: float) -> list[Scripted]:
        self.now += timeout_s
        self.lifeline.cut = self.now >= self.cut_at
        assert self.now < 2000.0, "the fleet waits for ever"
        return [one for one in going if one.over]

    def place(self, runner: RunnerConfig) -> Scripted:
        return next(self._scripts)

    def fleet(self, *placements: Scripted) -> Fleet:
        """A fleet of these."""
        self._scripts = iter(placements)
        runners = cast("list[RunnerConfig]", list(placements))
        return Fleet(cast("Cluster", self), cast("Lifeline", self.lifeline), runners)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The fleet's clock and cluster."""
    clock = Clock()
    monkeypatch.setattr(fleet_module, "time", clock)
    return clock


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """What the parent has been told."""

    def told() -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]

    return told


def test_a_fleet_ends_with_its_last_runner(
    clock: Clock, told: Callable[[], list[dict[str, Any]]]
) -> None:
    """However long that takes; news are passed on with the runner's name."""
    first = Scripted("a", clock, at_s=1001.0)
    last = Scripted("b", clock, at_s=1500.0)
    last.texts = ["is well"]
    assert clock.fleet(first, last).run() == 0
    assert 1500.0 <= clock.now < 1501.0
    made = {"event": "made", "steps": 5, "complete": True, "restarts": 0}
    assert told() == [{"event": "notice", "text": "b is well"}, made, made]
    assert not last.killed


def test_a_runner_without_a_node_is_not_waited_for(
    clock: Clock, told: Callable[[], list[dict[str, Any]]]
) -> None:
    """When the learner has enough; its robot counts as not complete."""
    lost = Scripted("b", clock, at_s=NEVER)
    lost.lost_since = 1000.0
    assert clock.fleet(Scripted("a", clock, at_s=1100.0), lost).run() == 0
    assert 1110.0 <= clock.now < 1111.0
    assert lost.killed
    assert [one["complete"] for one in told()] == [True, False]


def test_a_runner_without_a_node_is_waited_for_while_the_learner_wants_more(clock: Clock) -> None:
    """A node may come back after minutes; and who had steps of its own says nothing of enough."""
    lost = Scripted("b", clock, at_s=1400.0)
    lost.lost_since = 1000.0
    short = Scripted("a", clock, at_s=1001.0)
    short.open_ended = False
    assert clock.fleet(short, lost).run() == 0
    assert clock.now >= 1400.0
    assert not lost.killed


@pytest.mark.parametrize(("stops_after_s", "killed"), [(15.0, False), (30.0, True)])
def test_runners_have_time_to_stop(
    clock: Clock, told: Callable[[], list[dict[str, Any]]], *, stops_after_s: float, killed: bool
) -> None:
    """The supervisor would not wait for the fleet much longer."""
    clock.cut_at = 1050.0
    slow = Scripted("a", clock, at_s=NEVER)
    slow.stops_after_s = stops_after_s
    assert clock.fleet(slow).run() == 0
    assert slow.killed is killed
    assert clock.now < 1072.0
    (made,) = told()
    assert made == {"event": "made", "steps": 0 if killed else 2, "complete": False, "restarts": 0}


def test_what_is_wrong_with_one_stops_the_others(
    clock: Clock, told: Callable[[], list[dict[str, Any]]]
) -> None:
    """Its message is told once, its code is the fleet's; later messages are not."""
    wrong = Scripted("a", clock, at_s=1010.0, outcome=Outcome(message="no such robot", code=2))
    after = Scripted("b", clock, at_s=1010.0, outcome=Outcome(message="another", code=4))
    other = Scripted("c", clock, at_s=NEVER)
    other.stops_after_s = 1.0
    assert clock.fleet(wrong, after, other).run() == 2
    assert clock.now < 1013.0
    events = told()
    errors = [one for one in events if one["event"] == "error"]
    assert errors == [{"event": "error", "message": "no such robot", "code": 2}]
    assert sum(one["event"] == "made" for one in events) == 3


def test_a_fleet_fits_into_one_argument_of_a_process() -> None:
    """More than that is refused, with how many would do; the kernel would only say E2BIG."""

    def config(count: int) -> FleetConfig:
        runner = RunnerConfig(
            name="go2-100",
            robot="go2",
            task="walk",
            env=None,
            endpoint="tcp://10.0.0.1:5555",
            folder="/runs/" + "x" * 200,
            seed=(0, 100),
        )
        return FleetConfig(address="auto", runners=[runner] * count)

    with pytest.raises(ConfigError, match=r"^1000 runners are too many .* at most (\d+);") as error:
        config(1000).arguments()
    most = int(str(error.value).split("at most ")[1].split(";")[0])
    assert 100 < most < 1000
    assert len(config(most).arguments()[1]) <= 120_000
