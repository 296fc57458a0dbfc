"""`robosac doctor --learner`: every way in which a connection can be bad, with a real socket."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest
import zmq

from robosac.cli.main import main
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.learner.door import Door
from robosac.learner.inbox import Inbox
from robosac.learner.options import LearnerOptions
from robosac.learner.service import Service
from robosac.policy.contract import encode as encode_contract
from robosac.wire import messages
from robosac.wire.keys import RobotKeys
from robosac.wire.keysmith import make_learner, make_robot
from robosac.wire.sockets import bind_learner, connect_robot, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from robosac.policy import Contract
    from robosac.wire.sockets import Context, Socket

    Frames = list[bytes]

MOST_S = 6.0
"""Longest that a failing case may take, twice what it takes on a machine with nothing to do."""


class Doctor:
    """Runs the command and keeps what it says."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def examine(self, endpoint: str, *options: object) -> tuple[int, list[str]]:
        """Exit code and findings about a learner."""
        started = time.monotonic()
        address = endpoint.removeprefix("tcp://")
        code = main(["doctor", "--learner", address, *map(str, options)])
        assert time.monotonic() - started < MOST_S
        said = self._capsys.readouterr()
        return code, [*said.out.splitlines(), *said.err.splitlines()]

    def complaint(self, endpoint: str, *options: object) -> str:
        """The one line about what is wrong."""
        code, lines = self.examine(endpoint, *options)
        assert code == EXIT_USER
        assert len(lines) == 1, lines
        return lines[0]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Call the doctor."""
    return Doctor(capsys)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Folder with the keys of a learner and of pup-1."""
    folder = tmp_path / "keys"
    make_learner(folder / "learner")
    make_robot(folder / "pup-1", folder / "learner")
    return folder


@contextlib.contextmanager
def serving(
    folder: Path, *, contract: Contract | None = None, keys: Path | None = None
) -> Iterator[str]:
    """A real learner's end of the wire; gives its endpoint."""
    options = LearnerOptions(folder=str(folder), keys=None if keys is None else str(keys))
    door = Door(options)
    service = Service(
        door.socket, folder / "replay", Inbox(), objection_to_name=door.objection_to_name
    )
    if contract is not None:
        service.open_log(contract)
    service.start()
    try:
        yield door.endpoint
    finally:
        service.close()
        door.close()


@contextlib.contextmanager
def answering(answer: Callable[[Frames], Frames | None]) -> Iterator[str]:
    """A ROUTER that answers as the test says, None being silence; gives its endpoint."""
    context: Context = zmq.Context()
    router, endpoint = bind_learner(context)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            if router.poll(10):
                identity, _, frames = receive(router)
                reply = answer(frames)
                if reply is not None:
                    router.send_multipart([identity, *reply])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield endpoint
    finally:
        over.set()
        thread.join()
        router.close(linger=0)
        context.term()


@contextlib.contextmanager
def speaking(words: bytes | None) -> Iterator[str]:
    """A TCP listener that says something and hangs up, or accepts in silence; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as peers:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                peers.enter_context(peer)
                if words is not None:
                    with contextlib.suppress(OSError):  # the visitor may have gone already
                        peer.sendall(words)
                        peer.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def status(frames: Frames, **fields: object) -> Frames:
    """A good answer to a probe, with some of it replaced."""
    good = messages.Status(
        robosac="0.1.0",
        contract=b"",
        rows=0,
        policy=0,
        robots=[],
        wall_ns=time.time_ns(),
        received=len(frames[1]),
    )
    return messages.encode(msgspec.structs.replace(good, **fields))


def greet(robot: Socket, name: str, contract: Contract) -> None:
    """Say hello as a robot does."""
    run = uuid.uuid4().hex
    hello = messages.Hello(robot=name, run=run, runs={}, contract=encode_contract(contract))
    robot.send_multipart(messages.encode(hello))
    robot.send_multipart(messages.encode(messages.Ping()))
    assert robot.poll(5000)
    answer, _ = messages.decode_from_learner(robot.recv_multipart())
    assert isinstance(answer, messages.Pong), answer


def test_a_good_connection_is_described(
    doctor: Doctor, keys: Path, tmp_path: Path, go2_contract: Contract
) -> None:
    """One line for everything a user wants to know, and exit code 0."""
    context: Context = zmq.Context()
    with serving(tmp_path, contract=go2_contract, keys=keys / "learner") as endpoint:
        robot = connect_robot(context, endpoint, RobotKeys.load(keys / "pup-1"))
        assert robot.poll(5000, zmq.POLLOUT)
        greet(robot, "pup-1-0", go2_contract)
        code, lines = doctor.examine(endpoint, "--keys", keys / "pup-1", "--robot", "go2")
        robot.close()
    context.term()
    assert code == EXIT_DONE
    assert all(line.startswith("ok ") for line in lines)
    patterns = [
        r"connection: a learner listens at 127\.0\.0\.1:\d+, encrypted, let in .* pup-1$",
        r"version: robosac .* at both ends",
        r"learner: 0 rows on disk, no policy yet, robots connected: pup-1-0$",
        r"contract: the run is about go2 with task walk, as here",
        r"clock: the learner's is [+-]0\.\d\d\d s from this one$",
        r"round trip: median \d+\.\d\d ms, p99 \d+\.\d\d ms of 50",
        r"throughput: \d+\.\d MB/s in frames of 64 KiB",
        r"throughput: \d+\.\d MB/s in frames of 1024 KiB",
    ]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.search(pattern, line), (line, pattern)


def test_before_the_first_robot_there_is_nothing_to_compare(doctor: Doctor, tmp_path: Path) -> None:
    """Without keys, on one machine."""
    with serving(tmp_path) as endpoint:
        code, lines = doctor.examine(endpoint)
    assert code == EXIT_DONE
    assert any("without keys" in line for line in lines)
    assert any("contract: none yet; the first robot that calls decides" in line for line in lines)


def test_what_a_run_is_about_is_told_without_a_robot(
    doctor: Doctor, tmp_path: Path, go2_contract: Contract
) -> None:
    """And how to compare."""
    with serving(tmp_path, contract=go2_contract) as endpoint:
        code, lines = doctor.examine(endpoint)
    assert code == EXIT_DONE
    assert any("about go2 with task walk; compare with --robot or --env" in line for line in lines)


def test_every_field_that_does_not_fit_is_told(
    doctor: Doctor, tmp_path: Path, go2_contract: Contract
) -> None:
    """What the learner's run has, and what this robot would need; the rest is measured as well."""
    first, *others = go2_contract.joints
    stiffer = msgspec.structs.replace(first, kp=first.kp + 1)
    other = msgspec.structs.replace(go2_contract, joints=(stiffer, *others), control_hz=25.0)
    with serving(tmp_path, contract=other) as endpoint:
        code, lines = doctor.examine(endpoint, "--robot", "go2", "--task", "walk")
    assert code == EXIT_USER
    errors = [line for line in lines if line.startswith("error")]
    assert len(errors) == 2
    assert "contract: control_hz: the learner's run was trained at 25 Hz" in errors[0]
    name, kp = re.escape(first.name), re.escape(repr(first.kp + 1))
    assert re.search(rf"joints\.{name}\.kp: the learner's run has {kp}, expected", errors[1])
    assert any("throughput" in line for line in lines)


