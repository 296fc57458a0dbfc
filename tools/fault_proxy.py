"""A TCP proxy that hurts what passes through it; faults are switched while it runs.

`python tools/fault_proxy.py HOST:PORT TARGET_HOST:PORT` prints the address it listens on, and then
obeys the commands on its standard input, one a line, until that ends; it answers each with a line
as soon as it holds.  Up is towards the target.

    delay MS JITTER_MS       everything arrives later, in order; 0 0 ends it
    limit BITS_PER_S         bandwidth of each direction; 0 is no limit
    stall SECONDS            nothing is forwarded; afterwards everything that has waited
    half-open up|down S      the connections of the next S seconds, and those of now, lose all that
                             goes one way, for ever and without a word
    cut reset|close          every connection ends in the middle of the next piece
    partition SECONDS        connections fall silent for ever, and no new ones are made
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 1400
"""Most bytes that are forwarded at once: about a packet."""
_WAITING_MAX = 64
_RESET = struct.pack("ii", 1, 0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Piece = tuple[float, bytes]

UP, DOWN = "up", "down"


class Direction:
    """What one direction of the link does to bytes; all connections share its bandwidth."""

    def __init__(self, rng: random.Random) -> None:
        """Begin without faults."""
        self.delay_s = self.jitter_s = 0.0
        self.bits_per_s = 0.0
        self._rng = rng
        self._free_at = 0.0

    def due(self, now: float, size: int, not_before: float) -> float:
        """Return when a piece that comes now has arrived; never before the one ahead of it."""
        late = self.delay_s + self._rng.uniform(-self.jitter_s, self.jitter_s)
        if self.bits_per_s:
            self._free_at = max(self._free_at, now) + 8 * size / self.bits_per_s
            now = self._free_at
        return max(now + max(late, 0.0), not_before)


class Connection:
    """A client, the target, and the pieces on their way between them."""

    def __init__(self, proxy: FaultProxy, client: Streams, target: Streams) -> None:
        """Join two open connections."""
        self.lost: set[str] = set()
        """Directions that lose everything."""
        self.cut: bool | None = None
        """How to end in the middle of the next piece: True by a reset; None is not at all."""
        self._proxy = proxy
        self._ways = {UP: (client[0], target[1]), DOWN: (target[0], client[1])}

    async def run(self) -> None:
        """Forward until both ends have closed, or one has gone."""
        tasks = []
        for name, (reader, writer) in self._ways.items():
            waiting: asyncio.Queue[Piece] = asyncio.Queue(_WAITING_MAX)
            tasks.append(asyncio.create_task(self._receive(name, reader, waiting)))
            tasks.append(asyncio.create_task(self._send(name, waiting, writer)))
        try:
            await asyncio.gather(*tasks)
        except OSError:
            self.end(reset=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.end(reset=False)

    def end(self, *, reset: bool) -> None:
        """Close both ends."""
        for _, writer in self._ways.values():
            end_stream(writer, reset=reset)

    async def _receive(
        self, name: str, reader: asyncio.StreamReader, waiting: asyncio.Queue[Piece]
    ) -> None:
        loop, due = asyncio.get_running_loop(), 0.0
        data = b"?"
        while data:
            data = await reader.read(PIECE)
            due = self._proxy.directions[name].due(loop.time(), len(data), due)
            await waiting.put((due, data))

    async def _send(
        self, name: str, waiting: asyncio.Queue[Piece], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            await self._proxy.flowing.wait()
            if not data:
                writer.write_eof()
                return
            if name in self.lost:
                continue
            if self.cut is not None and len(data) > 1:
                writer.write(data[: self._proxy.rng.randrange(1, len(data))])
                self.end(reset=self.cut)
                raise ConnectionAbortedError
            writer.write(data)
            await writer.drain()


class FaultProxy:
    """Listens, connects every client to the target, and obeys commands."""

    def __init__(self, target: tuple[str, int], *, seed: int = 0) -> None:
        """Begin without faults; `seed` draws jitter and where cuts fall."""
        self.rng = random.Random(seed)  # noqa: S311 -- faults, not secrets
        self.directions = {UP: Direction(self.rng), DOWN: Direction(self.rng)}
        self.flowing = asyncio.Event()
        """Clear while the link is stalled."""
        self.flowing.set()
        self._target = target
        self._connections: set[Connection] = set()
        self._stalls = self._partitions = 0
        self._losing: list[str] = []
        self._commands: dict[str, Callable[..., None]] = {
            "delay": self._delay,
            "limit": self._limit,
            "stall": self._stall,
            "half-open": self._half_open,
            "cut": self._cut,
            "partition": self._partition,
        }

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Begin; port 0 takes any free one."""
        return await asyncio.start_server(self._accept, host, port, limit=PIECE)

    def obey(self, line: str) -> None:
        """Carry out one command; raises ValueError when it is none."""
        name, *arguments = line.split()
        try:
            self._commands[name](*arguments)
        except (KeyError, TypeError, ValueError):
            known = ", ".join(self._commands)
            message = f"command {line.strip()!r}; expected one of {known}, as in the first lines"
            raise ValueError(message) from None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._partitions:
            end_stream(writer, reset=True)
            return
        try:
            target = await asyncio.open_connection(*self._target, limit=PIECE)
        except OSError:
            end_stream(writer, reset=True)
            return
        for _, one in (target, (reader, writer)):
            one.transport.set_write_buffer_limits(PIECE)
        connection = Connection(self, (reader, writer), target)
        connection.lost.update(self._losing)
        self._connections.add(connection)
        with contextlib.suppress(asyncio.CancelledError):  # the process ends
            await connection.run()
        self._connections.discard(connection)

    def _delay(self, milliseconds: str, jitter: str) -> None:
        for direction in self.directions.values():
            direction.delay_s, direction.jitter_s = float(milliseconds) / 1e3, float(jitter) / 1e3

    def _limit(self, bits_per_s: str) -> None:
        for direction in self.directions.values():
            direction.bits_per_s = float(bits_per_s)

    def _stall(self, seconds: str) -> None:
        asyncio.get_running_loop().call_later(float(seconds), self._flow)
        self._stalls += 1
        self.flowing.clear()

    def _flow(self) -> None:
        self._stalls -= 1
        if not self._stalls:
            self.flowing.set()

    def _half_open(self, direction: str, seconds: str) -> None:
        if direction not in self.directions:
            raise ValueError(direction)
        asyncio.get_running_loop().call_later(float(seconds), self._losing.remove, direction)
        self._losing.append(direction)
        for connection in self._connections:
            connection.lost.add(direction)

    def _cut(self, how: str) -> None:
        for connection in self._connections:
            connection.cut = {"reset": True, "close": False}[how]

    def _partition(self, seconds: str) -> None:
        asyncio.get_running_loop().call_later(float(seconds), self._heal)
        self._partitions += 1
        for connection in self._connections:
            connection.lost.update(self.directions)

    def _heal(self) -> None:
        self._partitions -= 1


def end_stream(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close a connection, with what has been written, or by a reset."""
    if reset and not writer.is_closing():
        plain: socket.socket = writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    writer.close()


def parse_address(text: str) -> tuple[str, int]:
    """Split HOST:PORT; raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal()):
        message = f"address {text!r}; expected HOST:PORT, as in 127.0.0.1:5555"
        raise ValueError(message)
    return host, int(port)


async def serve(listen: tuple[str, int], target: tuple[str, int]) -> None:
    """Serve until standard input ends."""
    proxy = FaultProxy(target)
    server = await proxy.listen(*listen)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await commands.readline():
        proxy.obey(line.decode())
        print("ok", flush=True)
    server.close()


def main() -> int:
    """Run the process; exit code 2 for what is no address."""
    try:
        listen, target = map(parse_address, sys.argv[1:])
    except ValueError as error:
        print(f"fault_proxy: {error}", file=sys.stderr)
        return 2
    asyncio.run(serve(listen, target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
