"""What the service tells robots: policies, how far they may go, and when it is enough."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import TYPE_CHECKING

from robosac.learner import service as service_module
from robosac.wire import messages
from robosac.wire.messages import Held

if TYPE_CHECKING:
    import pytest

    from tests.robosac.learner.conftest import MakePlace, Place


def test_the_welcome_waits_for_a_policy(make_place: MakePlace) -> None:
    """A robot never acts on anything but what the learner has given it."""
    place = make_place()
    place.service.policy = None
    place.service.start()
    robot = place.robot()
    robot.hello()
    place.until(place.service.contract_known.is_set)
    robot.say(messages.Ping())
    robot.hear(messages.Pong)
    assert not robot.told(messages.Welcome)
    place.publish(4)
    assert robot.hear(messages.Welcome).version == 4


def test_only_the_newest_policy_is_sent_to_a_slow_robot(place: Place) -> None:
    """Twenty versions while it is busy with the first: it gets two, and ends on the newest."""
    robot = place.robot()
    robot.join()
    for version in range(2, 21):
        place.publish(version)
        robot.say(messages.Ping(policy=0))
        robot.hear(messages.Pong)
    robot.say(messages.Ping(policy=1))
    assert robot.hear(messages.Policy).version == 20
    robot.say(messages.Ping(policy=20))
    place.publish(21)
    robot.hear(messages.Policy)
    assert [one.version for one in robot.told(messages.Policy)] == [20, 21]


def test_a_policy_comes_with_its_digest(place: Place) -> None:
    """The robot can tell what was damaged on the way."""
    robot = place.robot()
    robot.join()
    robot.say(messages.Ping(policy=1))
    place.publish(2)
    push = robot.hear(messages.Policy)
    assert hashlib.sha256(robot.heard[-1][1]).hexdigest() == push.sha256


def test_a_policy_is_sent_as_soon_as_it_is_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service does not wait for its next turn: a policy that waits is experience wasted."""
    robot = place.robot()
    robot.join()
    monkeypatch.setattr(service_module, "_POLL_MS", 5000)
    for _ in range(2):  # after the second answer it waits, five seconds if need be
        robot.say(messages.Ping(policy=1))
        robot.hear(messages.Pong)
    published = time.monotonic()
    place.publish(2)
    robot.hear(messages.Policy)
    assert time.monotonic() - published < 2.0
    monkeypatch.undo()
    place.publish(3)  # for its last five seconds to end at once


def test_without_a_pace_there_is_no_bound(place: Place) -> None:
    """--pace free and realtime: the robot never waits for the learner."""
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit is None


def test_a_real_robot_is_never_held_up(make_place: MakePlace) -> None:
    """It is told so, once; the simulated one beside it gets everything that is allowed."""
    place = make_place(steps=100)
    place.service.allowed_steps = 10
    place.service.start()
    real, simulated = place.robot(), place.robot("small-1")
    real.paced = False
    real.join()
    assert real.hear(messages.Credit).credit is None
    simulated.join()
    assert simulated.hear(messages.Credit).credit == 10
    real.send_rows(0, 50)
    real.acknowledged(50)
    place.service.allowed_steps = 70
    assert simulated.hear(messages.Credit).credit == 20
    real.synchronise()
    assert len(real.told(messages.Credit)) == 1


def test_credit_follows_what_the_learner_allows(place: Place) -> None:
    """Never more than that, however many rows are on their way."""
    place.service.allowed_steps = 64
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit == 64
    robot.send_rows(0, 64)
    robot.acknowledged(64)
    place.service.allowed_steps = 80
    assert robot.hear(messages.Credit).credit == 80


def test_two_robots_share_the_credit(place: Place) -> None:
    """Together they stay within it, and the end of one leaves its part to the other."""
    place.service.allowed_steps = 64
    one, two = place.robot(), place.robot("small-1")
    one.join()
    assert one.hear(messages.Credit).credit == 64
    one.send_rows(0, 64)
    one.acknowledged(64)
    two.join()
    place.service.allowed_steps = 128
    assert one.hear(messages.Credit).credit == 64 + 32
    assert two.hear(messages.Credit).credit == 32
    two.say(messages.Bye(run=two.run, made=0))
    two.hear(messages.Farewell)
    assert one.hear(messages.Credit).credit == 64 + 64


