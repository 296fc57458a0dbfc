"""The log with a real writer process behind it: what goes in comes out."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from mcap.reader import make_reader

import robots
from robosac.errors import StorageError
from robosac.flight_log import log as log_module
from robosac.flight_log.fields import FIELDS, TICK_CHANNELS
from robosac.flight_log.log import EventHandler, FlightLog, TickValues
from robosac.flight_log.record import read
from robosac.tasks import Observer, Tick, Walk
from tests.robosac.flight_log.conftest import SPEC, fly, reading, until

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


MOTION = ("base_position", "base_velocity", "base_yaw")


def floats(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Float32 numbers of every magnitude."""
    bits = rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)
    return np.where(np.isfinite(bits), bits, np.float32(0.1))


def all_values(rng: np.random.Generator) -> dict[str, Any]:
    """A value for every field of a tick."""
    values: dict[str, Any] = {}
    for field in FIELDS:
        count = {"joints": 2, "feet": 1}.get(str(field.axes), len(field.axes))
        values[field.name] = floats(rng, count) if field.code == "f" else float(rng.normal())
    values |= {"stamp_ns": 2**62 + 1, "joint_jumps": 2, "guards": 2**40 + 3, "policy_version": 7}
    return values | {"terminated": True, "truncated": False, "foot_contact": np.array([1.0])}


def write(log: FlightLog, values: dict[str, Any]) -> None:
    """Log one tick in which everything is known."""
    sensors = {name: values[name] for name in robots.RobotState.__dataclass_fields__}
    motion = {name.removeprefix("base_"): values[name] for name in MOTION}
    spoken = TickValues.__annotations__
    log.tick(
        robots.RobotState(**sensors),
        robots.State.HOLD,
        motion=robots.BaseMotion(**motion, source="test"),
        **cast("TickValues", {name: values[name] for name in spoken}),
    )


def test_every_field_comes_back_exactly(log: FlightLog, path: Path) -> None:
    """Bit for bit, whatever the magnitude; later learning is to see what the policy saw."""
    rng = np.random.default_rng(0)
    written = [all_values(rng) for _ in range(50)]
    for values in written:
        write(log, values)
    log.close()
    ticks = read(path).ticks
    assert set(ticks) == {field.name for field in FIELDS}
    for step, values in enumerate(written):
        for name in (*robots.RobotState.__dataclass_fields__, *TickValues.__annotations__, *MOTION):
            np.testing.assert_array_equal(ticks[name][step], values[name], err_msg=name)
    assert ticks["number"].tolist() == list(range(50))
    assert set(ticks["state"]) == {"hold"}


def test_what_nobody_knows_is_nan(log: FlightLog, path: Path) -> None:
    """Left out, not finite, or for another number of joints: never a made-up figure."""
    blind = reading(1)
    blind.gyro[1] = np.nan
    blind.effort[0] = np.inf
    log.tick(blind, robots.State.STANDBY, target=np.zeros(3, np.float32))
    log.close()
    ticks = read(path).ticks
    for name in ("temperature", "voltage", "target", "requested", "base_yaw", "dt_s", "reward"):
        assert np.isnan(ticks[name]).all(), name
    np.testing.assert_array_equal(ticks["gyro"][0], [1, np.nan, 1])
    assert np.isnan(ticks["effort"][0, 0])
    assert not np.isnan(ticks["effort"][0, 1])
    assert ticks["policy_version"][0] == -1
    assert ticks["guards"][0] == 0


def test_an_outcome_stands_with_the_tick_it_led_to(log: FlightLog, path: Path) -> None:
    """And with no other: ticks of standing up or damping have no reward."""
    for step in range(4):
        if step in (1, 2):
            log.outcome(reward=float(step), terminated=step == 2, truncated=False)
        log.tick(reading(step), robots.State.ACTIVE)
    log.close()
    ticks = read(path).ticks
    np.testing.assert_array_equal(ticks["reward"], [np.nan, 1, 2, np.nan])
    assert ticks["terminated"].tolist() == [False, False, True, False]
    assert not ticks["truncated"].any()


def test_observations_can_be_made_again(path: Path) -> None:
    """A task sees in the log exactly what it saw on the robot, so that others can learn from it."""
    spec, task = robots.find("pup").spec, Walk()
    rng = np.random.default_rng(1)
    observer, seen = Observer(task.actor_terms(spec) + task.critic_terms(spec)), []
    joints = len(spec.joints)
    with FlightLog(path, spec, clock=time.monotonic_ns) as log:
        for step in range(20):
            state = robots.RobotState(
                stamp_ns=step,
                position=floats(rng, joints),
                velocity=floats(rng, joints),
                effort=floats(rng, joints),
                quaternion=rng.normal(size=4).astype(np.float32),
                gyro=floats(rng, 3),
                accelerometer=floats(rng, 3),
                foot_contact=rng.random(len(spec.feet)) > 0.5,
            )
            motion = robots.BaseMotion(
                position=floats(rng, 3), velocity=floats(rng, 3), yaw=1.5, source="test"
            )
            action = rng.uniform(-1, 1, joints).astype(np.float32)
            log.tick(state, robots.State.ACTIVE, motion=motion, executed=action, dt_s=0.02)
            tick = Tick(state=state, motion=motion, action=action, dt_s=0.02)
            seen.append(observer.observe(task.readings(tick)))
    record = read(path)
    observer.reset()
    for index, obs in enumerate(seen):
        tick = Tick(
            state=record.reading(index),
            motion=record.motion(index),
            action=record.ticks["executed"][index],
            dt_s=float(record.ticks["dt_s"][index]),
        )
        np.testing.assert_array_equal(observer.observe(task.readings(tick)), obs)
        assert tick.state.temperature is None
        assert tick.state.voltage is None
        assert tick.state.foot_contact is not None
        assert tick.state.foot_contact.dtype == np.bool_


