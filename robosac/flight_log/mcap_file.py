"""One MCAP file, in which everything up to the last flush survives whatever happens after it."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import msgspec
from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import Writer

from robosac.flight_log.fields import METADATA

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_NO_CHUNK_ENDS_BY_ITSELF = 2**31


class McapFile:
    """Writes messages in compressed chunks, one to a flush.

    A tick's messages are never in two chunks.  A disk that takes nothing costs nothing: what it did
    not take is kept and offered again, at the same place in the file.
    """

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        """Make the file; raises OSError, also when it exists."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._written = 0
        self._waiting = b""
        self._sink = _Sink()
        self._mcap = Writer(self._sink, chunk_size=_NO_CHUNK_ENDS_BY_ITSELF)
        self._mcap.start(profile="", library="robosac")
        self._mcap.add_metadata(METADATA, metadata)
        self._channels: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes up to the last chunk that is whole, waiting ones included."""
        return self._sink.tell()

    def register(self, topic: str, schema: dict[str, Any]) -> None:
        """Open a channel whose messages are JSON of this schema."""
        data = msgspec.json.encode(schema)
        schema_id = self._mcap.register_schema(schema["title"], SchemaEncoding.JSONSchema, data)
        self._channels[topic] = self._mcap.register_channel(topic, MessageEncoding.JSON, schema_id)

    def add(self, topic: str, message: bytes, *, time_ns: int, sequence: int) -> None:
        """Add a message to the chunk in progress; `time_ns` is wall-clock time."""
        self._mcap.add_message(
            self._channels[topic],
            log_time=max(time_ns, 0),
            data=message,
            publish_time=max(time_ns, 0),
            sequence=sequence,
        )

    def flush(self) -> None:
        """End the chunk and hand everything to the kernel; raises OSError, and may be repeated."""
        if not self._waiting:
            self._mcap.flush()
            self._waiting = self._sink.take()
        while self._waiting:
            count = os.pwrite(self._file, self._waiting, self._written)
            self._written += count
            self._waiting = self._waiting[count:]

    def sync(self) -> None:
        """Wait until the disk has everything, so that it survives a power cut; raises OSError."""
        os.fdatasync(self._file)

    def finish(self) -> None:
        """Write the index that ends an MCAP file, and close it; raises OSError."""
        try:
            self.flush()
            self._mcap.finish()
            self.flush()
            self.sync()
        finally:
            os.close(self._file)


class _Sink(io.BytesIO):
    """Where the MCAP writer writes to: memory, which never refuses.

    It counts from the start of the file, however often its content is taken away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0

    def tell(self) -> int:
        return self._taken + super().tell()

    def take(self) -> bytes:
        """Return what was written since the last time."""
        data = self.getvalue()
        self._taken += len(data)
        self.seek(0)
        self.truncate()
        return data
