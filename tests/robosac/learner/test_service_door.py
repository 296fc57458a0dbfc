"""Who the service lets in, and what any of them may do to it: nothing that others would notice."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import zmq

from robosac import __version__
from robosac.learner import service as service_module
from robosac.learner import sessions as sessions_module
from robosac.policy.contract import decode as decode_contract
from robosac.policy.contract import encode as encode_contract
from robosac.wire import messages
from robosac.wire.messages import Held

if TYPE_CHECKING:
    from robosac.policy import Contract
    from tests.robosac.learner.conftest import MakePlace, Place, Robot


def test_a_robot_that_reconnects_takes_its_own_place(place: Place) -> None:
    """Its old connection does not keep a share of the credit."""
    place.service.allowed_steps = 64
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit == 64
    robot.send_rows(0, 10)
    robot.acknowledged(10)
    again = place.robot()
    again.run = robot.run
    assert again.join({robot.run: Held(10, 20)}).expected == {robot.run: 10}
    assert again.hear(messages.Credit).credit == 64
    again.send_rows(10, 10)
    again.acknowledged(20)
    robot.send_rows(20, 5)
    robot.hear(messages.Unknown)
    assert place.service.ledger.rows == 20
    assert place.service.present == 1


def test_a_robot_that_has_gone_silent_is_forgotten(place: Place) -> None:
    """Its share goes to the others; when it speaks again it is asked to introduce itself."""
    place.service.allowed_steps = 64
    silent, alive = place.robot(), place.robot("small-1")
    silent.join()
    assert silent.hear(messages.Credit).credit == 64
    (session,) = place.service._sessions  # noqa: SLF001 -- time has no other side
    session.heard -= service_module.SILENCE_S
    place.until(lambda: place.service.present == 0)
    alive.join()
    assert alive.hear(messages.Credit).credit == 64
    silent.say(messages.Ping())
    silent.hear(messages.Unknown)


def share_and_lose_one(place: Place) -> tuple[Robot, Robot, int]:
    """Two robots with half of the credit each, the first of which is then cut off."""
    place.service.allowed_steps = 0
    lost, other = place.robot(), place.robot("small-1")
    lost.join()
    other.join()
    lost.socket.close()
    steps = 0

    def alone() -> bool:
        nonlocal steps
        steps += 2
        place.service.allowed_steps = steps  # told at once, over and over, unlike a policy
        return len(place.service._sessions) == 1  # noqa: SLF001 -- it is present all the same

    place.until(alone)
    credit = steps // 2
    while other.hear(messages.Credit).credit != credit:
        pass
    return lost, other, credit


def test_a_robot_whose_connection_is_gone_keeps_its_credit_for_a_while(place: Place) -> None:
    """It goes on with it over another connection: until then it is nobody else's."""
    lost, other, credit = share_and_lose_one(place)
    assert place.service.present == 2
    other.send_rows(0, credit)
    other.acknowledged(credit)
    other.synchronise()
    assert max(one.credit or 0 for one in other.told(messages.Credit)) == credit
    again = place.robot()
    again.run = lost.run
    again.join()
    assert again.hear(messages.Credit).credit == credit
    assert place.service.present == 2


def test_a_robot_that_does_not_call_again_leaves_its_credit_to_the_others(place: Place) -> None:
    """When it has been silent for long."""
    _, other, credit = share_and_lose_one(place)
    for session in place.service._sessions:  # noqa: SLF001 -- time has no other side
        if session.gone:
            session.heard -= service_module.SILENCE_S
    while other.hear(messages.Credit).credit != 2 * credit:
        pass
    assert place.service.present == 1


def test_a_robot_that_starts_anew_gets_the_credit_of_its_lost_run(place: Place) -> None:
    """It does not wait until that has been silent for long."""
    _, _, credit = share_and_lose_one(place)
    again = place.robot()
    again.join()
    assert again.hear(messages.Credit).credit == credit
    assert place.service.present == 2


def test_another_contract_is_refused_with_its_fields(place: Place, contract: Contract) -> None:
    """The first one counts for the run; the others are told what differs."""
    place.robot().join()
    other = place.robot(
        contract=msgspec.structs.replace(
            contract, task="other", action_upper=(3.0,), control_hz=50.0
        )
    )
    other.hello()
    reason = other.hear(messages.Refused).reason
    assert "task: policy has '', expected 'other'" in reason
    assert "action_upper" in reason
    assert "control_hz" in reason
    other.send_rows(0, 5)
    other.hear(messages.Unknown)
    assert place.service.ledger.rows == 0