def test_simulated_robots_stay_near_a_learner_that_allows_anything(make_place: MakePlace) -> None:
    """Not more than a thousand rows or so are on their way, however many steps are asked for."""
    place = make_place(steps=100_000)
    place.service.start()
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit == 1024
    robot.send_rows(0, 500)
    assert robot.hear(messages.Credit).credit == 1524


def test_all_robots_together_make_as_many_rows_as_were_asked_for(make_place: MakePlace) -> None:
    """Three of them, greedy, each with its own idea of how fast; not a row more."""
    place = make_place(steps=100)
    place.service.start()
    robots = [place.robot(f"small-{number}") for number in range(3)]
    for robot in robots:
        robot.join()
    made = dict.fromkeys(robots, 0)
    while not place.service.enough:
        for robot, most in zip(robots, (1, 7, 40), strict=True):
            robot.synchronise()
            credit = (robot.told(messages.Credit) or [messages.Credit(run=robot.run, credit=0)])[-1]
            count = min((credit.credit or 0) - made[robot], most)
            if count > 0:
                robot.send_rows(made[robot], count)
                made[robot] += count
    assert place.service.ledger.rows == sum(made.values()) == 100


def test_rows_of_an_earlier_run_count_before_they_arrive(make_place: MakePlace) -> None:
    """A replacement robot gets no credit for what its predecessor's spool will fill."""
    place = make_place(steps=100)
    place.service.start()
    robot, earlier = place.robot(), uuid.uuid4().hex
    robot.join({earlier: Held(0, 40)})
    assert robot.hear(messages.Credit).credit == 60
    robot.send_rows(0, 60)
    robot.acknowledged(60)
    robot.synchronise()
    assert not robot.told(messages.Enough)
    robot.send_rows(0, 40, run=earlier)
    robot.hear(messages.Enough)
    assert place.service.ledger.rows == 100


def test_rows_of_an_earlier_run_that_were_given_up_are_made_again(make_place: MakePlace) -> None:
    """When the goodbye of that run comes without them, their steps go to the living."""
    place = make_place(steps=100)
    place.service.start()
    robot, earlier = place.robot(), uuid.uuid4().hex
    robot.join({earlier: Held(0, 40)})
    assert robot.hear(messages.Credit).credit == 60
    robot.send_rows(0, 10, run=earlier)
    robot.acknowledged(10)
    robot.part(40, run=earlier, oldest=40)
    robot.synchronise()
    assert robot.told(messages.Credit)[-1].credit == 90


def test_a_new_learner_counts_what_spools_still_have(make_place: MakePlace) -> None:
    """What a robot has made of its present run it has made: the others do not make it again."""
    place = make_place(steps=100)
    place.service.policy = None
    place.service.start()
    ahead, behind = place.robot(), place.robot("small-1")
    ahead.hello({ahead.run: Held(0, 80)})
    behind.hello()
    place.until(lambda: place.service.present == 2)
    place.publish(1)
    assert ahead.hear(messages.Credit).credit == 80
    assert behind.hear(messages.Credit).credit == 20


def test_everybody_is_told_once_when_it_is_enough(make_place: MakePlace) -> None:
    """Real and simulated, who has made rows and who has not, who is there and who comes later."""
    place = make_place(steps=30)
    place.service.start()
    busy, idle, late = place.robot(), place.robot("small-1"), place.robot("small-2")
    busy.paced = False
    busy.join()
    idle.join()
    busy.send_rows(0, 29)
    busy.acknowledged(29)
    idle.synchronise()
    assert not busy.told(messages.Enough)
    assert not idle.told(messages.Enough)
    busy.send_rows(29, 3)
    busy.hear(messages.Enough)
    idle.hear(messages.Enough)
    late.join()
    late.hear(messages.Enough)
    for robot, made in ((busy, 32), (idle, 0), (late, 0)):
        robot.synchronise()
        assert len(robot.told(messages.Enough)) == 1
        robot.part(made)
    place.until(lambda: place.service.present == 0)
    assert place.service.ledger.parted == {"small-0", "small-1", "small-2"}
    assert place.service.ledger.rows == 32, "a row that was made is kept, asked for or not"


def test_a_robot_that_comes_back_is_told_again_that_it_is_enough(make_place: MakePlace) -> None:
    """The word may have been lost with its connection."""
    place = make_place(steps=10)
    place.service.start()
    robot, again = place.robot(), place.robot()
    again.run = robot.run
    robot.join()
    robot.send_rows(0, 10)
    robot.hear(messages.Enough)
    again.join()
    again.hear(messages.Enough)


