from __future__ import annotations

import time
from typing import TYPE_CHECKING

from robosac.errors import WireError
from robosac.wire.sockets import bind_learner
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    import zmq


def bind(context: zmq.Context[zmq.Socket[bytes]], port: int) -> tuple[zmq.Socket[bytes], str]:
    """Bind; a port used before as soon as ZeroMQ has let go of it, in its own time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return bind_learner(context, f"127.0.0.1:{port}")
        except WireError:
            if not port or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