def test_a_base_that_nothing_measures_has_no_motion(log: FlightLog, path: Path) -> None:
    """As on the robot."""
    fly(log, range(1))
    log.close()
    assert read(path).motion(0) is None


def test_every_reading_is_logged() -> None:
    """What the robots add to their readings is added to the table as well."""
    missing = set(robots.RobotState.__dataclass_fields__) - {field.name for field in FIELDS}
    assert not missing


def test_a_flood_of_events_is_counted(
    log: FlightLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody polls, so what is not kept is lost, and told like anything else that is."""
    monkeypatch.setattr(log_module, "_EVENTS_MAX", 50)
    for number in range(80):
        log.event("flood", str(number))
    assert log.lost == 30
    log.close()
    events = read(path).events
    assert [event.text for event in events if event.kind == "flood"] == [
        str(number) for number in range(50)
    ]
    assert any(event.fields.get("entries") == 30 for event in events)


def test_events_come_back_in_order(log: FlightLog, path: Path) -> None:
    """With their figures, NumPy's included, and whatever JSON has no form for by its name."""
    log.event("policy", "swapped", version=3, jump=np.float32(0.5), where=path)
    log.event("odd", "not \udcff text")
    log.poll()
    log.close()
    record = read(path)
    ours = [event for event in record.events if event.kind != "log"]
    assert ours[0][1:] == ("policy", "swapped", {"version": 3, "jump": 0.5, "where": str(path)})
    assert "udcff" in ours[1].text
    assert [event.text for event in record.events if event.kind == "log"] == [
        "part 0 of the log begins",
        "the log ends",
    ]


def test_events_may_come_from_any_thread(log: FlightLog, path: Path) -> None:
    """Each of them arrives once, while the control thread logs ticks."""

    def tell(who: str) -> None:
        for number in range(100):
            log.event(who, str(number))

    threads = [threading.Thread(target=tell, args=(who,)) for who in ("a", "b")]
    for thread in threads:
        thread.start()
    fly(log, range(100))
    for thread in threads:
        thread.join()
    log.close()
    record = read(path)
    for who in ("a", "b"):
        told = sorted(int(event.text) for event in record.events if event.kind == who)
        assert told == list(range(100))
    assert len(record.ticks["number"]) == 100


def test_transitions_of_the_safety_layer_are_events(log: FlightLog, path: Path) -> None:
    """A handler takes what a logger says, cause included."""
    handler = EventHandler(log)
    handler.handle(
        logging.makeLogRecord(
            {
                "name": "robots.safety",
                "levelname": "INFO",
                "msg": "safety: %s -> %s",
                "args": ("active", "damp"),
            }
        )
    )
    log.close()
    found = [event for event in read(path).events if event.kind == "robots.safety"]
    assert [(event.text, event.fields) for event in found] == [
        ("safety: active -> damp", {"level": "INFO"})
    ]


def test_other_readers_can_open_it(log: FlightLog, path: Path) -> None:
    """By the index at its end, every tick once on every channel, at wall-clock time."""
    before_ns = time.time_ns()
    fly(log, range(10))
    log.close()
    with path.open("rb") as file:
        reader = make_reader(file)
        messages = list(reader.iter_messages(log_time_order=False))
        summary = reader.get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(messages) == 10 * len(TICK_CHANNELS) + 2
    topics = [channel.topic for _, channel, _ in messages]
    assert {topics.count(topic) for topic in TICK_CHANNELS} == {10}
    assert all(abs(message.log_time - before_ns) < 60e9 for _, _, message in messages)
    assert all(message.publish_time == message.log_time for _, _, message in messages)


def test_the_log_says_where_it_comes_from(path: Path) -> None:
    """Robot, version and whatever the caller knows: digests, settings of the task."""
    with FlightLog(path, SPEC, clock=time.monotonic_ns, info={"policy_sha256": "f00"}):
        pass
    record = read(path)
    assert (record.spec.robot, record.spec.joints) == ("twig", ("hip", "knee"))
    assert record.info["policy_sha256"] == "f00"
    assert record.info["robosac"]
    assert record.complete


def test_a_log_is_never_written_over(log: FlightLog, path: Path) -> None:
    """One path is one flight."""
    log.close()
    with pytest.raises(StorageError, match="a log that exists"):
        FlightLog(path, SPEC, clock=time.monotonic_ns)


def test_a_place_without_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    """Before the robot moves, in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"flight\.mcap"):
        FlightLog(tmp_path / "file" / "flight.mcap", SPEC, clock=time.monotonic_ns)


def test_close_may_be_repeated(log: FlightLog, path: Path) -> None:
    """And what is logged afterwards goes nowhere and is counted."""
    fly(log, range(3))
    log.close()
    assert log.lost == 0
    fly(log, range(3, 5))
    log.close()
    assert len(read(path).ticks["number"]) == 3
    assert log.lost == 2


def test_the_writer_is_polite_and_deaf_to_signals(log: FlightLog, path: Path) -> None:
    """It has its own process group and a lower priority; only the end of the pipe ends it."""
    pid = log.writer_pid
    until(path.exists)
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    fly(log, range(5))
    log.close()
    assert len(read(path).ticks["number"]) == 5
    assert log.writer_pid == pid