def test_a_robot_that_starts_again_is_no_longer_gone(place: Place) -> None:
    """`parted` is about the present run of every robot."""
    robot, again = place.robot(), place.robot()
    robot.join()
    robot.part(0)
    assert place.service.ledger.parted == {"small-0"}
    place.until(lambda: place.service.present == 0)
    again.join()
    assert not place.service.ledger.parted
    assert place.service.present == 1
    again.send_rows(0, 4)
    again.part(4)
    assert place.service.ledger.parted == {"small-0"}


def test_a_robot_that_missed_its_farewell_is_present_until_it_is_told_again(place: Place) -> None:
    """Its connection broke meanwhile: a learner that left now would leave it waiting for ever.

    An uplink that waits for no farewell any more, and only reconnects, holds nobody up.
    """
    robot = place.robot()
    robot.join()
    robot.part(0)
    place.until(lambda: place.service.present == 0)
    again = place.robot()
    again.run = robot.run
    again.join()
    assert place.service.present == 1
    assert place.service.ledger.parted == {"small-0"}
    again.part(0)
    place.until(lambda: place.service.present == 0)
    done = place.robot()
    done.run = robot.run
    done.hello(over=True)
    done.hear(messages.Welcome)
    assert place.service.present == 0


def test_the_goodbye_of_an_earlier_run_is_not_that_of_its_robot(place: Place) -> None:
    """The uplink of a killed loop is done with the last run when the next is under way."""
    earlier, present = place.robot(), place.robot()
    earlier.join()
    present.join()
    earlier.part(0)
    assert not place.service.ledger.parted
    present.part(0)
    assert place.service.ledger.parted == {"small-0"}


def test_who_has_just_been_heard_of_is_awaited(place: Place) -> None:
    """Its uplink may have been killed; a robot that has said goodbye, or is silent, is not."""
    ledger = place.service.ledger
    assert not ledger.awaits(0.0, opened=1.0), "nobody has called yet"
    robot, gone = place.robot(), place.robot("small-1")
    before = time.monotonic()
    robot.join()
    gone.join()
    gone.part(0)
    assert ledger.awaits(before, opened=0.0)
    assert not ledger.awaits(time.monotonic(), opened=0.0)
    ledger.account("small-0").heard = None
    assert ledger.awaits(before, opened=before + 1)
    assert not ledger.awaits(before, opened=before)


def test_what_robots_say_of_themselves_is_kept_by_name(place: Place) -> None:
    """Rows, what waits in the spool, what it gave up, the policy it has, what it does not run."""
    one, two = place.robot(), place.robot("small-1")
    for robot, count in ((one, 5), (two, 8)):
        robot.join()
        robot.send_rows(0, count)
        robot.acknowledged(count)
    one.say(messages.Declined(version=1, reason="it jumps"))
    one.say(messages.Declined(version=2, reason="again"))
    one.say(messages.Ping(policy=1, pending=17, dropped=3))
    one.hear(messages.Pong)
    first, second = (place.service.ledger.robots[name].figures() for name in ("small-0", "small-1"))
    silent = first.pop("silent_s")
    assert isinstance(silent, float)
    assert silent < 5
    assert first == {
        "rows": 5,
        "pending": 17,
        "dropped": 3,
        "declined": 2,
        "reason": "again",
        "policy": 1,
    }
    assert (second["rows"], second["declined"], second["reason"]) == (8, 0, "")


def test_a_reason_stays_on_its_line(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """It is shown on terminals, and no robot may write other lines there or flood the log."""
    robot = place.robot()
    robot.join()
    for version in range(100):
        robot.say(messages.Declined(version=version, reason="it\njumps \x1b[31m"))
    robot.synchronise()
    assert place.service.ledger.robots["small-0"].reason == "it jumps  [31m"
    assert place.service.ledger.robots["small-0"].declined == 100
    assert 1 <= caplog.text.count("declines") <= 8


def test_a_pong_says_whether_the_update_loop_turns(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learner that takes rows and has stopped to learn is noticed by its robots."""
    robot = place.robot()
    robot.join()
    robot.say(messages.Ping())
    assert robot.hear(messages.Pong).learning
    place.service.turned_at = time.monotonic() - service_module.STALLED_S
    robot.say(messages.Ping())
    assert not robot.hear(messages.Pong).learning
    robot.send_rows(0, 3)
    robot.acknowledged(3)
    place.service.turned_at = time.monotonic()
    robot.say(messages.Ping())
    assert robot.hear(messages.Pong).learning
