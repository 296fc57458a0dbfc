"""The gatekeeper: who has a key on the list talks to the learner, and nobody else."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
import zmq
from zmq.utils import z85

from robosac.errors import WireError
from robosac.wire.gatekeeper import Gatekeeper
from robosac.wire.monitor import Connection, connect_watched
from robosac.wire.sockets import bind_learner, receive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.wire.keys import RobotKeys
    from robosac.wire.sockets import Context, Socket
    from tests.robosac.wire.conftest import KeyFolders

WAIT_MS = 5000


class Call:
    """A learner behind the lock, and robots that call it."""

    def __init__(self, context: Context, key_folders: KeyFolders) -> None:
        self.context = context
        self.learner, self.endpoint = bind_learner(context, keys=key_folders.learner)

    def outcome(self, keys: RobotKeys | None) -> Connection:
        """What becomes of a call with these keys."""
        with self.connected(keys) as (_, state):
            return state

    @contextlib.contextmanager
    def connected(self, keys: RobotKeys | None) -> Iterator[tuple[Socket, Connection]]:
        """Call and hang up."""
        robot, monitor = connect_watched(self.context, self.endpoint, keys)
        deadline = time.monotonic() + WAIT_MS / 1000
        while monitor.poll(10) is Connection.CONNECTING and time.monotonic() < deadline:
            pass
        try:
            yield robot, monitor.state
        finally:
            monitor.close()
            robot.close()

    def user(self, keys: RobotKeys | None) -> str | None:
        """User id of a message that is sent with these keys."""
        with self.connected(keys) as (robot, _):
            robot.send(b"hello")
            assert self.learner.poll(WAIT_MS)
            return receive(self.learner)[1]


def ask(context: Context, question: list[bytes]) -> list[bytes]:
    """Ask as ZeroMQ itself does at a handshake."""
    asker = context.socket(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    asker.send_multipart(question)
    assert asker.poll(WAIT_MS)
    answer = asker.recv_multipart()
    asker.close()
    return answer


@pytest.fixture
def call(context: Context, key_folders: KeyFolders) -> Iterator[Call]:
    """Close the learner's socket afterwards."""
    call = Call(context, key_folders)
    yield call
    call.learner.close(linger=0)


def test_an_allowed_key_is_let_in_under_its_name(
    gatekeeper: Gatekeeper, call: Call, key_folders: KeyFolders
) -> None:
    """Every message says which key it came with, whatever it says of itself."""
    for name in ("pup-1", "pup-2"):
        user = call.user(key_folders.robot(name))
        assert user is not None
        assert gatekeeper.name_of(user) == name
    assert gatekeeper.refused == 0


def test_a_stranger_is_refused_and_counted(
    gatekeeper: Gatekeeper, call: Call, key_folders: KeyFolders
) -> None:
    """Knowing the learner's public key is not enough."""
    stranger = key_folders.stranger()
    for refused in (1, 2):
        assert call.outcome(stranger) is Connection.REFUSED
        assert gatekeeper.refused == refused
    assert gatekeeper.name_of(stranger.public.decode()) is None


def test_a_key_is_added_and_removed_while_the_learner_runs(
    gatekeeper: Gatekeeper, call: Call, key_folders: KeyFolders
) -> None:
    """The list is read again at every call."""
    pup = key_folders.robot("pup-3")
    assert call.outcome(pup) is Connection.CONNECTED
    (key_folders.allowed / "pup-3.key").unlink()
    assert call.outcome(pup) is Connection.REFUSED
    key_folders.robot("pup-3")
    assert call.outcome(pup) is Connection.CONNECTED


def test_a_connection_outlives_the_removal_of_its_key(
    gatekeeper: Gatekeeper, call: Call, key_folders: KeyFolders
) -> None:
    """A robot at work is not cut off; it is refused when it calls the next time."""
    with call.connected(key_folders.robot("pup-1")) as (robot, _):
        (key_folders.allowed / "pup-1.key").unlink()
        robot.send(b"rows")
        assert call.learner.poll(WAIT_MS)
        _, user, frames = receive(call.learner)
    assert frames == [b"rows"]
    assert user is not None
    assert gatekeeper.name_of(user) == "pup-1"