def test_another_kind_of_robot_is_told(
    doctor: Doctor, tmp_path: Path, go2_contract: Contract
) -> None:
    """An environment that is no robot at all."""
    with serving(tmp_path, contract=go2_contract) as endpoint:
        code, lines = doctor.examine(endpoint, "--env", "Pendulum-v1")
    assert code == EXIT_USER
    assert any("robot: the learner's run has 'go2', expected ''" in line for line in lines)


def test_rows_of_another_width_are_told(
    doctor: Doctor, tmp_path: Path, go2_contract: Contract
) -> None:
    """A learner whose critics see more."""
    more = msgspec.structs.replace(go2_contract, extra=go2_contract.extra + 1)
    with serving(tmp_path, contract=more) as endpoint:
        code, lines = doctor.examine(endpoint, "--robot", "go2")
    assert code == EXIT_USER
    assert any(re.search(r"error .*rows here are .*the learner's run has", one) for one in lines)


def test_nobody_listens(doctor: Doctor) -> None:
    """With the command that starts a learner."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = doctor.complaint(f"127.0.0.1:{port}")
    assert f"nobody listens on port {port} of 127.0.0.1" in line
    assert "robosac learn --bind" in line


def test_the_name_is_unknown(doctor: Doctor) -> None:
    """A machine that no name service knows."""
    assert "the name 'nowhere.invalid' is unknown" in doctor.complaint("nowhere.invalid:5555")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "does not answer; expected a machine that is on.*firewall"),
        (OSError(113, "No route to host"), "there is no route to it; expected a machine in"),
        (OSError(101, "Network is unreachable"), "there is no route to it"),
    ],
)
def test_the_network_does_not_carry(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, error: OSError, expected: str
) -> None:
    """What the operating system would say of a network that tests do not have."""

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    assert re.search(expected, doctor.complaint("192.0.2.1:5555"))


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", b"HTTP/1.1 400 no\r\n" * 9])
def test_another_program_listens(doctor: Doctor, words: bytes) -> None:
    """What it said helps to find out which."""
    with speaking(words) as address:
        line = doctor.complaint(address)
    assert f"no robosac learner: it says {words[:20]!r}; expected ZeroMQ" in line


def test_a_listener_says_nothing(doctor: Doctor) -> None:
    """A program that waits, or a learner whose process was stopped."""
    with speaking(None) as address:
        assert "accepts connections and says nothing" in doctor.complaint(address)


def test_a_zeromq_socket_of_another_kind_listens(doctor: Doctor) -> None:
    """It speaks ZeroMQ and cannot be called by a robot."""
    context: Context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    publisher.bind("tcp://127.0.0.1:*")
    line = doctor.complaint(publisher.getsockopt_string(zmq.LAST_ENDPOINT))
    publisher.close()
    context.term()
    assert "speaks ZeroMQ and is no robosac learner" in line


def test_a_learner_does_not_answer(doctor: Doctor) -> None:
    """Its main thread hangs, or it is too old to know a probe; ZeroMQ itself looks alive."""
    with answering(lambda frames: None) as endpoint:
        line = doctor.complaint(endpoint)
    assert "does not answer a probe; expected a robosac learner of wire schema 2" in line


def test_another_version_names_both(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learner's refusal comes through as it is."""
    reason = "it speaks wire schema 2, this learner 3; install the same robosac"
    refusal = messages.encode(messages.Refused(reason=reason))
    with answering(lambda frames: refusal) as endpoint:
        assert reason in doctor.complaint(endpoint)