def test_a_contract_that_may_not_become_the_run_s_is_refused(
    make_place: MakePlace, contract: Contract
) -> None:
    """Nothing is begun for it; the next robot, which fits, decides, and is asked nothing."""
    asked: list[str] = []

    def objection(contract: Contract) -> str | None:
        asked.append(contract.env)
        return "not this one" if contract.env == "Other-v0" else None

    place = make_place(objection_to_contract=objection)
    place.service.start()
    other = place.robot(contract=msgspec.structs.replace(contract, env="Other-v0"))
    other.hello()
    assert other.hear(messages.Refused).reason == "not this one"
    assert not place.folder.exists()
    assert place.service.contract is None
    place.robot("small-1").join()
    place.robot("small-2").join()
    assert asked == ["Other-v0", contract.env]


def test_rows_of_another_layout_are_refused_at_the_door(place: Place, contract: Contract) -> None:
    """What only the critics see is no part of the policy, and yet every row would be malformed."""
    place.robot().join()
    other = place.robot(contract=msgspec.structs.replace(contract, extra=4))
    other.hello()
    reason = other.hear(messages.Refused).reason
    assert "extra=4" in reason
    assert "extra=0" in reason


def test_a_name_that_cannot_be_a_file_is_refused(place: Place) -> None:
    """With what a name may be, instead of dropping every row."""
    robot = place.robot()
    robot.name = "../robot"
    robot.hello()
    assert "expected 1 to 64 letters" in robot.hear(messages.Refused).reason
    assert place.service.contract is None


def test_another_wire_schema_is_refused_with_both_numbers(place: Place) -> None:
    """Although the rest of its greeting cannot be read."""
    robot = place.robot()
    robot.socket.send(msgspec.msgpack.encode({"type": "Hello", "schema": 7, "x": [1, 2]}))
    reason = robot.hear(messages.Refused).reason
    assert "schema 7" in reason
    assert f"learner {messages.SCHEMA}" in reason


def test_a_contract_that_cannot_be_read_is_refused(place: Place) -> None:
    """As a policy's would be."""
    robot = place.robot()
    robot.say(messages.Hello(robot="small-0", run=robot.run, runs={}, contract=b"{}"))
    assert "contract" in robot.hear(messages.Refused).reason


def test_garbage_is_counted_and_the_service_lives(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """From strangers, and from a robot between its good chunks; few lines in the log."""
    stranger = place.robot()
    rng = np.random.default_rng(0)
    for size in range(1, 101):
        frames = [rng.bytes(size) for _ in range(1 + size % 4)]
        while not stranger.socket.poll(10, zmq.POLLOUT):
            pass
        stranger.socket.send_multipart(frames)
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    robot.say(messages.Rows(run=robot.run, first=10, oldest=0), b"seven b")
    robot.say(messages.Rows(run=robot.run, first=10, oldest=0), b"")
    robot.send_rows(10, 10)
    robot.acknowledged(20)
    place.until(lambda: place.service.ledger.malformed == 101)
    np.testing.assert_array_equal(place.taken(), np.arange(20))
    assert 1 <= caplog.text.count("message dropped") <= 8


def test_a_peer_that_is_no_zeromq_at_all_is_ignored(place: Place) -> None:
    """A browser, a port scanner, a megabyte of noise."""
    port = int(place.endpoint.rpartition(":")[2])
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(1_000_000), b""):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            try:
                stranger.sendall(noise)
            except OSError:
                continue  # the other end has already had enough
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 3)
    robot.acknowledged(3)


def test_strangers_are_not_remembered(place: Place) -> None:
    """However many come: what the service keeps is bounded by the robots it has welcomed."""
    place.robot().join()
    for _ in range(50):
        stranger = place.robot()
        stranger.say(messages.Ping())
        stranger.hear(messages.Unknown)
    assert place.service.present == 1


def test_episodes_are_kept_for_display(place: Place) -> None:
    """The newest hundred."""
    robot = place.robot()
    robot.join()
    for number in range(120):
        robot.say(messages.Episode(run=robot.run, end=number, return_=1.0 * number, length=1))
    robot.synchronise()
    assert [episode.end for episode in place.service.episodes] == list(range(20, 120))