def test_a_damaged_key_on_the_list_locks_nobody_else_out(
    gatekeeper: Gatekeeper,
    call: Call,
    key_folders: KeyFolders,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is skipped, and told."""
    (key_folders.allowed / "a.key").write_bytes(b"\xff")
    assert call.outcome(key_folders.robot("pup-1")) is Connection.CONNECTED
    assert "a.key is damaged" in caplog.text
    assert call.outcome(key_folders.stranger()) is Connection.REFUSED


def test_without_a_list_nobody_is_let_in(
    gatekeeper: Gatekeeper, call: Call, key_folders: KeyFolders
) -> None:
    """A folder that has gone is an empty list, not an open door."""
    pup = key_folders.robot("pup-1")
    key_folders.allowed.rename(key_folders.folder / "elsewhere")
    assert call.outcome(pup) is Connection.REFUSED


def test_without_a_gatekeeper_nobody_is_let_in(call: Call, key_folders: KeyFolders) -> None:
    """ZeroMQ by itself would let every key in."""
    assert call.outcome(key_folders.robot("pup-1")) is Connection.FOREIGN


def test_after_the_gatekeeper_has_gone_nobody_is_let_in(
    gatekeeper: Gatekeeper, call: Call, key_folders: KeyFolders
) -> None:
    """The lock fails shut."""
    assert call.outcome(key_folders.robot("pup-1")) is Connection.CONNECTED
    gatekeeper.close()
    assert call.outcome(key_folders.robot("pup-1")) is Connection.FOREIGN


def test_who_has_no_key_stays_outside(gatekeeper: Gatekeeper, call: Call) -> None:
    """Plain text is not spoken here."""
    assert call.outcome(None) in (Connection.ONE_SIDED_KEYS, Connection.FOREIGN)
    assert not call.learner.poll(0)


def test_refusals_do_not_fill_the_log(
    gatekeeper: Gatekeeper,
    call: Call,
    key_folders: KeyFolders,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first, second and fourth of five are told, with where they came from."""
    for _ in range(5):
        call.outcome(key_folders.stranger())
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition("(")[2] for line in lines] == [f"{n} so far)" for n in (1, 2, 4)]
    assert all("127.0.0.1" in line for line in lines)


@pytest.mark.parametrize(
    "question",
    [
        [b"1.0", b"7", b"", b"1.2.3.4", b"", b"NULL"],
        [b"1.0", b"7", b"", b"1.2.3.4", b"", b"PLAIN", b"admin", b"secret"],
        [b"1.0"],
    ],
    ids=["no mechanism", "a password", "cut"],
)
def test_other_ways_in_are_closed(
    gatekeeper: Gatekeeper, context: Context, question: list[bytes]
) -> None:
    """Only CURVE is answered with yes, and no question is left without an answer."""
    assert ask(context, question)[2] == b"400"


def test_the_key_counts_with_its_proof_only(
    gatekeeper: Gatekeeper, context: Context, key_folders: KeyFolders
) -> None:
    """Public keys are public: CURVE alone makes the caller prove that it has the secret."""
    question = [b"1.0", b"7", b"", b"1.2.3.4", b"", b"CURVE"]
    public = z85.decode(key_folders.robot("pup-1").public)
    assert ask(context, [*question, public])[2] == b"200"
    assert ask(context, [*question[:5], b"GSSAPI", public])[2] == b"400"


def test_a_context_has_one_gatekeeper(
    gatekeeper: Gatekeeper, context: Context, key_folders: KeyFolders
) -> None:
    """A second one would have no say; once the first has closed, another may come."""
    with pytest.raises(WireError, match="has a gatekeeper; expected none"):
        Gatekeeper(context, key_folders.learner)
    gatekeeper.close()
    gatekeeper.close()
    Gatekeeper(context, key_folders.learner).close()
