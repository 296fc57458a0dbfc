"""The address a learner listens on, and who is let in there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from robosac.errors import WireError
from robosac.wire.gatekeeper import Gatekeeper
from robosac.wire.keys import LearnerKeys, may_speak_for
from robosac.wire.sockets import bind_learner

if TYPE_CHECKING:
    from robosac.learner.options import LearnerOptions


class Door:
    """A bound socket and its gatekeeper, who must be there before the socket is."""

    def __init__(self, options: LearnerOptions) -> None:
        """Read the keys and bind; raises WireError when that is impossible or not safe."""
        keys = None if options.keys is None else LearnerKeys.load(Path(options.keys))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gatekeeper = None if keys is None else Gatekeeper(self._context, keys)
        try:
            self.socket, self.endpoint = bind_learner(
                self._context, options.bind, keys=keys, insecure=options.insecure
            )
        except WireError:
            self.close()
            raise

    @property
    def strangers(self) -> int:
        """Connections refused because their key is not on the list."""
        return 0 if self._gatekeeper is None else self._gatekeeper.refused

    def objection_to_name(self, user: str | None, robot: str) -> str | None:
        """Why whoever holds this key may not speak for a robot; None is no objection."""
        if self._gatekeeper is None:
            return None
        name = None if user is None else self._gatekeeper.name_of(user)
        if name is not None and may_speak_for(name, robot):
            return None
        return f"key {name!r} may not speak for robot {robot!r}; expected a key of that name"

    def close(self) -> None:
        """End the gatekeeper; the socket must be closed."""
        if self._gatekeeper is not None:
            self._gatekeeper.close()
        self._context.term()