BOMBS = {
    "nesting": (b'"task_config":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be read"),
    "depth": (b'"task_config":{"a":' + b"[" * 50 + b"]" * 50 + b"}", "deeper than 20"),
    "text": (b'"env":"\xff\xfe"', "cannot be read"),
    "width": (b'"extra":9007199254740991', "at most 16384 columns"),
    "bounds": (b'"action_lower":[-2.0,-2.0]', "2 action_lower and 1 action_upper"),
    "order": (b'"action_lower":[3.0]', "not below action_upper"),
    "infinity": (b'"action_upper":[1e39]', "finite bounds"),
    "golden": (b'"golden":[{"sensors":{},"obs":[1.0]}]', "golden vector of 1"),
    "no golden": (b'"golden":[]', "0 golden vectors"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_contract_that_nobody_could_learn_by_is_refused(
    place: Place, contract: Contract, bomb: str
) -> None:
    """The first one is that of the whole run: the next robot finds the door still open."""
    broken, reason = BOMBS[bomb]
    document = encode_contract(contract)[:-1] + b"," + broken + b"}"  # the last of a key counts
    hostile = place.robot()
    hostile.say(messages.Hello(robot="small-0", run=hostile.run, runs={}, contract=document))
    assert reason in hostile.hear(messages.Refused).reason
    assert place.service.contract is None
    place.robot("small-1").join()


def test_what_a_stranger_writes_does_not_fill_the_log(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A name of megabytes is quoted by the decoder, and not by the log."""
    stranger = place.robot()
    stranger.socket.send(msgspec.msgpack.encode({"type": "Ping", "x\n" * 500_000: 1}))
    place.until(lambda: "message dropped" in caplog.text)
    assert len(caplog.text) < 1000
    assert caplog.text.count("\n") == 1


def no_key_for_others(user: str | None, robot: str) -> str | None:
    """What the door's rule comes to, without keys: nobody may be small-9."""
    return f"{user} may not speak for {robot}" if robot == "small-9" else None


def test_a_key_speaks_for_its_own_robots_only(make_place: MakePlace) -> None:
    """The door is asked before anything is looked at; who is refused stays unknown."""
    place = make_place(objection_to_name=no_key_for_others)
    place.service.start()
    stranger = place.robot("small-9")
    stranger.hello()
    assert stranger.hear(messages.Refused).reason == "None may not speak for small-9"
    assert place.service.contract is None
    stranger.send_rows(0, 5)
    stranger.hear(messages.Unknown)


def test_the_run_of_one_robot_is_not_ended_by_the_hello_of_another(place: Place) -> None:
    """A robot with a key of its own that knows the run of another is just one robot more."""
    robot, thief = place.robot("small-0"), place.robot("small-1")
    thief.run = robot.run
    robot.join()
    robot.send_rows(0, 5)
    robot.acknowledged(5)
    assert thief.join().expected == {robot.run: 0}
    robot.send_rows(5, 5)
    robot.acknowledged(10)
    assert not robot.told(messages.Unknown)


def test_one_robot_does_not_keep_the_others_out(place: Place) -> None:
    """However often it calls: its oldest connections give way, and are told so."""
    first = place.robot()
    first.join()
    for _ in range(20):
        place.robot().join()
    assert place.service.present == 8
    first.say(messages.Ping())
    first.hear(messages.Unknown)
    place.robot("small-1").join()


def test_there_is_an_end_to_connections_robots_and_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is refused with its reason; who is there already goes on."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 1)
    robot.acknowledged(1)
    monkeypatch.setattr(sessions_module, "SESSIONS_MAX", 1)
    late = place.robot("small-1")
    late.hello()
    assert "1 robots are connected; expected at most 1" in late.hear(messages.Refused).reason
    monkeypatch.undo()
    monkeypatch.setattr(sessions_module, "ROBOTS_MAX", 1)
    late.hello()
    assert "this run has 1 robots" in late.hear(messages.Refused).reason
    monkeypatch.undo()
    monkeypatch.setattr(sessions_module, "RUNS_MAX", 1)
    late.hello()
    assert "started 1 times" in late.hear(messages.Refused).reason
    robot.send_rows(0, 1, run=late.run)
    robot.join()
    robot.say(messages.Bye(run=robot.run, made=1))
    robot.hear(messages.Farewell)
    robot.say(messages.Bye(run=late.run, made=0))
    robot.synchronise()
    assert place.service.ledger.malformed == 2
    assert place.service.ledger.rows == 1


def test_numbers_at_their_end_are_refused_or_kept(place: Place) -> None:
    """An acknowledgement could not be read any more: 2**53 is the largest number on the wire."""
    robot = place.robot()
    robot.join()
    robot.send_rows(2**53 - 1, 2, oldest=2**53 - 1)
    robot.send_rows(2**53 - 1, 1, oldest=2**53 - 1)
    robot.acknowledged(2**53)
    assert place.service.ledger.malformed == 1
    assert place.service.ledger.rows == 1
    assert place.service.ledger.skipped == 2**53 - 1
    robot.part(2**53)


def test_rewards_of_too_many_names_are_no_episode(place: Place) -> None:
    """Every name is a curve in the metrics for ever."""
    robot = place.robot()
    robot.join()
    for number in range(30):
        rewards = {f"term {number} {one}": 1.0 for one in range(7)}
        robot.say(
            messages.Episode(run=robot.run, end=number, return_=1.0, length=1, rewards=rewards)
        )
    robot.synchronise()
    assert len(place.service.episodes) == 100 // 7
    assert place.service.ledger.malformed == 30 - 100 // 7


def test_rows_that_are_not_finite_are_kept_for_the_learner_to_count(place: Place) -> None:
    """They are acknowledged: a robot must not send them for ever."""
    robot = place.robot()
    robot.join()
    rows = np.full((2, robot.width), np.nan, np.float32)
    robot.say(messages.Rows(run=robot.run, first=0, oldest=0), rows.tobytes())
    robot.acknowledged(2)
    assert place.service.ledger.rows == 2


def test_a_flood_leaves_room_for_the_others(place: Place) -> None:
    """Eight megabytes at a time: then it is the turn of acknowledgements, and of who else waits."""
    flood, robot = place.robot(), place.robot("small-1")
    flood.join()
    robot.join()
    count = 2**20 // (4 * flood.width)
    for first in range(40):
        flood.send_rows(first * count, count)
    robot.send_rows(0, 3)
    robot.acknowledged(3)
    flood.acknowledged(40 * count)
    assert len(flood.told(messages.Ack)) >= 40 // 10


def test_a_probe_is_answered_before_the_first_robot_calls(place: Place) -> None:
    """Without a greeting, and with the size of the ballast that it came with."""
    visitor = place.robot()
    before = time.time_ns()
    visitor.say(messages.Probe(), b"x" * 1000)
    status = visitor.hear(messages.Status)
    assert (status.robosac, status.contract, status.rows) == (__version__, b"", 0)
    assert (status.policy, status.robots, status.received) == (1, [], 1000)
    assert before <= status.wall_ns <= time.time_ns()
    assert place.service.present == 0
    assert place.service.contract is None


def test_a_probe_sees_the_run(place: Place, contract: Contract) -> None:
    """Its contract, its durable rows, its policy and who is connected."""
    robot, other, visitor = place.robot(), place.robot("small-1"), place.robot()
    for one in (other, robot):
        one.join()
    robot.send_rows(0, 25)
    robot.acknowledged(25)
    place.publish(7)
    visitor.say(messages.Probe(), b"")
    status = visitor.hear(messages.Status)
    assert decode_contract(status.contract) == contract
    assert (status.rows, status.policy) == (25, 7)
    assert status.robots == ["small-0", "small-1"]


def test_a_probe_of_another_schema_is_refused_with_both_numbers(place: Place) -> None:
    """`robosac doctor` of another version is told why nothing would work."""
    visitor = place.robot()
    probe = msgspec.msgpack.encode({"type": "Probe", "schema": 9, "new": "field"})
    visitor.socket.send_multipart([probe, b"ballast"])
    reason = visitor.hear(messages.Refused).reason
    assert f"schema 9, this learner {messages.SCHEMA}" in reason


def test_other_threads_may_look_at_any_time(place: Place) -> None:
    """Who is present, what is known of everybody, how episodes went; while robots come and go."""
    failures: list[Exception] = []
    over = threading.Event()

    def look() -> None:
        try:
            while not over.is_set():
                _ = place.service.present
                _ = [one.figures() for one in place.service.ledger.robots.values()]
                _ = list(place.service.episodes)
        except RuntimeError as error:
            failures.append(error)

    reader = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    reader.start()
    try:
        for number in range(30):
            robot = place.robot(f"small-{number}")
            robot.join()
            robot.say(messages.Episode(run=robot.run, end=1, return_=0.0, length=1))
            robot.part(0)
    finally:
        over.set()
        reader.join()
        sys.setswitchinterval(interval)
    assert failures == []
