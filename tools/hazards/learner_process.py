"""A learner's service alone, to be killed: `python -m tools.hazards.learner_process JSON`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec
import zmq

from robosac.learner.inbox import Inbox
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import decode
from robosac.wire.sockets import bind_learner


class LearnerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is started with."""

    replay: str
    """Folder of the rows."""
    bind: str
    """HOST:PORT."""
    policy: str
    """Path of the only policy it has."""
    contract: str


def main(argument: str) -> None:
    """Serve until standard input ends; the first line written is the endpoint."""
    config = msgspec.json.decode(argument, type=LearnerConfig)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket, endpoint = bind_learner(context, config.bind)
    service = Service(socket, Path(config.replay), Inbox())
    service.open_log(decode(config.contract))
    file = Path(config.policy).read_bytes()
    service.publish(PublishedPolicy(1, hashlib.sha256(file).hexdigest(), file))
    service.start()
    print(endpoint, flush=True)
    sys.stdin.read()
    service.close()
    context.term()


if __name__ == "__main__":
    main(sys.argv[1])
