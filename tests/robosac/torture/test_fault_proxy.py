"""The proxy hurts the link as it says, and otherwise passes every byte on in its order."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.patience import PATIENCE_S, until
from tools.exactly_once.network import PYTHON, ROOT, Proxy
from tools.fault_proxy import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = hashlib.shake_256(b"words").digest(50_000)


class Echo:
    """A target that sends back what it receives, and counts the connections that have ended."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        host, port = self._server.getsockname()
        self.address = f"{host}:{port}"
        self.received = b""
        self.ended = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it has been
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.received += data
                    connection.sendall(data)
            except ConnectionError:
                pass
        self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The far end."""
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """A proxy before it."""
    proxy = Proxy(listen="127.0.0.1:0", target=echo.address)
    yield proxy
    proxy.close()


def connect(proxy: Proxy) -> socket.socket:
    """Open a connection through the proxy, known to have reached the target."""
    client = socket.create_connection(parse_address(proxy.address), timeout=PATIENCE_S)
    try:
        client.sendall(b"!")
        assert client.recv(1) == b"!"
    except BaseException:
        client.close()
        raise
    return client


def exchange(client: socket.socket, words: bytes) -> float:
    """Send and get back the same; returns how long it took, s."""
    started = time.monotonic()
    sender = threading.Thread(target=client.sendall, args=(words,))
    sender.start()
    back = b""
    while len(back) < len(words) and (data := client.recv(65_536)):
        back += data
    sender.join()
    assert back == words
    return time.monotonic() - started


def is_refused(proxy: Proxy) -> bool:
    """Whether a new connection ends before the target has answered."""
    try:
        with connect(proxy):
            return False
    except (ConnectionError, AssertionError):
        return True


def wait_for_ends(echo: Echo, count: int) -> None:
    """Wait until so many connections of the target have ended."""
    until(lambda: echo.ended == count)


def wait_for_bytes(echo: Echo, count: int) -> None:
    """Wait until so many bytes in all have reached the target."""
    until(lambda: len(echo.received) >= count)


def test_without_faults_it_is_a_wire(proxy: Proxy, echo: Echo) -> None:
    """Bytes arrive intact, both ways and on several connections; an end is passed on as an end."""
    clients = [connect(proxy) for _ in range(3)]
    for client in clients:
        exchange(client, WORDS)
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        client.close()
    wait_for_ends(echo, 3)
    assert len(echo.received) == 3 * len(WORDS) + 3


def test_delay_with_jitter_keeps_the_order(proxy: Proxy) -> None:
    """There and back takes twice the delay, and 36 pieces stay in order."""
    proxy.order("delay 60 50")
    with connect(proxy) as client:
        seconds = [exchange(client, b"?") for _ in range(5)]
        assert min(seconds) >= 2 * 0.010
        assert sum(seconds) >= 5 * 2 * 0.030
        exchange(client, WORDS)
        proxy.order("delay 0 0")
        exchange(client, WORDS)


def test_a_limit_holds_the_rate(proxy: Proxy) -> None:
    """50 kB at 1 Mbit/s take 0.4 s; both directions at once take little longer."""
    proxy.order("limit 1000000")
    with connect(proxy) as client:
        assert 0.39 <= exchange(client, WORDS) < 2.0


def test_a_stall_ends_and_nothing_is_missing(proxy: Proxy) -> None:
    """The connection stays; what waited arrives."""
    with connect(proxy) as client:
        started = time.monotonic()
        proxy.order("stall 0.5")
        exchange(client, WORDS)
        assert time.monotonic() - started >= 0.5
        exchange(client, WORDS)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_half_open(proxy: Proxy, echo: Echo, direction: str) -> None:
    """One way goes on, the other loses everything; only later connections are whole again."""
    with connect(proxy) as client:
        proxy.order(f"half-open {direction} 0")
        before = len(echo.received)
        client.sendall(b"lost or answered in vain")
        arrived = 0 if direction == "up" else len(b"lost or answered in vain")
        wait_for_bytes(echo, before + arrived)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert len(echo.received) - before == arrived
        with connect(proxy) as other:
            exchange(other, WORDS)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_cut_falls_into_the_middle_of_a_piece(proxy: Proxy, echo: Echo, how: str) -> None:
    """Both ends end after a part of what was sent; a new connection is whole."""
    with connect(proxy) as client:
        proxy.order(f"cut {how}")
        client.sendall(WORDS[:1000])
        ended = ""
        try:
            ended = "close" if client.recv(1000) == b"" else "answer"
        except ConnectionResetError:
            ended = "reset"
        assert ended == how
    wait_for_ends(echo, 1)
    assert 1 < len(echo.received) < 1001
    assert echo.received[1:] == WORDS[: len(echo.received) - 1]
    with connect(proxy) as other:
        exchange(other, WORDS)


def test_a_partition_silences_and_refuses(proxy: Proxy) -> None:
    """Old connections never speak again, and new ones are refused."""
    with connect(proxy) as client:
        proxy.order("partition 3600")
        assert is_refused(proxy)
        client.sendall(b"anybody?")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_after_a_partition_new_connections_are_made_and_old_ones_stay_silent(proxy: Proxy) -> None:
    """Whoever has noticed calls again."""
    with connect(proxy) as client:
        proxy.order("partition 0.1")
        deadline = time.monotonic() + PATIENCE_S
        while is_refused(proxy):
            assert time.monotonic() < deadline
        client.sendall(b"anybody?")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_target_that_is_not_there_is_refused(proxy: Proxy, echo: Echo) -> None:
    """As without the proxy, the client hears at once."""
    echo.close()
    assert is_refused(proxy)


def test_a_cut_ends_also_what_is_stuck(proxy: Proxy, echo: Echo) -> None:
    """Although more waits than the proxy holds, because the target does not keep up."""
    proxy.order("limit 1000000")
    with connect(proxy) as client:
        client.settimeout(PATIENCE_S)
        sender = threading.Thread(target=send_until_it_ends, args=(client,))
        sender.start()
        proxy.order("cut close")
        sender.join(PATIENCE_S)
        assert not sender.is_alive()
    assert not is_refused(proxy)


def send_until_it_ends(client: socket.socket) -> None:
    """Send for ever; returns when that is over."""
    with contextlib.suppress(ConnectionError):
        while True:
            client.sendall(WORDS)


def test_the_end_of_the_process_is_quiet(echo: Echo, capfd: pytest.CaptureFixture[str]) -> None:
    """With connections open; nothing is printed."""
    process = subprocess.Popen(
        [*PYTHON, "tools/fault_proxy.py", "127.0.0.1:0", echo.address],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with socket.create_connection(parse_address(process.stdout.readline().strip())) as client:
        client.sendall(b"!")
        assert client.recv(1) == b"!"
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("arguments", [(), ("127.0.0.1:0",), ("nowhere", "127.0.0.1:1")])
def test_wrong_arguments_are_one_line(arguments: tuple[str, ...]) -> None:
    """Exit code 2."""
    command = [*PYTHON, "tools/fault_proxy.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