def test_a_real_learner_refuses_another_version(doctor: Doctor, tmp_path: Path) -> None:
    """A probe of schema 1 is answered with both numbers."""
    context: Context = zmq.Context()
    with serving(tmp_path) as endpoint:
        robot = connect_robot(context, endpoint)
        robot.send_multipart(messages.encode(messages.Probe(schema=1), b""))
        assert robot.poll(5000)
        answer, _ = messages.decode_from_learner(robot.recv_multipart())
        robot.close()
    context.term()
    assert isinstance(answer, messages.Refused)
    assert "schema 1, this learner 2" in answer.reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda frames: [b"\xc1"], "is no robosac learner of this version"),
        (lambda frames: [b"a", b"b", b"c"], "is no robosac learner of this version"),
        (lambda frames: messages.encode(messages.Unknown()), "expected a status"),
        (lambda frames: status(frames, received=7), "expected a status that repeats them"),
    ],
    ids=["garbage", "too many frames", "another message", "other ballast"],
)
def test_something_else_answers(
    doctor: Doctor, answer: Callable[[Frames], Frames], expected: str
) -> None:
    """Whatever it says, the doctor says that it is no learner."""
    with answering(answer) as endpoint:
        assert expected in doctor.complaint(endpoint)


def test_a_network_that_carries_small_messages_only(doctor: Doctor) -> None:
    """As with a wrong MTU: all is well until the first frame of rows."""
    with answering(lambda frames: status(frames) if len(frames[1]) < 2**20 else None) as endpoint:
        code, lines = doctor.examine(endpoint)
    assert code == EXIT_USER
    assert "answers small messages, and none of 1048576 bytes" in lines[-1]
    assert "in frames of 64 KiB" in lines[-2]


def test_other_clocks_and_releases_are_warnings(doctor: Doctor) -> None:
    """They spoil logs, not the connection."""

    def late(frames: Frames) -> Frames:
        return status(frames, wall_ns=time.time_ns() - 90 * 10**9, robosac="0.0.7")

    with answering(late) as endpoint:
        code, lines = doctor.examine(endpoint)
    assert code == EXIT_DONE
    warnings = [line for line in lines if line.startswith("warning")]
    assert len(warnings) == 2
    assert "robosac 0.0.7 there" in warnings[0]
    assert re.search(r"clock: the learner's is -(90\.0|89\.9)\d\d s.*NTP", warnings[1])


def test_keys_are_asked_for(doctor: Doctor, keys: Path, tmp_path: Path) -> None:
    """Every time: it does not depend on who hangs up first."""
    with serving(tmp_path, keys=keys / "learner") as endpoint:
        for _ in range(5):
            assert "lets in keys only; expected --keys" in doctor.complaint(endpoint)


def test_keys_are_not_used_there(doctor: Doctor, keys: Path, tmp_path: Path) -> None:
    """The learner was started without its keys."""
    with serving(tmp_path) as endpoint:
        line = doctor.complaint(endpoint, "--keys", keys / "pup-1")
    assert "uses no keys; expected a learner with them" in line


def test_the_key_is_not_let_in(doctor: Doctor, keys: Path, tmp_path: Path) -> None:
    """With the command that lets it in."""
    (keys / "learner" / "allowed" / "pup-1.key").unlink()
    with serving(tmp_path, keys=keys / "learner") as endpoint:
        line = doctor.complaint(endpoint, "--keys", keys / "pup-1")
    assert "refuses the key of pup-1" in line
    assert "run `robosac keys pup-1` there" in line


def test_the_learner_has_another_key(doctor: Doctor, keys: Path, tmp_path: Path) -> None:
    """The folder was made for another learner."""
    make_learner(tmp_path / "other" / "learner")
    make_robot(tmp_path / "other" / "pup-1", tmp_path / "other" / "learner")
    with serving(tmp_path, keys=keys / "learner") as endpoint:
        line = doctor.complaint(endpoint, "--keys", tmp_path / "other" / "pup-1")
    assert "has not the key in learner.key" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--learner", "nonsense"], "expected HOST:PORT"),
        (["--learner", "*:5555"], "workstation.local:5555"),
        (["--learner", "127.0.0.1:1", "--keys", "/nowhere"], "robosac keys NAME"),
        (["--keys", "keys/pup-1"], "name its other end with --learner"),
        (["--env", "Pendulum-v1"], "name its other end with --learner"),
    ],
)
def test_options_that_cannot_be_are_told(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is called."""
    assert main(["doctor", *arguments]) == EXIT_USER
    assert expected in capsys.readouterr().err
